"""Where a hand is in a picture, by MediaPipe's palm detector, if the user has its file.

The networks find a hand by themselves that fills a quarter of a picture (`tracker`); a detector
finds smaller ones, and says that there is none. Nothing is downloaded and nothing else is needed:
the file runs on the interpreter that the bundle's run on. It is `palm_detection_full.tflite` of a
package mediapipe up to 0.10.14, or lies in the `hand_landmarker.task` that its pages offer.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import Box, crop, whole
from i2uv_edge.errors import InputError
from i2uv_edge.runners import open_interpreter

__all__ = ["PalmDetector"]

UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

IN_TASK = "hand_detector.tflite"
SIDE = 192
# A grid of cells for each stride, so many guesses in a cell (palm_detection_*.pbtxt of MediaPipe).
LAYERS = ((8, 2), (16, 6))
NUMBERS = 18  # centre, width, height, and seven points of a palm
WRIST, KNUCKLE = 0, 2  # of these points: between the forearm's bones, the middle finger's knuckle
SURE = 0.5
# From a palm to its hand (hand_detector's rectangle): the side over the palm's, and how far the
# middle lies towards the fingers, in sides of the palm.
HAND, FORWARD = 2.6, 0.5


class PalmDetector:
    """Gives the square around the surest hand of a picture.

    Parameters
    ----------
    path
        A .tflite file of the palm detector, or a .task file that holds one.

    Raises
    ------
    InputError
        It is neither.
    """

    def __init__(self, path: Path) -> None:
        self._interpreter = _opened(path)
        (self._input,) = (d["index"] for d in self._interpreter.get_input_details())
        shapes = {
            int(detail["shape"][-1]): detail["index"]
            for detail in self._interpreter.get_output_details()
        }
        self._boxes, self._scores = shapes[NUMBERS], shapes[1]

    def __call__(self, picture: UInt8) -> Box | None:
        """(H, W, 3) RGB -> the square of a hand, None if no palm is seen."""
        around = whole(picture)
        shown, _ = crop(picture, SIDE, around)
        self._interpreter.set_tensor(self._input, shown[None])
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._scores)[0, :, 0].astype(np.float64)
        best = int(scores.argmax())
        if not 1.0 / (1.0 + np.exp(-np.clip(scores[best], -100, 100))) >= SURE:
            return None
        numbers = self._interpreter.get_tensor(self._boxes)[0, best].astype(np.float64) / SIDE
        return _hand(numbers, _anchors()[best], around)


def _hand(numbers: Float64, anchor: Float64, picture: Box) -> Box | None:
    """The hand's square, from the (18,) numbers of a palm in sides of the picture's square."""
    middle, size = numbers[:2] + anchor, float(np.abs(numbers[2:4]).max())
    points = numbers[4:].reshape(-1, 2)
    along = points[KNUCKLE] - points[WRIST]
    length = float(np.linalg.norm(along))
    if not np.isfinite(numbers).all() or size <= 0 or length <= 0:
        return None
    middle = middle + FORWARD * size * along / length
    left, top = picture.to_pixels(middle - HAND * size / 2)
    return Box(round(float(left)), round(float(top)), max(1, round(HAND * size * picture.side)))


@cache
def _anchors() -> Float64:
    """(2016, 2) where each guess starts from, sides of the picture's square."""
    rows = []
    for stride, count in LAYERS:
        cells = (np.arange(SIDE // stride) + 0.5) * stride / SIDE
        y, x = np.meshgrid(cells, cells, indexing="ij")
        rows.append(np.repeat(np.column_stack([x.ravel(), y.ravel()]), count, axis=0))
    return np.concatenate(rows)


def _opened(path: Path) -> Any:
    expected = "palm_detection_full.tflite or palm_detection_lite.tflite of MediaPipe, or a .task "
    expected += f"file that holds {IN_TASK}"
    try:
        content = path.read_bytes()
        # A .tflite is a zip file too, of its metadata.
        if content[4:8] != b"TFL3":
            with zipfile.ZipFile(io.BytesIO(content)) as task:
                content = task.read(IN_TASK)
        interpreter = open_interpreter(content)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", expected=expected) from error
    except (KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no hand detector: {reason}", expected=expected) from error
    details = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [sorted(tuple(map(int, detail["shape"])) for detail in side) for side in details]
    count = len(_anchors())
    if shapes != [[(1, SIDE, SIDE, 3)], [(1, count, 1), (1, count, NUMBERS)]]:
        raise InputError(
            f"{path} takes and gives tensors of shapes {shapes[0]} and {shapes[1]}",
            expected=expected,
        )
    return interpreter
