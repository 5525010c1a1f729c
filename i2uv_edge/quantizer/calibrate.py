"""Run calibration samples through the float network; watch each tensor that becomes integer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of
from i2uv_edge.quantizer.observers import Histogram
from i2uv_edge.quantizer.plan import QuantPlan

__all__ = ["empty_set", "observe", "samples", "way_to_output"]


Mask = NDArray[np.bool_]


class _Watcher(fx.Interpreter):
    def __init__(
        self,
        graph: fx.GraphModule,
        watched: Mapping[fx.Node, list[Histogram]],
        mask: Mask | None,
    ) -> None:
        super().__init__(graph)
        self._watched = watched
        self._mask = mask

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._watched:
            values = self._counted(n, value.detach())
            for histogram in self._watched[n]:
                try:
                    histogram.add(values)
                except ValueError as error:
                    raise InputError(
                        f"layer {layer_of(n)!r}: {error} during calibration",
                        expected="a network and calibration samples that give finite values",
                    ) from error
        return value

    def _counted(self, node: fx.Node, value: Tensor) -> NDArray[np.float32]:
        """The values that count: of what becomes the output, the texels that are read."""
        if self._mask is not None:
            layers = way_to_output(node)
            if layers is not None:
                for layer in layers:
                    value = layer(value)
                return value.permute(0, 2, 3, 1).numpy()[:, self._mask]
        return value.numpy()


def way_to_output(node: fx.Node) -> list[nn.Module] | None:
    """What rearranges a tensor into the output, if it becomes that and nothing else reads it."""
    layers: list[nn.Module] = []
    while kind_of(node) != "output":
        (*others, node) = node.users
        if others or kind_of(node) not in ("depth_to_space", "add", "output"):
            return None
        if kind_of(node) == "depth_to_space":
            layers.append(module_of(node))
    return layers


def samples(
    calibration: Iterable[NDArray[np.float32]], input_shape: tuple[int, ...]
) -> Iterable[Tensor]:
    """Yield NCHW tensors (1, C, H, W) from NHWC batches (N, H, W, C), checking each.

    Raises
    ------
    InputError
        A batch of another shape, a value that is not finite, or no sample at all.
    """
    count = 0
    _, channels, height, width = input_shape
    for batch in calibration:
        if batch.ndim != 4 or batch.shape[1:] != (height, width, channels):
            raise InputError(
                f"calibration batch {count} has shape {list(batch.shape)}",
                expected=f"[N, {height}, {width}, {channels}]",
            )
        if not np.isfinite(batch).all():
            raise InputError(f"calibration sample {count} holds NaN or infinite values")
        for sample in np.asarray(batch, np.float32):
            count += 1
            yield torch.from_numpy(np.ascontiguousarray(sample.transpose(2, 0, 1)))[None]
    if not count:
        raise empty_set()


def empty_set() -> InputError:
    """The error for a calibration set without a sample."""
    return InputError(
        "the calibration set is empty",
        expected="at least one sample; 64 or more for useful ranges",
        remedy="point --calibration to a folder with pictures",
    )


@torch.no_grad()
def observe(
    graph: fx.GraphModule,
    plan: QuantPlan,
    inputs: Iterable[Tensor],
    *,
    output_mask: Mask | None = None,
    counting: bool = True,
) -> dict[str, Histogram]:
    """Return one histogram for each group of tensors that share a range, by the group's name.

    Of tensors that only become the output, the values where `output_mask` (M, M) is False are left
    out: nobody reads those texels, so they may saturate. Without `counting` the histograms know
    least and greatest values alone, which is all that "min-max" asks for.
    """
    histograms = {point.group: Histogram(counting=counting) for point in plan.points}
    watched: dict[fx.Node, list[Histogram]] = {}
    for point in plan.points:
        seen = watched.setdefault(point.source, [])
        if histograms[point.group] not in seen:
            seen.append(histograms[point.group])
    watcher = _Watcher(graph, watched, output_mask)
    for sample in inputs:
        watcher.run(sample)
    return histograms
