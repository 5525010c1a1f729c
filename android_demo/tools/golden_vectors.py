"""What the app's Java code has to compute, as Python does, from a real bundle.

`python golden_vectors.py BUNDLE OUT.npz` writes one NumPy archive. Its arrays are named by what
they test, the case and the part: `crop.0.picture`, `crop.0.box`, `crop.0.made`. All pictures in it
are rendered hands or noise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from toolchain import ended

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle
from i2uv_edge.data.pictures import Box, crop, read_picture
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.metrics import vertex_normals
from i2uv_edge.runners import Port, TfliteRunner

__all__ = ["one_euro", "vectors", "write"]

Array = NDArray[Any]
Case = tuple[str, Array]

SEED = 865
SIDE = 256
# Picture size (width, height) and box: shrinking by a broken and by a whole factor, growing, as it
# is, and reaching beyond each edge.
CROPS = (
    ((640, 480), Box(80, 0, 480)),
    ((640, 480), Box(311, -63, 401)),
    ((512, 512), Box(0, 0, 512)),
    ((300, 260), Box(40, 31, 199)),
    ((256, 256), Box(0, 0, 256)),
    ((256, 256), Box(-17, -40, 300)),
    ((1280, 960), Box(700, 400, 901)),
    ((90, 120), Box(-20, 3, 131)),
)
CAMERAS = ((0, 1), (1, 2), (2, 1), (3, 2))  # quarter turns, bytes between two chroma values
PORTS = (
    Port("a", (1,), np.dtype(np.int8), 1 / 255, -128),
    Port("b", (1,), np.dtype(np.uint8), 0.0078431, 64),
    Port("c", (1,), np.dtype(np.int8), 0.011, 3),
    Port("d", (1,), np.dtype(np.float32)),
)


def vectors(folder: Path) -> dict[str, Array]:
    """Every array by its name."""
    bundle = Bundle.open(folder)
    contents = comparison.open_contents(bundle)
    if "affinenet" not in contents.specs or "srnet" not in contents.specs:
        raise UsageError(f"{folder} is of a single network", remedy="use a bundle of a pair")
    rng = np.random.default_rng(SEED)
    cases = [
        *_crops(bundle, rng),
        *_cameras(rng),
        *_tensors(rng),
        *_chains(contents),
        *_filters(rng),
    ]
    return dict(cases)


def write(folder: Path, path: Path) -> None:
    """Write the vectors of a bundle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **vectors(folder))


def one_euro(values: Array, times: Array, *, min_cutoff: float, beta: float) -> Array:
    """Filter (T, N) values as in the paper of Casiez, Roussel and Vogel (CHI 2012).

    `times` are seconds; the cutoff of the speed is 1 Hz.
    """

    def share(cutoff: Array | float, step: float) -> Array:
        tau = 1 / (2 * np.pi * np.asarray(cutoff))
        return np.asarray(1 / (1 + tau / step))

    made = np.array(values, np.float64)
    speed = np.zeros(made.shape[1])
    for row in range(1, len(made)):
        step = float(times[row] - times[row - 1])
        slope = (values[row] - made[row - 1]) / step
        speed = speed + share(1.0, step) * (slope - speed)
        take = share(min_cutoff + beta * np.abs(speed), step)
        made[row] = made[row - 1] + take * (values[row] - made[row - 1])
    return made


def _crops(bundle: Bundle, rng: np.random.Generator) -> Iterator[Case]:
    hand = read_picture(bundle.path / "eval" / "00000.jpg")
    for number, ((width, height), box) in enumerate(CROPS):
        picture = cv2.resize(hand, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-20, 21, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        made, _ = crop(picture, SIDE, box)
        yield f"crop.{number}.picture", picture
        yield f"crop.{number}.box", np.array([box.left, box.top, box.side], np.int32)
        yield f"crop.{number}.made", np.rint(made * 255).astype(np.uint8)


def _cameras(rng: np.random.Generator) -> Iterator[Case]:
    """Planes as a camera gives them, with padding behind each row, and the upright picture."""
    width, height = 64, 48
    for number, (turns, step) in enumerate(CAMERAS):
        luma = rng.integers(0, 256, (height, width), np.uint8)
        u, v = rng.integers(0, 256, (2, height // 2, width // 2), np.uint8)
        full = [np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in (v, u)]
        rgb = cv2.cvtColor(np.stack([luma, *full], axis=-1), cv2.COLOR_YCrCb2RGB)
        yield f"camera.{number}.layout", np.array([width, height, turns, step], np.int32)
        yield f"camera.{number}.luma", np.pad(luma, ((0, 0), (0, 5)))
        for name, plane in (("u", u), ("v", v)):
            apart = np.zeros((height // 2, width // 2 * step + 3), np.uint8)
            apart[:, : width // 2 * step : step] = plane
            yield f"camera.{number}.{name}", apart
        yield f"camera.{number}.made", np.ascontiguousarray(np.rot90(rgb, -turns))


def _tensors(rng: np.random.Generator) -> Iterator[Case]:
    real = rng.uniform(-1.5, 1.5, (1, 8, 8, 3)).astype(np.float32)
    levels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    yield "tensor.real", real
    yield "tensor.levels", levels
    for port in PORTS:
        stored = port.stored(real)
        yield f"tensor.{port.name}.scale", np.array([port.scale, port.zero_point], np.float64)
        yield f"tensor.{port.name}.{port.dtype.name}", stored
        yield f"tensor.{port.name}.back", port.real(stored)
        picture = levels.astype(np.float32) / np.float32(255)
        yield f"tensor.{port.name}.picture", port.stored(picture)


def _chains(contents: comparison.Contents) -> Iterator[Case]:
    """The golden samples with all that is between their picture and their vertices."""
    atlases = contents.atlases
    assert atlases.fine is not None
    spec = contents.chain
    srnet = TfliteRunner(contents.bundle.path / "srnet.tflite", contents.specs["srnet"])
    golden = DumpRunner(contents.bundle.path / "golden")
    yield "fine.faces", atlases.fine.faces
    for number, name in enumerate(golden.ids):
        sample = golden.sample(name)
        maps = sample["affinenet"][None]
        coarse = atlases.coarse.read_vertices(maps)
        bounds = spec.bounds(coarse)
        feed = spec.normalise(maps, bounds)
        made = srnet({srnet.input.name: feed})[srnet.output.name]
        vertices = atlases.fine.read_vertices(spec.restore(made, bounds))[0]
        box = Box(-13 + 40 * number, 21, 300 + number)
        placed = np.concatenate(
            [box.to_pixels(vertices[:, :2]), box.side * (vertices[:, 2:] - 0.5)], 1
        )
        yield f"chain.{number}.picture", np.rint(sample["input"] * 255).astype(np.uint8)
        yield f"chain.{number}.affinenet", maps
        yield f"chain.{number}.coarse", coarse[0]
        yield f"chain.{number}.feed", feed
        yield f"chain.{number}.srnet", made
        yield f"chain.{number}.vertices", vertices
        yield f"chain.{number}.box", np.array([box.left, box.top, box.side], np.int32)
        yield f"chain.{number}.placed", placed
        yield f"chain.{number}.normals", vertex_normals(placed, atlases.fine.faces)


def _filters(rng: np.random.Generator) -> Iterator[Case]:
    times = np.cumsum(rng.uniform(0.02, 0.06, 60))
    values = np.cumsum(rng.normal(0, 3, (60, 9)), 0).astype(np.float32)
    yield "filter.times", times
    yield "filter.values", values
    yield "filter.made", one_euro(values, times, min_cutoff=1.5, beta=0.02)


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    return ended("golden_vectors", lambda: write(Path(arguments[0]), Path(arguments[1])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
