"""From a network's TOML to its torch module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.srnet import SRNet
from i2uv_edge.networks.srnet_edge import SRNetEdge
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.strict_toml import unknown_name

FAMILIES: dict[str, Callable[..., AffineNet | AffineNetEdge | SRNet | SRNetEdge]] = {
    "affinenet": AffineNet,
    "affinenet_edge": AffineNetEdge,
    "srnet": SRNet,
    "srnet_edge": SRNetEdge,
}


def build(spec: NetworkSpec) -> nn.Module:
    """The network a spec describes, freshly initialised, in evaluation mode.

    It takes (N, 3, S, S) and returns (N, 3, M, M), where the spec's shapes are (1, S, S, 3) and
    (1, M, M, 3).

    Raises
    ------
    UsageError
        Unknown family, unknown or unusable architecture key, shapes that are not the network's.
    """
    family = FAMILIES.get(spec.family)
    if family is None:
        raise unknown_name(f"network {spec.name}: unknown family", spec.family, FAMILIES)
    arguments: dict[str, Any] = dict(spec.architecture)
    parameters = inspect.signature(family).parameters
    known = [name for name in parameters if name != "input_size"]  # which is the input's shape
    for key in arguments:
        if key not in known:
            raise unknown_name(f"network {spec.name}: unknown architecture key", key, known)
    size = spec.input.shape[1]
    if "input_size" in parameters:
        arguments["input_size"] = size
    try:
        network = family(**arguments).eval()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"network {spec.name}: {error}",
            expected=f"architecture keys as {family.__name__} takes them",
            remedy="see the class's docstring",
        ) from error
    made = network.output_size(size)
    shapes = (1, size, size, 3), (1, made, made, 3)
    if (spec.input.shape, spec.output.shape) != shapes:
        raise UsageError(
            f"network {spec.name}: shapes {list(spec.input.shape)} and {list(spec.output.shape)}",
            expected=f"{list(shapes[0])} and {list(shapes[1])}, which this architecture has",
            remedy="correct `shape` under [input] or [output]",
        )
    return network
