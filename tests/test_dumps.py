from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.dumps import DUMP, DumpRunner, write_dump
from i2uv_edge.errors import DamagedError, InputError, UsageError
from i2uv_edge.runners import Stored

Array = NDArray[Any]


def tensors(seed: int) -> dict[str, Array | Stored]:
    rng = np.random.default_rng(seed)
    steps = rng.integers(-128, 127, (1, 6, 6, 3), np.int8)
    return {
        "input": Stored(rng.integers(0, 255, (1, 5, 5, 3), np.uint8), 1 / 255, 0),
        "affinenet": rng.random((1, 4, 4, 3), np.float32),
        "srnet": Stored(steps, 0.01, -100),
        "vertices": rng.random((1, 7, 3), np.float32),
    }


def picture(seed: int) -> Array:
    stored = tensors(seed)["input"]
    assert isinstance(stored, Stored)
    return stored.real()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dump(
        tmp_path / "dump",
        ((name, tensors(seed)) for seed, name in enumerate(("a/1", "b"))),
        source="phone",
        bundle="abc",
    )
    return tmp_path / "dump"


def test_a_dump_gives_back_what_was_written(folder: Path) -> None:
    dump = DumpRunner(folder)
    assert (dump.name, dump.source, dump.bundle, dump.live) == ("phone", "phone", "abc", False)
    assert dump.ids == ("a/1", "b")
    made = dump(np.stack([picture(1), picture(0)]), ("b", "a/1"))
    assert list(made) == ["affinenet", "srnet", "vertices"]
    assert np.array_equal(made["affinenet"][0], tensors(1)["affinenet"][0])  # type: ignore[index]
    stored = tensors(0)["srnet"]
    assert isinstance(stored, Stored)
    expected = (stored.array[0].astype(np.float32) + 100) * np.float32(0.01)
    assert np.allclose(made["srnet"][1], expected)
    assert made["vertices"].shape == (2, 7, 3)


def test_the_files_are_raw_little_endian_and_described_beside(folder: Path) -> None:
    document = json.loads((folder / DUMP).read_text())
    assert document["schema"] == 1
    entry = document["samples"][1]["affinenet"]
    assert entry == {
        "file": "0001.affinenet.bin",
        "dtype": "float32",
        "shape": [1, 4, 4, 3],
        "scale": 1.0,
        "zero_point": 0,
    }
    content = np.frombuffer((folder / entry["file"]).read_bytes(), "<f4")
    assert np.array_equal(content, tensors(1)["affinenet"].ravel())  # type: ignore[union-attr]


def test_the_same_samples_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_dump(again, [("a/1", tensors(0)), ("b", tensors(1))], source="phone", bundle="abc")
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_big_endian_arrays_are_written_little_endian(tmp_path: Path) -> None:
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    write_dump(tmp_path / "d", [("a", {"vertices": values})], source="x")
    assert (tmp_path / "d" / "0000.vertices.bin").read_bytes() == values.astype("<f4").tobytes()


def test_a_sample_the_dump_lacks_is_missing_in_the_answer(folder: Path) -> None:
    assert DumpRunner(folder)(picture(0)[None], ("c",)) == {}


def test_a_tensor_that_one_sample_lacks_is_missing_in_the_answer(tmp_path: Path) -> None:
    less = {key: value for key, value in tensors(1).items() if key != "srnet"}
    write_dump(tmp_path / "d", [("a", tensors(0)), ("b", less)], source="x")
    dump = DumpRunner(tmp_path / "d")
    made = dump(np.stack([picture(0), picture(1)]), ("a", "b"))
    assert list(made) == ["affinenet", "vertices"]


def test_an_input_that_is_not_the_picture_is_refused(folder: Path) -> None:
    dump = DumpRunner(folder)
    with pytest.raises(InputError, match="from the picture on average") as caught:
        dump(picture(0)[None, :, :, ::-1], ("a/1",))  # colour order
    assert "colour order" in caught.value.remedy
    with pytest.raises(InputError, match="has shape"):
        dump(np.zeros((1, 4, 4, 3), np.float32), ("a/1",))
    with pytest.raises(InputError, match="on average"):
        dump(np.full((1, 5, 5, 3), np.nan, np.float32), ("a/1",))


def test_an_input_within_the_tolerance_is_taken(folder: Path) -> None:
    assert DumpRunner(folder)(picture(0)[None] + np.float32(1 / 255), ("a/1",))


def test_a_dump_cannot_be_fed(folder: Path) -> None:
    dump = DumpRunner(folder)
    refined = dump.refine(np.zeros((1, 4, 4, 3), np.float32))  # type: ignore[func-returns-value]
    assert refined is None


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        write_dump(tmp_path, [], source="x")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "samples",
    [
        [("a", {"depth": np.zeros(3, np.float32)})],
        [("a", {}), ("a", {})],
        [("a", {"input": np.zeros(3, np.complex64)})],
    ],
)
def test_what_the_format_does_not_have_is_not_written(tmp_path: Path, samples: Any) -> None:
    with pytest.raises(ValueError, match=r"depth|taken|complex64"):
        write_dump(tmp_path / "d", samples, source="x")
    assert not (tmp_path / "d" / DUMP).exists()


def test_a_folder_without_a_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dump\.json cannot be read"):
        DumpRunner(tmp_path)


def test_a_later_schema_is_refused(folder: Path) -> None:
    change(folder, lambda document: document.update(schema=2))
    with pytest.raises(InputError, match="schema 2"):
        DumpRunner(folder)


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    path = folder / DUMP
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def entry(document: Any) -> Any:
    return document["samples"][0]["affinenet"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.pop("schema"),
        lambda d: d.pop("samples"),
        lambda d: d.update(samples=[{}]),
        lambda d: d.update(samples=[d["samples"][0]] * 2),
        lambda d: entry(d).pop("file"),
        lambda d: entry(d).update(file="../elsewhere.bin"),
        lambda d: entry(d).update(file="absent.bin"),
        lambda d: entry(d).update(shape=[1, 4, 4]),
        lambda d: entry(d).update(shape=[1, 4, 4, -3]),
        lambda d: entry(d).update(dtype="object"),
        lambda d: entry(d).update(scale=None),
    ],
)
def test_a_damaged_description_is_refused(folder: Path, edit: Callable[[Any], object]) -> None:
    (folder.parent / "elsewhere.bin").write_bytes(bytes(4 * 4 * 3 * 4))
    change(folder, edit)
    with pytest.raises(DamagedError) as caught:
        DumpRunner(folder)(picture(0)[None], ("a/1",))
    assert caught.value.exit_code == 6
    assert str(folder / DUMP) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x" * 191, b"x" * 193])
def test_a_file_of_another_length_is_refused(folder: Path, content: bytes) -> None:
    (folder / "0000.affinenet.bin").write_bytes(content)
    with pytest.raises(DamagedError, match=r"0000\.affinenet\.bin holds"):
        DumpRunner(folder)(picture(0)[None], ("a/1",))


def test_a_description_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / DUMP).write_text("{")
    with pytest.raises(DamagedError, match="no JSON"):
        DumpRunner(folder)


# --- a device's own vertices ----------------------------------------------------------------------


class EveryThirdTexel:
    """Reads the 7 vertices that the toy dump has from a map of 6 x 6."""

    def read_vertices(self, uv_map: Array, /) -> Array:
        return uv_map.reshape(*uv_map.shape[:-3], -1, 3)[..., ::3, :][..., :7, :]


def with_vertices(tmp_path: Path, change: Callable[[Array], Array]) -> DumpRunner:
    stored = tensors(0)["srnet"]
    assert isinstance(stored, Stored)
    read = EveryThirdTexel().read_vertices(stored.real())
    made = {**tensors(0), "vertices": change(read)}
    write_dump(tmp_path / "dump", [("a", made)], source="phone")
    return DumpRunner(tmp_path / "dump", readers={"affinenet": None, "srnet": EveryThirdTexel()})  # type: ignore[dict-item]


@pytest.mark.parametrize("change", [lambda read: read, lambda read: read.astype(np.float16)])
def test_vertices_of_a_dump_that_are_those_of_its_map_are_taken(
    tmp_path: Path, change: Callable[[Array], Array]
) -> None:
    assert "vertices" in with_vertices(tmp_path, change)(picture(0)[None], ("a",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda read: read[:, ::-1], "map units from those of its own map"),
        (lambda read: read + np.float32(0.01), "up to 0.0100 map units"),
        (lambda read: read * np.float32(np.nan), "map units from"),
        (lambda read: read[:, :5], r"have shape \(5, 3\)"),
    ],
)
def test_vertices_of_a_dump_that_were_read_in_another_way_are_refused(
    tmp_path: Path, change: Callable[[Array], Array], said: str
) -> None:
    dump = with_vertices(tmp_path, change)
    with pytest.raises(InputError, match=said) as caught:
        dump(picture(0)[None], ("a",))
    assert "texel_index" in caught.value.remedy


def test_a_dump_counts_the_samples_that_do_not_say_what_was_shown(tmp_path: Path) -> None:
    less = {key: value for key, value in tensors(1).items() if key != "input"}
    write_dump(tmp_path / "d", [("a", tensors(0)), ("b", less)], source="x")
    assert DumpRunner(tmp_path / "d").without_input == 1
