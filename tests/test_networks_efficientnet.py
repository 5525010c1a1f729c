"""The trunk of S2HAND and HiFiHR is the one of the package that its names come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from quantizer_toys import settle
from torch import Tensor

from i2uv_edge.networks.efficientnet import FEATURES, EfficientNet
from i2uv_edge.networks.layers import Gate, StridedPad, macs


def package(size: int | None) -> Any:
    module = pytest.importorskip("efficientnet_pytorch")
    torch.manual_seed(0)
    return settle(module.EfficientNet.from_name("efficientnet-b3", image_size=size))


def ours(theirs: Any) -> EfficientNet:
    trunk = EfficientNet().eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("_fc.")}
    trunk.load_state_dict(state, strict=True)
    return trunk


@torch.no_grad()
def features(theirs: Any, picture: Tensor) -> Tensor:
    pooled: Tensor = theirs._avg_pooling(theirs.extract_features(picture))
    return pooled


@pytest.mark.parametrize("size", [224, None])
@torch.no_grad()
def test_features_equal_the_packages_at_224(size: int | None) -> None:
    theirs, picture = package(size), torch.rand(1, 3, 224, 224)
    made = ours(theirs)(picture)
    assert made.shape == (1, FEATURES, 1, 1)
    assert made.std() > 1e-3
    torch.testing.assert_close(made, features(theirs, picture), rtol=0, atol=0)


@torch.no_grad()
def test_the_packages_own_size_pads_other_sides() -> None:
    theirs, picture = package(300), torch.rand(1, 3, 224, 224)
    apart = (ours(theirs)(picture) - features(theirs, picture)).abs().max()
    assert apart > 1e-5


@pytest.mark.parametrize(
    ("kernel", "sides"), [(3, (0, 1, 0, 1)), (5, (1, 2, 1, 2))], ids=["3x3", "5x5"]
)
def test_stride_two_is_padded_behind(kernel: int, sides: tuple[int, ...]) -> None:
    assert StridedPad(kernel, 2).padding == sides


def test_size_and_work_are_those_of_the_published_network() -> None:
    trunk = EfficientNet()
    assert sum(item.numel() for item in trunk.parameters()) == 10_696_232
    assert macs(trunk, 224) / 1e9 == pytest.approx(0.961, abs=0.001)


def test_the_form_for_phones_has_neither_swish_nor_gates() -> None:
    trunk = EfficientNet(activation="relu", squeeze_excite=False)
    assert not any(isinstance(layer, Gate) for layer in trunk.modules())
    assert macs(trunk, 224) < macs(EfficientNet(), 224)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="'gelu' is none of swish, relu"):
        EfficientNet(activation="gelu")  # type: ignore[arg-type]
