"""A TFLite file cut where integers end: what a DSP computes, and what lies between on the CPU.

A DSP takes int8 only. So each operator that reads and writes nothing but int8 is the DSP's, all
others (warps, sums of maps, heads that a recipe leaves in float, changes of type) are the CPU's.
Two corrections save ways there and back: what only moves values is done where they come from, and
a run of operators without any multiply-add is not worth the way.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from i2uv_edge.convert.flatbuffer import read_model, write_model
from i2uv_edge.convert.histogram import OpRecord, operators_of
from i2uv_edge.convert.partition import partition
from i2uv_edge.errors import ConversionError
from i2uv_edge.runners import Port

__all__ = ["Segment", "Unit", "cut"]

Unit = Literal["DSP", "CPU"]

_MOVES = ("CONCATENATION", "RESHAPE", "SLICE")  # values, and computes nothing
_BORDERS = ("QUANTIZE", "DEQUANTIZE")
_TYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT8: np.dtype(np.int8),
}


@dataclass(frozen=True)
class Segment:
    """A part of a network as a TFLite file of its own.

    Attributes
    ----------
    unit
        What it is for.
    data
        The file. Its inputs and outputs bear the names they have in the whole network.
    inputs, outputs
        As the file stores them; of a DSP's segment, int8 all of them.
    macs, float_macs
        Multiply-accumulates, and those in float among them.
    layers
        What it computes, a part of the network in one word: "decoder.0.warp". Changes of type are
        left out.
    """

    unit: Unit
    data: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    macs: int
    float_macs: int
    layers: tuple[str, ...]


def cut(data: bytes) -> tuple[Segment, ...]:
    """Cut a TFLite file into the segments that run one after the other.

    Each operator is in one of them, with the constants it reads, so they compute what the file
    computes. Same file, same segments, same bytes.

    Raises
    ------
    ConversionError
        The operators are not in an order in which they can run, or a tensor between two segments
        is of a type that none can pass on.
    """
    model = read_model(data)
    graph = model.subgraphs[0]
    records = operators_of(model)
    cutter = _Cutter(model, graph, records)
    return tuple(cutter.segment(unit, numbers) for unit, numbers in cutter.runs())


class _Cutter:
    def __init__(self, model: Any, graph: Any, records: Sequence[OpRecord]) -> None:
        self._model = model
        self._graph = graph
        self._records = records
        self._reads = [self._computed(operator.inputs) for operator in graph.operators]
        self._writes = [self._computed(operator.outputs) for operator in graph.operators]
        self._writer = {i: n for n, written in enumerate(self._writes) for i in written}
        self._readers: dict[int, list[int]] = {}
        for number, read in enumerate(self._reads):
            for index in read:
                self._readers.setdefault(index, []).append(number)
        self._ends = {int(index) for index in graph.outputs}

    def runs(self) -> list[tuple[Unit, list[int]]]:
        """Units with the numbers of the operators they run."""
        units = [self._unit(number) for number in range(len(self._records))]
        while True:
            self._move_with_the_values(units)
            try:
                runs = partition(units, self._reads, self._writes)
            except ValueError as error:
                layer = self._records[error.args[0]].layer
                raise ConversionError(
                    f"operator {layer!r} reads what no operator before it writes",
                    expected="operators in the order they run",
                ) from error
            idle = [n for unit, run in runs if unit == "DSP" and not self._macs(run) for n in run]
            if not idle:
                return self._late(runs)
            for number in idle:
                units[number] = "CPU"

    def segment(self, unit: Unit, numbers: Sequence[int]) -> Segment:
        """The file of a run."""
        made = {index for number in numbers for index in self._writes[number]}
        read = dict.fromkeys(index for number in numbers for index in self._reads[number])
        takes = [index for index in read if index not in made]
        within = set(numbers)
        gives = [
            index
            for index in sorted(made)
            if index in self._ends or not within.issuperset(self._readers.get(index, ()))
        ]
        records = [self._records[number] for number in numbers]
        return Segment(
            unit,
            self._file(numbers, takes, gives),
            tuple(map(self._port, takes)),
            tuple(map(self._port, gives)),
            sum(record.macs for record in records),
            sum(record.macs for record in records if not record.is_integer),
            _layers(records),
        )

    def _late(self, runs: list[tuple[Unit, list[int]]]) -> list[tuple[Unit, list[int]]]:
        """The same with each of the CPU's operators no earlier than what it makes is asked for.

        Else a warp's feature would be made float long before the warp, and be passed on as that.
        """
        place = {number: run for run, (_, numbers) in enumerate(runs) for number in numbers}
        for number in sorted(place, reverse=True):  # readers before what they read
            readers = [r for index in self._writes[number] for r in self._readers.get(index, ())]
            if runs[place[number]][0] == "DSP" or not readers:
                continue
            first = min(place[reader] for reader in readers)
            last = first if runs[first][0] == "CPU" else first - 1
            if self._ends.isdisjoint(self._writes[number]):
                place[number] = last
        return [
            (unit, [n for n in sorted(place) if place[n] == i]) for i, (unit, _) in enumerate(runs)
        ]

    def _unit(self, number: int) -> Unit:
        ends = (*self._reads[number], *self._writes[number])
        types = {self._graph.tensors[index].type for index in ends}
        return "DSP" if types == {schema.TensorType.INT8} else "CPU"

    def _move_with_the_values(self, units: list[Unit]) -> None:
        """Give what only moves the CPU's values to the CPU, in place."""
        for number, record in enumerate(self._records):
            sources = [self._writer.get(index) for index in self._reads[number]]
            if record.op in _MOVES and all(n is not None and units[n] == "CPU" for n in sources):
                units[number] = "CPU"
        for number in reversed(range(len(units))):  # a reshape is where its readers are
            (result,) = self._writes[number][:1]
            readers = self._readers.get(result, [])
            there = readers and all(units[reader] == "CPU" for reader in readers)
            if self._records[number].op == "RESHAPE" and there and result not in self._ends:
                units[number] = "CPU"

    def _macs(self, numbers: Sequence[int]) -> int:
        return sum(self._records[number].macs for number in numbers)

    def _computed(self, indices: Any) -> list[int]:
        return [int(i) for i in indices if i >= 0 and not self._is_constant(int(i))]

    def _is_constant(self, index: int) -> bool:
        data = self._model.buffers[self._graph.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def _port(self, index: int) -> Port:
        tensor = self._graph.tensors[index]
        name = _text(tensor.name)
        dtype = _TYPES.get(tensor.type)
        if dtype is None:
            raise ConversionError(f"tensor {name!r} between two segments has an unknown type")
        shape = tuple(int(size) for size in tensor.shape)
        parameters = tensor.quantization
        if parameters is None or parameters.scale is None:
            return Port(name, shape, dtype)
        (scale,), (zero_point,) = parameters.scale, parameters.zeroPoint
        return Port(name, shape, dtype, float(scale), int(zero_point))

    def _file(self, numbers: Sequence[int], takes: list[int], gives: list[int]) -> bytes:
        operators = [self._graph.operators[number] for number in numbers]
        used = sorted({int(i) for op in operators for i in (*op.inputs, *op.outputs) if i >= 0})
        place = {old: new for new, old in enumerate(used)}
        codes = {int(op.opcodeIndex): None for op in operators}
        model, graph = copy.copy(self._model), copy.copy(self._graph)
        model.operatorCodes = [self._model.operatorCodes[old] for old in codes]
        model.buffers = [self._model.buffers[0]]
        graph.tensors = []
        for old in used:
            tensor = copy.copy(self._graph.tensors[old])
            if self._is_constant(old):
                model.buffers.append(copy.copy(self._model.buffers[tensor.buffer]))
                tensor.buffer = len(model.buffers) - 1
            else:
                tensor.buffer = 0
            graph.tensors.append(tensor)
        graph.operators = []
        for operator in map(copy.copy, operators):
            operator.opcodeIndex = list(codes).index(int(operator.opcodeIndex))
            operator.inputs = _placed(operator.inputs, place)
            operator.outputs = _placed(operator.outputs, place)
            graph.operators.append(operator)
        graph.inputs, graph.outputs = _placed(takes, place), _placed(gives, place)
        signature = copy.copy(self._model.signatureDefs[0])
        signature.inputs = [self._named(old, place) for old in takes]
        signature.outputs = [self._named(old, place) for old in gives]
        model.subgraphs, model.signatureDefs = [graph], [signature]
        return write_model(model)

    def _named(self, index: int, place: dict[int, int]) -> Any:
        entry = schema.TensorMapT()
        entry.name = _text(self._graph.tensors[index].name)
        entry.tensorIndex = place[index]
        return entry


def _placed(indices: Sequence[int], place: dict[int, int]) -> Any:
    return np.array([place.get(int(index), -1) for index in indices], np.int32)


def _layers(records: Sequence[OpRecord]) -> tuple[str, ...]:
    """Names of what is computed, without the parts of what is named as a whole."""
    found = dict.fromkeys(record.layer for record in records if record.op not in _BORDERS)
    return tuple(name for name in found if not any(name.startswith(f"{whole}.") for whole in found))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
