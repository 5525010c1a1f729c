"""What a TFLite file computes in which type, and whether that is what the recipe asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2uv_edge.errors import ConversionError
from i2uv_edge.spec import RecipeSpec

__all__ = [
    "OpRecord",
    "check_histogram",
    "dtype_histogram",
    "machine_path",
    "macs_by_dtype",
    "operators_of",
    "read_operators",
]

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# No runtime on the device has to run these; each once came out of a converter unasked.
_FORBIDDEN_OPS = re.compile(r"TRANSPOSE|GATHER_ND|CUSTOM.*|FLEX.*|.*FLOAT64.*")
_FORBIDDEN_TYPES = ("FLOAT64", "FLOAT16", "COMPLEX64", "INT64")
_FOLDERS = (b"home", b"root", b"tmp", b"work", b"usr", b"Users", b"opt", b"mnt", b"var")
_ABSOLUTE_PATH = re.compile(rb"(?<![\w./-])/(?:" + b"|".join(_FOLDERS) + rb")/[\w.-]+")


@dataclass(frozen=True)
class OpRecord:
    """One operator of a file: types and names of what it reads first and writes first.

    `layer` is the module path of its weights where it has some, else its output's name; `macs` the
    multiply-accumulates for one input.
    """

    op: str
    layer: str
    input_type: str
    output_type: str
    inputs: tuple[str, ...]
    output: str
    macs: int

    @property
    def is_integer(self) -> bool:
        """Whether it computes on int8."""
        return self.input_type == self.output_type == "INT8"


def read_operators(path: Path) -> list[OpRecord]:
    """Return every operator of a TFLite file, in the order they run."""
    return operators_of(_read(path))


def operators_of(model: Any) -> list[OpRecord]:
    """Return every operator of what `flatbuffer.read_model` gave, in the order they run."""
    return list(_operators(model))


def dtype_histogram(path: Path) -> dict[str, int]:
    """Count operators by name and types: {"CONV_2D INT8>INT8": 33, ...}, most frequent first."""
    counts = Counter(f"{op.op} {op.input_type}>{op.output_type}" for op in read_operators(path))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def macs_by_dtype(path: Path) -> dict[str, int]:
    """Multiply-accumulates by the type they read: {"INT8": ..., "FLOAT32": ...}."""
    total: Counter[str] = Counter()
    for op in read_operators(path):
        if op.macs:
            total[op.input_type] += op.macs
    return dict(total)


def machine_path(data: bytes) -> str | None:
    """Return the first path of a machine's file system that bytes hold, None if they hold none."""
    # A plain search goes through the 176 MB of a large float network a hundred times faster.
    if not any(b"/" + folder + b"/" in data for folder in _FOLDERS):
        return None
    found = _ABSOLUTE_PATH.search(data)
    return None if found is None else found.group().decode()


def check_histogram(path: Path, recipe: RecipeSpec, *, network_role: str) -> None:
    """Refuse a file that computes anything in another type than its recipe says.

    Raises
    ------
    ConversionError
        Names each offending operator and layer: a convolution in float that no override names, one
        in integers that an override keeps float, a pair of QUANTIZE and DEQUANTIZE that undoes
        itself, too many multiply-accumulates in float, an operator or type no device runs, two
        tensors with one name, a path of the machine that wrote the file.
    """
    from i2uv_edge.quantizer.plan import keeps_float

    data = path.read_bytes()
    model = _read(path)
    operators = list(_operators(model))
    faults = _forbidden(model, operators)
    for op in operators:
        if not op.macs:
            continue
        wanted = recipe.is_float or keeps_float(recipe, network_role, op.layer)
        if wanted == op.is_integer:
            states = ("float", "integer") if wanted else ("integer", "float")
            faults.append(
                f"{op.op} of layer {op.layer!r} is {states[1]}, the recipe says {states[0]}"
            )
    faults += _round_trips(operators)
    total = sum(op.macs for op in operators)
    in_float = sum(op.macs for op in operators if not op.is_integer)
    if total and in_float / total > recipe.max_float_macs:
        faults.append(
            f"{in_float / total:.2%} of the multiply-accumulates are float, "
            f"at most {recipe.max_float_macs:.2%} may be"
        )
    if path_found := machine_path(data):
        faults.append(f"it holds the path {path_found!r}")
    if faults:
        raise ConversionError(
            f"{path.name} is not what recipe {recipe.name!r} asks for:\n  " + "\n  ".join(faults),
            expected="every layer in the type its recipe says",
            remedy="add an override with its reason for a layer that is meant to stay float",
        )


def _forbidden(model: Any, operators: list[OpRecord]) -> list[str]:
    faults = [
        f"{op.op} at {op.layer!r} has no place in a deployed network"
        for op in operators
        if _FORBIDDEN_OPS.fullmatch(op.op)
    ]
    names: Counter[str] = Counter()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            name = _text(tensor.name)
            names[name] += 1
            if (kind := _type_name(tensor.type)) in _FORBIDDEN_TYPES:
                faults.append(f"tensor {name!r} is {kind}")
    faults += [f"{count} tensors are named {name!r}" for name, count in names.items() if count > 1]
    if len(model.subgraphs) != 1 or len(model.subgraphs[0].outputs) != 1:
        faults.append("it has not exactly one graph with one output")
    return faults


def _round_trips(operators: list[OpRecord]) -> list[str]:
    """QUANTIZE of a DEQUANTIZE, or the other way round: rounding twice for nothing."""
    pairs = {"QUANTIZE": "DEQUANTIZE", "DEQUANTIZE": "QUANTIZE"}
    writer = {op.output: op for op in operators}
    faults = []
    for op in operators:
        before = writer.get(op.inputs[0]) if op.inputs else None
        if before and pairs.get(op.op) == before.op and op.input_type != op.output_type:
            faults.append(f"{before.op} at {before.layer!r} is undone by {op.op} at {op.layer!r}")
    return faults


def _read(path: Path) -> Any:
    from i2uv_edge.convert.flatbuffer import read_model

    return read_model(path.read_bytes())


def _operators(model: Any) -> Iterator[OpRecord]:
    from ai_edge_litert import schema_py_generated as schema

    names = {
        value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
    }
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            op = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if code.customCode:
                op = f"CUSTOM {_text(code.customCode)}"
            inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
            output = graph.tensors[operator.outputs[0]]
            layer, macs = _text(output.name), 0
            if op in _CONVOLUTIONS:
                kernel = inputs[1]
                layer = _text(kernel.name).removesuffix(".weight")
                macs = _macs(op, kernel.shape, inputs, output)
            yield OpRecord(
                op=op,
                layer=layer,
                input_type=_type_name(inputs[0].type),
                output_type=_type_name(output.type),
                inputs=tuple(_text(tensor.name) for tensor in inputs),
                output=_text(output.name),
                macs=macs,
            )


def _macs(op: str, kernel: Any, inputs: list[Any], output: Any) -> int:
    """Kernel elements times the positions each is applied at."""
    taps = int(np.prod(kernel))
    if op == "FULLY_CONNECTED":
        return taps * int(np.prod(output.shape[:-1]))
    shape = inputs[2].shape if op == "TRANSPOSE_CONV" else output.shape
    return taps * int(shape[1]) * int(shape[2])


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _type_name(value: int) -> str:
    from ai_edge_litert import schema_py_generated as schema

    names = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
    return str(names[value])
