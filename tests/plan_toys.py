"""Toy TFLite files for the placement plan: one operator each, or a few in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from i2uv_edge.convert.flatbuffer import ModelWriter, Quantization

GRID = Quantization((0.5,), (3,))


class Toy:
    """A graph whose operators read what the last one wrote, all of them int8 unless said."""

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8, 4), dtype: str = "int8") -> None:
        self.writer = ModelWriter()
        self.shape, self.dtype = shape, dtype
        self.first = self.last = self._tensor("x", shape)

    def conv(
        self,
        *,
        channels: int = 8,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        name: str = "conv",
    ) -> Toy:
        batch, height, width, read = self.shape
        weights = self._constant(f"{name}.weight", (channels, kernel, kernel, read // groups))
        bias = self._constant(f"{name}.bias", (channels,))
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        shape = (batch, -(-height // stride), -(-width // stride), channels)
        return self._add("CONV_2D", [self.last, weights, bias], name, shape, options)

    def depthwise(
        self,
        *,
        kernel: tuple[int, int] = (3, 3),
        multiplier: int = 1,
        stride: int = 1,
        dilation: int = 1,
    ) -> Toy:
        batch, height, width, read = self.shape
        weights = self._constant("depthwise.weight", (1, *kernel, read * multiplier))
        bias = self._constant("depthwise.bias", (read * multiplier,))
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        options.depthMultiplier = multiplier
        shape = (batch, -(-height // stride), -(-width // stride), read * multiplier)
        return self._add(
            "DEPTHWISE_CONV_2D", [self.last, weights, bias], "depthwise", shape, options
        )

    def upconv(self, *, channels: int = 8, stride: int = 2) -> Toy:
        batch, height, width, read = self.shape
        weights = self._constant("upconv.weight", (channels, stride, stride, read))
        shape = (batch, height * stride, width * stride, channels)
        table = self.writer.constant("upconv.shape", np.array(shape, np.int32))
        options = schema.TransposeConvOptionsT()
        options.strideH = options.strideW = stride
        return self._add("TRANSPOSE_CONV", [table, weights, self.last], "upconv", shape, options)

    def dense(self, *, channels: int = 10) -> Toy:
        weights = self._constant("dense.weight", (channels, self.shape[-1]))
        shape = (*self.shape[:-1], channels)
        options = schema.FullyConnectedOptionsT()
        return self._add("FULLY_CONNECTED", [self.last, weights], "dense", shape, options)

    def resize(self, height: int, width: int) -> Toy:
        size = self.writer.constant("size", np.array([height, width], np.int32))
        shape = (self.shape[0], height, width, self.shape[3])
        options = schema.ResizeBilinearOptionsT()
        return self._add("RESIZE_BILINEAR", [self.last, size], "resize", shape, options)

    def pad(self, filler: int | None = None) -> Toy:
        amounts = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32)
        inputs = [self.last, self.writer.constant("amounts", amounts)]
        batch, height, width, channels = self.shape
        shape = (batch, height + 2, width + 2, channels)
        if filler is None:
            return self._add("PAD", inputs, "pad", shape)
        inputs.append(self.writer.constant("filler", np.array([filler], np.int8), GRID))
        return self._add("PADV2", inputs, "padv2", shape)

    def plain(self, kind: str, name: str = "") -> Toy:
        """An operator without constants or options."""
        return self._add(kind, [self.last], name or kind.lower(), self.shape)

    def add(self, other: int | None = None, name: str = "add") -> Toy:
        inputs = [self.last, self.last if other is None else other]
        return self._add("ADD", inputs, name, self.shape)

    def to(self, dtype: str) -> Toy:
        kind = "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"
        self.dtype = dtype
        return self.plain(kind, f"to_{dtype}")

    def write(self, path: Path) -> Path:
        path.write_bytes(self.writer.to_bytes({"x": self.first}, {"y": self.last}))
        return path

    def _add(
        self,
        kind: str,
        inputs: list[int],
        name: str,
        shape: tuple[int, ...],
        options: object = None,
    ) -> Toy:
        self.shape = shape
        output = self._tensor(name, shape)
        self.writer.operator(kind, inputs, [output], options)
        self.last = output
        return self

    def _tensor(self, name: str, shape: tuple[int, ...]) -> int:
        return self.writer.tensor(name, shape, self.dtype, GRID if self.dtype == "int8" else None)

    def _constant(self, name: str, shape: tuple[int, ...]) -> int:
        return self.writer.constant(name, np.ones(shape, np.dtype(self.dtype)))
