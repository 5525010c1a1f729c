"""What others have measured on a device, and the layers of what they ran: `export/evidence`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from i2uv_edge import resources, strict_toml
from i2uv_edge.device.placement_graph import Operator, Tensor
from i2uv_edge.errors import UsageError

__all__ = ["Evidence", "Row", "load_evidence", "operators_of"]

Use = Literal["fit", "fallback", "none"]

_LAYER = re.compile(
    r"(?:(?P<count>\d+) x )?(?P<kind>[a-z]+)"
    r"(?: (?P<kernel>\d+)x(?P=kernel)(?:/(?P<stride>\d+))?)?"
    r" (?:(?P<read>\d+)>)?(?P<written>\d+)"
    r"(?: @(?P<height>\d+)x(?P<width>\d+))?"
    r"(?: groups (?P<groups>\d+))?(?: dilation (?P<dilation>\d+))?"
)
_KINDS = {
    "add": "ADD",
    "argmax": "ARG_MAX",
    "clip": "RELU_0_TO_1",
    "concat": "CONCATENATION",
    "conv": "CONV_2D",
    "dense": "FULLY_CONNECTED",
    "depthtospace": "DEPTH_TO_SPACE",
    "maxpool": "MAX_POOL_2D",
    "mean": "MEAN",
    "nearest": "RESIZE_NEAREST_NEIGHBOR",
    "prelu": "PRELU",
    "resize": "RESIZE_BILINEAR",
    "upconv": "TRANSPOSE_CONV",
}


@dataclass(frozen=True)
class Row:
    """A network that was measured, in milliseconds for one input; two numbers are a range.

    `use` says what it is good for: "fit" for times on a unit that ran all of it, "fallback" for
    times of a unit that left operators to the CPU, "none" with `why`. `gmac` is what others count.
    """

    name: str
    use: Use
    why: str = ""
    architecture: str = ""
    gmac: float | None = None
    gmac_source: str = ""
    dsp_ms: tuple[float, ...] = ()
    gpu_ms: tuple[float, ...] = ()
    cpu_ms: tuple[float, ...] = ()
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.use == "none" and not self.why:
            raise ValueError(f"{self.name} is not used, and nothing says why")
        if self.use != "none" and not (self.layers and self.architecture):
            raise ValueError(f"{self.name} is used, and has no layers or no architecture")
        operators_of(self)

    def ms(self, column: str) -> float | None:
        """What was measured in a column ("dsp", "gpu" or "cpu"), in the middle of its range."""
        values: tuple[float, ...] = getattr(self, f"{column}_ms")
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Evidence:
    """The rows of one file, and where they were published."""

    source: str
    row: tuple[Row, ...]

    def fitted(self, column: str) -> tuple[Row, ...]:
        """The rows that times of a column are fitted to.

        What runs on the CPU alone leaves nothing to another unit, so there a fallback row counts.
        """
        uses = ("fit", "fallback") if column == "cpu" else ("fit",)
        return tuple(row for row in self.row if row.use in uses and row.ms(column) is not None)

    def fallback(self, column: str) -> tuple[Row, ...]:
        """The rows of which the unit ran a part."""
        rows = (row for row in self.row if row.use == "fallback")
        return tuple(row for row in rows if row.ms(column) is not None)


def load_evidence(name: str) -> Evidence:
    """Read `export/evidence/NAME.toml`."""
    path: Path = resources.export_data() / "evidence" / f"{name}.toml"
    evidence = strict_toml.load(Evidence, path)
    if not evidence.row:
        raise UsageError(f"{path} has no rows")
    return evidence


@cache
def operators_of(row: Row) -> tuple[Operator, ...]:
    """Return a row's layers as int8 operators, each of which reads what the one before it wrote.

    Raises
    ------
    ValueError
        A line is no layer.
    """
    operators: list[Operator] = []
    for line in row.layers:
        for made in _layer(line, len(operators), row.name):
            before = operators[-1].output.name if operators else "input"
            operators.append(_reading(made, before))
    return tuple(operators)


def _layer(line: str, start: int, network: str) -> Iterator[Operator]:
    found = _LAYER.fullmatch(line)
    if found is None or found["kind"] not in _KINDS:
        raise ValueError(f"{network}: {line!r} is no layer, like '2 x conv 3x3/2 64>128 @56x56'")
    kind = _KINDS[found["kind"]]
    height, width = int(found["height"] or 1), int(found["width"] or 1)
    kernel, stride = int(found["kernel"] or 1), int(found["stride"] or 1)
    groups, written = int(found["groups"] or 1), int(found["written"])
    read = int(found["read"] or written)
    if kind == "TRANSPOSE_CONV":
        shape = (1, height * stride, width * stride, written)
        positions = height * width
    else:
        shape = (1, -(-height // stride), -(-width // stride), written)
        positions = shape[1] * shape[2]
    convolves = kind in ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
    for number in range(start, start + int(found["count"] or 1)):
        name = f"{number}: {line}"
        source = Tensor("", (1, height, width, read), "INT8")
        inputs = (source, source) if kind == "ADD" else (source,)
        yield Operator(
            kind,
            name,
            inputs,
            Tensor(name, shape, "INT32" if kind == "ARG_MAX" else "INT8"),
            kernel=(kernel, kernel),
            stride=stride,
            dilation=int(found["dilation"] or 1),
            groups=groups,
            channels=(read // groups, written) if convolves else (0, 0),
            positions=positions if convolves else 0,
        )


def _reading(operator: Operator, name: str) -> Operator:
    inputs = tuple(Tensor(name, tensor.shape, tensor.type) for tensor in operator.inputs)
    values = {**vars(operator), "inputs": inputs}
    return Operator(**values)
