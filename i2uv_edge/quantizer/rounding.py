"""Weights rounded so that their errors cancel in what a layer puts out.

To round each weight to the nearest integer is best for the weights, not for the sums they go into:
where two inputs move together, an error in one column is mended in the other. GPTQ (Frantar et al.,
ICLR 2023) rounds column after column and hands each error on to the columns not yet rounded, by the
inverse of the inputs' second moments. It lowers what AdaRound (Nagel et al., ICML 2020) lowers by
gradient descent, the squared error of each layer's output, in seconds and with nothing to tune.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from i2uv_edge.quantizer.fake_quant import WEIGHT_LIMIT, QuantConv2d
from i2uv_edge.quantizer.graph import kind_of, module_of
from i2uv_edge.quantizer.stepwise import run_stepwise

__all__ = ["round_together", "round_weights"]

# Of the diagonal's mean: what keeps the moments invertible where few samples were seen.
_DAMPING = 0.01
# Columns that know of one another. Time and memory grow with the cube and the square of it, and the
# wide layers of a ResNet-50 have twenty thousand: those are taken in smaller parts.
_MOST_COLUMNS, _PART = 2304, 576
_PLACES = 512  # of a sample, at most, which are looked at: neighbours say nearly the same
_BLOCK = 128  # columns between two updates of all that follow


def round_weights(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
    """Round the weights of a fake-quant graph, in place, by what its layers see of some samples.

    In running order, so that each layer sees what the rounded ones before it put out. Scales stay
    as they are, and so do convolutions in groups.

    Parameters
    ----------
    graph
        In evaluation mode, float32.
    inputs
        (1, C, H, W) samples; 48 or more.
    """

    def visit(node: fx.Node, sources: list[Any], run: Callable[[], list[Any]]) -> list[Any]:
        layer = module_of(node) if kind_of(node) == "conv" else None
        if isinstance(layer, QuantConv2d) and layer.groups == 1:
            _round_layer(layer, sources)
        return run()

    run_stepwise(graph, inputs, visit)


@torch.no_grad()
def _round_layer(layer: QuantConv2d, inputs: Sequence[Tensor]) -> None:
    scale = layer.scale.double()
    weight = layer.weight.double()
    parts = [
        round_together(weight[:, channels].flatten(1), _moments(layer, inputs, channels), scale)
        for channels in _channels(layer)
    ]
    layer.weight.copy_(torch.cat(parts, 1).reshape(weight.shape) * scale[:, None, None, None])
    layer.refresh()


def _channels(layer: QuantConv2d) -> Iterator[slice]:
    """Input channels, as many at a time as have no more columns than can be dealt with."""
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    whole = layer.in_channels * taps <= _MOST_COLUMNS
    step = layer.in_channels if whole else max(_PART // taps, 1)
    for start in range(0, layer.in_channels, step):
        yield slice(start, min(start + step, layer.in_channels))


def _moments(layer: QuantConv2d, inputs: Sequence[Tensor], channels: slice) -> Tensor:
    """(K, K) float64 sums of products of what meets the weights of some input channels."""
    total = torch.zeros(())
    for sample in inputs:
        columns = F.unfold(
            sample[:, channels], layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )[0]
        stride = -(-columns.shape[1] // _PLACES)
        columns = columns[:, ::stride]
        total = total + (columns @ columns.T).double()
    return total


def round_together(weight: Tensor, moments: Tensor, scale: Tensor) -> Tensor:
    """Integers whose products with the inputs miss those of the weights by little.

    Parameters
    ----------
    weight
        (O, K) float64.
    moments
        (K, K) float64, sum over all places of input times input.
    scale
        (O,) float64, the weight that one step stands for.

    Returns
    -------
    torch.Tensor
        (O, K) float64 integers in -127..127.
    """
    diagonal = moments.diagonal()
    damping = max(_DAMPING * float(diagonal.mean()), 1e-12)
    moments = moments + damping * torch.eye(len(moments), dtype=moments.dtype)
    # What weighs most first, while there are still columns to mend its error.
    order = diagonal.argsort(descending=True, stable=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    steps = weight[:, order] / scale[:, None]
    rounded = torch.zeros_like(steps)
    for start in range(0, len(order), _BLOCK):
        end = min(start + _BLOCK, len(order))
        errors = torch.zeros(len(steps), end - start, dtype=steps.dtype)
        for column in range(start, end):
            rounded[:, column] = steps[:, column].round().clamp_(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            error = (steps[:, column] - rounded[:, column]) / upper[column, column]
            steps[:, column + 1 : end] -= error[:, None] * upper[column, column + 1 : end]
            errors[:, column - start] = error
        steps[:, end:] -= errors @ upper[start:end, end:]
    return rounded[:, order.argsort()]
