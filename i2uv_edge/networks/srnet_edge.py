"""SRNet for a phone: the coarse hand's map -> the fine hand's map, four times larger.

I2UV-HandNet's SRNet (section 3.3) is an SRCNN at full size, 4.5 GMAC. Here five 3x3 convolutions
run at the small size and one depth-to-space makes the large one, a twenty-fifth of the work; and
the result is added to the upsampled input, so that the integer part of the network only has to
state millimetres of relief, not positions: one step of an int8 residual of a tenth of the map's
range is a tenth of a step of an int8 map.
"""

from __future__ import annotations

from torch import Tensor, nn

from i2uv_edge.networks.layers import DepthToSpace, Upsample


class SRNetEdge(nn.Module):
    """(N, 3, m, m) -> (N, 3, factor*m, factor*m), both normalised to 0..1 per axis over the hand.

    Parameters
    ----------
    width
        Channels of the hidden layers.
    depth
        Number of 3x3 convolutions, at least 2.
    factor
        Enlargement of the map's side.
    """

    def __init__(self, *, width: int = 32, depth: int = 5, factor: int = 4) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth {depth}: SRNet needs at least 2 convolutions")
        if width < 1 or factor < 1:
            raise ValueError(f"width {width} and factor {factor} must be at least 1")
        self.factor = factor
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, 3 * factor * factor, 3, padding=1)
        self.expand = DepthToSpace(factor, 3)
        self.base = Upsample(factor)
        nn.init.normal_(self.last.weight, std=0.001)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def output_size(self, size: int) -> int:
        """Side of the map that is made of one of side ``size``."""
        return size * self.factor

    def forward(self, uv: Tensor) -> Tensor:
        result: Tensor = self.base(uv) + self.expand(self.last(self.body(uv)))
        return result
