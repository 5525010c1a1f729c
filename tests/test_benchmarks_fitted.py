"""Fitted weights: made once, fit for the project's own network, and no chaos in them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import published
from benchmarks.fitted import Fit, Phase, fit, fitted, resized, wanted_maps
from benchmarks.subjects import at_side
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.networks.checkpoint import load_checkpoint, network_of
from i2uv_edge.networks.registry import build

SHORT = Fit((Phase(32, 2, 2),), 1e-3, statistics=2)
SHORT_RELIEF = Fit((Phase(32, 3, 2),), 1e-3)


def pictures(count: int, side: int) -> Tensor:
    scene = SceneSettings(size=side)
    drawn = [render_sample(3, number, scene).picture for number in range(count)]
    return torch.stack([torch.from_numpy(picture) for picture in drawn]).permute(0, 3, 1, 2) / 255.0


def test_the_maps_are_inside_the_crop_and_follow_the_picture() -> None:
    given = pictures(3, 64)
    maps = wanted_maps(given)
    assert maps.shape == (3, 3, 64, 64)
    assert 0.0 < float(maps.min()) < 0.3
    assert 0.7 < float(maps.max()) < 1.0
    assert float(maps.std(0).mean()) > 0.01
    brighter = wanted_maps((given + 0.1).clamp(0.0, 1.0)) - maps
    assert float(brighter.mean()) > 0.01


def test_a_map_is_resized_at_the_same_texture_coordinates() -> None:
    maps = wanted_maps(pictures(1, 64))
    small = resized(maps, 16)
    assert torch.equal(small[..., 0, 0], maps[..., 0, 0])
    assert torch.equal(small[..., -1, -1], maps[..., -1, -1])


def test_a_fit_is_the_same_each_time_and_moves_the_weights() -> None:
    spec = at_side("affinenet-r18", 64)
    torch.manual_seed(5)  # what happened before is of no importance
    first, again = fit(spec, SHORT).state_dict(), fit(spec, SHORT).state_dict()
    torch.manual_seed(0)
    fresh = published.AffineNet(18).state_dict()
    for name, value in first.items():
        assert torch.allclose(value, again[name], atol=1e-3), name
    moved = [float((first[name] - fresh[name]).abs().max()) for name in first if "weight" in name]
    assert min(moved) > 0.0


def test_statistics_are_those_of_whole_pictures_and_nothing_is_shaken_afterwards() -> None:
    network = fit(at_side("affinenet-r18", 64), SHORT)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}  # type: ignore[arg-type]
    given = pictures(1, 64)
    with torch.no_grad():
        assert torch.equal(network(given), network(given))


def test_it_is_kept_and_made_again_only_for_other_settings(tmp_path: Path) -> None:
    told: list[str] = []
    path = fitted("srnet", settings=SHORT_RELIEF, folder=tmp_path, report=told.append)
    assert path.name.startswith("srnet-")
    assert network_of(path) == "srnet"
    assert told
    told.clear()
    assert fitted("srnet", settings=SHORT_RELIEF, folder=tmp_path, report=told.append) == path
    assert not told
    other = Fit((Phase(32, 2, 2),), 1e-3)
    assert fitted("srnet", settings=other, folder=tmp_path) != path


def test_a_fit_that_diverges_is_no_fit() -> None:
    with pytest.raises(ArithmeticError, match="srnet: the loss is"):
        fit(at_side("srnet"), Fit((Phase(32, 60, 2),), 1e30))


@pytest.mark.slow
def test_fitted_maps_are_no_chaos_and_near_what_was_wanted() -> None:
    spec = at_side("affinenet-r18")
    network = build(spec)
    load_checkpoint(network, fitted(spec.name))
    given = pictures(4, 256)
    with torch.no_grad():
        single = network(given)
        double = copy.deepcopy(network).double()(given.double())
    assert float((single - double).abs().max()) <= 1e-4
    wanted = wanted_maps(given)
    constant = wanted.mean((0, 2, 3), keepdim=True)
    assert float((single - wanted).abs().mean()) < 0.6 * float((constant - wanted).abs().mean())
    assert float(single.std(0).mean()) > 0.2 * float(wanted.std(0).mean())
