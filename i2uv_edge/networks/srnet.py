"""SRNet as published: an SRCNN (Dong et al., 2014) on UV position maps (I2UV-HandNet, 3.3).

Three convolutions of 9, 5 and 5 texels at full size, 4.5 GMAC at 256. Parameter names are those of
the authors' archive. (Its test script puts ELU where its training, and the paper, have ReLU.)
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SRNet"]


class SRNet(nn.Module):
    """(N, 3, M, M) -> (N, 3, M, M), normalised to 0..1 per axis over the predicted vertices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 9, padding=4)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(64, 32, 5, padding=2)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(32, 3, 5, padding=2)

    def output_size(self, size: int) -> int:
        """Side of the map that is made of one of side ``size``: the same."""
        return size

    def forward(self, uv: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.relu1(self.conv1(uv))))
        result: Tensor = self.conv3(x)
        return result
