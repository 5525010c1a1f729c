"""From a network's TOML to its torch module.

The families of the role "hand" are the modules of `i2uv_edge.networks.hands`, found by their names:
each has a `NETWORK`, the class. To add one is to add its module and a TOML.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import nn

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.mano import Mano
from i2uv_edge.networks import hands
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.readouts import HandNetwork, Readout
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


def families() -> list[str]:
    """Every family there is."""
    return [*FAMILIES, *(module.name for module in pkgutil.iter_modules(hands.__path__))]


def build(spec: NetworkSpec) -> nn.Module:
    """The network a spec describes, freshly initialised, in evaluation mode.

    It takes (N, C, H, W) and returns (N, C', H', W'), where the spec's shapes are (1, H, W, C) and
    (1, H', W', C').

    Raises
    ------
    UsageError
        Unknown family, unknown or unusable architecture key, shapes that are not the network's.
    """
    family = _family(spec)
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
        network: nn.Module = family(**arguments).eval()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"network {spec.name}: {error}",
            expected=f"architecture keys as {family.__name__} takes them",
            remedy="see the class's docstring",
        ) from error
    shapes = _shapes(network, spec)
    if (spec.input.shape, spec.output.shape) != shapes:
        raise UsageError(
            f"network {spec.name}: shapes {list(spec.input.shape)} and {list(spec.output.shape)}",
            expected=f"{list(shapes[0])} and {list(shapes[1])}, which this architecture has",
            remedy="correct `shape` under [input] or [output]",
        )
    return network


def readout(spec: NetworkSpec, hand: Mano) -> Readout:
    """What turns the answer of a network of the role "hand" into vertices of a hand."""
    network = build(spec)
    assert isinstance(network, HandNetwork), spec.name
    return network.readout(hand)


def _family(spec: NetworkSpec) -> Callable[..., Any]:
    if spec.family in FAMILIES and spec.role != "hand":
        return FAMILIES[spec.family]
    known = families()
    if spec.family not in known:
        raise unknown_name(f"network {spec.name}: unknown family", spec.family, known)
    if (spec.role == "hand") == (spec.family in FAMILIES):
        raise UsageError(
            f"network {spec.name}: the family {spec.family} is not of the role {spec.role}",
            remedy="correct `role` or `family`",
        )
    module = importlib.import_module(f"{hands.__name__}.{spec.family}")
    network: Callable[..., Any] = module.NETWORK
    return network


def _shapes(network: Any, spec: NetworkSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """NHWC shapes of input and output, as the network has them."""
    size = spec.input.shape[1]
    if not isinstance(network, HandNetwork):
        made = network.output_size(size)
        return (1, size, size, 3), (1, made, made, 3)
    assert spec.readout is not None
    found = network.input_shape, network.output_shape
    if dict(spec.readout.fields) != dict(network.fields):
        raise UsageError(
            f"network {spec.name}: the output has the fields {dict(spec.readout.fields)}",
            expected=f"{dict(network.fields)}, which this architecture has",
            remedy="correct `fields` under [readout]",
        )
    return found
