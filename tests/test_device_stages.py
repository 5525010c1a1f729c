"""Each network on its own, and its millimetres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle
from i2uv_edge.device.stages import SAMPLES, Stage, bundle_stages
from i2uv_edge.spec import Role

if TYPE_CHECKING:
    from model_toys import Ended


@pytest.fixture(scope="module")
def contents(exported: tuple[Ended, Path]) -> comparison.Contents:
    return comparison.open_contents(Bundle.open(exported[1]))


@pytest.fixture(scope="module")
def found(contents: comparison.Contents) -> dict[Role, Stage]:
    return bundle_stages(contents)


def stored(stage: Stage, maps: np.ndarray) -> np.ndarray:
    """What the network would answer to give these maps."""
    if stage.bounds is None:
        return maps
    low, span = stage.bounds
    return (maps - low) / span


@pytest.mark.parametrize("role", ["affinenet", "srnet"])
def test_the_reference_is_nowhere_off_itself(found: dict[Role, Stage], role: Role) -> None:
    stage = found[role]
    assert len(stage.ids) == SAMPLES
    off = stage.off_mm(stored(stage, stage.maps))
    assert (off.mean, off.p95) == (pytest.approx(0.0, abs=1e-3), pytest.approx(0.0, abs=1e-3))


@pytest.mark.parametrize("role", ["affinenet", "srnet"])
def test_a_shift_is_stated_in_millimetres_of_each_sample(
    found: dict[Role, Stage], role: Role
) -> None:
    stage = found[role]
    shift = np.array([3 / scale for scale in stage.scales], np.float32)[:, None, None, None]
    moved = stage.maps + shift * np.array([1, 0, 0], np.float32)
    off = stage.off_mm(stored(stage, moved))
    assert (off.mean, off.p95) == (pytest.approx(3.0, rel=1e-3), pytest.approx(3.0, rel=1e-3))


def test_the_srnet_is_fed_with_what_the_references_affinenet_gives(
    contents: comparison.Contents, found: dict[Role, Stage]
) -> None:
    maps = found["affinenet"].maps
    bounds = contents.chain.bounds(contents.atlases.coarse.read_vertices(maps))
    np.testing.assert_array_equal(found["srnet"].feed, contents.chain.normalise(maps, bounds))


def test_both_networks_together_answer_as_the_bundles_float_networks_do(
    contents: comparison.Contents, found: dict[Role, Stage]
) -> None:
    (runner,) = comparison.runners(contents, ["float"])
    made = runner(found["affinenet"].feed, found["affinenet"].ids)
    np.testing.assert_allclose(found["srnet"].maps, made["srnet"], atol=1e-5)


def test_an_srnet_alone_is_fed_with_true_maps(contents: comparison.Contents) -> None:
    alone = replace(contents, specs={"srnet": contents.specs["srnet"]})
    (stage,) = bundle_stages(alone).values()
    assert stage.spec.role == "srnet"
    assert len(stage.feed) == SAMPLES


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(found: dict[Role, Stage], value: float) -> None:
    wrong = found["affinenet"].maps.copy()
    wrong[1, 2, 3, 0] = value
    with pytest.raises(ValueError, match=r"1 of .* values"):
        found["affinenet"].off_mm(wrong)


def test_another_number_of_samples_is_refused(found: dict[Role, Stage]) -> None:
    with pytest.raises(ValueError, match="instead of"):
        found["affinenet"].off_mm(found["affinenet"].maps[1:])
