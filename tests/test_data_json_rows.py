from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from i2uv_edge.data import json_rows
from i2uv_edge.data.json_rows import JsonRows
from i2uv_edge.errors import InputError

ROWS = np.random.default_rng(0).normal(0, 1, (7, 4, 3))


def write(folder: Path, text: str) -> Path:
    path = folder / "rows.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 24])
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_those_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    rows = JsonRows(write(tmp_path, json.dumps(ROWS.tolist(), indent=indent)), (4, 3))
    assert len(rows) == 7
    for index in (3, 0, 6):
        assert np.array_equal(rows[index], ROWS[index])


def test_rows_of_any_length_are_allowed_where_they_are_asked_for(tmp_path: Path) -> None:
    rows = JsonRows(write(tmp_path, "[[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]]"), (-1, 3))
    assert [len(rows[0]), len(rows[1])] == [1, 2]


def test_a_list_of_numbers_has_rows_of_one(tmp_path: Path) -> None:
    rows = JsonRows(write(tmp_path, "[0.25, 0.5]"), ())
    assert (len(rows), float(rows[1])) == (2, 0.5)


def test_rows_go_to_other_processes(tmp_path: Path) -> None:
    rows = pickle.loads(pickle.dumps(JsonRows(write(tmp_path, json.dumps(ROWS.tolist())), (4, 3))))
    assert np.array_equal(rows[5], ROWS[5])


def test_only_the_places_of_the_rows_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(np.zeros((20, 300, 3)).tolist()))
    assert len(pickle.dumps(JsonRows(path, (300, 3)))) < 1000 < path.stat().st_size / 100


@pytest.mark.parametrize("index", [-1, 7])
def test_there_are_no_rows_beyond_the_last(tmp_path: Path, index: int) -> None:
    rows = JsonRows(write(tmp_path, json.dumps(ROWS.tolist())), (4, 3))
    with pytest.raises(IndexError, match="7 rows"):
        rows[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(ROWS.tolist())[:-30], "cut short"),
        (json.dumps(ROWS.tolist()) + "]", "cut short"),
        ("", "no rows"),
        ("[]", "no rows"),
        ('{"a": 1}', "no rows"),
    ],
)
def test_a_damaged_list_names_itself(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as raised:
        JsonRows(path, (4, 3))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[[1, 2]]", "is of shape"),
        ("[[1, 2, NaN]]", "not finite"),
        ("[[1, 2, x]]", "no list of numbers"),
        ('[[1, 2, "a"]]', "no list of numbers"),
        ("[[1, 2, 3], [4]]", "no list of numbers"),
    ],
)
def test_a_damaged_row_names_itself(tmp_path: Path, row: str, message: str) -> None:
    rows = JsonRows(write(tmp_path, f"[[[1, 2, 3]], {row}]"), (1, 3))
    assert rows[0].tolist() == [[1, 2, 3]]
    with pytest.raises(InputError, match=message) as raised:
        rows[1]
    assert "row 1" in str(raised.value)


@pytest.mark.parametrize("text", ["[1, 2", '["a"]', "[[1]]", "[1, Infinity]"])
def test_damaged_numbers_name_their_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"rows\.json"):
        JsonRows(write(tmp_path, text), ())


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    for shape in ((), (3,)):
        with pytest.raises(InputError, match=r"rows\.json cannot be read"):
            JsonRows(tmp_path / "rows.json", shape)
