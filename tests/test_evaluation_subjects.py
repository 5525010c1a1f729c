from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_toys import CAMERA, SIZE, hand, picture, write_freihand, write_ho3d

from i2uv_edge.data.dataset import HandSample
from i2uv_edge.data.freihand import FreiHand
from i2uv_edge.data.ho3d import Ho3d
from i2uv_edge.data.pictures import Box
from i2uv_edge.evaluation.subjects import Subject, View, crop_box, of_dataset
from i2uv_edge.hand.camera import CONVENTIONS, Convention, to_map_units

NO_JOINTS = np.zeros((0, 778), np.float32)
REGRESSOR = np.zeros((21, 778), np.float32)
REGRESSOR[np.arange(21), np.arange(21) * 30] = 1


def subject(**changes: object) -> Subject:
    view = View(CAMERA.astype(np.float32), (5.0, 4.0, 50.0), "projected")
    bare = Subject(0, "a", np.zeros((4, 4, 3), np.float32), view=view)
    return replace(bare, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_hand_that_was_put_into_a_map_is_put_back(convention: Convention) -> None:
    vertices, _ = hand(0)
    view = View(CAMERA.astype(np.float32), (5.0, 4.0, 50.0), convention)
    mapped, unit = to_map_units(vertices, view.intrinsics, view.crop, convention=convention)
    placed = subject(view=view).place(mapped, unit, REGRESSOR)
    assert np.allclose(placed.vertices, vertices * 1000, atol=0.01)
    assert np.allclose(placed.joints, REGRESSOR @ vertices * 1000, atol=0.01)


def test_a_known_wrist_is_where_the_hand_is_put() -> None:
    vertices, _ = hand(0)
    mapped, unit = to_map_units(vertices, CAMERA, (5.0, 4.0, 50.0))
    wrist = np.array([10.0, 20.0, 400.0])
    free, held = (subject(root_mm=r).place(mapped, unit, REGRESSOR) for r in (None, wrist))
    assert held.joints is not None
    assert free.joints is not None
    assert np.allclose(held.joints[0], wrist)
    assert np.allclose(held.vertices - free.vertices, wrist - free.joints[0])  # type: ignore[operator]
    # Without joints nobody knows which vertex that is.
    assert np.allclose(
        subject(root_mm=wrist).place(mapped, unit, NO_JOINTS).vertices, free.vertices
    )  # type: ignore[arg-type]


def test_without_a_camera_map_units_are_only_scaled() -> None:
    points = np.random.default_rng(0).random((778, 3))
    placed = subject(view=None).place(points, 200.0, NO_JOINTS)
    assert np.allclose(placed.vertices, points * 200)
    assert placed.joints is None


def test_a_map_unit_is_as_long_as_the_best_source_says() -> None:
    template, joints = hand(0)
    points = template * 4 + 1  # a map unit is 250 mm by the template
    assert subject().unit(points, joints, template) == pytest.approx(250.0)
    length = np.linalg.norm(joints[9] - joints[10])
    by_bone = subject(bone_mm=30.0)
    assert by_bone.unit(points, joints, template) == pytest.approx(30.0 / length)
    assert by_bone.unit(points, None, template) == pytest.approx(250.0)
    assert subject(bone_mm=30.0, unit_mm=123.0).unit(points, joints, template) == 123.0
    assert np.isnan(by_bone.unit(points, joints * 0, template))


def test_the_crop_is_whole_pixels_around_the_box() -> None:
    sample = HandSample("a", picture(0), box=(10.0, 20.0, 30.0))
    assert crop_box(sample, 1.5) == Box(2, 12, 45)
    assert crop_box(replace(sample, box=None), 1.5) == Box(0, 0, SIZE)


def test_subjects_of_freihand_know_its_truth_and_its_bone(tmp_path: Path) -> None:
    dataset = FreiHand(write_freihand(tmp_path / "f"), "evaluation")
    (second,) = of_dataset(dataset, range(1, 2), 16, 1.3, "published")
    vertices, joints = hand(101)
    assert (second.index, second.id, second.picture.shape) == (1, "00000001", (16, 16, 3))
    assert second.truth is not None
    assert np.allclose(second.truth.vertices, vertices * 1000, atol=1e-3)  # type: ignore[arg-type]
    assert second.bone_mm == pytest.approx(1000 * np.linalg.norm(joints[9] - joints[10]))
    assert second.view is not None
    assert second.view.convention == "published"
    box = crop_box(dataset[1], 1.3)
    assert second.view.crop == (box.left, box.top, box.side)


def test_subjects_of_ho3d_know_the_wrist_if_nothing_else(tmp_path: Path) -> None:
    dataset = Ho3d(write_ho3d(tmp_path / "h"), "evaluation")
    first, second = of_dataset(dataset, range(2), 16, 1.3, "projected")
    assert (first.truth, first.bone_mm, second.index) == (None, None, 1)
    assert np.allclose(first.root_mm, hand(0)[1][0] * 1000, atol=1e-3)  # type: ignore[arg-type]
