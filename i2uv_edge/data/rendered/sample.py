"""What a rendered picture is: its settings, its camera, its truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.model import FloatArray, HandParameters

Generator = np.random.Generator

# An orthographic picture told as a perspective one: a camera this far away, metres. Over the depth
# of a hand its pictures differ from the orthographic one's by a thousandth of their side.
FAR = 60.0


@dataclass(frozen=True)
class SceneSettings:
    """How pictures vary.

    Attributes
    ----------
    size : side of the picture, pixels
    supersampling : samples drawn per pixel, along a side
    coarse_edges : part of the pictures that are drawn without supersampling
    margin : (least, most) side of the crop over the hand's extent
    shift : furthest the hand's centre lies from the crop's, as a part of its side
    roll_degrees : standard deviation of the in-plane rotation; views are uniform all round
    any_roll : part of the pictures whose in-plane rotation is uniform instead
    orthographic : part of the pictures without perspective
    distance : (least, most) from the camera to the hand, metres
    occluder, held : probability of something before the hand, of something in its grip
    second_light, sleeve, blur, motion, jpeg, upscaled : probabilities
    noise : most sensor noise at white, standard deviation, 0..1
    garish : part of the backgrounds that are loud instead of natural
    backgrounds : folder of pictures to take three in four backgrounds from; none if empty
    separate_fingers : draw poses again whose fingers cut into each other
    """

    size: int = 256
    supersampling: int = 2
    coarse_edges: float = 0.0
    margin: tuple[float, float] = (1.12, 1.45)
    shift: float = 0.05
    roll_degrees: float = 50.0
    any_roll: float = 0.4
    orthographic: float = 0.15
    distance: tuple[float, float] = (0.3, 1.6)
    occluder: float = 0.12
    held: float = 0.15
    second_light: float = 0.5
    sleeve: float = 0.45
    blur: float = 0.3
    motion: float = 0.12
    jpeg: float = 0.3
    upscaled: float = 0.2
    noise: float = 0.03
    garish: float = 0.1
    backgrounds: str = ""
    separate_fingers: bool = True


@dataclass(frozen=True)
class Frame:
    """Where map units lie in the camera.

    Without a camera the picture is orthographic: ``(point - origin) / side``, metres. With one,
    points are first projected towards it onto the plane of the hand's mean depth, where a map unit
    is ``side`` metres; their depth is left as it is. So x and y are always where the picture shows
    the point, and millimetres a map unit are those at the hand's mean depth.

    Attributes
    ----------
    origin : (3,) what map units (0, 0, 0) mean
    side : of the crop
    camera : (3,) where the camera is, in front of the origin; none: infinitely far
    """

    origin: FloatArray
    side: float
    camera: FloatArray | None = None

    @property
    def scale_mm(self) -> float:
        """Millimetres in one map unit."""
        return self.side * 1000.0

    @property
    def distance(self) -> float:
        """From the camera to the plane of the hand's mean depth, metres."""
        if self.camera is None:
            return FAR
        return float(self.origin[2] + 0.5 * self.side - self.camera[2])

    def to_map(self, points: FloatArray) -> FloatArray:
        """(..., 3) metres -> map units.

        x right and y down in crop units 0..1, z away in the same unit, 0.5 at the mean depth of the
        hand.
        """
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        if self.camera is not None:
            eye_x, eye_y, eye_z = self.camera
            scale = np.float32(self.distance) / (z - eye_z)
            x, y = eye_x + (x - eye_x) * scale, eye_y + (y - eye_y) * scale
        result = np.empty(points.shape, np.float32)
        for axis, values in enumerate((x, y, z)):
            result[..., axis] = (values - self.origin[axis]) / np.float32(self.side)
        return result

    def to_metres(self, points: FloatArray) -> FloatArray:
        """(..., 3) map units -> metres: undoes `to_map`."""
        metres = points * np.float32(self.side) + self.origin
        if self.camera is None:
            return metres.astype(np.float32)
        scale = (metres[..., 2:] - self.camera[2]) / np.float32(self.distance)
        flat = self.camera[:2] + (metres[..., :2] - self.camera[:2]) * scale
        return np.concatenate([flat, metres[..., 2:]], axis=-1).astype(np.float32)

    def eye(self) -> FloatArray:
        """(3,) the camera's place; that of an orthographic picture is `FAR` away."""
        if self.camera is not None:
            return self.camera
        middle = self.origin + np.float32(0.5 * self.side)
        return (middle - np.array([0, 0, FAR], np.float32)).astype(np.float32)

    def intrinsics(self, size: int) -> FloatArray:
        """(3, 3) pinhole camera of the picture, pixels; pixel centres lie at halves."""
        focal = size * self.distance / self.side
        middle = (self.eye()[:2] - self.origin[:2]) / self.side * size
        return np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], np.float32)


@dataclass(frozen=True)
class Sample:
    """One picture and its truth.

    Attributes
    ----------
    picture : (S, S, 3) uint8 RGB
    coarse, fine, joints : (Vc, 3), (Vf, 3), (21, 3) float32 in map units, see `Frame.to_map`
    parameters, frame : what they were made from
    mask : (S, S) bool, pixels that show the hand for the most part: neither its forearm nor what
        covers it; empty where the picture was read from a set that stores none
    """

    picture: NDArray[np.uint8]
    coarse: FloatArray
    fine: FloatArray
    joints: FloatArray
    parameters: HandParameters
    frame: Frame
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def intrinsics(self) -> FloatArray:
        """(3, 3) pinhole camera of the picture, pixels."""
        return self.frame.intrinsics(len(self.picture))

    def in_camera(self, points: FloatArray) -> FloatArray:
        """(..., 3) map units (`coarse`, `fine`, `joints`) -> metres from the camera."""
        return (self.frame.to_metres(points) - self.frame.eye()).astype(np.float32)
