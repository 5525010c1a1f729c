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
        flexion = np.where(
            self.relief_joint >= 0, parameters.angles[self.relief_joint, 0], np.float32(0)
        )
        amplitude = parameters.relief * np.maximum(
            self.relief_base + self.relief_gain * flexion / 90.0, 0.0
        )
        rest = self.fine.vertices + self._fine_normals * (amplitude @ self.relief)[:, None]
        fine = _skin(rest.astype(np.float32), self.fine.weights, transforms)
        root = transforms[0]
        forearm = self.forearm_vertices @ root[:, :3].T + root[:, 3]
        return PosedHand(coarse, fine, joints, forearm.astype(np.float32))

    def finger_of_vertex(self, mesh: Mesh) -> IntArray:
        """(V,) index into `metrics.FINGERS` of the bone that moves each vertex most."""
        bone = self.skin_joints[mesh.weights.argmax(1)]
        return np.where(bone == 0, 0, (bone - 1) // 4 + 1).astype(np.int32)

    @cached_property
    def _fine_normals(self) -> FloatArray:
        return vertex_normals(self.fine.vertices, self.fine.faces).astype(np.float32)

    def _kinematics(self, parameters: HandParameters) -> tuple[FloatArray, FloatArray]:
        """(16, 3, 4) skinning transforms and (21, 3) joints, camera axes."""
        radians = np.radians(parameters.angles.astype(np.float64))
        sine, cosine = np.sin(radians), np.cos(radians)
        turn = np.zeros((JOINTS, 3, 3))
        stretch = np.zeros((JOINTS, 3, 3))
        place = np.zeros((JOINTS, 3))
        turn[0] = parameters.rotation
        stretch[0] = parameters.rotation * parameters.scales[0][None]
        for j in range(1, JOINTS):
            parent = self.parents[j]
            place[j] = place[parent] + stretch[parent] @ (self.joints[j] - self.joints[parent])
            frame = self.frames[j].astype(np.float64)
            local = _joint_rotation(sine[j], cosine[j])
            turn[j] = turn[parent] @ frame @ local @ frame.T
            stretch[j] = turn[j] @ (frame * parameters.scales[j][None]) @ frame.T
        chosen = self.skin_joints
        offset = place[chosen] - np.einsum("jab,jb->ja", stretch[chosen], self.joints[chosen])
        transforms = np.concatenate([stretch[chosen], offset[:, :, None]], axis=2)
        return transforms.astype(np.float32), place.astype(np.float32)


def _joint_rotation(sine: NDArray[np.float64], cosine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Abduction about z, then flexion about x (fingers curl towards -z), then twist about y."""
    sf, sa, st = -sine[0], sine[1], sine[2]
    cf, ca, ct = cosine
    abduction = np.array([[ca, -sa, 0.0], [sa, ca, 0.0], [0.0, 0.0, 1.0]])
    flexion = np.array([[1.0, 0.0, 0.0], [0.0, cf, -sf], [0.0, sf, cf]])
    twist = np.array([[ct, 0.0, st], [0.0, 1.0, 0.0], [-st, 0.0, ct]])
    result: NDArray[np.float64] = abduction @ flexion @ twist
    return result


def _skin(vertices: FloatArray, weights: FloatArray, transforms: FloatArray) -> FloatArray:
    blended = (weights @ transforms.reshape(len(transforms), 12)).reshape(-1, 3, 4)
    moved: FloatArray = blended[:, :, 3].copy()
    for axis in range(3):
        moved += blended[:, :, axis] * vertices[:, axis : axis + 1]
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
