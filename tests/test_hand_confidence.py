from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.synthetic import SceneSettings, sample_parameters
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.confidence import seam_disagreement_mm
from i2uv_edge.hand.model import HandModel

Float32 = NDArray[np.float32]
UNIT_MM = 250.0


@functools.cache
def atlas() -> Atlas:
    return Atlas.of_mesh(HandModel.load().coarse, 64)


@functools.cache
def hands(count: int = 4) -> Float32:
    """Posed hands in the middle of a crop."""
    generators = [np.random.default_rng((1, index)) for index in range(count)]
    settings, model = SceneSettings(), HandModel.load()
    posed = np.stack([model.pose(sample_parameters(rng, settings)).coarse for rng in generators])
    middle = posed.mean(1, keepdims=True)
    return np.asarray((posed - middle) * (1000.0 / UNIT_MM) + 0.5, np.float32)


def torn(apart_mm: float) -> Float32:
    """Maps whose seams are pulled apart by as much, all else as it was."""
    made = atlas().rasterise(hands(), fill=True)
    once, counts = np.unique(atlas().seams[:, 1], return_counts=True)
    assert (counts == 1).mean() > 0.9
    made.reshape(len(made), -1, 3)[:, once, 2] += apart_mm / UNIT_MM
    return made


def test_the_map_of_any_hand_agrees_with_itself() -> None:
    assert seam_disagreement_mm(atlas(), torn(0.0)).max() < 0.15
    flat = torn(0.0).reshape(4, -1, 3)
    plain = np.linalg.norm(flat[:, atlas().seams[:, 0]] - flat[:, atlas().seams[:, 1]], axis=-1)
    assert plain.mean() * UNIT_MM > 1.0  # which is what texels beside the vertices make of it


@pytest.mark.parametrize("apart_mm", [5.0, 10.0, 20.0])
def test_seams_that_are_pulled_apart_are_about_as_far_apart(apart_mm: float) -> None:
    found = seam_disagreement_mm(atlas(), torn(apart_mm))
    # The vertices that are read follow the pull a little, and hands differ in size.
    assert (found > 0.5 * apart_mm).all()
    assert (found < 1.3 * apart_mm).all()


def test_neither_size_nor_place_of_the_hand_in_the_crop_matters() -> None:
    made = torn(8.0)
    moved = seam_disagreement_mm(atlas(), 0.5 * made + np.array((0.1, 0.2, 0.3), np.float32))
    np.testing.assert_allclose(moved, seam_disagreement_mm(atlas(), made), rtol=1e-3)


def test_a_batch_gives_what_each_map_gives() -> None:
    made = torn(8.0)
    each = [float(seam_disagreement_mm(atlas(), one)) for one in made]
    np.testing.assert_allclose(seam_disagreement_mm(atlas(), made[None])[0], each, rtol=1e-6)
    assert len(set(each)) == len(each)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_what_is_no_number_has_no_confidence_and_spoils_no_other(spoil: float) -> None:
    made = torn(8.0)
    made[1, :, :, 2] = spoil
    found = seam_disagreement_mm(atlas(), made)
    assert np.isnan(found).tolist() == [False, True, False, False]


def test_a_map_without_extent_holds_no_hand() -> None:
    assert np.isnan(seam_disagreement_mm(atlas(), np.full((64, 64, 3), 0.5, np.float32)))


def test_an_atlas_without_seams_tells_nothing() -> None:
    whole = replace(atlas(), seams=np.zeros((0, 2), np.int32))
    assert np.isnan(seam_disagreement_mm(whole, torn(8.0))).all()
