from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from dataset_toys import CAMERA, SIZE, hand, picture

from i2uv_edge.data.dataset import HandSample, Mirrored, bone_length, bounding_box, mirrored
from i2uv_edge.hand.camera import project, to_map_units


def sample() -> HandSample:
    vertices, joints = (points.astype(np.float32) for points in hand(0, 50))
    camera = CAMERA.astype(np.float32)
    camera[0, 1] = 0.7  # skew
    return HandSample(
        id="a",
        picture=picture(0, 48, SIZE),
        intrinsics=camera,
        vertices=vertices,
        joints=joints,
        mask=np.arange(48 * SIZE).reshape(SIZE, 48) % 5 == 0,
        scale=bone_length(joints),
        box=bounding_box(vertices, camera),
        root=joints[0],
    )


def test_a_mirrored_hand_is_seen_where_the_mirrored_picture_shows_it() -> None:
    before, after = sample(), mirrored(sample())
    assert before.vertices is not None
    assert after.vertices is not None
    assert after.intrinsics is not None
    seen = project(before.vertices, before.intrinsics)
    assert np.allclose(project(after.vertices, after.intrinsics), (48, 0) + seen * (-1, 1))
    assert np.array_equal(after.picture[:, ::-1], before.picture)
    assert np.array_equal(np.flip(after.mask, 1), before.mask)  # type: ignore[arg-type]
    assert after.box == pytest.approx(bounding_box(after.vertices, after.intrinsics), abs=1e-3)
    assert (after.id, after.scale) == (before.id, before.scale)


def test_mirroring_twice_changes_nothing() -> None:
    before = sample()
    after = mirrored(mirrored(before))
    for field in fields(HandSample):
        ours, theirs = getattr(after, field.name), getattr(before, field.name)
        assert (ours is None) == (theirs is None), field.name
        if isinstance(ours, str):
            assert ours == theirs
        elif ours is not None:
            assert np.allclose(ours, theirs, atol=1e-4), field.name


def test_a_stored_map_is_mirrored_with_its_picture() -> None:
    uv_map = np.zeros((4, 4, 3), np.float32)
    uv_map[1, 2] = (0.2, 0.7, 0.3)
    turned = mirrored(HandSample(id="a", picture=picture(0), uv_map=uv_map)).uv_map
    assert turned is not None
    assert turned[1, 2] == pytest.approx((0.8, 0.7, 0.3))
    assert turned.any(-1).sum() == 1


def test_what_is_unknown_stays_unknown() -> None:
    bare = HandSample(id="a", picture=picture(0))
    turned = mirrored(bare)
    assert all(
        getattr(turned, f.name) is None for f in fields(bare) if f.name not in ("id", "picture")
    )
    assert bounding_box(None, CAMERA.astype(np.float32)) is None
    assert bone_length(None) is None


def test_a_mirrored_set_is_its_samples_mirrored() -> None:
    class One:
        name, topology = "one", "mano"

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> HandSample:
            return [sample()][index]

    found = Mirrored(One())
    assert (found.name, found.topology, len(found)) == ("one", "mano", 1)
    assert np.array_equal(found[0].picture, mirrored(sample()).picture)


def test_map_units_of_a_sample_fill_its_box() -> None:
    given = sample()
    assert given.vertices is not None
    assert given.intrinsics is not None
    assert given.box is not None
    mapped, _ = to_map_units(given.vertices, given.intrinsics, given.box)
    assert mapped[:, :2].min() == pytest.approx(0, abs=1e-4)
    assert mapped[:, :2].max() == pytest.approx(1, abs=1e-4)
