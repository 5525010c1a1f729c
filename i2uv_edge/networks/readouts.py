"""From what a network of the role "hand" answers to the vertices of a hand.

A hand model is no part of the integer graph: it is linear blend skinning of a few hundred vertices,
which a CPU does in float in a fraction of a millisecond, and eight bits would do badly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.hand.mano import Mano

__all__ = ["HandNetwork", "ManoLayer", "Readout", "rotations"]

_BONES = 16
_SMALL = 1e-12  # of a squared angle: below, a rotation's axis is nobody's business


class Readout(nn.Module, ABC):
    """(N, C, H, W) as a network answers -> (N, V, 3) vertices, see `spec.ReadoutSpec.origin`."""

    @abstractmethod
    def forward(self, output: Tensor) -> Tensor:
        """Read the vertices."""

    def read(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, H, W, C) -> (N, V, 3), computed in float64: what differs then is the answers."""
        with torch.no_grad():
            planes = torch.from_numpy(np.ascontiguousarray(output.transpose(0, 3, 1, 2)))
            found: NDArray[np.float32] = self.double()(planes.double()).float().numpy()
        return found


class HandNetwork(nn.Module, ABC):
    """What the registry asks of a network of the role "hand"."""

    input_shape: tuple[int, ...]
    """NHWC, as `output_shape`."""
    output_shape: tuple[int, ...]
    fields: Mapping[str, int]
    """The parts of the output's channels, in order."""

    @abstractmethod
    def readout(self, hand: Mano) -> Readout:
        """How its answers are read."""

    def of_published(self, content: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The state of this network from the authors' checkpoint; None where it is not theirs.

        Raises
        ------
        ValueError, KeyError
            It is theirs and lacks something.
        """
        del content
        return None


class ManoLayer(nn.Module):
    """MANO for a batch, differentiable; the same numbers as `Mano.pose`."""

    template: Tensor
    shape_directions: Tensor
    pose_directions: Tensor
    weights: Tensor
    regressor: Tensor
    components: Tensor
    mean: Tensor

    def __init__(self, hand: Mano) -> None:
        super().__init__()
        self.parents = tuple(int(parent) for parent in hand.parents)
        for name in (
            *("template", "shape_directions", "pose_directions", "weights", "regressor"),
            *("components", "mean"),
        ):
            value = torch.from_numpy(np.asarray(getattr(hand, name), np.float32))
            self.register_buffer(name, value, persistent=False)

    def fingers(self, coefficients: Tensor) -> Tensor:
        """(N, C) coefficients of the space of poses -> (N, 45) axis-angle."""
        return coefficients @ self.components[: coefficients.shape[1]] + self.mean

    def forward(self, root: Tensor, fingers: Tensor, shape: Tensor) -> Tensor:
        """(N, 3) and (N, 45) axis-angle, (N, S) shape -> (N, V, 3) metres."""
        count = len(root)
        rest = self._rest(shape)
        joints = self.regressor @ rest
        turns = rotations(torch.cat((root, fingers), 1).reshape(count, _BONES, 3))
        identity = torch.eye(3, dtype=turns.dtype, device=turns.device)
        feature = (turns[:, 1:] - identity).flatten(1)
        corrected = rest + (feature @ self.pose_directions.flatten(0, 1).T).reshape(rest.shape)
        turned, places = [turns[:, 0]], [joints[:, 0]]
        for bone in range(1, _BONES):
            parent = self.parents[bone]
            step = (joints[:, bone] - joints[:, parent])[..., None]
            turned.append(turned[parent] @ turns[:, bone])
            places.append(places[parent] + (turned[parent] @ step)[..., 0])
        every, where = torch.stack(turned, 1), torch.stack(places, 1)
        offsets = where - (every @ joints[..., None])[..., 0]
        blended = torch.einsum("vj,njab->nvab", self.weights, every)
        return (blended @ corrected[..., None])[..., 0] + self.weights @ offsets

    def _rest(self, shape: Tensor) -> Tensor:
        directions = self.shape_directions[..., : shape.shape[1]].flatten(0, 1)
        return self.template + (shape @ directions.T).reshape(len(shape), -1, 3)


def rotations(vectors: Tensor) -> Tensor:
    """(..., 3) axis-angle -> (..., 3, 3) (Rodrigues); differentiable at 0, too."""
    square = (vectors * vectors).sum(-1)[..., None, None]
    angle = square.clamp_min(_SMALL).sqrt()
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1)
    cross = rows.reshape(*vectors.shape[:-1], 3, 3)
    sine = torch.sin(angle) / angle
    cosine = (1.0 - torch.cos(angle)) / angle**2
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + sine * cross + cosine * (cross @ cross)
