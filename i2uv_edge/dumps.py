"""What a phone has written down, and what it should have: golden outputs and device dumps.

Both have one format: a folder with `dump.json`, which describes each sample's tensors, and a raw
little-endian file for each of them. The samples are of the bundle's `eval/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.bundle import write_json
from i2uv_edge.chain import VertexReader
from i2uv_edge.errors import DamagedError, InputError, UsageError
from i2uv_edge.runners import Stored

__all__ = ["DUMP", "DUMP_TENSORS", "DumpRunner", "write_dump"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

DUMP = "dump.json"
DUMP_SCHEMA = 1
DUMP_TENSORS = ("input", "affinenet", "srnet", "hand", "vertices")
VERTEX_TOLERANCE = 2e-3  # map units, half a millimetre: what half precision leaves, and no more
_DUMP_TYPES = ("float32", "float16", "int8", "uint8", "int16")


def write_dump(
    folder: Path | str,
    samples: Iterable[tuple[str, Mapping[str, Array | Stored]]],
    *,
    source: str,
    bundle: str = "",
) -> None:
    """Write `golden/`, or a dump as a device would write it; the same samples give the same bytes.

    Parameters
    ----------
    folder
        Must be empty or not exist.
    samples
        Pairs of a sample's id and its tensors: some of "input", "affinenet", "srnet", "vertices",
        each an array of real values or a `Stored` one. Taken one by one.
    source
        What made it ("float", "tflite", the name of a phone).
    bundle
        The sha256 of the bundle's manifest; empty for the golden outputs inside a bundle.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", remedy="name a new folder for the dump")
    rows: list[dict[str, Any]] = []
    for number, (sample_id, tensors) in enumerate(samples):
        unknown = sorted(set(tensors) - set(DUMP_TENSORS))
        if unknown or sample_id in {row["id"] for row in rows}:
            raise ValueError(f"sample {sample_id!r}: unknown tensors {unknown} or its id is taken")
        row: dict[str, Any] = {"id": sample_id}
        for key in DUMP_TENSORS:
            if key in tensors:
                value = tensors[key]
                tensor = value if isinstance(value, Stored) else Stored(value)
                row[key] = _write_tensor(folder, f"{number:04d}.{key}.bin", tensor)
        rows.append(row)
    document = {"schema": DUMP_SCHEMA, "bundle": bundle, "source": source, "samples": rows}
    write_json(folder / DUMP, document)


class DumpRunner:
    """Answers like a `Chain` with what a device, or an export, has written into a folder.

    It cannot be fed: it knows its own samples only, and there is no `refine`.

    Parameters
    ----------
    folder
        Holds `dump.json` and the files it names.
    input_tolerance
        How far, on average, a dumped input may be from the picture that is asked about, 0..1.
        More means that the device crops, scales or orders colours in another way, and nothing
        behind that can be compared.
    readers
        What reads vertices from the maps, by their names. With these a device's vertices have to be
        those of its own last map: comparisons read the maps, and would not see that it reads them
        in another way.

    Raises
    ------
    InputError
        There is no dump, or it is of a later schema; later, an input or vertices that are not what
        they should be.
    DamagedError
        The dump does not say what the format asks for; files are missing, cut short or too long.
    """

    live = False

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str = "",
        input_tolerance: float = 2 / 255,
        readers: Mapping[str, VertexReader] | None = None,
    ) -> None:
        self._folder = Path(folder)
        document = self._document()
        self.bundle = str(document.get("bundle", ""))
        self.source = str(document.get("source", ""))
        self.name = name or self.source or self._folder.name
        self._tolerance = input_tolerance
        self._readers = dict(readers or {})
        try:
            rows = document["samples"]
            self._samples: dict[str, Mapping[str, Any]] = {str(row["id"]): row for row in rows}
            if len(self._samples) != len(rows):
                raise ValueError("an id occurs twice")
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"its samples cannot be read ({error})") from error

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples it knows."""
        return tuple(self._samples)

    def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Float32]:
        """Return what was written for the samples of those ids; see `Chain.__call__`.

        A tensor that is missing for one of them is missing in the answer.
        """
        found = [self.sample(sample_id) for sample_id in ids]
        for sample_id, picture, tensors in zip(ids, pictures, found, strict=True):
            if "input" in tensors:
                self._compare_input(sample_id, picture, tensors["input"])
            self._compare_vertices(sample_id, tensors)
        keys = [key for key in DUMP_TENSORS[1:] if found and all(key in t for t in found)]
        return {key: np.stack([tensors[key] for tensors in found]) for key in keys}

    @property
    def without_input(self) -> int:
        """How many samples do not say what the networks were shown."""
        return sum("input" not in row for row in self._samples.values())

    def refine(self, maps: Float32) -> None:
        """Nothing: a dump cannot be fed."""

    def sample(self, sample_id: str) -> dict[str, Float32]:
        """Return the real values of every tensor of a sample, without the batch axis.

        Empty if the dump does not know the sample.
        """
        row = self._samples.get(sample_id, {})
        return {key: self._read(row[key]) for key in DUMP_TENSORS if key in row}

    def _document(self) -> Mapping[str, Any]:
        path = self._folder / DUMP
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(
                f"there is no dump in {self._folder}: {DUMP} cannot be read ({error.strerror})",
                expected=f"a folder with {DUMP}, as golden/ of a bundle or as the app writes it",
            ) from error
        except ValueError as error:
            raise self._damaged(f"it is no JSON ({error})") from error
        if not isinstance(document, dict) or "schema" not in document:
            raise self._damaged("it names no schema")
        if document["schema"] != DUMP_SCHEMA:
            raise InputError(
                f"{path} is of schema {document['schema']!r}", expected=f"schema {DUMP_SCHEMA}"
            )
        return document

    def _read(self, entry: Any) -> Float32:
        try:
            name, dtype = str(entry["file"]), str(entry["dtype"])
            shape = tuple(int(size) for size in entry["shape"])
            scale, zero_point = float(entry["scale"]), int(entry["zero_point"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"{entry!r} describes no tensor") from error
        if dtype not in _DUMP_TYPES or Path(name).name != name or min(shape, default=0) < 1:
            raise self._damaged(f"{name!r} of type {dtype!r} and shape {shape} is not allowed")
        try:
            content = (self._folder / name).read_bytes()
        except OSError as error:
            raise self._damaged(f"{name} cannot be read ({error.strerror})") from error
        little_endian = np.dtype(dtype).newbyteorder("<")
        wanted = int(np.prod(shape)) * little_endian.itemsize
        if len(content) != wanted:
            raise self._damaged(f"{name} holds {len(content)} bytes; {dtype} {shape} has {wanted}")
        array = np.frombuffer(content, little_endian).reshape(shape)
        real = Stored(array, scale, zero_point).real()
        return real[0] if len(shape) > 1 and shape[0] == 1 else real

    def _compare_input(self, sample_id: str, picture: Array, dumped: Float32) -> None:
        expected = "the picture of the bundle, cropped and scaled as its manifest says"
        remedy = "check crop, size, colour order and range on the device"
        if dumped.shape != picture.shape:
            raise InputError(
                f"{self.name}: the input of {sample_id} has shape {dumped.shape}, "
                f"not {picture.shape}",
                expected=expected,
                remedy=remedy,
            )
        apart = float(np.abs(dumped - picture).mean())
        if not apart <= self._tolerance:
            raise InputError(
                f"{self.name}: the input of {sample_id} is {apart:.4f} from the picture on average",
                expected=f"{expected}, to {self._tolerance:.4f}",
                remedy=remedy,
            )

    def _compare_vertices(self, sample_id: str, tensors: Mapping[str, Float32]) -> None:
        last = next((key for key in ("srnet", "affinenet", "hand") if key in self._readers), None)
        if last is None or last not in tensors or "vertices" not in tensors:
            return
        found = tensors["vertices"]
        try:
            read = self._readers[last].read_vertices(tensors[last][None])[0]
        except (IndexError, ValueError):  # a map of another shape, which is refused by name later
            return
        remedy = "check how the device reads them: texel_index into the row-major map, texel_weight"
        if found.shape != read.shape:
            raise InputError(
                f"{self.name}: the vertices of {sample_id} have shape {found.shape}",
                expected=f"{read.shape}, which the atlas of the bundle reads from a map",
                remedy=remedy,
            )
        # What is no number in the map is told of where maps are compared.
        apart = np.abs(found - read)[np.isfinite(read)]
        if not (apart <= VERTEX_TOLERANCE).all():
            raise InputError(
                f"{self.name}: the vertices of {sample_id} are up to {apart.max():.4f} map units "
                f"from those of its own map",
                expected=f"at most {VERTEX_TOLERANCE}",
                remedy=remedy,
            )

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(
            f"{self._folder / DUMP}: {what}",
            expected="a dump as its writer left it",
            remedy="pull the whole folder from the device again",
        )


def _write_tensor(folder: Path, name: str, tensor: Stored) -> dict[str, Any]:
    dtype = tensor.array.dtype
    if dtype.name not in _DUMP_TYPES:
        raise ValueError(f"{name}: {dtype} is none of {', '.join(_DUMP_TYPES)}")
    little_endian = np.ascontiguousarray(tensor.array, dtype.newbyteorder("<"))
    (folder / name).write_bytes(little_endian.tobytes())
    return {
        "file": name,
        "dtype": dtype.name,
        "shape": list(tensor.array.shape),
        "scale": float(tensor.scale),
        "zero_point": int(tensor.zero_point),
    }
