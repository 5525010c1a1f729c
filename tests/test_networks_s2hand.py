"""S2HAND's network, and its authors' checkpoints."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import fits, load_checkpoint
from i2uv_edge.networks.hands.s2hand import FIELDS, S2Hand
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import ReadoutSpec, load_network


class Published(nn.Module):
    """The head as its authors name and order it, of fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layers = nn.Sequential(
            nn.Linear(1536, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(),
        )  # fmt: skip
        for name, sizes in (
            ("pose", (30,)), ("shape", (10,)), ("trans", (32, 3)), ("rot", (32, 3)),
            ("scale", (32, 1)),
        ):  # fmt: skip
            layers: list[nn.Module] = [nn.Linear(512, 128), nn.ReLU()]
            for before, after in zip((128, *sizes), sizes, strict=False):
                layers.append(nn.Linear(before, after))
            setattr(self, f"{name}_reg", nn.Sequential(*layers))

    def forward(self, features: Tensor) -> Tensor:
        x = self.base_layers(features)
        regressors = (self.pose_reg, self.shape_reg, self.trans_reg, self.rot_reg, self.scale_reg)
        return torch.cat([own(x) for own in regressors], 1)


def published(**arguments: Any) -> tuple[dict[str, Any], S2Hand, Published]:
    """A checkpoint as the authors' training script writes it, and what it holds."""
    torch.manual_seed(1)
    network, head = S2Hand().eval(), Published().eval()
    for layer in head.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.normal_(layer.running_mean, 0, 0.2)  # type: ignore[arg-type]
    encoder = {f"encoder.{k}": v for k, v in network.encoder.state_dict().items()}
    encoder["encoder._fc.weight"] = torch.zeros(1000, 1536)
    encoder["encoder._fc.bias"] = torch.zeros(1000)
    content = {
        "args": argparse.Namespace(**arguments),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 3,
        "encoder": encoder,
        "decoder": {f"hand_decode.{k}": v for k, v in head.state_dict().items()},
        "rgb2hm": {"net_hm.conv1_.weight": torch.zeros(1)},
        "texture_light_from_low": {},
    }
    return content, network, head


def written(folder: Path, content: Any) -> Path:
    path = folder / "texturehand.t7"
    torch.save(content, path)
    return path


@torch.no_grad()
def test_the_authors_checkpoint_gives_what_their_layers_give(tmp_path: Path) -> None:
    content, network, head = published(use_mean_shape=False)
    loaded = S2Hand().eval()
    path = written(tmp_path, content)
    load_checkpoint(loaded, path)
    assert fits(loaded, path)
    picture = torch.rand(1, 3, 64, 64)
    expected = head(network.encoder(picture).flatten(1))
    torch.testing.assert_close(loaded(picture).flatten(1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arguments", [{}, {"use_mean_shape": True}], ids=["by default", "asked"])
@torch.no_grad()
def test_a_shape_that_is_not_used_is_zero(arguments: dict[str, Any], tmp_path: Path) -> None:
    loaded = S2Hand().eval()
    load_checkpoint(loaded, written(tmp_path, published(**arguments)[0]))
    answer = loaded(torch.rand(1, 3, 64, 64)).flatten(1)
    assert answer[:, 30:40].abs().max() == 0
    assert answer[:, :30].abs().max() > 0


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_arguments_that_would_run_code_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, _, _ = published(use_mean_shape=Harmful())
    with pytest.raises(InputError, match=r"holds more than weights \(print\)"):
        load_checkpoint(S2Hand(), written(tmp_path, content))
    assert "run" not in capsys.readouterr().out


def test_a_checkpoint_that_lacks_a_layer_names_it(tmp_path: Path) -> None:
    content, _, _ = published(use_mean_shape=False)
    del content["decoder"]["hand_decode.rot_reg.3.bias"]
    with pytest.raises(InputError, match=r"1 missing: decoder\.rot_reg\.3\.bias"):
        load_checkpoint(S2Hand(), written(tmp_path, content))


def test_a_checkpoint_without_its_shape_layer_is_explained(tmp_path: Path) -> None:
    content, _, _ = published()
    del content["decoder"]["hand_decode.shape_reg.2.bias"]
    with pytest.raises(InputError, match="laid out as S2Hand's authors do it"):
        load_checkpoint(S2Hand(), written(tmp_path, content))


def test_answers_are_a_hand_turned_scaled_and_moved() -> None:
    hand = stand_in()
    rng = np.random.default_rng(2)
    answer = rng.normal(0, 0.3, 47).astype(np.float32)
    pose, shape, trans, rot, scale = np.split(answer, np.cumsum(list(FIELDS.values()))[:-1])
    full = hand.full_pose(np.array([np.pi, 0, 0]), pose)
    posed = hand.pose(full, shape, fingertips=(0, 1, 2, 3, 4)).vertices
    from scipy.spatial.transform import Rotation

    expected = trans + abs(scale) * Rotation.from_rotvec(rot).apply(posed)
    found = S2Hand().readout(hand).read(answer.reshape(1, 1, 1, -1))
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_fields_that_are_not_the_networks_are_refused() -> None:
    spec = load_network("s2hand")
    assert spec.readout is not None
    wrong = ReadoutSpec("crop", {**spec.readout.fields, "pose": 31})
    with pytest.raises(UsageError, match="the output has the fields"):
        build(replace(spec, readout=wrong))


def test_a_family_of_another_role_is_refused() -> None:
    with pytest.raises(UsageError, match="family srnet is not of the role hand"):
        build(replace(load_network("s2hand"), family="srnet"))
