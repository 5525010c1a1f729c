"""The inputs and outputs of small runners, shared by tests."""

from __future__ import annotations

from dataclasses import dataclass

from i2uv_edge.spec import TensorSpec

SIZE = 4


@dataclass(frozen=True)
class Ports:
    input: TensorSpec
    output: TensorSpec


def ports(size: int = SIZE, out: int = SIZE) -> Ports:
    return Ports(
        TensorSpec("image", (1, size, size, 3), "NHWC", "rgb", (0.0, 1.0)),
        TensorSpec("uv_map", (1, out, out, 3), "NHWC", "crop", (0.0, 1.0)),
    )
