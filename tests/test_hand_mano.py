from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_toys import mano_arrays, write_mano
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand.mano import FINGERTIPS, FREIHAND_ORDER, Mano, with_fingertips

ARRAYS = mano_arrays()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mano(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl", ARRAYS)


@pytest.fixture(scope="module")
def mano(path: Path) -> Mano:
    return Mano.load(path)


def rotation(vector: NDArray[Any]) -> NDArray[np.float64]:
    """Rodrigues by the series of the matrix exponential, in small steps."""
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.matrix_power(np.eye(3) + cross / 2**20, 2**20)


def slowly(
    arrays: dict[str, Any], pose: NDArray[Any], shape: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """MANO as its paper writes it: vertices and the sixteen joints, one vertex at a time."""
    rest = arrays["v_template"] + arrays["shapedirs"] @ shape
    joints = arrays["J_regressor"] @ rest
    turns = [rotation(vector) for vector in pose.reshape(16, 3)]
    feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    posed = rest + arrays["posedirs"] @ feature
    parents = arrays["kintree_table"][0].astype(np.int64)
    world: list[NDArray[np.float64]] = []
    for bone in range(16):
        local = np.eye(4)
        local[:3, :3] = turns[bone]
        local[:3, 3] = joints[bone] - (joints[parents[bone]] if bone else 0)
        world.append(world[parents[bone]] @ local if bone else local)
    back = []
    for bone in range(16):
        undo = np.eye(4)
        undo[:3, 3] = -joints[bone]
        back.append(world[bone] @ undo)
    vertices = [
        sum(weight * (matrix @ [*point, 1.0])[:3] for weight, matrix in zip(row, back, strict=True))
        for point, row in zip(posed, arrays["weights"], strict=True)
    ]
    return np.array(vertices), np.array([matrix[:3, 3] for matrix in world])


def test_the_arrays_are_those_of_the_file(mano: Mano) -> None:
    assert np.array_equal(mano.template, ARRAYS["v_template"])
    assert np.array_equal(mano.shape_directions, ARRAYS["shapedirs"])
    assert np.allclose(mano.regressor, ARRAYS["J_regressor"])
    assert np.array_equal(mano.faces, ARRAYS["f"])
    assert mano.parents.tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def test_the_rest_pose_of_the_mean_hand_is_the_template(mano: Mano) -> None:
    hand = mano.pose(np.zeros(48))
    assert np.allclose(hand.vertices, ARRAYS["v_template"], atol=1e-6)
    rest = ARRAYS["J_regressor"] @ ARRAYS["v_template"]
    assert np.allclose(hand.joints[0], rest[0], atol=1e-6)
    assert np.allclose(hand.joints[[1, 2, 3]], rest[[13, 14, 15]], atol=1e-6)  # thumb
    assert np.allclose(hand.joints[[17, 18, 19]], rest[[7, 8, 9]], atol=1e-6)  # little finger


def test_posing_is_what_the_paper_says(mano: Mano) -> None:
    rng = np.random.default_rng(1)
    pose, shape, move = rng.normal(0, 0.5, 48), rng.normal(0, 1, 10), rng.normal(0, 1, 3)
    vertices, joints = slowly(ARRAYS, pose, shape)
    found = mano.pose(pose, shape, move, fingertips=FINGERTIPS["ho3d"])
    assert np.allclose(found.vertices, vertices + move, atol=1e-5)
    tips = vertices[list(FINGERTIPS["ho3d"])]
    every = np.concatenate([joints, tips])[list(FREIHAND_ORDER)]
    assert np.allclose(found.joints, every + move, atol=1e-5)


def test_pose_coefficients_start_from_the_mean_pose_or_the_flat_hand(mano: Mano) -> None:
    coefficients = np.array([1.0, -0.5])
    mixed = coefficients @ ARRAYS["hands_components"][:2]
    root = np.array([0.1, 0.2, 0.3])
    assert np.allclose(mano.full_pose(root, coefficients, flat_mean=True)[3:], mixed)
    assert np.allclose(mano.full_pose(root, coefficients)[3:], mixed + ARRAYS["hands_mean"])
    assert np.allclose(mano.full_pose(root, coefficients)[:3], root)


def test_the_joint_regressor_gives_the_rest_joints_and_the_tips(mano: Mano) -> None:
    hand = mano.pose(np.zeros(48), np.ones(10))
    for tips in FINGERTIPS.values():
        regressor = mano.joint_regressor(tips)
        assert np.allclose(regressor.sum(1), 1, atol=1e-5)
        joints = mano.pose(np.zeros(48), np.ones(10), fingertips=tips).joints
        assert np.allclose(regressor @ hand.vertices, joints, atol=1e-5)
        assert np.array_equal(with_fingertips(mano.joint_regressor(), tips), regressor)


def test_the_mirrored_hand_is_the_hand_in_a_mirror(mano: Mano) -> None:
    rng = np.random.default_rng(2)
    pose, shape = rng.normal(0, 0.5, 48), rng.normal(0, 1, 10)
    across = np.tile([1.0, -1.0, -1.0], 16)
    flip = np.array([-1.0, 1.0, 1.0])
    left, right = mano.mirrored().pose(pose * across, shape), mano.pose(pose, shape)
    assert np.allclose(left.vertices, right.vertices * flip, atol=1e-6)
    assert np.allclose(left.joints, right.joints * flip, atol=1e-6)
    assert np.array_equal(mano.mirrored().faces[:, ::-1], mano.faces)
    coefficients = rng.normal(0, 1, 45)
    theirs = mano.full_pose(pose[:3], coefficients) * across
    assert np.allclose(mano.mirrored().full_pose(pose[:3] * across[:3], coefficients), theirs)


def test_the_published_left_hand_has_its_shapes_put_right(tmp_path: Path) -> None:
    left = Mano.load(write_mano(tmp_path / "MANO_LEFT.pkl", ARRAYS), "left")
    assert np.array_equal(left.shape_directions[:, 0], -ARRAYS["shapedirs"][:, 0])
    assert np.array_equal(left.shape_directions[:, 1:], ARRAYS["shapedirs"][:, 1:])
    left.save(tmp_path / "left.npz")
    again = Mano.load(tmp_path / "left.npz", "left")
    assert np.array_equal(again.shape_directions, left.shape_directions)


def test_a_saved_model_is_the_same_model(mano: Mano, tmp_path: Path) -> None:
    mano.save(tmp_path / "mano.npz")
    again = Mano.load(tmp_path / "mano.npz")
    pose = np.random.default_rng(0).normal(0, 0.5, 48)
    assert np.array_equal(again.pose(pose).vertices, mano.pose(pose).vertices)


def test_the_module_converts_a_file(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "i2uv_edge.hand.mano", str(path), str(tmp_path / "m.npz")]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    assert np.array_equal(Mano.load(tmp_path / "m.npz").template, ARRAYS["v_template"])


# --- refusals -------------------------------------------------------------------------------------


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return print, ("attacked",)

    target = tmp_path / "MANO_RIGHT.pkl"
    target.write_bytes(pickle.dumps({**ARRAYS, "shapedirs": Attack()}, protocol=2))
    with pytest.raises(InputError, match=r"names __builtin__\.print"):
        Mano.load(target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("posedirs"), "lacks posedirs"),
        (lambda a: a.update(weights=a["weights"][:, :15]), "weights is of shape"),
        (lambda a: a.update(v_template=a["v_template"] * np.nan), "not finite"),
        (lambda a: a.update(f=a["f"] + 999), "vertices that it does not have"),
        (lambda a: a.update(kintree_table=a["kintree_table"][:, ::-1]), "no tree"),
        (lambda a: a.update(hands_mean="none"), "a str where an array should be"),
    ],
)
def test_a_file_that_is_no_hand_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    arrays = mano_arrays()
    change(arrays)
    target = write_mano(tmp_path / "MANO_RIGHT.pkl", arrays)
    with pytest.raises(InputError, match=message) as raised:
        Mano.load(target)
    assert str(target) in str(raised.value)


@pytest.mark.parametrize("content", [[1, 2], {"v_template": 1}])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="is no MANO model"):
        Mano.load(tmp_path / "m.pkl")


def test_a_damaged_or_foreign_archive_is_refused(mano: Mano, tmp_path: Path) -> None:
    mano.save(tmp_path / "m.npz")
    np.savez(tmp_path / "other.npz", template=np.zeros(3))
    with pytest.raises(InputError, match="it lacks"):
        Mano.load(tmp_path / "other.npz")
    content = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"m\.npz"):
        Mano.load(tmp_path / "m.npz")
