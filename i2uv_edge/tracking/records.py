"""What is written about a hand: its joints, its map, its mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.bundle import write_json
from i2uv_edge.errors import UsageError
from i2uv_edge.tracking.boxes import square_of
from i2uv_edge.tracking.mesh_files import TexturedMesh, png, write_glb, write_obj
from i2uv_edge.tracking.reader import HandReader, Look
from i2uv_edge.tracking.texture import bake

__all__ = ["JOINT_NAMES", "Hand", "number", "write_hand", "write_picture"]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

_FINGERS = {
    "thumb": ("cmc", "mcp", "ip", "tip"),
    **dict.fromkeys(("index", "middle", "ring", "little"), ("mcp", "pip", "dip", "tip")),
}
JOINT_NAMES = ("wrist", *(f"{name}_{part}" for name, parts in _FINGERS.items() for part in parts))
"""In FreiHAND's order."""

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Hand:
    """A hand as it is shown and written.

    Attributes
    ----------
    look : what the networks answered
    pixels : (V, 3) where it is in the picture, see `Look.pixels`; of a filter, where there is one
    joints : (21, 3) likewise; (0, 3) where the mesh knows none
    scale_mm : millimetres a map unit, by the template's size; NaN where it fits no hand
    """

    look: Look
    pixels: Float32
    joints: Float32
    scale_mm: float

    @property
    def mm_per_pixel(self) -> float:
        """At the hand's distance."""
        return self.scale_mm / self.look.box.side

    def fields(self) -> dict[str, Any]:
        """What JSON holds of its joints: in the picture, and in millimetres from the wrist."""
        if not len(self.joints):
            return {"joints": None}
        mm = (self.joints - self.joints[0]) * self.mm_per_pixel
        return {
            "joints": {
                "names": list(JOINT_NAMES),
                "pixels": np.round(self.joints[:, :2].astype(float), 2).tolist(),
                "mm": None if math.isnan(self.scale_mm) else np.round(mm.astype(float), 2).tolist(),
            }
        }


def write_hand(
    folder: Path, name: str, picture: UInt8, hand: Hand, reader: HandReader, about: dict[str, Any]
) -> None:
    """Write NAME.obj, .glb, -map.png, -map.npz and -joints.json of a hand into a folder."""
    atlas, side = reader.atlas, hand.look.box.side
    middle = hand.pixels.mean(0)
    metres = (hand.pixels - middle) * np.float32(_usable(hand.mm_per_pixel) / 1000)
    mesh = TexturedMesh(
        vertices=metres.astype(np.float32),
        faces=reader.faces,
        uv=atlas.uv,
        uv_faces=atlas.uv_faces[:, ::-1] if reader.hand == "left" else atlas.uv_faces,
        texture=bake(picture, hand.pixels, side, atlas, reader.faces),
    )
    write_obj(folder, name, mesh)
    write_glb(folder / f"{name}.glb", mesh)
    _write_map(folder / f"{name}-map", hand.look.map, atlas.mask, hand, reader.hand)
    write_json(folder / f"{name}-joints.json", {"schema": 1, **about, **hand.fields()})


def write_picture(path: Path, picture: UInt8) -> None:
    """Write (H, W, 3) RGB as a JPEG file."""
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    done, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise UsageError(f"{path} cannot be encoded: {picture.shape[1]} x {picture.shape[0]}")
    path.write_bytes(bytes(content))


def number(value: float, digits: int = 3) -> float | None:
    """A number as JSON has it: null if it is none."""
    return round(value, digits) if math.isfinite(value) else None


def _write_map(path: Path, uv_map: Float32, mask: NDArray[np.bool_], hand: Hand, side: str) -> None:
    """The map as numbers, and to look at: 16 bits, each axis from its least to its most."""
    held = uv_map[mask]
    low, high = held.min(0), held.max(0)
    shown = (uv_map - low) / np.maximum(high - low, 1e-6) * mask[..., None]
    path.with_name(path.name + ".png").write_bytes(
        png(np.rint(np.clip(shown, 0, 1) * 65535).astype(np.uint16))
    )
    np.savez_compressed(
        path.with_name(path.name + ".npz"),
        allow_pickle=False,
        uv_map=uv_map,
        mask=mask,
        low=low,
        high=high,
        box=np.array(square_of(hand.look.box)),
        mm_per_unit=np.array(hand.scale_mm),
        hand=np.array(side),
    )


def _usable(mm_per_pixel: float) -> float:
    return mm_per_pixel if math.isfinite(mm_per_pixel) else 1.0
