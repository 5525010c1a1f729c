"""MANO, where the user has it: `MANO_RIGHT.pkl` read without chumpy, posed with numpy.

MANO (Romero, Tzionas and Black, "Embodied Hands", 2017) may not be passed on, so nothing of it is
here; the file comes from https://mano.is.tue.mpg.de. It is a pickle of Python 2 with objects of
chumpy and scipy in it, of which only the numbers are read. `Mano.save` turns it into a plain
`.npz`, from the command line with ``python -m i2uv_edge.hand.mano MANO_RIGHT.pkl mano_right.npz``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand.model import FloatArray, IntArray
from i2uv_edge.pickles import Record, read_pickle

__all__ = [
    "FINGERTIPS",
    "FREIHAND_ORDER",
    "Mano",
    "ManoHand",
    "to_freihand_order",
    "with_fingertips",
]

Side = Literal["right", "left"]
Float64 = NDArray[np.float64]

VERTICES = 778
"""Of the published hands."""

FINGERTIPS: Mapping[str, tuple[int, int, int, int, int]] = {
    "freihand": (744, 320, 443, 555, 672),
    "ho3d": (744, 333, 444, 555, 672),
    "manopth": (745, 317, 444, 556, 673),
    "smplx": (744, 320, 443, 554, 671),
}
"""The vertices that stand for the tips of thumb, index, middle, ring and little finger: every code
base has its own, and joint errors differ by up to a millimetre."""

FREIHAND_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Which of MANO's joints (wrist, index, middle, little, ring, thumb; then the tips from thumb to
little finger) each joint of FreiHAND's order is."""

_TIP_ROWS = (4, 8, 12, 16, 20)
_BONES = 16
_RECORDS = (
    "chumpy.ch.Ch",
    "chumpy.reordering.Select",
    "scipy.sparse.csc.csc_matrix",
    "scipy.sparse._csc.csc_matrix",
)


@dataclass(frozen=True)
class ManoHand:
    """Vertices (V, 3) and joints (21, 3) in FreiHAND's order, float32 metres."""

    vertices: FloatArray
    joints: FloatArray


@dataclass(frozen=True)
class Mano:
    """The model's arrays.

    Attributes
    ----------
    template : (V, 3) metres
    shape_directions : (V, 3, S) per unit of each shape parameter
    pose_directions : (V, 3, 135) per entry of the fifteen rotations less the identity
    weights : (V, 16) skinning
    regressor : (16, V) rest joints from rest vertices
    faces : (F, 3)
    parents : (16,) -1 for the wrist
    components, mean : (45, 45), (45,) of the space of poses, axis-angle
    """

    template: Float64
    shape_directions: Float64
    pose_directions: Float64
    weights: Float64
    regressor: Float64
    faces: IntArray
    parents: IntArray
    components: Float64
    mean: Float64

    @staticmethod
    def load(path: Path, side: Side = "right") -> Mano:
        """Read `MANO_RIGHT.pkl`, `MANO_LEFT.pkl`, or the `.npz` that `save` made of one.

        The published left hand has the x components of its shape directions with the wrong sign
        (https://github.com/vchoutas/smplx/issues/48), which `side` "left" puts right; an `.npz` has
        it right already.

        Raises
        ------
        InputError
            The file is missing or damaged, lacks an array, holds one of the wrong shape, or names
            what no MANO file needs.
        """
        if zipfile.is_zipfile(path):
            return _checked(path, _read_npz(path))
        model = _checked(path, _of_pickle(path, read_pickle(path, _RECORDS)))
        if side == "left":
            directions = model.shape_directions.copy()
            directions[:, 0] *= -1
            return replace(model, shape_directions=directions)
        return model

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> Mano:
        """What `arrays` gave, read from `path`.

        Raises
        ------
        InputError
            An array is missing or of the wrong shape.
        """
        return _checked(path, arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by the names of the attributes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def save(self, path: Path) -> None:
        """Write the arrays as `.npz`."""
        np.savez_compressed(path, allow_pickle=False, **self.arrays())

    def pose(
        self,
        rotations: NDArray[Any],
        shape: NDArray[Any] | None = None,
        translation: NDArray[Any] | None = None,
        *,
        fingertips: tuple[int, ...] = FINGERTIPS["freihand"],
    ) -> ManoHand:
        """Shape and pose the hand.

        Parameters
        ----------
        rotations
            (48,) axis-angle of the wrist and the fifteen finger joints; see `full_pose`.
        shape
            Up to S shape parameters; the mean hand without.
        translation
            (3,) metres, added to everything.
        fingertips
            Five vertices, thumb to little finger; see `FINGERTIPS`.
        """
        rest = self.template
        if shape is not None:
            values = np.asarray(shape, np.float64).ravel()
            rest = rest + self.shape_directions[..., : len(values)] @ values
        feature, blended, offsets, places = self._skinning(rotations, rest)
        corrected = rest + self.pose_directions @ feature
        vertices = np.einsum("vab,vb->va", blended, corrected) + offsets
        moved = np.zeros(3) if translation is None else np.asarray(translation, np.float64).ravel()
        vertices = vertices + moved
        every = np.concatenate([places + moved, vertices[list(fingertips)]])
        return ManoHand(vertices.astype(np.float32), every[list(FREIHAND_ORDER)].astype(np.float32))

    def full_pose(
        self, root: NDArray[Any], coefficients: NDArray[Any], *, flat_mean: bool = False
    ) -> Float64:
        """(3,) wrist rotation and up to 45 pose coefficients -> (48,) for `pose`.

        With ``flat_mean`` zero coefficients are the flat hand, else MANO's mean pose.
        """
        values = np.asarray(coefficients, np.float64).ravel()
        fingers = values @ self.components[: len(values)]
        return np.concatenate([np.ravel(root), fingers if flat_mean else fingers + self.mean])

    def joint_regressor(self, fingertips: tuple[int, ...] = FINGERTIPS["freihand"]) -> FloatArray:
        """(21, V) joints of FreiHAND's order from posed vertices, for an atlas."""
        count = len(self.template)
        tips = np.zeros((5, count))
        tips[np.arange(5), list(fingertips)] = 1.0
        rows = np.concatenate([self.regressor, tips])[list(FREIHAND_ORDER)]
        return np.asarray(rows / rows.sum(1, keepdims=True), np.float32)

    def mirrored(self) -> Mano:
        """The other hand: this one in a mirror, with the same vertex order.

        A mirror takes a rotation R to M R M, which changes the sign of the entries that mix x with
        the other axes, and an axis-angle (x, y, z) to (x, -y, -z).
        """
        flip = np.array([-1.0, 1.0, 1.0])
        entries = np.tile(np.outer(flip, flip).ravel(), _BONES - 1)
        turns = np.tile(-flip, _BONES - 1)
        return replace(
            self,
            template=self.template * flip,
            shape_directions=self.shape_directions * flip[:, None],
            pose_directions=self.pose_directions * flip[:, None] * entries,
            faces=self.faces[:, ::-1].copy(),
            components=self.components * turns,
            mean=self.mean * turns,
        )

    def skinning(self, rotations: NDArray[Any]) -> tuple[Float64, Float64, Float64]:
        """What (48,) rotations make of the mean hand.

        Returns
        -------
        tuple
            (135,) what the pose corrections are linear in; (V, 3, 3) and (V, 3), by which each rest
            vertex is turned, then moved.
        """
        feature, blended, offsets, _ = self._skinning(rotations, self.template)
        return feature, blended, offsets

    def _skinning(
        self, rotations: NDArray[Any], rest: Float64
    ) -> tuple[Float64, Float64, Float64, Float64]:
        joints = self.regressor @ rest
        turns = _rotations(np.asarray(rotations, np.float64).reshape(_BONES, 3))
        turned, places = self._kinematics(turns, joints)
        # Each bone takes a rest point p to turned @ (p - its joint) + its place.
        offsets = places - np.einsum("jab,jb->ja", turned, joints)
        blended = np.einsum("vj,jab->vab", self.weights, turned)
        return (turns[1:] - np.eye(3)).ravel(), blended, self.weights @ offsets, places

    def _kinematics(self, turns: Float64, joints: Float64) -> tuple[Float64, Float64]:
        """(16, 3, 3) rotations and (16, 3) places of the bones in the posed hand."""
        turned, places = turns.copy(), joints.copy()
        for bone in range(1, _BONES):
            parent = self.parents[bone]
            turned[bone] = turned[parent] @ turns[bone]
            places[bone] = places[parent] + turned[parent] @ (joints[bone] - joints[parent])
        return turned, places


def to_freihand_order(joints: NDArray[Any]) -> FloatArray:
    """(21, 3) joints in MANO's order, as HO3D stores them -> FreiHAND's order."""
    return np.asarray(joints, np.float32)[list(FREIHAND_ORDER)]


def with_fingertips(regressor: FloatArray, fingertips: tuple[int, ...]) -> FloatArray:
    """A (21, V) regressor of FreiHAND's order with other vertices for tips."""
    changed = regressor.copy()
    changed[list(_TIP_ROWS)] = 0.0
    changed[list(_TIP_ROWS), list(fingertips)] = 1.0
    return changed


def _rotations(vectors: Float64) -> Float64:
    """(N, 3) axis-angle -> (N, 3, 3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    x, y, z = np.divide(vectors, angle, out=np.zeros_like(vectors), where=angle > 0).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[..., None], np.cos(angle)[..., None]
    turned: Float64 = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return turned


# --- the file -------------------------------------------------------------------------------------

# What the attributes are called in the published file.
_KEYS = {
    "template": "v_template",
    "shape_directions": "shapedirs",
    "pose_directions": "posedirs",
    "weights": "weights",
    "regressor": "J_regressor",
    "faces": "f",
    "parents": "kintree_table",
    "components": "hands_components",
    "mean": "hands_mean",
}


def _of_pickle(path: Path, content: Any) -> dict[str, NDArray[Any]]:
    if not isinstance(content, dict):
        raise _refuse(path, f"it holds a {type(content).__name__}, not a dictionary")
    missing = [key for key in _KEYS.values() if key not in content]
    if missing:
        raise _refuse(path, f"it lacks {', '.join(missing)}")
    try:
        arrays = {name: _numbers(content[key]) for name, key in _KEYS.items()}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _refuse(path, str(error)) from error
    parents = arrays["parents"]
    if parents.shape == (2, _BONES):
        # The second row numbers the joints, the first names their parents; the wrist has none,
        # which the file writes as 2**32 - 1.
        arrays["parents"] = np.concatenate([[-1], parents[0, 1:]])
    return arrays


def _numbers(value: Any) -> NDArray[Any]:
    """What an entry of the file holds, however it is wrapped."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple):
        return np.asarray(value, np.float64)
    if not isinstance(value, Record):
        raise TypeError(f"a {type(value).__name__} where an array should be")
    held = value.fields
    if value.name == "chumpy.ch.Ch":
        return _numbers(held["x"])
    if value.name == "chumpy.reordering.Select":
        chosen = _numbers(held["a"]).ravel()[_numbers(held["idxs"]).astype(np.int64).ravel()]
        return chosen.reshape(held["preferred_shape"])
    return _dense(held)


def _dense(held: Mapping[str, Any]) -> Float64:
    """The array of a matrix in compressed sparse column form."""
    rows, columns = held["_shape"]
    starts = held["indptr"].astype(np.int64)
    values = np.asarray(held["data"], np.float64)
    counts = np.diff(starts)
    if len(counts) != columns or counts.min(initial=0) < 0 or counts.sum() != len(values):
        raise ValueError("a sparse matrix that contradicts itself")
    made = np.zeros((rows, columns))
    np.add.at(made, (held["indices"], np.repeat(np.arange(columns), counts)), values)
    return made


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _refuse(path, str(error)) from error


def _checked(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Mano:
    missing = [field.name for field in fields(Mano) if field.name not in arrays]
    if missing:
        raise _refuse(path, f"it lacks {', '.join(missing)}")
    count = len(arrays["template"])
    shapes = {
        "template": (count, 3),
        "shape_directions": (count, 3, arrays["shape_directions"].shape[-1]),
        "pose_directions": (count, 3, 9 * (_BONES - 1)),
        "weights": (count, _BONES),
        "regressor": (_BONES, count),
        "faces": (len(arrays["faces"]), 3),
        "parents": (_BONES,),
        "components": (45, 45),
        "mean": (45,),
    }
    values: dict[str, Any] = {}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape:
            raise _refuse(path, f"{name} is of shape {array.shape}, not {shape}")
        if not np.isfinite(array.astype(np.float64)).all():
            raise _refuse(path, f"{name} holds numbers that are not finite")
        whole = name in ("faces", "parents")
        values[name] = array.astype(np.int32 if whole else np.float64)
    if not 0 <= values["faces"].min() <= values["faces"].max() < count:
        raise _refuse(path, "its faces name vertices that it does not have")
    parents = values["parents"]
    if parents[0] != -1 or not all(0 <= parents[bone] < bone for bone in range(1, _BONES)):
        raise _refuse(path, "its joints are no tree with the wrist first")
    return Mano(**values)


def _refuse(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is no MANO model: {what}",
        expected="MANO_RIGHT.pkl or MANO_LEFT.pkl as published, or an .npz made of one",
        remedy="get it from https://mano.is.tue.mpg.de",
    )


def main(source: Path, target: Path, side: Side = "right") -> None:
    """Turn a published model into a plain `.npz`."""
    Mano.load(source, side).save(target)


if __name__ == "__main__":
    import sys

    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        "left" if "LEFT" in Path(sys.argv[1]).name else "right",
    )
