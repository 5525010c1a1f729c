"""A quantized network as one file: integer weights, and its encodings in the metadata.

For weights that training has changed. What calibration alone has made is made again in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.encodings import Encodings

__all__ = [
    "StoredWeights",
    "is_stored",
    "read_stored",
    "read_tensors",
    "write_stored",
    "write_tensors",
]

_KEY = "quantized"


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class StoredWeights:
    """What `quantize` with training has made of a network.

    Attributes
    ----------
    network : its name
    parent : SHA-256 of the float checkpoint that it was made from
    encodings : with the name of the recipe
    tensors : see `quantizer.trainable`
    """

    network: str
    parent: str
    encodings: Encodings
    tensors: Mapping[str, Tensor]


def write_stored(path: Path, stored: StoredWeights) -> None:
    """Write a file; the same content gives the same bytes."""
    described = {
        "network": stored.network,
        "parent": stored.parent,
        "encodings": stored.encodings.to_dict(),
    }
    # One entry: safetensors writes several in any order.
    metadata = {_KEY: json.dumps(described, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(save(dict(stored.tensors), metadata=metadata))
    partial.replace(path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors alone, for a bundle, where the encodings have a file of their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(dict(tensors)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote; InputError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error})",
            expected="the integer weights of a quantized network",
            remedy="fetch or export it again",
        ) from error


def is_stored(path: Path) -> bool:
    """Whether a file holds a quantized network; False for any other file, and for none."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_stored(path: Path) -> StoredWeights:
    """Read what `write_stored` wrote.

    Raises
    ------
    InputError
        The file is missing or damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})[_KEY])
        return StoredWeights(
            network=str(described["network"]),
            parent=str(described["parent"]),
            encodings=Encodings.from_dict(described["encodings"]),
            tensors=read_tensors(path),
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as a quantized network ({type(error).__name__}: {error})",
            expected="a file that `i2uv-edge quantize` wrote",
            remedy="quantize the network again",
        ) from error
