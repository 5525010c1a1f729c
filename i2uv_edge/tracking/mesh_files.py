"""A textured mesh as files that other programs open: OBJ with MTL and PNG, and GLB.

Both hold metres, x right, y up, z towards the viewer, as glTF asks for.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand.layer import normals_of

__all__ = ["TexturedMesh", "png", "write_glb", "write_obj"]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

MATERIAL = "hand"
_FLOAT, _UINT32 = 5126, 5125  # glTF 2.0, accessor.componentType
_VERTICES, _INDICES = 34962, 34963  # bufferView.target


@dataclass(frozen=True)
class TexturedMesh:
    """A surface and its picture.

    Attributes
    ----------
    vertices : (V, 3) metres in camera axes: x right, y down, z away
    faces : (F, 3) counter-clockwise seen from outside
    uv : (T, 2) texture coordinates 0..1, v up as in OBJ
    uv_faces : (F, 3) rows of ``uv``
    texture : (S, S, 3) RGB, its first row at v = 1
    """

    vertices: Float32
    faces: Int32
    uv: Float32
    uv_faces: Int32
    texture: UInt8

    def upright(self) -> Float32:
        """(V, 3) metres as the files hold them: turned half around x, not mirrored."""
        return np.asarray(self.vertices * np.array([1, -1, -1], np.float32), np.float32)


def write_obj(folder: Path, name: str, mesh: TexturedMesh) -> None:
    """Write NAME.obj, NAME.mtl and NAME-texture.png into a folder."""
    image = f"{name}-texture.png"
    (folder / image).write_bytes(png(mesh.texture))
    (folder / f"{name}.mtl").write_text(
        f"newmtl {MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {image}\n",
        encoding="utf-8",
    )
    lines = [f"mtllib {name}.mtl", "o hand", f"usemtl {MATERIAL}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.upright().tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv.tolist()]
    corners = np.stack([mesh.faces, mesh.uv_faces], axis=-1) + 1
    lines += [
        "f " + " ".join(f"{vertex}/{place}" for vertex, place in face) for face in corners.tolist()
    ]
    (folder / f"{name}.obj").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_glb(path: Path, mesh: TexturedMesh) -> None:
    """Write a binary glTF 2.0 file that holds everything, the texture too."""
    # A vertex of glTF has one texture coordinate: those on a seam are there once for each chart.
    pairs = np.stack([mesh.faces.ravel(), mesh.uv_faces.ravel()], axis=1)
    corners, indices = np.unique(pairs, axis=0, return_inverse=True)
    upright = np.ascontiguousarray(mesh.upright())
    positions = upright[corners[:, 0]]
    normals = normals_of(upright, mesh.faces)[corners[:, 0]]
    places = mesh.uv[corners[:, 1]] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    content = _Content()
    attributes = {
        "POSITION": content.accessor(positions, "VEC3", bounds=True),
        "NORMAL": content.accessor(normals, "VEC3"),
        "TEXCOORD_0": content.accessor(places, "VEC2"),
    }
    primitive = {
        "attributes": attributes,
        "indices": content.accessor(indices.ravel().astype(np.uint32), "SCALAR"),
        "material": 0,
    }
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "i2uv-edge"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "hand", "mesh": 0}],
        "meshes": [{"name": "hand", "primitives": [primitive]}],
        "materials": [
            {
                "name": MATERIAL,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.8,
                },
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9729, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": content.view(png(mesh.texture)), "mimeType": "image/png"}],
    }
    document |= content.fields()
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = bytes(content.body)
    length = 12 + 8 + len(text) + 8 + len(body)
    parts = (
        struct.pack("<4sII", b"glTF", 2, length),
        struct.pack("<I4s", len(text), b"JSON") + text,
        struct.pack("<I4s", len(body), b"BIN\0") + body,
    )
    path.write_bytes(b"".join(parts))


def png(image: NDArray[Any]) -> bytes:
    """(H, W) or (H, W, 3) RGB, 8 or 16 bits, as a PNG file."""
    stored = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    done, content = cv2.imencode(".png", stored)
    if not done:
        raise InputError(f"an image of shape {image.shape} cannot be encoded")
    return bytes(content)


class _Content:
    """The binary part of a GLB, and where in it things lie."""

    def __init__(self) -> None:
        self.body = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes and return the number of their view."""
        entry: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self.body),
            "byteLength": len(data),
        }
        if target is not None:
            entry["target"] = target
        self.body += data + b"\0" * (-len(data) % 4)
        self._views.append(entry)
        return len(self._views) - 1

    def accessor(self, values: NDArray[Any], kind: str, *, bounds: bool = False) -> int:
        """Append an array, float32 or uint32, and return the number of its accessor."""
        whole = kind == "SCALAR"
        little = np.ascontiguousarray(values, "<u4" if whole else "<f4")
        entry: dict[str, Any] = {
            "bufferView": self.view(little.tobytes(), _INDICES if whole else _VERTICES),
            "componentType": _UINT32 if whole else _FLOAT,
            "count": len(little),
            "type": kind,
        }
        if bounds:
            entry |= {"min": little.min(0).tolist(), "max": little.max(0).tolist()}
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def fields(self) -> dict[str, Any]:
        """What the JSON part says of it."""
        return {
            "buffers": [{"byteLength": len(self.body)}],
            "bufferViews": self._views,
            "accessors": self._accessors,
        }
