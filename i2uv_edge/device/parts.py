"""What a bundle holds for a DSP beside its networks: segments, and of all that is integer a DLC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.evaluation import read_evaluation
from i2uv_edge.device import qairt, qnn
from i2uv_edge.device.segments import whole_segment, write_segments
from i2uv_edge.onnx_runner import needed
from i2uv_edge.requests import Notify
from i2uv_edge.runners import Port
from i2uv_edge.spec import NetworkSpec, Role

__all__ = ["Parts", "write_parts"]

Fields = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """What the manifest says of them.

    Attributes
    ----------
    entries : by network: its "segments" if it was cut, its "dlc" if it is one
    parents : for each file the one it was made from
    tools : versions of what else was used
    """

    entries: dict[Role, Fields] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)


def write_parts(
    folder: Path, specs: Mapping[Role, NetworkSpec], *, split: bool, notify: Notify
) -> Parts:
    """Cut the quantized networks of a bundle, and write what QNN gets of them.

    Parameters
    ----------
    folder
        The bundle under construction, with its networks and its evaluation pictures.
    split
        Write segments. Without it there is something to write only for a network that is all
        integer, and only where QNN is installed.

    Raises
    ------
    ConversionError
        A network cannot be cut, or QNN refuses an operation.
    MissingDependencyError
        QNN is installed and cannot be loaded.
    """
    found = Parts()
    if not split and not qnn.available():
        return found
    runs: list[Fields] = []
    for role, spec in specs.items():
        segments = write_segments(folder, spec) if split else whole_segment(folder, spec)
        notify(f"compiling {role} with QNN" if qnn.available() else f"cutting {role}", 0, 0)
        models = _write_models(folder, spec, segments)
        if models:
            feed = _feed(folder, spec, segments[0]["inputs"][0])
            runs += qairt.write_tensors(folder, segments, models, feed)
        entry = found.entries.setdefault(role, {})
        if split:
            entry["segments"] = segments
        for segment in segments:
            _name(found, role, entry if len(segments) == 1 else segment, segment, models)
    if runs:
        qairt.write_script(folder, runs)
        found.tools.update(qnn.versions() if qnn.available() else {})
    return found


def _name(
    found: Parts, role: Role, entry: Fields, segment: Fields, models: Mapping[str, Fields]
) -> None:
    """Put a segment's files and those that QNN gets of it where the manifest has them."""
    network = f"{role}.tflite"
    if segment["file"] != network:
        found.parents[segment["file"]] = network
    model = models.get(segment["file"])
    if model is None:
        return
    ports = {"inputs": model["inputs"], "outputs": model["outputs"]}
    if segment["file"] != network:
        found.parents[model["onnx"]] = f"{role}.onnx"
        entry["onnx"] = {"file": model["onnx"], **ports}
    if qnn.available():
        found.parents[model["dlc"]] = model["onnx"]
        entry["dlc"] = {"file": model["dlc"], **ports}


def _write_models(folder: Path, spec: NetworkSpec, segments: Sequence[Fields]) -> dict[str, Fields]:
    """Write the ONNX file of each segment for the DSP, and its DLC where QNN is installed.

    Returns, by the segment's file, "onnx" and "dlc", which are their files, the latter whether or
    not it is there, and "inputs" and "outputs" as both store them, in the order of the segment's. A
    segment that is the whole network has its ONNX file already.
    """
    from i2uv_edge.convert.onnx_segments import part, ports

    onnx = needed("onnx")
    model = onnx.load(folder / f"{spec.role}.onnx")
    found: dict[str, Fields] = {}
    models: dict[Path, bytes] = {}
    for fields in segments:
        if fields["unit"] != "DSP":
            continue
        made = part(model, fields["inputs"], fields["outputs"])
        onnx.checker.check_model(made, full_check=True)
        content = made.SerializeToString(deterministic=True)
        path = Path(fields["file"])
        own, dlc = (path.with_suffix(suffix).as_posix() for suffix in (".onnx", ".dlc"))
        if not (folder / own).exists():
            (folder / own).write_bytes(content)
        models[folder / dlc] = content
        stored = ports(made, fields["inputs"], fields["outputs"])
        found[fields["file"]] = {"onnx": own, "dlc": dlc, **stored}
    if qnn.available():
        qnn.to_dlcs(models)
    return found


def _feed(folder: Path, spec: NetworkSpec, port: Fields) -> NDArray[Any]:
    """A sample of a network's input as its file stores it: a picture, or a plane for a map."""
    _, height, width, channels = spec.input.shape
    if spec.takes_pictures:
        sample = next(iter(read_evaluation(folder / "eval", height)))
        real = sample.picture[None]
    elif channels != 3:
        drawn = np.random.default_rng(0).uniform(*spec.input.range, spec.input.shape)
        real = drawn.astype(np.float32)
    else:
        low, high = spec.input.range
        y, x = np.meshgrid(*(np.linspace(low, high, n) for n in (height, width)), indexing="ij")
        real = np.stack([x, y, (x + y) / 2], axis=-1)[None].astype(np.float32)
    shape, dtype = tuple(port["shape"]), np.dtype(port["dtype"])
    own = Port(port["name"], shape, dtype, port["scale"], port["zero_point"])
    return own.stored(real)
