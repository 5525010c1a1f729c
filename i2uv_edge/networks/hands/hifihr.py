"""HiFiHR (Zhu et al., 2023) with EfficientNet-B3: a picture -> pose, shape and texture of a hand.

Its hand is root-relative: the wrist's rotation is part of the pose, and where the hand is nobody
answers. Of its two hand models this reads MANO; what its light estimator and its renderer are for
is training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.mano import FREIHAND_ORDER, Mano
from i2uv_edge.networks.dense import as_convolutions, branch, start_small, trunk_layers
from i2uv_edge.networks.efficientnet import FEATURES, EfficientNet
from i2uv_edge.networks.readouts import HandNetwork, ManoLayer, Readout
from i2uv_edge.standpoints import ROOT

__all__ = ["NETWORK", "HiFiHr"]

_READ = ("base_layers", "pose_reg", "shape_reg", "tex_reg")  # the others' answers are not used
_ROOT_ROTATION, _MOST_POSE = 3, 48


class HiFiHr(HandNetwork):
    """(N, 3, S, S) RGB 0..1 -> (N, pose + shape + texture, 1, 1).

    Parameters
    ----------
    input_size
        S; the published network's is 224.
    pose, shape, texture
        How many numbers of each: 48, 10 and 10 with MANO, of which three are the wrist's rotation.
    """

    def __init__(
        self, *, input_size: int = 224, pose: int = 48, shape: int = 10, texture: int = 10
    ) -> None:
        super().__init__()
        self.input_shape = (1, input_size, input_size, 3)
        self.fields = {"pose": pose, "shape": shape, "texture": texture}
        self.output_shape = (1, 1, 1, pose + shape + texture)
        self.base_encoder = EfficientNet()
        self.hand_encoder = _Head(pose, shape, texture)

    def forward(self, picture: Tensor) -> Tensor:
        result: Tensor = self.hand_encoder(self.base_encoder(picture))
        return result

    def readout(self, hand: Mano) -> Readout:
        if not _ROOT_ROTATION < self.fields["pose"] <= _MOST_POSE:
            raise UsageError(
                f"a pose of {self.fields['pose']} numbers is none of MANO's",
                expected="3 of the wrist's rotation, and up to 45 of the fingers",
                remedy="correct `pose` under [architecture]",
            )
        return _Posed(hand, self.fields)

    def of_published(self, content: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """`.t7` of the authors: {args, base_encoder, hand_encoder, light_estimator, ...}."""
        if not {"base_encoder", "hand_encoder"} <= content.keys():
            return None
        state: dict[str, Tensor] = {}
        for key, value in content["base_encoder"].items():
            name = key.removeprefix("encoder.")
            if not name.startswith("_fc."):
                state[f"base_encoder.{name}"] = value
        for key, value in content["hand_encoder"].items():
            if key.partition(".")[0] in _READ:
                state[f"hand_encoder.{key}"] = value
        return as_convolutions(state)


class _Head(nn.Module):
    """(N, 1536, 1, 1) -> pose, shape, texture."""

    def __init__(self, pose: int, shape: int, texture: int) -> None:
        super().__init__()
        self.base_layers = trunk_layers(FEATURES)
        self.pose_reg, self.shape_reg, self.tex_reg = branch(pose), branch(shape), branch(texture)
        start_small(self.pose_reg, self.shape_reg, self.tex_reg)

    def forward(self, features: Tensor) -> Tensor:
        x = self.base_layers(features)
        return torch.cat((self.pose_reg(x), self.shape_reg(x), self.tex_reg(x)), 1)


class _Posed(Readout):
    """MANO about its middle finger's first joint."""

    def __init__(self, hand: Mano, fields: Mapping[str, int]) -> None:
        super().__init__()
        self.mano = ManoLayer(hand)
        self.sizes = list(fields.values())

    def forward(self, output: Tensor) -> Tensor:
        pose, shape, _ = torch.split(output.flatten(1), self.sizes, 1)
        fingers = self.mano.fingers(pose[:, _ROOT_ROTATION:])
        vertices = self.mano(pose[:, :_ROOT_ROTATION], fingers, shape)
        root = self.mano.regressor[FREIHAND_ORDER[ROOT]]
        result: Tensor = vertices - (root @ vertices)[:, None]
        return result


NETWORK = HiFiHr
