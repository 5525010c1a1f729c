"""Data sets in their authors' layouts, a few small pictures each, their hands made up here."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.mano import FREIHAND_ORDER

SIZE = 64
CAMERA = np.array([[140.0, 0.0, 32.0], [0.0, 141.0, 31.0], [0.0, 0.0, 1.0]])
OPENGL = np.array([1.0, -1.0, -1.0])
FROM_FREIHAND = np.argsort(FREIHAND_ORDER)  # back to MANO's order


def picture(seed: int, width: int = SIZE, height: int = SIZE) -> NDArray[np.uint8]:
    """Soft colours, which survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


Hands = Callable[[int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def hand(seed: int, count: int = 778) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices and joints before the camera, metres."""
    rng = np.random.default_rng(seed)
    away = np.array([0.02, -0.01, 0.5])
    return rng.normal(0, 0.03, (count, 3)) + away, rng.normal(0, 0.03, (21, 3)) + away


def write_freihand(
    folder: Path, rows: int = 2, versions: int = 2, *, truth: bool = True, hands: Hands = hand
) -> Path:
    """Both splits; the evaluation split with its ground truth or without."""
    for split, copies in (("training", versions), ("evaluation", 1)):
        made = [hands(100 * copies + row) for row in range(rows)]
        for index in range(rows * copies):
            write_picture(folder / split / "rgb" / f"{index:08d}.jpg", picture(index))
        lists: dict[str, list[Any]] = {"K": [CAMERA.tolist()] * rows}
        lists["scale"] = [float(np.linalg.norm(j[9] - j[10])) for _, j in made]
        if truth or split == "training":
            lists["xyz"] = [joints.tolist() for _, joints in made]
            lists["verts"] = [points.tolist() for points, _ in made]
        if split == "training":
            lists["mano"] = [[[0.0] * 61]] * rows
            for row in range(rows):
                mask = np.zeros((SIZE, SIZE), np.uint8)
                mask[8:40, 16:48] = 255
                write_picture(folder / split / "mask" / f"{row:08d}.jpg", mask)
        for name, values in lists.items():
            (folder / f"{split}_{name}.json").write_text(json.dumps(values))
    return folder


def write_ho3d(folder: Path, count: int = 2, *, truth: bool = False) -> Path:
    """Version 2: pictures wider than high, annotations as pickles of protocol 2."""
    names = [f"ABC{index}/{index:04d}" for index in range(count)]
    for split, file in (("train", "train"), ("evaluation", "evaluation")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{file}.txt").write_text("\n".join(names) + "\n")
        for index, name in enumerate(names):
            sequence, number = name.split("/")
            place = folder / split / sequence
            write_picture(place / "rgb" / f"{number}.png", picture(index, 80, 60))
            joints = (hand(index)[1] * OPENGL)[FROM_FREIHAND]
            meta: dict[str, Any] = {"camMat": CAMERA, "objName": "mug", "objLabel": 3}
            if split == "train":
                rng = np.random.default_rng(index)
                meta |= {"handJoints3D": joints, "handPose": rng.normal(0, 0.2, 48)}
                meta |= {"handBeta": rng.normal(0, 1, 10), "handTrans": joints[0]}
            else:
                meta |= {"handJoints3D": joints[0], "handBoundingBox": [10, 20, 40, 44]}
            path = place / "meta" / f"{number}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(meta, protocol=2))
    if truth:
        hands = [hand(index) for index in range(count)]
        xyz = [((joints * OPENGL)[FROM_FREIHAND]).tolist() for _, joints in hands]
        (folder / "evaluation_xyz.json").write_text(json.dumps(xyz))
        verts = [(points * OPENGL).tolist() for points, _ in hands]
        (folder / "evaluation_verts.json").write_text(json.dumps(verts))
    return folder


def encoded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    done, content = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    return np.asarray(content).ravel()


def write_archives(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        mask = np.zeros((SIZE, SIZE, 3), np.uint8)
        mask[5:20, 10:30] = 255
        uvz = np.zeros((16, 16, 3), np.float32)
        uvz[3:9, 4:12] = rng.random((6, 8, 3)) * 0.8 + 0.1
        np.savez(
            folder / f"{index:03d}.npz",
            rgb=encoded(picture(index)),
            mask=encoded(mask),
            uvz=uvz,
        )
    return folder


def write_pairs(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        maps = {name: rng.random((16, 16, 3), np.float32) for name in ("uvz_778", "uvz_3k")}
        extent = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.1]], np.float32)
        np.savez(folder / f"{index:03d}.npz", max_min=extent, **maps)
    return folder


def write_video(path: Path, frames: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (SIZE, SIZE))
    assert writer.isOpened()
    for index in range(frames):
        shade = np.full((SIZE, SIZE, 3), 20 + 40 * index, np.uint8)
        writer.write(shade)
    writer.release()
    return path


# --- MANO -----------------------------------------------------------------------------------------


def mano_arrays(seed: int = 0, count: int = 778) -> dict[str, Any]:
    """Random arrays with the names and shapes of the published file."""
    rng = np.random.default_rng(seed)
    parents = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
    weights = rng.random((count, 16)) ** 4
    regressor = np.where(rng.random((16, count)) < 0.02, rng.random((16, count)), 0.0)
    regressor[:, 0] += 0.1
    return {
        "v_template": rng.normal(0, 0.05, (count, 3)),
        "shapedirs": rng.normal(0, 0.003, (count, 3, 10)),
        "posedirs": rng.normal(0, 0.0005, (count, 3, 135)),
        "weights": weights / weights.sum(1, keepdims=True),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "f": rng.integers(0, count, (1538, 3)).astype(np.uint32),
        "kintree_table": np.stack([parents, np.arange(16)]).astype(np.uint32),
        "hands_components": rng.normal(0, 0.3, (45, 45)),
        "hands_mean": rng.normal(0, 0.1, 45),
        "J": rng.normal(0, 0.05, (16, 3)),
        "bs_style": "lbs",
    }


@contextmanager
def modules(**classes: type) -> Iterator[None]:
    """Put classes into modules that are not installed: `chumpy_ch__Ch` is `chumpy.ch.Ch`."""
    made = []
    for key, kind in classes.items():
        module, name = key.split("__")
        module = module.replace("_", ".")
        kind.__module__, kind.__qualname__, kind.__name__ = module, name, name
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            package = ".".join(parts[:end])
            if package not in sys.modules:
                sys.modules[package] = types.ModuleType(package)
                made.append(package)
        setattr(sys.modules[module], name, kind)
    try:
        yield
    finally:
        for package in made:
            del sys.modules[package]


def write_mano(path: Path, arrays: dict[str, Any] | None = None) -> Path:
    """A pickle as the published one: chumpy's `Select` around a `Ch`, and a sparse regressor."""
    from scipy.sparse import csc_matrix

    arrays = dict(arrays or mano_arrays())

    class Ch:
        pass

    class Select:
        pass

    inner, chosen = Ch(), Select()
    directions = arrays["shapedirs"]
    padded = np.concatenate([np.zeros((*directions.shape[:2], 2)), directions], axis=-1)
    places = np.arange(padded.size).reshape(padded.shape)[..., 2:].ravel()
    inner.__dict__.update(x=padded, _dirty_vars={"x"}, _itr=None, _depends_on_deps={})
    chosen.__dict__.update(a=inner, idxs=places, preferred_shape=directions.shape)
    chosen.__dict__.update(_dirty_vars={"a"}, _itr=None)
    arrays["shapedirs"] = chosen
    arrays["J_regressor"] = csc_matrix(arrays["J_regressor"])
    with modules(chumpy_ch__Ch=Ch, chumpy_reordering__Select=Select):
        path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


# --- a mesh of MANO's size ------------------------------------------------------------------------

COLUMNS = 389  # twice as many vertices as MANO has


def strip() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Vertices (metres), faces and texture coordinates of a band as large as a hand."""
    across, along = np.meshgrid([0.0, 1.0], np.linspace(0, 1, COLUMNS), indexing="ij")
    uv = np.stack([0.05 + 0.9 * along.ravel(), 0.05 + 0.9 * across.ravel()], axis=1)
    turn = 2.5 * uv[:, 0]
    points = np.stack([np.sin(turn), uv[:, 1], np.cos(turn)], axis=1) * (0.05, 0.09, 0.05)
    left = np.arange(COLUMNS - 1)
    faces = np.concatenate(
        [
            np.stack([left, left + 1, left + COLUMNS], axis=1),
            np.stack([left + 1, left + 1 + COLUMNS, left + COLUMNS], axis=1),
        ]
    )
    return points - points.mean(0), faces, uv


def subdivided(
    points: NDArray[np.float64], faces: NDArray[np.int64], uv: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Four faces for each, the new vertices behind the old ones."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    kept, place = np.unique(edges, axis=0, return_inverse=True)
    middle = len(points) + place.reshape(3, -1)
    a, b, c = faces.T
    ab, bc, ca = middle
    corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    finer = np.concatenate([np.stack(corner, axis=1) for corner in corners])
    added = [np.concatenate([array, array[kept].mean(1)]) for array in (points, uv)]
    return added[0], finer, added[1]


def write_obj(
    path: Path, points: NDArray[np.float64], faces: NDArray[np.int64], uv: NDArray[np.float64]
) -> Path:
    lines = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in points]
    lines += [f"vt {u:.9f} {v:.9f}" for u, v in uv]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_meshes(folder: Path) -> tuple[Path, Path, Path]:
    """A coarse and a fine mesh, and a MANO model whose template is the coarse one."""
    mesh = strip()
    coarse = write_obj(folder / "HandRightUV.obj", *mesh)
    points, faces, uv = subdivided(*mesh)
    # As published: in metres too, but posed before a camera.
    fine = write_obj(folder / "HandRightUV_3K.obj", points[:, [1, 0, 2]] - (0, 0, 0.33), faces, uv)
    mano = write_mano(folder / "MANO_RIGHT.pkl", {**mano_arrays(), "v_template": mesh[0]})
    return coarse, fine, mano
