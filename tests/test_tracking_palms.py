"""The decoding of a palm detector's numbers, on an interpreter whose answers are known."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2uv_edge.errors import InputError
from i2uv_edge.tracking import palms
from i2uv_edge.tracking.palms import IN_TASK, SIDE, PalmDetector


class Interpreter:
    """Sees a palm at one of its guesses: a quarter of the picture wide, fingers up."""

    def __init__(self, guess: int = 0, score: float = 5.0, guesses: int = 2016) -> None:
        self.guess, self.score, self.guesses = guess, score, guesses
        self.given: Any = None

    def get_input_details(self) -> Any:
        return [{"index": 0, "shape": np.array([1, SIDE, SIDE, 3])}]

    def get_output_details(self) -> Any:
        shapes = ((1, self.guesses, 18), (1, self.guesses, 1))
        return [{"index": k + 1, "shape": np.array(shape)} for k, shape in enumerate(shapes)]

    def set_tensor(self, index: int, value: Any) -> None:
        self.given = value

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> Any:
        if index == 2:
            scores = np.full((1, self.guesses, 1), -5.0, np.float32)
            scores[0, self.guess] = self.score
            return scores
        numbers = np.zeros((1, self.guesses, 18), np.float32)
        numbers[0, self.guess, 2:4] = SIDE / 4
        numbers[0, self.guess, 4:6] = (0, 20)  # the wrist is below
        numbers[0, self.guess, 8:10] = (0, -20)  # the knuckle above
        return numbers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "palm.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    return path


def detector(monkeypatch: pytest.MonkeyPatch, path: Path, interpreter: Interpreter) -> PalmDetector:
    monkeypatch.setattr(palms, "open_interpreter", lambda content: interpreter)
    return PalmDetector(path)


# Of guesses: two in each cell of 24 x 24, then six in each of 12 x 12.
@pytest.mark.parametrize(
    ("guess", "x", "y"), [(0, 4, 4), (2, 12, 4), (49, 4, 12), (1152, 8, 8), (2015, 184, 184)]
)
def test_a_hand_lies_towards_the_fingers_of_its_palm(
    monkeypatch: pytest.MonkeyPatch, file: Path, guess: int, x: int, y: int
) -> None:
    found = detector(monkeypatch, file, Interpreter(guess))(np.zeros((192, 192, 3), np.uint8))
    assert found is not None
    assert found.side == pytest.approx(2.6 * SIDE / 4, abs=1)
    assert found.left + found.side / 2 == pytest.approx(x, abs=1)
    assert found.top + found.side / 2 == pytest.approx(y - SIDE / 8, abs=1)


def test_a_wide_picture_is_shown_whole_and_the_box_is_in_its_pixels(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    interpreter = Interpreter(1152)
    found = detector(monkeypatch, file, interpreter)(np.full((192, 384, 3), 255, np.uint8))
    assert found is not None
    assert found.side == pytest.approx(2.6 * 2 * SIDE / 4, abs=1)
    assert (interpreter.given[0, :40] == 0).all()  # above the picture
    assert (interpreter.given[0, 60:130] == 1).all()


def test_no_palm_no_box(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    found = detector(monkeypatch, file, Interpreter(score=-1.0))(np.zeros((9, 9, 3), np.uint8))
    assert found is None


def test_the_detector_of_a_task_file_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "hand.task", "w") as task:
        task.writestr(IN_TASK, b"\0\0\0\0TFL3 the model")
    opened: list[bytes] = []

    def open_interpreter(content: bytes) -> Interpreter:
        opened.append(content)
        return Interpreter()

    monkeypatch.setattr(palms, "open_interpreter", open_interpreter)
    PalmDetector(tmp_path / "hand.task")
    assert opened == [b"\0\0\0\0TFL3 the model"]


@pytest.mark.parametrize("content", [b"", b"text", b"\0\0\0\0TFL3 and then nonsense"])
def test_what_is_no_detector_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "palm.tflite").write_bytes(content)
    with pytest.raises(InputError, match=r"palm\.tflite is no hand detector"):
        PalmDetector(tmp_path / "palm.tflite")


def test_a_missing_file_and_another_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PalmDetector(tmp_path / "absent.tflite")
    with pytest.raises(InputError, match="tensors of shapes"):
        detector(monkeypatch, file, Interpreter(guesses=896))
