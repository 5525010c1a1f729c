"""Channel scales moved between layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizer_toys import apply, guided, pictures, recipe, tiny_affinenet, toy
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.networks.layers import ConvBnRelu, Upsample
from i2uv_edge.quantizer.equalize import apply_scales, find_scales
from i2uv_edge.quantizer.graph import prepare
from i2uv_edge.quantizer.network import QuantOptions, quantize


def samples(size: int, count: int = 4) -> list[Tensor]:
    return [torch.from_numpy(p.transpose(2, 0, 1).copy())[None] for p in pictures(count, size)]


@pytest.mark.parametrize("strength", [0.0, 0.75, 1.0])
@pytest.mark.parametrize(
    ("network", "size"),
    [(toy(), 32), (guided(), 16), (tiny_affinenet(), 64)],
    ids=["toy", "guided", "affinenet"],
)
def test_the_network_computes_the_same(network: nn.Module, size: int, strength: float) -> None:
    graph = prepare(network, (1, 3, size, size))
    batch = pictures(2, size, seed=5)
    before = [apply(graph, batch[i : i + 1]) for i in range(2)]
    scales = find_scales(graph, samples(size), strength=strength)
    apply_scales(graph, scales)
    assert scales
    for i in range(2):
        np.testing.assert_allclose(apply(graph, batch[i : i + 1]), before[i], atol=1e-5, rtol=0)


def peaks(graph: fx.GraphModule, layer: str, size: int) -> Tensor:
    """Largest value of each channel of a layer's output."""
    seen: list[Tensor] = []
    hook = graph.get_submodule(f"network.{layer}").register_forward_hook(
        lambda _m, _i, output: seen.append(output.abs().amax((0, 2, 3)))
    )
    for sample in samples(size):
        with torch.no_grad():
            graph(sample)
    hook.remove()
    return torch.stack(seen).amax(0)


def test_full_strength_gives_channels_one_range() -> None:
    graph = prepare(toy(), (1, 3, 32, 32))
    before = peaks(graph, "mix.2", 32)
    alive = before > before.max() / 16  # the others would need more than the strongest scale
    assert float(before.max() / before[alive].min()) > 1.5
    apply_scales(graph, find_scales(graph, samples(32), strength=1.0))
    after = peaks(graph, "mix.2", 32)[alive]
    torch.testing.assert_close(after, torch.ones_like(after), atol=1e-4, rtol=0)


def test_what_a_residual_add_reads_is_not_scaled() -> None:
    graph = prepare(toy(), (1, 3, 32, 32))
    scales = find_scales(graph, samples(32), strength=0.5)
    assert set(scales) == {"block.conv1.0", "deep.0", "mix.0"}


def test_codes_and_what_constants_are_added_to_are_scaled() -> None:
    graph = prepare(guided(), (1, 3, 16, 16))
    scales = find_scales(graph, samples(16), strength=0.5)
    assert {name: len(scale) for name, scale in scales.items()} == {
        "feature.0": 8,
        "code": 6,
        "narrow": 5,
        "mix.0": 8,
    }


def test_channels_with_too_few_values_are_left_alone() -> None:
    graph = prepare(guided(), (1, 3, 16, 16))
    # The code has 8 x 8 values a channel and sample, the features 16 x 16.
    assert "code" in find_scales(graph, samples(16, 4), strength=0.5)
    few = find_scales(graph, samples(16, 3), strength=0.5)
    assert "code" not in few
    assert "feature.0" in few


def test_scales_of_another_width_are_refused() -> None:
    graph = prepare(guided(), (1, 3, 16, 16))
    with pytest.raises(InputError, match="'narrow' has 3 scales"):
        apply_scales(graph, {"narrow": (1.0, 1.0, 1.0)})


class Mixed(nn.Module):
    """A map of 0..1 beside features forty times as large, in one concatenation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.coarse = nn.Conv2d(3, 3, 1)
        self.feature = ConvBnRelu(3, 8)
        self.up = Upsample()
        self.mix = ConvBnRelu(11, 8)
        self.last = nn.Conv2d(8, 3, 1)
        with torch.no_grad():
            self.feature[1].weight.mul_(40.0)  # type: ignore[operator]
            self.mix[0].weight[:, :8].div_(40.0)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        uv = torch.sigmoid(self.coarse(x))
        mixed = self.mix(torch.cat((self.feature(x), uv), 1))
        result: Tensor = self.up(uv) + self.up(self.last(mixed))
        return result


def test_concatenated_features_take_the_magnitude_of_the_map_beside_them() -> None:
    graph = prepare(Mixed().eval(), (1, 3, 16, 16))
    apply_scales(graph, find_scales(graph, samples(16), strength=0.0))
    assert 0.3 < float(peaks(graph, "feature.2", 16).max()) < 1.0


def test_the_map_keeps_its_steps_in_the_shared_grid() -> None:
    """The fault worked round: on the features' grid the map has a few steps left."""
    network = Mixed().eval()
    made = recipe("coarse", "last")
    batch = pictures(4, 16, seed=7)
    errors = {}
    for strength in (None, 0.5):
        result = quantize(
            network,
            made,
            [pictures(8, 16)],
            network_role="affinenet",
            options=QuantOptions(equalize=strength),
        )
        difference = apply(result.module, batch) - apply(network, batch)
        errors[strength] = float(np.abs(difference).mean())
    assert errors[0.5] < 0.5 * errors[None]
