"""Run calibration samples through the float network; watch each tensor that becomes integer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.graph import layer_of
from i2uv_edge.quantizer.observers import Histogram
from i2uv_edge.quantizer.plan import QuantPlan

__all__ = ["observe", "samples"]


class _Watcher(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, watched: Mapping[fx.Node, list[Histogram]]) -> None:
        super().__init__(graph)
        self._watched = watched

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        for histogram in self._watched.get(n, ()):
            assert isinstance(value, Tensor)
            try:
                histogram.add(value.detach().numpy())
            except ValueError as error:
                raise InputError(
                    f"layer {layer_of(n)!r}: {error} during calibration",
                    expected="a network and calibration pictures that give finite values",
                ) from error
        return value


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
        raise InputError(
            "the calibration set is empty",
            expected="at least one sample; 64 or more for useful ranges",
            remedy="point --calibration to a folder with pictures",
        )


@torch.no_grad()
def observe(
    graph: fx.GraphModule, plan: QuantPlan, inputs: Iterable[Tensor]
) -> dict[str, Histogram]:
    """Return one histogram for each group of tensors that share a range, by the group's name."""
    histograms = {point.group: Histogram() for point in plan.points}
    watched: dict[fx.Node, list[Histogram]] = {}
    for point in plan.points:
        seen = watched.setdefault(point.source, [])
        if histograms[point.group] not in seen:
            seen.append(histograms[point.group])
    watcher = _Watcher(graph, watched)
    for sample in inputs:
        watcher.run(sample)
    return histograms
