"""One look of the networks at one square of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.chain import Chain
from i2uv_edge.comparison import Contents, network_runners
from i2uv_edge.data.pictures import Box, crop
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.confidence import seam_disagreement_mm
from i2uv_edge.requests import Side
from i2uv_edge.runners import Runner
from i2uv_edge.tracking.boxes import Extent
from i2uv_edge.tracking.stages import BETWEEN, Stages, TimedReader, TimedRunner

__all__ = ["HandReader", "Look", "in_pixels"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What was read from a square of a picture. A left hand comes back as it is in the picture.

    Attributes
    ----------
    box : the square
    maps : "affinenet" and, with an SRNet, "srnet": (M, M, 3) map units
    vertices : (V, 3) map units, of the last map
    disagreement_mm : of AffineNet's map with itself along its seams; NaN where nothing can be said
    """

    box: Box
    maps: dict[str, Float32]
    vertices: Float32
    disagreement_mm: float

    @property
    def finite(self) -> bool:
        """Whether the vertices are numbers at all."""
        return bool(np.isfinite(self.vertices).all())

    @property
    def map(self) -> Float32:
        """The last map."""
        return self.maps.get("srnet", self.maps["affinenet"])

    @cached_property
    def pixels(self) -> Float32:
        """(V, 3) x and y in pixels of the picture, z away from the mean depth in as many."""
        return in_pixels(self.vertices, self.box)

    @cached_property
    def extent(self) -> Extent:
        """What the hand fills of the picture."""
        return Extent.of_points(self.pixels)


def in_pixels(points: Float32, box: Box) -> Float32:
    """(V, 3) map units -> pixels of the picture that the box is a part of, z in as many.

    Depth is counted from its mean: where a map's starts moves with the box.
    """
    x, y = points[:, 0] * box.side + box.left, points[:, 1] * box.side + box.top
    z = (points[:, 2] - points[:, 2].mean()) * box.side
    return np.stack([x, y, z], axis=1).astype(np.float32)


class HandReader:
    """A bundle's networks, run on squares of pictures as an app would run them.

    Parameters
    ----------
    contents
        The bundle.
    name
        "tflite" or "float".
    hand
        Which hand the pictures show. The networks know right hands: for a left one they are shown
        the mirrored square, and what they answer is mirrored back.
    stages
        Where times go.

    Raises
    ------
    UsageError
        The bundle takes no pictures.
    """

    def __init__(
        self, contents: Contents, name: str, *, hand: Side = "right", stages: Stages | None = None
    ) -> None:
        if "affinenet" not in contents.specs:
            raise UsageError(
                f"{contents.bundle.path} holds no AffineNet, whose maps are what is followed",
                expected="a bundle with an AffineNet",
            )
        self.name = name
        self.hand = hand
        self.atlases = contents.atlases
        self._size = contents.specs["affinenet"].input.shape[1]
        self._stages = stages or Stages()
        runners: dict[str, Runner] = {
            role: TimedRunner(runner, self._stages, role)
            for role, runner in network_runners(contents, name).items()
        }
        coarse, fine = contents.atlases.coarse, contents.atlases.fine
        self._chain = Chain(
            runners["affinenet"],
            runners.get("srnet"),
            coarse=TimedReader(coarse, self._stages, BETWEEN if fine else "gather"),
            fine=fine and TimedReader(fine, self._stages, "gather"),
            spec=contents.chain,
            name=name,
        )

    @property
    def atlas(self) -> Atlas:
        """Of the last map."""
        return self.atlases.fine or self.atlases.coarse

    @cached_property
    def faces(self) -> NDArray[np.int32]:
        """(F, 3) outward as the hand is in the picture: a mirrored one runs the other way."""
        faces = self.atlas.faces
        return np.ascontiguousarray(faces[:, ::-1] if self.hand == "left" else faces)

    def look(self, picture: UInt8, box: Box) -> Look:
        """Read the hand in a square of a (H, W, 3) picture.

        Raises
        ------
        InputError
            The square holds nothing of the picture.
        """
        with self._stages("crop"):
            shown, _ = crop(picture, self._size, box)
            if self.hand == "left":
                shown = np.ascontiguousarray(shown[:, ::-1])
        with self._stages(BETWEEN):
            found = self._chain(shown[None])
        vertices = found["vertices"][0]
        with self._stages("confidence"):
            apart = float(seam_disagreement_mm(self.atlases.coarse, found["affinenet"][0]))
        maps = {name: values[0] for name, values in found.items() if name != "vertices"}
        if self.hand == "left":
            maps = {name: mirrored(values) for name, values in maps.items()}
            vertices = mirrored(vertices)
        return Look(box, maps, vertices, apart)

    def scale_mm(self, vertices: Float32) -> float:
        """How many millimetres a unit of finite (V, 3) vertices is, judged by the template's size.

        `metrics.similarity_scale` for one hand, in a quarter of its time. NaN where it fits no
        hand.
        """
        template, size = self._template
        covariance = template @ vertices.astype(np.float64)
        if self.hand == "left":
            covariance[:, 0] *= -1
        left, singular, right = np.linalg.svd(covariance)
        if np.linalg.det(left) * np.linalg.det(right) < 0:
            singular[2] *= -1
        units_a_metre = float(singular.sum()) / size
        return 1000.0 / units_a_metre if units_a_metre > 1e-3 else math.nan

    @cached_property
    def _template(self) -> tuple[NDArray[np.float64], float]:
        """(3, V) the template about its middle, metres, and the sum of its squares."""
        centred = self.atlas.template.astype(np.float64)
        centred -= centred.mean(0)
        return np.ascontiguousarray(centred.T), float(np.square(centred).sum())


def mirrored(points: Float32) -> Float32:
    """(..., 3) map units, left and right of the square exchanged."""
    found = points.copy()
    found[..., 0] = np.float32(1) - found[..., 0]
    return found
