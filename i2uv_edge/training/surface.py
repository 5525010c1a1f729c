"""An atlas as tensors, so that maps are filled and read on the device that trains."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.hand.atlas import Atlas


class Surface(nn.Module):
    """What `Atlas` does, differentiably and on any device; moved by ``to``, saved nowhere.

    Maps are (N, 3, M, M), vertices (N, V, 3).
    """

    mask: Tensor
    seams: Tensor
    _corners: Tensor
    _shares: Tensor
    _index: Tensor
    _weight: Tensor

    def __init__(self, atlas: Atlas) -> None:
        super().__init__()
        self.size = atlas.size
        corners, shares = atlas.filled()
        for name, array in (
            ("mask", atlas.mask),
            ("seams", atlas.seams.T.astype(np.int64)),
            ("_corners", corners.T.astype(np.int64)),
            ("_shares", shares.T[..., None]),
            ("_index", atlas.texel_index.T.astype(np.int64)),
            ("_weight", atlas.texel_weight.T),
        ):
            self.register_buffer(name, _tensor(array), persistent=False)

    def rasterise(self, vertices: Tensor) -> Tensor:
        """Vertices -> maps; texels without surface hold their nearest one."""
        parts = [vertices[:, self._corners[k]] * self._shares[k] for k in range(3)]
        flat = parts[0] + parts[1] + parts[2]
        return flat.transpose(1, 2).reshape(len(vertices), 3, self.size, self.size)

    def read_vertices(self, maps: Tensor) -> Tensor:
        """Maps -> vertices."""
        flat = maps.flatten(2)
        total = flat[:, :, self._index[0]] * self._weight[0]
        for index, weight in zip(self._index[1:], self._weight[1:], strict=True):
            total = total + flat[:, :, index] * weight
        return total.transpose(1, 2)

    def disagreement(self, maps: Tensor) -> Tensor:
        """(N, 3, S) difference between the two texels of every seam."""
        flat = maps.flatten(2)
        return flat[:, :, self.seams[0]] - flat[:, :, self.seams[1]]


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
