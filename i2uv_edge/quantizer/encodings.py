"""`encodings.json`: every quantized tensor's scale and zero point, and how they were found.

The one set of ranges behind every format. A network, its encodings and, where they were not just
rounded to the nearest, its integer weights give the same fake-quant network again, bit for bit,
without calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from i2uv_edge.errors import InputError

__all__ = ["SCHEMA", "ActivationEncoding", "Encodings", "WeightEncoding"]

SCHEMA = 1

T = TypeVar("T", "ActivationEncoding", "WeightEncoding")


@dataclass(frozen=True)
class ActivationEncoding:
    """An activation: real = scale * (q - zero_point), q an integer of `bits` bits.

    `group` names the tensor whose range it shares (itself where it shares none), `minimum` and
    `maximum` are the values calibration saw, `method` how scale and zero point followed from them.
    """

    scale: float
    zero_point: int
    bits: int
    symmetric: bool
    group: str
    method: str
    minimum: float
    maximum: float
    percentile: float | None = None


@dataclass(frozen=True)
class WeightEncoding:
    """A convolution's weights, symmetric: one scale for each index of `axis`, or one for all.

    The bias is stored in int32 steps of input scale x weight scale.
    """

    scale: tuple[float, ...]
    bits: int
    axis: int | None
    method: str
    zero_point: int = 0
    symmetric: bool = True


@dataclass(frozen=True)
class Encodings:
    """All encodings of one network; keys are tensor names, which are module paths.

    `equalization` holds, by convolution, what its output channels were multiplied by before
    anything was measured (see `equalize`); their readers' columns were divided by the same.
    `bias_correction` holds, by convolution, what was added to its bias (see `bias_correction`).
    """

    role: str
    recipe: str
    input_shape: tuple[int, int, int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, ActivationEncoding] = field(default_factory=dict)
    weights: Mapping[str, WeightEncoding] = field(default_factory=dict)
    equalization: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    bias_correction: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes; names in network order, numbers that read back exactly."""
        return {
            "schema": SCHEMA,
            "network": self.role,
            "recipe": self.recipe,
            "input_shape": list(self.input_shape),
            "options": dict(self.options),
            "activations": {name: asdict(value) for name, value in self.activations.items()},
            "weights": {
                name: {
                    key: list(item) if isinstance(item, tuple) else item
                    for key, item in asdict(value).items()
                }
                for name, value in self.weights.items()
            },
            "equalization": {name: list(value) for name, value in self.equalization.items()},
            "bias_correction": {name: list(v) for name, v in self.bias_correction.items()},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Encodings:
        """Read what `to_dict` wrote; InputError, naming tensor and key, where it is not that."""
        if document.get("schema") != SCHEMA:
            raise InputError(
                f"encodings have schema {document.get('schema')!r}", expected=f"schema {SCHEMA}"
            )
        expected = set(cls("", "", (1, 1, 1, 1)).to_dict())
        if set(document) != expected:
            odd = ", ".join(sorted(set(document) ^ expected))
            raise InputError(f"encodings have missing or unknown keys: {odd}")
        shape = document["input_shape"]
        if len(shape) != 4:
            raise InputError(f"encodings: input_shape is {shape}", expected="four numbers (NCHW)")
        return cls(
            role=document["network"],
            recipe=document["recipe"],
            input_shape=(shape[0], shape[1], shape[2], shape[3]),
            options=dict(document["options"]),
            activations=_read(ActivationEncoding, document["activations"]),
            weights=_read(WeightEncoding, document["weights"]),
            equalization={name: tuple(v) for name, v in document["equalization"].items()},
            bias_correction={name: tuple(v) for name, v in document["bias_correction"].items()},
        )


def _read(kind: type[T], section: Mapping[str, Mapping[str, Any]]) -> dict[str, T]:
    known = {item.name for item in fields(kind)}
    result: dict[str, T] = {}
    for name, entry in section.items():
        if set(entry) != known:
            odd = ", ".join(sorted(set(entry) ^ known))
            raise InputError(f"encodings of {name!r}: missing or unknown keys: {odd}")
        values: dict[str, Any] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in entry.items()
        }
        scales = values["scale"] if isinstance(values["scale"], tuple) else (values["scale"],)
        if not scales or any(not (math.isfinite(scale) and scale > 0) for scale in scales):
            raise InputError(
                f"encodings of {name!r}: scale is {values['scale']}", expected="finite, above 0"
            )
        result[name] = kind(**values)
    return result
