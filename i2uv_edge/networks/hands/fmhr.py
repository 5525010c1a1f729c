"""FMHR's decoder (Jiang et al., AAAI 2024): 21 keypoints -> vertices and MANO's parameters.

A graph network over four resolutions of the mesh. The authors keep its Laplacians and upsampling
matrices beside the weights; here each is a gather of the few rows that it mixes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.mano import Mano
from i2uv_edge.hand.model import HandModel
from i2uv_edge.networks.dense import as_convolutions
from i2uv_edge.networks.layers import Gathered, RowNorm
from i2uv_edge.networks.mesh_levels import laplacians, level_sizes, rows_of, upsamplings
from i2uv_edge.networks.readouts import HandNetwork, Readout

__all__ = ["NETWORK", "Fmhr"]

_KEYPOINTS, _CODE, _WIDTH, _NARROW = 63, 64, 64, 32
_PARAMETERS = {"pose": 45, "shape": 10}
_BLOCKS = 4
_START = 0.02  # metres a unit of what the last layer gives, before training


class Fmhr(HandNetwork):
    """(N, 63, 1, 1) keypoints about their mean, the first bone 0.5 long -> (N, 3 V + 55, 1, 1).

    Vertices first, x, y, z of each in turn, in the unit of the keypoints and about their mean; then
    the axis-angle of fifteen joints less the mean pose, and the shape.

    Parameters
    ----------
    vertices
        V, 778 for MANO. With those of the built-in hand the matrices are of its mesh, else they
        have to come from a checkpoint.
    taps
        Most entries of a row of a Laplacian.
    """

    input_shape = (1, 1, 1, _KEYPOINTS)

    def __init__(self, *, vertices: int = 778, taps: int = 16) -> None:
        super().__init__()
        sizes = level_sizes(vertices)
        self.fields = {"vertices": 3 * vertices, **_PARAMETERS}
        self.output_shape = (1, 1, 1, sum(self.fields.values()))
        self.coarsest, self.taps = sizes[_BLOCKS], taps
        self.fc_decode = nn.Sequential(
            nn.Conv2d(_KEYPOINTS, _CODE, 1), nn.Conv2d(_CODE, self.coarsest * _WIDTH, 1)
        )
        self.relu = nn.LeakyReLU(0.2)
        self.decode_conv1x1 = nn.Conv2d(_WIDTH, 2 * _WIDTH, 1, bias=False)
        self.decoder = nn.ModuleList(
            _Block(2 * _WIDTH if level == _BLOCKS - 1 else _WIDTH, sizes[level], taps)
            for level in reversed(range(_BLOCKS))
        )
        self.vertices, self.middle = vertices, sizes[_BLOCKS - 1]
        self.heads = nn.ModuleDict(
            {
                "coarse": _Chebyshev(_WIDTH, 3, self.middle, taps, bias=True),
                "fine": _Chebyshev(_WIDTH, 3, vertices, taps),
                "mano": nn.Conv2d(
                    self.coarsest * _WIDTH + 3 * self.middle, sum(_PARAMETERS.values()), 1
                ),
            }
        )
        self.std = nn.Parameter(torch.full((1, 3, 1, vertices), _START))
        self.mean = nn.Parameter(torch.zeros(1, 3, 1, vertices))
        if vertices == len(HandModel.load().coarse.vertices):
            self.load_state_dict(_own_mesh(taps), strict=False)

    def forward(self, keypoints: Tensor) -> Tensor:
        code = self.relu(self.fc_decode(keypoints))
        x = code.permute(0, 2, 3, 1).reshape(-1, 1, self.coarsest, _WIDTH).permute(0, 3, 1, 2)
        x = self.decoder[0](self.decode_conv1x1(x))
        coarse = _flat(self.heads["coarse"](x), self.middle)
        for block in self.decoder[1:]:
            x = block(x)
        parameters = self.heads["mano"](torch.cat((code, coarse), 1))
        vertices = self.heads["fine"](x) * self.std + self.mean
        return torch.cat((_flat(vertices, self.vertices), parameters), 1)

    def readout(self, hand: Mano) -> Readout:
        if len(hand.template) != self.vertices:
            raise UsageError(
                f"the network answers with {self.vertices} vertices, the hand that its file names "
                f"has {len(hand.template)}",
                expected="the hand that the network is of",
                remedy="correct `hand` under [readout], or `vertices` under [architecture]",
            )
        return _Vertices(self.vertices)

    def of_published(self, content: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The authors' `state_dict`, with sparse matrices `L_0` to `L_4` and `U_0` to `U_3`."""
        if "conv3.w" not in content or "L_0" not in content:
            return None
        state = {k: v for k, v in content.items() if k.startswith("fc_decode.")}
        state["decode_conv1x1.weight"] = content["decode_conv1x1.w"].T
        matrices: dict[str, Tensor] = {}
        for number in range(_BLOCKS):
            level, block = _BLOCKS - 1 - number, f"decoder.{number}"
            for name in ("gn1", "gn2", "gn3"):
                for key in ("gamma", "beta"):
                    state[f"{block}.{name}.{key}"] = content[f"{block}.{name}.{key}"]
            for name in ("lin1", "lin2", "filter"):
                if f"{block}.{name}.w" in content:
                    state[f"{block}.{name}.weight"] = content[f"{block}.{name}.w"].T
            state |= _chebyshev(content[f"{block}.conv.w"], f"{block}.conv")
            matrices |= _gathered(content[f"U_{level}"], 3, f"{block}.up")
            matrices |= _gathered(content[f"L_{level}"], self.taps, f"{block}.conv.laplacian")
        std, mean, last = content["std"], content["mean"], content["conv3.w"]
        state |= _chebyshev(last * std.mean(), "heads.coarse") | _chebyshev(last, "heads.fine")
        state["heads.coarse.conv.bias"] = mean.mean().expand(3).clone()
        for name, level in (("coarse", _BLOCKS - 1), ("fine", 0)):
            matrices |= _gathered(content[f"L_{level}"], self.taps, f"heads.{name}.laplacian")
        weight, bias = _folded(content)
        state |= {"heads.mano.weight": weight, "heads.mano.bias": bias}
        return (
            as_convolutions(state)
            | matrices
            | {"std": std.mT[:, :, None], "mean": mean.mT[:, :, None]}
        )


class _Chebyshev(nn.Module):
    """Features of each vertex, and what its neighbours differ by, to features: order 2."""

    def __init__(
        self, inputs: int, outputs: int, vertices: int, taps: int, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.laplacian = Gathered(vertices, taps)
        self.conv = nn.Conv2d(2 * inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat((x, self.laplacian(x)), 1))
        return result


class _Block(nn.Module):
    """To the next finer level, and a residual there: (N, C, 1, R) -> (N, 64, 1, R')."""

    def __init__(self, inputs: int, vertices: int, taps: int) -> None:
        super().__init__()
        self.up = Gathered(vertices, 3)
        self.gn1, self.relu1 = RowNorm(inputs), nn.ReLU()
        self.lin1 = nn.Conv2d(inputs, _NARROW, 1, bias=False)
        self.gn2, self.relu2 = RowNorm(_NARROW), nn.ReLU()
        self.conv = _Chebyshev(_NARROW, _NARROW, vertices, taps)
        self.gn3, self.relu3 = RowNorm(_NARROW), nn.ReLU()
        self.lin2 = nn.Conv2d(_NARROW, _WIDTH, 1, bias=False)
        self.filter = None
        if inputs != _WIDTH:
            self.filter = nn.Conv2d(inputs, _WIDTH, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        raised = self.up(x)
        y = self.lin1(self.relu1(self.gn1(raised)))
        y = self.conv(self.relu2(self.gn2(y)))
        y = self.lin2(self.relu3(self.gn3(y)))
        result: Tensor = y + (raised if self.filter is None else self.filter(raised))
        return result


class _Vertices(Readout):
    """The first of the channels are the vertices themselves."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, output: Tensor) -> Tensor:
        return output[:, : 3 * self.count].reshape(len(output), self.count, 3)


def _flat(x: Tensor, rows: int) -> Tensor:
    """(N, 3, 1, rows) -> (N, 3 rows, 1, 1), a vertex after the other."""
    return x.permute(0, 2, 3, 1).reshape(-1, 1, 1, 3 * rows).permute(0, 3, 1, 2)


def _chebyshev(weight: Tensor, name: str) -> dict[str, Tensor]:
    """The authors' (2 I, O), both orders of a channel together, as `_Chebyshev` has it."""
    return {f"{name}.conv.weight": torch.cat((weight[0::2], weight[1::2])).T.contiguous()}


def _gathered(matrix: Tensor, taps: int, name: str) -> dict[str, Tensor]:
    dense = matrix.to_dense() if matrix.is_sparse else matrix
    rows = rows_of(dense.double().numpy(), taps)
    return {
        f"{name}.index": torch.from_numpy(rows.index),
        f"{name}.weight": torch.from_numpy(rows.weight.astype(np.float32)),
    }


def _folded(content: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Four layers with nothing between them as one."""
    weight, bias = None, None
    for number in range(4):
        own = content[f"fc_param.{number}.weight"].double()
        shift = content[f"fc_param.{number}.bias"].double()
        weight = own if weight is None else own @ weight
        bias = shift if bias is None else own @ bias + shift
    assert weight is not None
    assert bias is not None
    return weight.float(), bias.float()


def _own_mesh(taps: int) -> dict[str, Tensor]:
    """The matrices of the built-in hand's mesh."""
    mesh = HandModel.load().coarse
    vertices = mesh.vertices.astype(np.float64)
    edges = [torch.from_numpy(item) for item in laplacians(vertices, mesh.faces)]
    state: dict[str, Tensor] = {}
    for level, matrix in enumerate(upsamplings(vertices)):
        block = f"decoder.{_BLOCKS - 1 - level}"
        state |= _gathered(torch.from_numpy(matrix), 3, f"{block}.up")
        state |= _gathered(edges[level], taps, f"{block}.conv.laplacian")
    state |= _gathered(edges[_BLOCKS - 1], taps, "heads.coarse.laplacian")
    return state | _gathered(edges[0], taps, "heads.fine.laplacian")


NETWORK = Fmhr
