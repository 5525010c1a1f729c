"""How far the features of a quantized network are from those of its float form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.graph import kind_of, layer_of
from i2uv_edge.quantizer.plan import matches
from i2uv_edge.spec import NetworkSpec, Override

__all__ = ["Features", "distance", "head_layers", "with_features"]

Features = dict[str, Tensor]  # by the layer that reads them

PART = "heads"
_LEAST = 1e-6  # spread of a feature that is always the same


def head_layers(graph: nn.Module, spec: NetworkSpec) -> tuple[str, ...]:
    """Names of the convolutions that give coordinates; they read what the decoder's stages made.

    Parameters
    ----------
    graph
        Made by `quantizer.graph.prepare`.
    spec
        The network, which names its parts.

    Raises
    ------
    UsageError
        It names no heads, or none of its layers is one.
    """
    heads: tuple[str, ...] = ()
    if PART in spec.parts and isinstance(graph, fx.GraphModule):
        chosen = Override(match=spec.parts[PART], reason=PART)
        heads = tuple(
            layer_of(node)
            for node in graph.graph.nodes
            if node.op == "call_module"
            and kind_of(node) == "conv"
            and matches(chosen, spec.role, layer_of(node))
        )
    if not heads:
        raise UsageError(
            f"{spec.name} names no part {PART!r}, whose features could be compared",
            expected=f"a glob over modules: {PART}",
            remedy="name them under [parts] in the network's file, or drop features",
        )
    return heads


def with_features(
    graph: nn.Module, batch: Tensor, layers: Sequence[str]
) -> tuple[Tensor, Features]:
    """What a graph makes of a batch, and what the named layers of it read."""
    assert isinstance(graph, fx.GraphModule)
    watcher = _Watcher(graph, layers)
    made: Tensor = watcher.run(batch)
    return made, watcher.features


def distance(found: Features, wanted: Features) -> Tensor:
    """Mean over layers of the features' mean absolute difference, in the wanted ones' spread.

    Both have the same channel scales, so that the spread is that of all channels at once:
    equalization has brought them to one magnitude.
    """
    parts = [
        (found[layer].float() - feature).abs().mean() / feature.std().clamp(min=_LEAST)
        for layer, feature in wanted.items()
    ]
    return torch.stack(parts).mean()


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps the first input of some layers."""

    def __init__(self, graph: fx.GraphModule, layers: Sequence[str]) -> None:
        super().__init__(graph)
        self.features: Features = {}
        self._layers = frozenset(layers)

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module" and layer_of(n) in self._layers:
            (read,), _ = self.fetch_args_kwargs_from_env(n)
            self.features[layer_of(n)] = cast(Tensor, read)
        return super().run_node(n)
