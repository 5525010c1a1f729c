"""A model's networks, and which checkpoint goes to which."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from network_toys import AFFINENET, SRNET, with_architecture, write_toml
from torch import nn

from i2uv_edge import resources
from i2uv_edge.bundle import sha256_of
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.model import load_networks, open_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import ModelSpec, NetworkSpec


@pytest.fixture(autouse=True)
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds the bundled weights of the toy SRNet, and none of its AffineNet."""
    folder = tmp_path / "bundled"
    monkeypatch.setattr(resources, "checkpoints", lambda: folder)
    weights(SRNET, folder / "srnet.safetensors", 9)
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> ModelSpec:
    return ModelSpec(
        name="toy",
        description="a toy",
        affinenet=str(write_toml(AFFINENET, tmp_path)),
        srnet=str(write_toml(SRNET, tmp_path)),
        checkpoints={"affinenet": "affinenet.safetensors", "srnet": "srnet.safetensors"},
    )


@pytest.fixture
def alone(tmp_path: Path) -> ModelSpec:
    return ModelSpec("toy", "a toy", srnet=str(write_toml(SRNET, tmp_path)))


def weights(spec: NetworkSpec, path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_checkpoint(build(spec), path, dtype=torch.float32)
    return path


def made_with(spec: NetworkSpec, seed: int, module: nn.Module) -> bool:
    torch.manual_seed(seed)
    expected = build(spec).state_dict()
    return all(torch.equal(expected[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize("swapped", [False, True])
def test_each_checkpoint_goes_to_the_network_it_fits(
    pair: ModelSpec, tmp_path: Path, swapped: bool
) -> None:
    paths = [
        weights(AFFINENET, tmp_path / "a.safetensors", 1),
        weights(SRNET, tmp_path / "s.safetensors", 2),
    ]
    networks = load_networks(pair, paths[::-1] if swapped else paths)
    assert list(networks) == ["affinenet", "srnet"]  # in running order
    assert made_with(AFFINENET, 1, networks["affinenet"].module)
    assert made_with(SRNET, 2, networks["srnet"].module)
    assert networks["srnet"].spec.name == SRNET.name
    assert networks["srnet"].source_sha256 == sha256_of(paths[1])
    assert not networks["affinenet"].module.training


def test_network_without_a_checkpoint_takes_the_bundled_one(
    pair: ModelSpec, tmp_path: Path, bundled: Path
) -> None:
    networks = load_networks(pair, [weights(AFFINENET, tmp_path / "a.safetensors", 1)])
    assert made_with(SRNET, 9, networks["srnet"].module)
    assert networks["srnet"].source_sha256 == sha256_of(bundled / "srnet.safetensors")


def test_network_without_any_weights_is_refused(pair: ModelSpec, alone: ModelSpec) -> None:
    with pytest.raises(UsageError, match="no bundled weights for toy-affinenet") as raised:
        load_networks(pair)
    assert "i2uv-edge train toy-affinenet" in raised.value.remedy
    with pytest.raises(UsageError, match="no bundled weights for toy-srnet"):
        load_networks(alone)  # it names no bundled file


def test_checkpoint_that_fits_no_network_is_refused(pair: ModelSpec, tmp_path: Path) -> None:
    other = weights(with_architecture(SRNET, width=9), tmp_path / "x.safetensors", 1)
    with pytest.raises(InputError, match=r"x\.safetensors fits none") as raised:
        load_networks(pair, [other])
    assert "one of affinenet, srnet" in raised.value.expected


def test_two_checkpoints_for_one_network_are_refused(pair: ModelSpec, tmp_path: Path) -> None:
    paths = [weights(SRNET, tmp_path / f"{name}.safetensors", 1) for name in "xy"]
    with pytest.raises(UsageError, match=r"x\.safetensors and .*y\.safetensors are both .* srnet"):
        load_networks(pair, paths)


def test_network_alone_takes_the_checkpoint(alone: ModelSpec, tmp_path: Path) -> None:
    networks = load_networks(alone, [weights(SRNET, tmp_path / "x.safetensors", 4)])
    assert list(networks) == ["srnet"]
    assert made_with(SRNET, 4, networks["srnet"].module)


def test_network_alone_says_what_does_not_fit(alone: ModelSpec, tmp_path: Path) -> None:
    other = weights(with_architecture(SRNET, width=9), tmp_path / "x.safetensors", 1)
    with pytest.raises(InputError, match=r"of another shape: body\.0\.weight"):
        load_networks(alone, [other])


def test_missing_checkpoint_is_refused(pair: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt does not exist"):
        load_networks(pair, [tmp_path / "none.pt"])


# --- a checkpoint alone ---------------------------------------------------------------------------


def test_checkpoint_is_opened_as_the_network_it_names(tmp_path: Path) -> None:
    toml = write_toml(SRNET, tmp_path)
    torch.manual_seed(4)
    save_checkpoint(
        build(SRNET), tmp_path / "w.safetensors", {"network": str(toml)}, dtype=torch.float32
    )
    network = open_checkpoint(tmp_path / "w.safetensors")
    assert made_with(SRNET, 4, network.module)
    assert network.spec.name == SRNET.name
    assert network.source_sha256 == sha256_of(tmp_path / "w.safetensors")


def test_checkpoint_that_names_no_network_is_opened_as_the_one_that_is_named_for_it(
    tmp_path: Path,
) -> None:
    path = weights(SRNET, tmp_path / "w.safetensors", 5)
    with pytest.raises(UsageError, match="does not say which network it belongs to"):
        open_checkpoint(path)
    assert made_with(SRNET, 5, open_checkpoint(path, str(write_toml(SRNET, tmp_path))).module)


def test_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint at"):
        open_checkpoint(tmp_path / "none.safetensors", "srnet")
