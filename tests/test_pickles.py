from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_toys import modules

from i2uv_edge.errors import InputError
from i2uv_edge.pickles import Record, read_pickle

ARRAYS = [
    np.arange(6, dtype=np.float64).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(4, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 3)),
    np.array(2.5),
]


def write(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_are_read_as_numpy_reads_them(
    tmp_path: Path, array: np.ndarray[Any, Any], protocol: int
) -> None:
    found = read_pickle(write(tmp_path / "a.pkl", array, protocol))
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_numbers_texts_and_containers_come_back(tmp_path: Path, protocol: int) -> None:
    value = {
        "a": [1, 2.5, None, True],
        "b": ("text", b"bytes", {1, 2}),
        "c": {"d": np.float32(0.5), "e": np.int64(7)},
        "f": [np.arange(3)],
    }
    found = read_pickle(write(tmp_path / "a.pkl", value, protocol))
    assert found["a"] == value["a"]
    assert found["b"] == value["b"]
    assert found["c"] == {"d": 0.5, "e": 7}
    assert np.array_equal(found["f"][0], np.arange(3))


def test_bytes_that_python_2_stored_as_text_are_the_same_bytes(tmp_path: Path) -> None:
    # Two numbers as numpy wrote them there; U is a short string of that many bytes.
    raw = np.array([1.5, -2.25]).tobytes()
    made = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = (
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\x00tb"
    )
    state = b"(K\x01K\x02\x85" + dtype + b"\x89U\x10" + raw + b"tb."
    (tmp_path / "a.pkl").write_bytes(made + state)
    assert read_pickle(tmp_path / "a.pkl").tolist() == [1.5, -2.25]


def test_listed_classes_become_records_and_are_never_imported(tmp_path: Path) -> None:
    class Thing:
        pass

    thing = Thing()
    thing.__dict__.update(x=np.arange(3), y=[np.ones(2)])
    with modules(no_such_package__Thing=Thing):
        path = write(tmp_path / "a.pkl", thing)
        zero = write(tmp_path / "b.pkl", thing, protocol=0)  # goes through copy_reg
    for each in (path, zero):
        found = read_pickle(each, ["no.such.package.Thing"])
        assert isinstance(found, Record)
        assert found.name == "no.such.package.Thing"
        assert np.array_equal(found.fields["x"], np.arange(3))
        assert np.array_equal(found.fields["y"][0], np.ones(2))


class Attack:
    def __init__(self, *command: Any) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return self.command[0], self.command[1:]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (os.system, "system"),
        (eval, "eval"),
        (getattr, "getattr"),
        (np.load, "load"),
        (io.open, "open"),
    ],
)
def test_a_call_is_refused_by_its_name_and_not_made(
    tmp_path: Path, call: Any, name: str, protocol: int
) -> None:
    target = tmp_path / "made"
    path = write(tmp_path / "a.pkl", {"x": Attack(call, f"touch {target}")}, protocol)
    with pytest.raises(InputError, match=name) as raised:
        read_pickle(path)
    assert str(path) in str(raised.value)
    assert not target.exists()


def test_the_attack_would_have_worked(tmp_path: Path) -> None:
    target = tmp_path / "made"
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {target}")))
    assert target.exists()


def test_a_class_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", Path("x"))
    with pytest.raises(InputError, match=r"names pathlib\.\w*Path|names pathlib"):
        read_pickle(path, ["chumpy.ch.Ch"])


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()], dtype=object),
        np.zeros(2, dtype=[("a", "f4")]),
        complex(1, 2),
        np.array([1 + 2j]),
    ],
    ids=["objects", "structures", "a number of another kind", "complex"],
)
def test_what_is_no_plain_number_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"a\.pkl"):
        read_pickle(write(tmp_path / "a.pkl", value))


@pytest.mark.parametrize("keep", [0, 1, 20, -10])
def test_a_damaged_file_names_itself(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.pkl", {"x": np.arange(9)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"a\.pkl is no complete pickle"):
        read_pickle(path)


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InputError, match="nested without end"):
        read_pickle(write(tmp_path / "a.pkl", endless))


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.pkl cannot be read"):
        read_pickle(tmp_path / "a.pkl")
