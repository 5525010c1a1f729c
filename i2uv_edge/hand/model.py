"""The built-in hand: an articulated right hand that needs nobody's licence.

Twenty-one joints in FreiHAND order, linear blend skinning, per-bone shape scales, relief that
varies with subject and flexion. The asset is made by ``python -m i2uv_edge.hand.build``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from i2uv_edge import resources
from i2uv_edge.hand.metrics import vertex_normals

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
FloatArray64 = NDArray[np.float64]

JOINTS = 21
# The model is drawn y up, back of the hand towards +z; cameras look along +z with y down.
MODEL_TO_CAMERA: FloatArray = np.diag([1.0, -1.0, -1.0]).astype(np.float32)


@dataclass(frozen=True)
class Mesh:
    """A skinned surface with texture coordinates.

    Attributes
    ----------
    vertices : (V, 3) metres, rest pose, model axes
    faces : (F, 3) counter-clockwise seen from outside
    weights : (V, 16) skinning weights, rows sum to 1
    uv : (T, 2) texture coordinates 0..1, v up as in OBJ
    uv_faces : (F, 3) rows of ``uv``
    joint_regressor : (21, V) rows sum to 1
    """

    vertices: FloatArray
    faces: IntArray
    weights: FloatArray
    uv: FloatArray
    uv_faces: IntArray
    joint_regressor: FloatArray


@dataclass(frozen=True)
class HandParameters:
    """What one hand in one pose is.

    Attributes
    ----------
    angles : (21, 3) degrees: flexion, abduction, twist in each joint's own frame
    scales : (21, 3) thickness across, length along, thickness through each bone; 1 is the mean hand
    relief : (D,) amplitude of each relief field; 1 is the mean hand
    rotation : (3, 3) hand to camera
    """

    angles: FloatArray
    scales: FloatArray
    relief: FloatArray
    rotation: FloatArray = field(default_factory=lambda: MODEL_TO_CAMERA.copy())


@dataclass(frozen=True)
class PosedHand:
    """What came of `HandParameters`, metres, camera axes.

    Attributes
    ----------
    coarse, fine, joints : (Vc, 3), (Vf, 3), (21, 3)
    forearm : (Vr, 3) what continues the fine mesh in pictures
    """

    coarse: FloatArray
    fine: FloatArray
    joints: FloatArray
    forearm: FloatArray


@dataclass(frozen=True)
class HandModel:
    """The asset, read once; `HandModel.load` caches it.

    Attributes
    ----------
    coarse, fine : the meshes; the first Vc vertices of the fine one are the coarse ones
    joints, parents : (21, 3) rest positions, metres, model axes; (21,) -1 for the wrist
    frames : (21, 3, 3) columns across, along and through each bone, model axes
    skin_joints : (16,) the joints the columns of the skinning weights belong to
    joint_limits : (21, 3, 2) least and most flexion, abduction and twist, degrees
    relief : (D, Vf) fields of displacement along the normals of the fine mesh, metres
    relief_joint, relief_base, relief_gain : (D,) amplitude of each field, ``base + gain *
        flexion / 90`` of that joint; joint -1: it does not depend on the pose
    albedo : "palm", "nail", "knuckle": (Vf,) how much of each a vertex is, 0..1
    forearm_vertices, forearm_faces : (Vr, 3), (Fr, 3); faces count the fine vertices first
    """

    coarse: Mesh
    fine: Mesh
    joints: FloatArray
    parents: IntArray
    frames: FloatArray
    skin_joints: IntArray
    joint_limits: FloatArray
    relief: FloatArray
    relief_joint: IntArray
    relief_base: FloatArray
    relief_gain: FloatArray
    albedo: dict[str, FloatArray]
    forearm_vertices: FloatArray
    forearm_faces: IntArray

    @staticmethod
    def load() -> HandModel:
        """The bundled hand."""
        return _load()

    def mean(self) -> HandParameters:
        """The mean hand, flat, back towards the camera."""
        return HandParameters(
            angles=np.zeros((JOINTS, 3), np.float32),
            scales=np.ones((JOINTS, 3), np.float32),
            relief=np.ones(len(self.relief), np.float32),
        )

    def pose(self, parameters: HandParameters) -> PosedHand:
        """Shape, articulate and turn the hand (linear blend skinning)."""
        transforms, joints = self._kinematics(parameters)
        coarse = _skin(self.coarse.vertices, self.coarse.weights, transforms)
        rest = self.fine.vertices + self._fine_normals * self.relief_of(parameters)[:, None]
        fine = _skin(rest.astype(np.float32), self.fine.weights, transforms)
        root = transforms[0]
        forearm = self.forearm_vertices @ root[:, :3].T + root[:, 3]
        return PosedHand(coarse, fine, joints, forearm.astype(np.float32))

    def relief_of(self, parameters: HandParameters) -> FloatArray:
        """(Vf,) metres by which relief raises (< 0: lowers) the fine mesh along its normals."""
        flexion = np.where(
            self.relief_joint >= 0, parameters.angles[self.relief_joint, 0], np.float32(0)
        )
        amplitude = parameters.relief * np.maximum(
            self.relief_base + self.relief_gain * flexion / np.float32(90.0), 0.0
        )
        raised: FloatArray = amplitude.astype(np.float32) @ self.relief
        return raised

    def place_joints(self, parameters: HandParameters) -> FloatArray:
        """(21, 3) the joints alone, as in `pose`, in a tenth of its time."""
        return self._kinematics(parameters)[1]

    def finger_of_vertex(self, mesh: Mesh) -> IntArray:
        """(V,) index into `metrics.FINGERS` of the bone that moves each vertex most."""
        bone = self.skin_joints[mesh.weights.argmax(1)]
        return np.where(bone == 0, 0, (bone - 1) // 4 + 1).astype(np.int32)

    @cached_property
    def _fine_normals(self) -> FloatArray:
        return vertex_normals(self.fine.vertices, self.fine.faces).astype(np.float32)

    @cached_property
    def _chains(
        self,
    ) -> tuple[FloatArray64, FloatArray64, list[tuple[IntArray, IntArray]], FloatArray64]:
        """Frames and their inverses, joints by distance from the wrist, steps from the parents."""
        frames = self.frames.astype(np.float64)
        depth = np.zeros(JOINTS, np.int32)
        for joint in range(1, JOINTS):
            depth[joint] = depth[self.parents[joint]] + 1
        levels = []
        for distance in range(1, int(depth.max()) + 1):
            level = np.flatnonzero(depth == distance).astype(np.int32)
            levels.append((level, self.parents[level]))
        steps = self.joints.astype(np.float64) - self.joints[self.parents]
        return frames, np.ascontiguousarray(frames.transpose(0, 2, 1)), levels, steps

    def _kinematics(self, parameters: HandParameters) -> tuple[FloatArray, FloatArray]:
        """(16, 3, 4) skinning transforms and (21, 3) joints, camera axes."""
        radians = np.radians(parameters.angles.astype(np.float64))
        frames, back, levels, steps = self._chains
        turn = frames @ joint_rotations(np.sin(radians), np.cos(radians)) @ back
        turn[0] = parameters.rotation
        scales = parameters.scales.astype(np.float64)[:, None]
        stretch = (frames * scales) @ back
        stretch[0] = turn[0] * scales[0]
        place = np.zeros((JOINTS, 3))
        for level, parents in levels:
            place[level] = place[parents] + (stretch[parents] @ steps[level, :, None])[..., 0]
            turn[level] = turn[parents] @ turn[level]
            stretch[level] = turn[level] @ stretch[level]
        chosen = self.skin_joints
        offset = place[chosen] - (stretch[chosen] @ self.joints[chosen, :, None])[..., 0]
        transforms = np.concatenate([stretch[chosen], offset[:, :, None]], axis=2)
        return transforms.astype(np.float32), place.astype(np.float32)


def joint_rotations(sine: FloatArray64, cosine: FloatArray64) -> FloatArray64:
    """Abduction about z, then flexion about x (fingers curl towards -z), then twist about y."""
    (sf, sa, st), (cf, ca, ct) = sine.T, cosine.T
    rotations = np.empty((len(sine), 3, 3))
    rotations[:, 0, 0] = ca * ct + sa * sf * st
    rotations[:, 0, 1] = -sa * cf
    rotations[:, 0, 2] = ca * st - sa * sf * ct
    rotations[:, 1, 0] = sa * ct - ca * sf * st
    rotations[:, 1, 1] = ca * cf
    rotations[:, 1, 2] = sa * st + ca * sf * ct
    rotations[:, 2, 0] = -cf * st
    rotations[:, 2, 1] = -sf
    rotations[:, 2, 2] = cf * ct
    return rotations


def _skin(vertices: FloatArray, weights: FloatArray, transforms: FloatArray) -> FloatArray:
    # One row a coefficient: long contiguous sums are ten times as fast as short ones.
    blended = transforms.reshape(len(transforms), 12).T @ weights.T
    moved = np.empty_like(vertices)
    x, y, z = np.ascontiguousarray(vertices.T)
    for axis in range(3):
        row = 4 * axis
        moved[:, axis] = blended[row] * x + blended[row + 1] * y + blended[row + 2] * z
        moved[:, axis] += blended[row + 3]
    return moved


@cache
def _load() -> HandModel:
    with np.load(resources.hand_assets() / "hand.npz", allow_pickle=False) as data:
        meshes = {
            name: Mesh(
                vertices=data[f"{name}_vertices"],
                faces=data[f"{name}_faces"].astype(np.int32),
                weights=data[f"{name}_weights"],
                uv=data[f"{name}_uv"],
                uv_faces=data[f"{name}_uv_faces"].astype(np.int32),
                joint_regressor=data[f"{name}_joint_regressor"],
            )
            for name in ("coarse", "fine")
        }
        return HandModel(
            coarse=meshes["coarse"],
            fine=meshes["fine"],
            joints=data["joints"],
            parents=data["parents"].astype(np.int32),
            frames=data["frames"],
            skin_joints=data["skin_joints"].astype(np.int32),
            joint_limits=data["joint_limits"],
            relief=data["detail"],
            relief_joint=data["detail_joint"].astype(np.int32),
            relief_base=data["detail_base"],
            relief_gain=data["detail_gain"],
            albedo={name: data[f"albedo_{name}"] for name in ("palm", "nail", "knuckle")},
            forearm_vertices=data["forearm_vertices"],
            forearm_faces=data["forearm_faces"].astype(np.int32),
        )
