"""The sums of an integer convolution, exactly: by int8 matrix products where these can be trusted.

In float64 such sums are exact on every machine, and slow: a ResNet-50 AffineNet takes seconds a
picture. Processors with int8 dot products do the same a hundred times faster. Those without them
add pairs of products in 16 bits, which saturate, so nothing is believed of a machine that has not
been tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Geometry", "PackedWeight", "conv_sums", "int8_products_are_exact", "pack"]

_COLUMN_BYTES = 1 << 22  # of one block of gathered inputs: what second-level caches hold
_INT32 = (1 << 31) - 1
_FLOAT32 = 1 << 24  # integers up to here are float32
_LARGEST_PRODUCT = 255 * 127


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride, padding and dilation (rows, columns), and groups of a convolution."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the convolution makes of an input of that size."""
        rows, columns = (
            (size + 2 * pad - reach * (taps - 1) - 1) // stride + 1
            for size, taps, stride, pad, reach in zip(
                (height, width),
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        return rows, columns


@dataclass(frozen=True)
class PackedWeight:
    """Integer weights as a matrix product takes them.

    Attributes
    ----------
    integers : (O, I / groups, kh, kw) int8
    columns : (kh * kw * I, O) int8, the same
    sums : (O,) int64, of each output channel's weights
    """

    integers: Tensor
    columns: Tensor
    sums: Tensor


def pack(integers: Tensor) -> PackedWeight:
    """Arrange int8 weights (O, I / groups, kh, kw) once, for many calls."""
    columns = integers.permute(2, 3, 1, 0).reshape(-1, len(integers)).contiguous()
    return PackedWeight(integers, columns, integers.to(torch.int64).sum((1, 2, 3)))


def conv_sums(
    steps: Tensor, weight: PackedWeight, bias: Tensor, geometry: Geometry, *, zero_point: int
) -> Tensor:
    """Sums of an integer convolution, rounded once, to float32.

    Parameters
    ----------
    steps
        (N, I, H, W) integers as float64: stored values minus `zero_point`, so that padding is 0.
    weight, bias
        Integers; the bias (O,) int64.
    zero_point
        Of the input: what int8 stores for 0.

    Returns
    -------
    Tensor
        (N, O, H', W') float32.
    """
    if geometry.groups == 1 and int8_products_are_exact():
        stored = steps.to(torch.int32).add_(zero_point)
        low, high = torch.aminmax(stored)
        if low >= -128 and high <= 127:
            return _by_products(stored.to(torch.int8), weight, bias, geometry, zero_point)
    taps = weight.integers[0].numel()
    if geometry.groups > 1 and taps * _LARGEST_PRODUCT < _FLOAT32:
        # Sums so short are exact in float32, which is many times as fast for a filter a channel.
        sums = F.conv2d(
            steps.float(),
            weight.integers.float(),
            None,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
        )
        return sums.double().add_(bias.double()[:, None, None]).float()
    return F.conv2d(
        steps,
        weight.integers.double(),
        bias.double(),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
    ).float()


@cache
def int8_products_are_exact() -> bool:
    """Whether this machine's int8 matrix products neither saturate nor wrap, and are worth it.

    Tried on the largest values there are, in sums long enough for every kernel to be chosen.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False  # torch's own loop is right and slower than float64
    signs = torch.randint(0, 2, (64, 576), generator=torch.Generator().manual_seed(0)) * 2 - 1
    for left, right in ((127, 127), (-128, 127), (-128, -127), (127, -127)):
        for pattern in (torch.ones_like(signs), signs):
            rows = (pattern * left).clamp(-128, 127)
            columns = torch.full((576, 48), right)
            made = _products(rows.to(torch.int8), columns.to(torch.int8))
            if not torch.equal(made.to(torch.int64), rows @ columns):
                return False
    return True


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """(M, K) int8 times (K, O) int8 -> (M, O) int32."""
    result: Tensor = torch._int_mm(rows, columns)
    return result


def _by_products(
    stored: Tensor, weight: PackedWeight, bias: Tensor, geometry: Geometry, zero_point: int
) -> Tensor:
    samples, _, height, width = stored.shape
    rows, columns = geometry.output_size(height, width)
    stored = stored.permute(0, 2, 3, 1)
    vertical, horizontal = geometry.padding
    if vertical or horizontal:
        around = (0, 0, horizontal, horizontal, vertical, vertical)
        stored = F.pad(stored, around, value=zero_point)
    stored = stored.contiguous()
    # What is stored is off by the zero point, so each sum is off by that times its weights' sum.
    offset = bias - zero_point * weight.sums
    fits = int(offset.abs().max()) + len(weight.columns) * 128 * 127 <= _INT32
    offset = offset.to(torch.int32 if fits else torch.int64)
    result = torch.empty(samples, rows, columns, len(bias), dtype=torch.float32)
    block = max(1, _COLUMN_BYTES // (columns * len(weight.columns)))
    for sample in range(samples):
        for first in range(0, rows, block):
            count = min(block, rows - first)
            gathered = _gathered(stored[sample], geometry, first, count, columns)
            sums = _products(gathered, weight.columns)
            sums = sums.add_(offset) if fits else sums + offset
            result[sample, first : first + count] = sums.view(count, columns, -1)
    return result.permute(0, 3, 1, 2)


def _gathered(stored: Tensor, geometry: Geometry, first: int, rows: int, columns: int) -> Tensor:
    """(H, W, I) -> (rows * columns, kh * kw * I): what each output position reads."""
    along_rows, along_columns, along_channels = stored.stride()
    view = stored.as_strided(
        (rows, columns, *geometry.kernel, stored.shape[2]),
        (
            along_rows * geometry.stride[0],
            along_columns * geometry.stride[1],
            along_rows * geometry.dilation[0],
            along_columns * geometry.dilation[1],
            along_channels,
        ),
        stored.storage_offset() + first * geometry.stride[0] * along_rows,
    )
    return view.reshape(rows * columns, -1)
