"""The picture's own grid, and normalisation moved into the first convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizer_toys import apply, pictures, tiny_affinenet
from torch import Tensor, nn

from i2uv_edge.quantizer.fake_quant import ActivationQuantizer
from i2uv_edge.quantizer.graph import kind_of, prepare
from i2uv_edge.quantizer.picture_input import PICTURE_ENCODING, absorb_normalisation


class Normalised(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = {
            "signed": x * 2.0 - 1.0,
            "reversed": 1.0 - x,
            "levels": (x - 0.5) * 4.0,
            "plain": x,
            "squared": x * x,
        }[self.form]
        result: Tensor = self.conv(y)
        return result


@pytest.mark.parametrize("form", ["signed", "reversed", "levels", "plain"])
def test_the_network_is_the_same_inside_and_nearly_so_on_the_border(form: str) -> None:
    network = Normalised(form)
    graph = prepare(network, (1, 3, 16, 16))
    assert absorb_normalisation(graph)
    assert [kind_of(node) for node in graph.graph.nodes if kind_of(node) in ("mul", "sub")] == []
    sample = pictures(1, 16)
    made, expected = apply(graph, sample), apply(network, sample)
    np.testing.assert_allclose(made[:, 1:, 1:], expected[:, 1:, 1:], atol=1e-6, rtol=0)
    # Half a grey level through at most five of the nine taps.
    np.testing.assert_allclose(made, expected, atol=0.03, rtol=0)


def test_what_is_not_affine_in_the_picture_is_left_alone() -> None:
    graph = prepare(Normalised("squared"), (1, 3, 16, 16))
    before = [node.name for node in graph.graph.nodes]
    assert not absorb_normalisation(graph)
    assert [node.name for node in graph.graph.nodes] == before


def test_every_grey_level_has_its_own_integer() -> None:
    quantizer = ActivationQuantizer().eval()
    quantizer.set_encoding(*PICTURE_ENCODING)
    levels = torch.arange(256) / 255.0
    torch.testing.assert_close(quantizer(levels), levels, atol=1e-7, rtol=0)


def test_the_normalised_picture_would_be_all_ties() -> None:
    """The fault worked round: on a grid with zero, 2 x - 1 puts each grey level at a half."""
    levels = torch.arange(256) / 255.0 * 2.0 - 1.0
    places = (levels / (2.0 / 255.0)).double()
    torch.testing.assert_close(
        (places - places.floor()), torch.full((256,), 0.5).double(), atol=1e-4, rtol=0
    )


def test_affinenet_takes_the_picture_itself() -> None:
    graph = prepare(tiny_affinenet(), (1, 3, 64, 64))
    assert absorb_normalisation(graph)
    sample = pictures(1, 64)
    np.testing.assert_allclose(
        apply(graph, sample), apply(prepare(tiny_affinenet(), (1, 3, 64, 64)), sample), atol=0.01
    )
