"""The artifact folder: written whole or not at all, sealed by hashes, verified when opened.

A bundle has a sealed part, which `manifest.json` lists with the SHA-256 of every file, and an open
part that can be made again: `report.json`, `report.html`, `analysis.json` and `profiles/`. The
manifest holds no times and no paths of the machine: the same inputs give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from i2uv_edge.atomic import write_folder
from i2uv_edge.errors import DamagedError, InputError

__all__ = [
    "MANIFEST",
    "Artifact",
    "Bundle",
    "kind_of",
    "seal",
    "sha256_of",
    "write_bundle",
    "write_json",
    "write_text",
]

MANIFEST = "manifest.json"
SCHEMA = 1

# The kinds of sealed files, by their path in the bundle ("*" crosses folders).
_KINDS = {
    "*.dlc": "dlc",
    "segments/*": "segment",
    "*.tflite": "tflite",
    "*.onnx": "onnx",
    "qnn/*": "qnn",
    "float/*.safetensors": "float",
    "quantized/*.safetensors": "quantized",
    "encodings.json": "encodings",
    "atlas.npz": "atlas",
    "eval/*": "eval",
    "golden/*": "golden",
}
_OPEN = ("report.json", "report.html", "analysis.json", "profiles/*")


@dataclass(frozen=True)
class Artifact:
    """One sealed file: its path in the bundle; `parent` is the hash of what it was made from."""

    path: str
    kind: str
    sha256: str
    bytes: int
    parent: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    `sha256` is the manifest's own, so it names the sealed part as a whole; `sources` are the hashes
    of the outside inputs by name.
    """

    path: Path
    sha256: str
    artifacts: tuple[Artifact, ...]
    sources: Mapping[str, str]
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Read the manifest and check every sealed file against it.

        Raises
        ------
        InputError
            There is no folder, or it is of a later schema.
        DamagedError
            Files are missing, changed, exchanged, or not listed; the message names all of them.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(
                f"there is no bundle at {folder}",
                expected=f"a folder that holds {MANIFEST}",
                remedy="write one with `i2uv-edge export`",
            )
        bundle = _read_manifest(folder)
        faults = [
            *(_fault(folder, artifact, bundle.artifacts) for artifact in bundle.artifacts),
            *_unlisted(folder, {artifact.path for artifact in bundle.artifacts}),
            *_orphans(bundle),
        ]
        found = [fault for fault in faults if fault]
        if found:
            raise DamagedError(
                f"the bundle {folder} is damaged:\n" + "\n".join(f"  {fault}" for fault in found),
                expected=f"the files as {MANIFEST} lists them",
                remedy="export or copy the bundle again",
            )
        return bundle

    def file(self, name: str) -> Path:
        """Return where the sealed file of that name lies."""
        if name not in {artifact.path for artifact in self.artifacts}:
            raise InputError(
                f"the bundle {self.path} holds no {name}",
                expected=f"one of {', '.join(artifact.path for artifact in self.artifacts)}",
            )
        return self.path / name


@contextlib.contextmanager
def write_bundle(destination: Path | str, *, force: bool = False) -> Iterator[Path]:
    """Give a new folder that takes its place as `destination` when the block succeeds.

    See `atomic.write_folder`; with `force` a bundle that lies there is replaced, sound or not.
    """
    with write_folder(
        destination, replaceable=lambda folder: (folder / MANIFEST).is_file(), force=force
    ) as partial:
        yield partial


def seal(
    folder: Path, fields: Mapping[str, Any], *, parents: Mapping[str, str] | None = None
) -> None:
    """Write the manifest of everything that lies in `folder`.

    Parameters
    ----------
    folder
        The bundle under construction; all its sealed files are there.
    fields
        The rest of the manifest. `fields["sources"]` maps names of outside inputs (checkpoints,
        calibration set) to their SHA-256.
    parents
        For each derived file the sealed file it was made from, or the name of one of the sources.
    """
    paths = [path for path in _files(folder) if path != MANIFEST and not _is_open(path)]
    sources: Mapping[str, str] = fields.get("sources", {})
    hashes = {path: sha256_of(folder / path) for path in paths}
    origins = {**sources, **hashes}
    artifacts = []
    for path in paths:
        kind = kind_of(path)
        if kind is None:
            raise ValueError(f"{path} is no file of a bundle")
        parent = (parents or {}).get(path)
        artifacts.append(
            Artifact(
                path=path,
                kind=kind,
                sha256=hashes[path],
                bytes=(folder / path).stat().st_size,
                parent=None if parent is None else origins[parent],
            )
        )
    reserved = {"schema", "artifacts"} & fields.keys()
    if reserved or not (parents or {}).keys() <= hashes.keys():
        raise ValueError(f"fields {sorted(reserved)} are reserved, or parents name no file")
    listed = [asdict(artifact) for artifact in artifacts]
    write_json(folder / MANIFEST, {**fields, "schema": SCHEMA, "artifacts": listed})


def kind_of(path: str) -> str | None:
    """Return the kind of a sealed file from its path in the bundle, None for any other file."""
    return next((kind for pattern, kind in _KINDS.items() if fnmatchcase(path, pattern)), None)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, document: object) -> None:
    """Write a JSON file whole or not at all, the same bytes for the same document.

    A number that JSON does not have (NaN, infinity) is a ValueError: say null.
    """
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Names of files may hold bytes that are no text; those are written as escapes.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_manifest(folder: Path) -> Bundle:
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        manifest = json.loads(data)
        if manifest["schema"] != SCHEMA:
            raise InputError(
                f"{path} is of schema {manifest['schema']!r}",
                expected=f"schema {SCHEMA}",
                remedy="use the version of i2uv-edge that wrote it, or export again",
            )
        artifacts = tuple(Artifact(**item) for item in manifest["artifacts"])
        sources = dict(manifest.get("sources", {}))
        for artifact in artifacts:
            parts = PurePosixPath(artifact.path)
            if parts.is_absolute() or ".." in parts.parts:
                raise ValueError(f"{artifact.path} lies outside the bundle")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DamagedError(
            f"{path} cannot be read as a manifest: {error}", remedy="export the bundle again"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    return Bundle(folder, digest, artifacts, sources, manifest)


def _fault(folder: Path, artifact: Artifact, artifacts: tuple[Artifact, ...]) -> str:
    """Say what is wrong with one sealed file, or nothing."""
    path = folder / artifact.path
    try:
        actual = sha256_of(path)
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{artifact.path} is missing"
    except OSError as error:
        return f"{artifact.path} cannot be read: {error.strerror}"
    if (actual, size) == (artifact.sha256, artifact.bytes):
        return ""
    twins = [other.path for other in artifacts if other.sha256 == actual]
    return (
        f"{artifact.path} has {size} bytes and sha256 {actual}, "
        f"listed are {artifact.bytes} bytes and sha256 {artifact.sha256}"
        + (f"; this is the content of {twins[0]}" if twins else "")
    )


def _unlisted(folder: Path, listed: set[str]) -> list[str]:
    return [
        f"{path} is not listed"
        for path in _files(folder)
        if path not in listed and kind_of(path) is not None
    ]


def _orphans(bundle: Bundle) -> list[str]:
    """Say which artifacts were made from something that the manifest does not know."""
    known = {artifact.sha256 for artifact in bundle.artifacts}
    known.update(bundle.sources.values())
    return [
        f"{artifact.path} was made from {artifact.parent}, which is no file or source of the bundle"
        for artifact in bundle.artifacts
        if artifact.parent is not None and artifact.parent not in known
    ]


def _files(folder: Path) -> list[str]:
    """Return the paths of all files below `folder`, sorted, with slashes."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _is_open(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in _OPEN)
