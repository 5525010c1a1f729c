"""S2HAND (Chen et al., CVPR 2021): a picture -> MANO's parameters and where the hand is.

EfficientNet-B3 and a head of fully connected layers, which are 1x1 convolutions of one position
here. The heat maps, the texture and the renderer of its training are not needed for a mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from i2uv_edge.hand.mano import Mano
from i2uv_edge.networks.dense import as_convolutions, branch, start_small, trunk_layers
from i2uv_edge.networks.efficientnet import FEATURES, Activation, EfficientNet
from i2uv_edge.networks.readouts import HandNetwork, ManoLayer, Readout, rotations

__all__ = ["NETWORK", "S2Hand"]

FIELDS = {"pose": 30, "shape": 10, "trans": 3, "rot": 3, "scale": 1}
_PARTS = {"encoder": "encoder.", "decoder": "hand_decode."}


class S2Hand(HandNetwork):
    """(N, 3, S, S) RGB 0..1 -> (N, 47, 1, 1), the fields of `FIELDS`.

    Parameters
    ----------
    input_size
        S; the published network's is 224.
    activation, squeeze_excite
        Of the trunk; others than the published are other networks, for a DSP.
    """

    output_shape = (1, 1, 1, sum(FIELDS.values()))
    fields = FIELDS

    def __init__(
        self,
        *,
        input_size: int = 224,
        activation: Activation = "swish",
        squeeze_excite: bool = True,
    ) -> None:
        super().__init__()
        self.input_shape = (1, input_size, input_size, 3)
        self.encoder = EfficientNet(activation=activation, squeeze_excite=squeeze_excite)
        self.decoder = _Head()

    def forward(self, picture: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(picture))
        return result

    def readout(self, hand: Mano) -> Readout:
        return _Posed(hand)

    def of_published(self, content: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """`.t7` of the authors: {args, encoder, decoder, ...}.

        Where its arguments say `use_mean_shape`, which they do unless told otherwise, the shape
        that the network answers is not used: its last layer becomes zero.
        """
        if not _PARTS.keys() <= content.keys():
            return None
        state: dict[str, Tensor] = {}
        for part, prefix in _PARTS.items():
            for key, value in content[part].items():
                if key.startswith(prefix) and not key.startswith("encoder._fc."):
                    state[f"{part}.{key.removeprefix(prefix)}"] = value
        if getattr(content.get("args"), "use_mean_shape", True):
            for name in ("weight", "bias"):
                key = f"decoder.shape_reg.2.{name}"
                state[key] = torch.zeros_like(state[key])
        return as_convolutions(state)


class _Head(nn.Module):
    """(N, 1536, 1, 1) -> the fields, in the order of `FIELDS`."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layers = trunk_layers(FEATURES)
        self.pose_reg = branch(30)
        self.shape_reg = branch(10)
        self.trans_reg = branch(32, 3)
        self.rot_reg = branch(32, 3)
        self.scale_reg = branch(32, 1)
        start_small(self.pose_reg, self.shape_reg, self.trans_reg, self.rot_reg, self.scale_reg)
        nn.init.ones_(self.scale_reg[-1].bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        x = self.base_layers(features)
        return torch.cat(
            (
                self.pose_reg(x),
                self.shape_reg(x),
                self.trans_reg(x),
                self.rot_reg(x),
                self.scale_reg(x),
            ),
            1,
        )


class _Posed(Readout):
    """MANO with the wrist turned by half about x, turned and scaled about its origin, and moved."""

    def __init__(self, hand: Mano) -> None:
        super().__init__()
        self.mano = ManoLayer(hand)

    def forward(self, output: Tensor) -> Tensor:
        parts = torch.split(output.flatten(1), list(FIELDS.values()), 1)
        pose, shape, trans, rot, scale = parts
        root = torch.zeros_like(trans)
        root[:, 0] = torch.pi
        local = self.mano(root, self.mano.fingers(pose), shape)
        turned = local @ rotations(rot).transpose(1, 2)
        result: Tensor = trans[:, None] + scale.abs()[:, None] * turned
        return result


NETWORK = S2Hand
