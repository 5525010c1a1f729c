"""Weights in and out: every layout that is read, and everything that is refused."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from network_toys import SRNET, with_architecture
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from i2uv_edge.errors import InputError
from i2uv_edge.networks.affinenet import AffineNet, ResNetEncoder
from i2uv_edge.networks.checkpoint import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    fits,
    load_checkpoint,
    load_initial,
    network_of,
    save_checkpoint,
)
from i2uv_edge.networks.registry import build

State = dict[str, Tensor]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(with_architecture(SRNET, depth=3))


def prefixed(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


# --- layouts that are read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("w.safetensors", save_file, id="safetensors"),
        pytest.param("w.safetensors", lambda s, p: save_file(prefixed(s), p), id="prefixed"),
        pytest.param("w.pt", torch.save, id="bare"),
        pytest.param("w.pth", lambda s, p: torch.save({"state": s}, p), id="under state"),
        pytest.param("w.pt", lambda s, p: torch.save(prefixed(s), p), id="DataParallel"),
        pytest.param(
            "w.pt",
            lambda s, p: torch.save({"state": prefixed(s), "epoch": 7, "best": [0.1]}, p),
            id="published code",
        ),
        pytest.param("w.pt", legacy, id="before torch 1.6"),
        pytest.param(
            "w.pt", lambda s, p: torch.save({k: v.half() for k, v in s.items()}, p), id="float16"
        ),
    ],
)
def test_weights_are_read_from(
    tmp_path: Path, name: str, write: Callable[[State, Path], None]
) -> None:
    source, target = network(0).half().float(), network(1)
    write(source.state_dict(), tmp_path / name)
    assert not same(source, target)
    assert fits(target, tmp_path / name)
    load_checkpoint(target, tmp_path / name)
    assert same(source, target)
    assert next(target.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_saved_weights_are_read_back(tmp_path: Path, dtype: torch.dtype) -> None:
    source, target = nn.Sequential(network(0), nn.BatchNorm2d(3)), network(1)
    source[1].num_batches_tracked.fill_(70_000)  # which float16 could not hold
    save_checkpoint(source, tmp_path / "a" / "w.safetensors", {"network": "n"}, dtype=dtype)
    target = nn.Sequential(target, nn.BatchNorm2d(3))
    load_checkpoint(target, tmp_path / "a" / "w.safetensors")
    assert same(target, source.to(dtype).float())
    assert int(target[1].num_batches_tracked) == 70_000


def test_saving_makes_the_same_bytes_again(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.safetensors" for index in range(4)]
    for path in paths:
        save_checkpoint(network(), path, {"network": "n"})
    assert len({path.read_bytes() for path in paths}) == 1


def test_saving_replaces_the_file_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    save_checkpoint(network(), path)
    assert list(tmp_path.iterdir()) == [path]
    load_checkpoint(network(1), path)


def test_saved_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    save_checkpoint(network(), tmp_path / "w.safetensors")
    (tmp_path / "other").write_bytes(b"")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes[0] == modes[1]


def test_saving_leaves_the_module_as_it_is(tmp_path: Path) -> None:
    module = network()
    save_checkpoint(module, tmp_path / "w.safetensors", dtype=torch.float16)
    assert next(module.parameters()).dtype == torch.float32
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.get_tensor("last.weight").dtype == torch.float16


# --- whose weights they are -----------------------------------------------------------------------


def test_saved_checkpoint_says_which_network_it_belongs_to(tmp_path: Path) -> None:
    save_checkpoint(network(), tmp_path / "w.safetensors", {"network": "srnet-toy"})
    assert network_of(tmp_path / "w.safetensors") == "srnet-toy"


def test_checkpoint_of_others_says_nothing(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "w.safetensors")
    torch.save(network().state_dict(), tmp_path / "w.pt")
    assert network_of(tmp_path / "w.safetensors") is None
    assert network_of(tmp_path / "w.pt") is None
    assert network_of(tmp_path / "none.safetensors") is None


def test_damaged_checkpoint_is_not_taken_for_one_of_others(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(InputError, match=r"w\.safetensors cannot be read"):
        network_of(tmp_path / "w.safetensors")


@pytest.mark.parametrize("changes", [{"width": 7}, {"depth": 4}])
def test_checkpoint_of_another_architecture_does_not_fit(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    torch.save(network().state_dict(), tmp_path / "w.pt")
    assert fits(network(), tmp_path / "w.pt")
    assert not fits(build(with_architecture(SRNET, **{"depth": 3, **changes})), tmp_path / "w.pt")


# --- what does not fit ----------------------------------------------------------------------------


def refused(path: Path, module: nn.Module | None = None) -> InputError:
    """The error that loading raises; the module's weights are untouched."""
    module = module or network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(InputError) as raised:
        load_checkpoint(module, path)
    assert str(path) in raised.value.what
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    return raised.value


def test_missing_keys_are_listed(tmp_path: Path) -> None:
    state = network().state_dict()
    del state["last.bias"]
    torch.save(state, tmp_path / "w.pt")
    error = refused(tmp_path / "w.pt")
    assert "does not fit SRNetEdge; 1 missing: last.bias" in error.what
    assert error.expected == "its 6 tensors"


def test_unexpected_keys_are_listed(tmp_path: Path) -> None:
    torch.save({**network().state_dict(), "extra.weight": torch.ones(2)}, tmp_path / "w.pt")
    assert refused(tmp_path / "w.pt").what.endswith("; 1 unexpected: extra.weight")


def test_other_shapes_are_listed_with_both(tmp_path: Path) -> None:
    state = network().state_dict()
    state["last.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "w.pt")
    said = "1 of another shape: last.bias (5,) instead of (12,)"
    assert refused(tmp_path / "w.pt").what.endswith(said)


def test_only_the_first_few_of_each_kind_are_listed(tmp_path: Path) -> None:
    torch.save({f"k{index}": torch.ones(1) for index in range(9)}, tmp_path / "w.pt")
    what = refused(tmp_path / "w.pt").what
    assert "6 missing: body.0.weight, body.0.bias, body.2.weight, ...;" in what
    assert what.endswith("9 unexpected: k0, k1, k2, ...")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    state["body.2.weight"][1, 2, 0, 0] = value
    torch.save(state, tmp_path / "w.pt")
    assert "the weights of body.2.weight hold NaN or infinite" in refused(tmp_path / "w.pt").what


# --- what is no checkpoint ------------------------------------------------------------------------


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, legacy], ids=["zip", "legacy"])
def test_file_that_would_execute_code_is_refused_and_does_not(
    tmp_path: Path, write: Callable[[object, Path], None]
) -> None:
    path = tmp_path / "w.pt"
    write({**network().state_dict(), "x": Evil(tmp_path / "harm")}, path)
    error = refused(path)
    assert "holds more than weights (posix.mkdir); reading it would execute code" in error.what
    assert not (tmp_path / "harm").exists()
    torch.load(path, weights_only=False)  # as careless code would, and then it happens
    assert (tmp_path / "harm").exists()


def test_plain_pickle_that_would_execute_code_does_not(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"x": Evil(tmp_path / "harm")}))
    refused(path)
    assert not (tmp_path / "harm").exists()


def test_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    assert "torch.nn.modules.linear.Linear" in refused(tmp_path / "w.pt").what


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([torch.ones(2)], id="list"),
        pytest.param({"a": torch.ones(2), "epoch": 3}, id="numbers beside the tensors"),
        pytest.param({0: torch.ones(2)}, id="keys that are no names"),
        pytest.param(torch.ones(3), id="one tensor"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert refused(tmp_path / "w.pt").what.endswith("is no state_dict")


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize(
    ("name", "write"),
    [("w.safetensors", save_file), ("w.pt", torch.save), ("w.pt", legacy)],
    ids=["safetensors", "zip", "legacy"],
)
def test_truncated_file_is_refused(
    tmp_path: Path, name: str, write: Callable[[State, Path], None], part: float
) -> None:
    path = tmp_path / name
    write(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    error = refused(path)
    assert "cannot be read" in error.what
    assert "truncated" in error.remedy


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize(
    "content",
    [b"hello, this is no checkpoint\n" * 9, bytes(range(256)) * 9, b"\0" * 999, b"PK\3\4" * 9],
    ids=["text", "binary", "zeros", "zip"],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    what = refused(tmp_path / name).what
    assert "cannot be read" in what
    assert "\n" not in what


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "."])
def test_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    assert "does not exist" in refused(tmp_path / name).what


# --- weights to start from ------------------------------------------------------------------------


def resnet_file(path: Path, depth: int = 18, seed: int = 0) -> dict[str, Tensor]:
    """A ResNet classifier as torchvision saves it; what its encoder's tensors are."""
    torch.manual_seed(seed)
    encoder = ResNetEncoder(depth)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.bias)
    state = dict(encoder.state_dict())
    names = {"firstconv": "conv1", "firstbn": "bn1"}
    names |= {f"encoder{number}": f"layer{number}" for number in range(1, 5)}
    content = {
        f"{names[first]}.{rest}": value
        for key, value in state.items()
        for first, rest in (key.split(".", 1),)
    }
    content |= {"fc.weight": torch.rand(1000, 8), "fc.bias": torch.rand(1000)}
    torch.save(content, path)
    return state


def affinenet(depth: int = 18) -> AffineNet:
    torch.manual_seed(1)
    return AffineNet(input_size=64, resnet_depth=depth, align_corners=True).eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_resnet_goes_to_the_encoder_alone(tmp_path: Path, depth: int) -> None:
    wanted = resnet_file(tmp_path / "resnet.pth", depth)
    network = affinenet(depth)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    load_initial(network, tmp_path / "resnet.pth")
    prefix = "encoder.encoder_layer."
    for key, value in network.state_dict().items():
        if not key.startswith(prefix):
            assert torch.equal(value, before[key]), key
        elif key.removeprefix(prefix) not in ("firstconv.weight", "firstbn.running_mean"):
            assert torch.equal(value, wanted[key.removeprefix(prefix)]), key


def test_normalisation_goes_into_the_first_layer(tmp_path: Path) -> None:
    raw = resnet_file(tmp_path / "resnet.pth")
    network = affinenet()
    load_initial(network, tmp_path / "resnet.pth")
    reference = ResNetEncoder(18).eval()
    reference.load_state_dict(raw)
    pictures = torch.rand(2, 3, 256, 256)
    mean, deviation = (
        torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    with torch.no_grad():
        ours = network.encoder(pictures)
        theirs = reference((pictures - mean) / deviation)
        unfolded = reference(pictures)
    shift = network.encoder.encoder_layer.firstbn.running_mean - raw["firstbn.running_mean"]
    # The first skip is taken before the norm, which the mean went into.
    torch.testing.assert_close(
        inside(ours[0] - shift[:, None, None], 2), inside(theirs[0], 2), atol=1e-4, rtol=1e-4
    )
    for ours_at, theirs_at, unfolded_at, margin in zip(
        ours[1:4], theirs[1:4], unfolded[1:4], (2, 6, 8), strict=True
    ):
        torch.testing.assert_close(
            inside(ours_at, margin), inside(theirs_at, margin), atol=1e-3, rtol=1e-3
        )
        assert (inside(unfolded_at, margin) - inside(theirs_at, margin)).abs().max() > 0.1


def inside(feature: Tensor, margin: int) -> Tensor:
    return feature[..., margin:-margin, margin:-margin]


def test_resnet_file_of_before_norms_counted_batches_is_read(tmp_path: Path) -> None:
    resnet_file(tmp_path / "resnet.pth")
    content = torch.load(tmp_path / "resnet.pth", weights_only=True)
    old = {key: value for key, value in content.items() if "num_batches" not in key}
    torch.save(old, tmp_path / "resnet.pth")
    load_initial(affinenet(), tmp_path / "resnet.pth")


def test_resnet_of_another_depth_is_refused(tmp_path: Path) -> None:
    resnet_file(tmp_path / "resnet.pth", 50)
    with pytest.raises(InputError, match="does not fit ResNetEncoder"):
        load_initial(affinenet(18), tmp_path / "resnet.pth")


def test_resnet_for_a_network_without_one_is_refused(tmp_path: Path) -> None:
    resnet_file(tmp_path / "resnet.pth")
    with pytest.raises(InputError, match="holds a ResNet, and SRNetEdge has none"):
        load_initial(network(), tmp_path / "resnet.pth")


def test_resnet_that_is_no_number_is_refused(tmp_path: Path) -> None:
    resnet_file(tmp_path / "resnet.pth")
    content = torch.load(tmp_path / "resnet.pth", weights_only=True)
    content["layer2.0.conv1.weight"][0] = float("nan")
    torch.save(content, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"encoder2\.0\.conv1\.weight hold NaN"):
        load_initial(affinenet(), tmp_path / "resnet.pth")


def test_other_weights_to_start_from_are_the_network_s_own(tmp_path: Path) -> None:
    source, target = network(0), network(1)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    load_initial(target, tmp_path / "w.pt")
    assert same(source, target)
