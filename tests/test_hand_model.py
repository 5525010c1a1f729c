"""The built-in hand: which hand it is, how it bends, what its relief does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.synthetic import SceneSettings, sample_parameters
from i2uv_edge.hand.metrics import FINGERS, finger_labels
from i2uv_edge.hand.model import JOINTS, MODEL_TO_CAMERA, HandModel, HandParameters

MODEL = HandModel.load()
FLAT = MODEL.mean()
WRIST, THUMB_TIP, INDEX_TIP, MIDDLE_TIP, RING_TIP, LITTLE_TIP = 0, 4, 8, 12, 16, 20
each_mesh = pytest.mark.parametrize("mesh", ["coarse", "fine"])
each_finger = pytest.mark.parametrize(
    ("base", "tip"), [(5, INDEX_TIP), (9, MIDDLE_TIP), (13, RING_TIP), (17, LITTLE_TIP)]
)


def random_hand(index: int) -> HandParameters:
    return sample_parameters(np.random.default_rng((3, index)), SceneSettings())


def bent(*joints: int, degrees: float = 60.0) -> HandParameters:
    angles = np.zeros((JOINTS, 3), np.float32)
    angles[list(joints), 0] = degrees
    return replace(FLAT, angles=angles)


def turn(degrees: float, axis: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def bone_lengths(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm(joints[1:] - joints[MODEL.parents[1:]], axis=1))


def handedness(joints: NDArray[np.float32], palm: NDArray[np.float32]) -> float:
    """> 0 for a right hand: the thumb's side, the fingers and the palm go as x, y and z do."""
    fingers = joints[MIDDLE_TIP] - joints[WRIST]
    thumb_side = joints[5] - joints[17]
    return float(np.dot(np.cross(thumb_side, fingers), palm))


# --- which hand -----------------------------------------------------------------------------------


def test_mean_hand_points_up_with_its_back_to_the_camera() -> None:
    joints = MODEL.pose(FLAT).joints
    tips = joints[[INDEX_TIP, MIDDLE_TIP, RING_TIP, LITTLE_TIP]]
    assert (tips[:, 1] < joints[WRIST, 1] - 0.1).all()  # y points down
    assert (MODEL.pose(bent(9, 10)).joints[MIDDLE_TIP] - joints[MIDDLE_TIP])[2] > 0.03


def test_it_is_a_right_hand() -> None:
    joints = MODEL.pose(FLAT).joints
    # Seen from the back and with fingers up, a right hand has its thumb on the left.
    assert joints[THUMB_TIP, 0] < joints[INDEX_TIP, 0] < joints[LITTLE_TIP, 0]


@pytest.mark.parametrize("index", range(6))
def test_it_stays_a_right_hand_from_every_side(index: int) -> None:
    parameters = replace(FLAT, rotation=random_hand(index).rotation)
    joints = MODEL.pose(parameters).joints
    curled = MODEL.pose(replace(bent(9), rotation=parameters.rotation)).joints
    palm = curled[MIDDLE_TIP] - joints[MIDDLE_TIP]
    assert handedness(joints, palm) > 0
    mirror = np.array([-1, 1, 1], np.float32)
    assert handedness(joints * mirror, palm * mirror) < 0


def test_sizes_are_a_hand_s_in_metres() -> None:
    fine = MODEL.pose(FLAT).fine
    assert 0.17 < np.ptp(fine[:, 1]) < 0.24
    assert 0.02 < np.ptp(fine[:, 2]) < 0.08


# --- joints ---------------------------------------------------------------------------------------


@each_mesh
def test_regressor_finds_the_joints_of_any_pose(mesh: str) -> None:
    regressor = getattr(MODEL, mesh).joint_regressor
    hands = [MODEL.pose(random_hand(index)) for index in range(12)]
    error = np.stack([regressor @ getattr(hand, mesh) - hand.joints for hand in hands])
    millimetres = np.linalg.norm(error, axis=-1) * 1000
    assert millimetres.mean() < 1.0
    assert millimetres.max() < 4.0


@pytest.mark.parametrize("index", range(4))
def test_articulation_keeps_bone_lengths(index: int) -> None:
    posed = replace(random_hand(index), scales=FLAT.scales)
    lengths = bone_lengths(MODEL.pose(posed).joints)
    np.testing.assert_allclose(lengths, bone_lengths(MODEL.joints), rtol=1e-4)


def test_length_scale_stretches_its_bone_alone() -> None:
    scales = FLAT.scales.copy()
    scales[10, 1] = 1.2  # the middle finger's second bone, from joint 10 to joint 11
    longer = MODEL.pose(replace(FLAT, scales=scales)).joints
    ratio = bone_lengths(longer) / bone_lengths(MODEL.joints)
    assert ratio[10] == pytest.approx(1.2, abs=0.01)
    np.testing.assert_allclose(np.delete(ratio, 10), 1.0, rtol=1e-4)


@each_mesh
def test_thickness_scale_thickens_its_bone_and_keeps_the_joints(mesh: str) -> None:
    scales = FLAT.scales.copy()
    scales[6] = (1.5, 1.0, 1.5)
    usual, thick = MODEL.pose(FLAT), MODEL.pose(replace(FLAT, scales=scales))
    np.testing.assert_allclose(thick.joints, usual.joints, atol=1e-7)
    moved = np.linalg.norm(getattr(thick, mesh) - getattr(usual, mesh), axis=1)
    near = np.linalg.norm(getattr(usual, mesh) - usual.joints[6:8].mean(0), axis=1) < 0.012
    assert moved[near].min() > 1e-3
    assert moved[getattr(MODEL, mesh).weights[:, MODEL.skin_joints == 6][:, 0] == 0].max() == 0.0


# --- pose -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["coarse", "fine", "joints", "forearm"])
def test_turning_the_hand_is_turning_its_points(part: str) -> None:
    parameters, rotation = random_hand(1), turn(77.0, (1, 2, 3))
    turned = replace(parameters, rotation=(rotation @ parameters.rotation).astype(np.float32))
    expected = getattr(MODEL.pose(parameters), part) @ rotation.T
    np.testing.assert_allclose(getattr(MODEL.pose(turned), part), expected, atol=2e-6)


@each_finger
def test_flexion_curls_a_finger_towards_the_palm(base: int, tip: int) -> None:
    flat, curled = MODEL.pose(FLAT), MODEL.pose(bent(base, base + 1, base + 2))
    assert curled.joints[tip, 2] > flat.joints[tip, 2] + 0.02  # the palm faces away
    assert np.linalg.norm(curled.joints[tip]) < np.linalg.norm(flat.joints[tip]) - 0.03
    others = [joint for joint in range(JOINTS) if not base < joint <= tip]
    np.testing.assert_array_equal(curled.joints[others], flat.joints[others])


def test_flexion_brings_the_thumb_to_the_little_finger() -> None:
    flat, curled = MODEL.pose(FLAT).joints, MODEL.pose(bent(1, 2, 3, degrees=30)).joints
    before, after = (np.linalg.norm(joints[THUMB_TIP] - joints[17]) for joints in (flat, curled))
    assert after < before - 0.02


@each_finger
def test_abduction_spreads_a_finger_in_the_plane_of_the_palm(base: int, tip: int) -> None:
    angles = FLAT.angles.copy()
    angles[base, 1] = 10.0
    moved = MODEL.pose(replace(FLAT, angles=angles)).joints[tip] - MODEL.pose(FLAT).joints[tip]
    assert abs(moved[0]) > 0.008
    assert abs(moved[2]) < 0.25 * abs(moved[0])


@each_mesh
def test_mean_pose_is_the_rest_mesh_turned_to_the_camera(mesh: str) -> None:
    rest = getattr(MODEL, mesh).vertices @ MODEL_TO_CAMERA.T
    smooth = replace(FLAT, relief=np.zeros_like(FLAT.relief))
    np.testing.assert_allclose(getattr(MODEL.pose(smooth), mesh), rest, atol=1e-6)


def test_forearm_follows_the_wrist_and_not_the_fingers() -> None:
    np.testing.assert_array_equal(MODEL.pose(bent(5, 9)).forearm, MODEL.pose(FLAT).forearm)


@pytest.mark.parametrize("part", ["coarse", "fine", "joints", "forearm"])
def test_points_are_finite_float32(part: str) -> None:
    points = getattr(MODEL.pose(random_hand(2)), part)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()


def test_joint_limits_hold_the_flat_hand_and_leave_room_to_bend() -> None:
    low, high = MODEL.joint_limits[..., 0], MODEL.joint_limits[..., 1]
    assert (low <= 0).all()
    assert (high >= 0).all()
    assert (high[[6, 10, 14, 18], 0] > 90).all()
    assert not (high - low)[[4, 8, 12, 16, 20]].any()  # a tip has nothing to bend


# --- two meshes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(4))
def test_fine_mesh_begins_with_the_coarse_vertices(index: int) -> None:
    hand = MODEL.pose(replace(random_hand(index), relief=np.zeros_like(FLAT.relief)))
    apart = np.linalg.norm(hand.fine[: len(hand.coarse)] - hand.coarse, axis=1)
    assert apart.max() < 1e-3


def test_relief_raises_the_fine_mesh_alone() -> None:
    smooth = MODEL.pose(replace(FLAT, relief=np.zeros_like(FLAT.relief)))
    rough = MODEL.pose(FLAT)
    np.testing.assert_array_equal(rough.coarse, smooth.coarse)
    raised = np.linalg.norm(rough.fine - smooth.fine, axis=1) * 1000
    assert 0.5 < raised.max() < 4.0


def relief_mm(parameters: HandParameters) -> NDArray[np.float32]:
    smooth = replace(parameters, relief=np.zeros_like(parameters.relief))
    raised = MODEL.pose(parameters).fine - MODEL.pose(smooth).fine
    return np.asarray(np.linalg.norm(raised, axis=1) * 1000)


def test_relief_of_a_finger_varies_with_its_flexion() -> None:
    change = np.abs(relief_mm(bent(9, 10, degrees=80)) - relief_mm(FLAT))
    finger = MODEL.finger_of_vertex(MODEL.fine)
    assert change[finger == FINGERS.index("middle")].max() > 0.3
    assert change[finger == FINGERS.index("thumb")].max() < 0.05


def test_relief_varies_with_the_subject() -> None:
    strong = relief_mm(replace(FLAT, relief=2 * FLAT.relief))
    np.testing.assert_allclose(strong, 2 * relief_mm(FLAT), atol=1e-3)


# --- fingers --------------------------------------------------------------------------------------


@each_mesh
def test_every_vertex_belongs_to_the_finger_that_moves_it(mesh: str) -> None:
    finger = MODEL.finger_of_vertex(getattr(MODEL, mesh))
    flat, curled = (getattr(MODEL.pose(hand), mesh) for hand in (FLAT, bent(13, 14)))
    moved = np.linalg.norm(curled - flat, axis=1) > 0.01
    assert set(finger[moved]) <= {FINGERS.index("ring"), FINGERS.index("palm")}
    assert moved[finger == FINGERS.index("ring")].mean() > 0.8


@each_mesh
def test_fingers_agree_with_those_told_by_the_nearest_bone(mesh: str) -> None:
    own = MODEL.finger_of_vertex(getattr(MODEL, mesh))
    nearest = finger_labels(getattr(MODEL, mesh).vertices, MODEL.joints)
    assert (own == nearest).mean() > 0.9


def test_the_hand_is_read_once() -> None:
    assert HandModel.load() is MODEL
