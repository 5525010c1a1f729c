"""Integer convolutions by int8 matrix products: the same bits as float64, or float64 itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from quantizer_toys import guided, pictures, recipe
from torch import Tensor
from torch.nn import functional as F

from i2uv_edge.quantizer import integer_sums
from i2uv_edge.quantizer.integer_sums import Geometry, conv_sums, int8_products_are_exact, pack
from i2uv_edge.quantizer.network import quantize

CASES = {
    "3x3": Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1),
    "1x1": Geometry((1, 1), (1, 1), (0, 0), (1, 1), 1),
    "7x7 every second": Geometry((7, 7), (2, 2), (3, 3), (1, 1), 1),
    "1x1 every second": Geometry((1, 1), (2, 2), (0, 0), (1, 1), 1),
    "3x5, uneven in all": Geometry((3, 5), (2, 1), (0, 3), (2, 1), 1),
    "whole map": Geometry((9, 11), (1, 1), (0, 0), (1, 1), 1),
}
HEIGHT, WIDTH, CHANNELS = 9, 11, 5


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the int8 products wherever this runs; machines without them may be slow, not wrong."""
    monkeypatch.setattr(integer_sums, "int8_products_are_exact", lambda: True)


@pytest.fixture
def tried_again() -> Iterator[None]:
    int8_products_are_exact.cache_clear()
    yield
    int8_products_are_exact.cache_clear()


def in_float64(steps: Tensor, integers: Tensor, bias: Tensor, geometry: Geometry) -> Tensor:
    made = F.conv2d(
        steps,
        integers.double(),
        bias.double(),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
    )
    return made.float()


def drawn(geometry: Geometry, zero_point: int, groups: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Steps (2, 5 groups, 9, 11), weights and biases so large that float32 has to round."""
    generator = torch.Generator().manual_seed(zero_point + 1000)
    shape = (2, CHANNELS * groups, HEIGHT, WIDTH)
    stored = torch.randint(-128, 128, shape, generator=generator)
    weight = torch.randint(-127, 128, (6, CHANNELS, *geometry.kernel), generator=generator)
    bias = torch.randint(-(1 << 30), 1 << 30, (6,), generator=generator)
    return (stored - zero_point).double(), weight.to(torch.int8), bias


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
@pytest.mark.parametrize("geometry", CASES.values(), ids=CASES)
def test_products_give_the_bits_of_float64(
    geometry: Geometry, zero_point: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not int8_products_are_exact():
        pytest.skip("this machine's int8 products saturate")
    monkeypatch.setattr(F, "conv2d", None)
    steps, weight, bias = drawn(geometry, zero_point)
    made = conv_sums(steps, pack(weight), bias, geometry, zero_point=zero_point)
    monkeypatch.undo()
    assert made.dtype == torch.float32
    assert made.shape[2:] == geometry.output_size(HEIGHT, WIDTH)
    assert torch.equal(made, in_float64(steps, weight, bias, geometry))


def test_the_largest_sums_neither_saturate_nor_wrap() -> None:
    geometry = CASES["3x3"]
    steps = torch.full((1, 2048, 4, 4), 255.0, dtype=torch.float64)
    weight = torch.full((2, 2048, 3, 3), 127, dtype=torch.int8)
    weight[1] = -127
    bias = torch.tensor([(1 << 31) - 1, -(1 << 31)])
    made = conv_sums(steps, pack(weight), bias, geometry, zero_point=-128)
    assert torch.equal(made, in_float64(steps, weight, bias, geometry))
    assert float(made.max()) > 1 << 31


def test_blocks_of_rows_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = CASES["7x7 every second"]
    steps, weight, bias = drawn(geometry, 5)
    whole = conv_sums(steps, pack(weight), bias, geometry, zero_point=5)
    monkeypatch.setattr(integer_sums, "_COLUMN_BYTES", 1)
    assert torch.equal(conv_sums(steps, pack(weight), bias, geometry, zero_point=5), whole)


def test_grouped_convolutions_are_left_to_float64() -> None:
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 3)
    steps, weight, bias = drawn(geometry, 5, groups=3)
    made = conv_sums(steps, pack(weight), bias, geometry, zero_point=5)
    assert torch.equal(made, in_float64(steps, weight, bias, geometry))


@pytest.mark.parametrize("value", [-128 - 4, 128 - 3, 70_000])
def test_what_int8_does_not_hold_is_left_to_float64(value: int) -> None:
    geometry = CASES["3x3"]
    steps, weight, bias = drawn(geometry, 3)
    steps[0, 0, 4, 4] = value
    made = conv_sums(steps, pack(weight), bias, geometry, zero_point=3)
    assert torch.equal(made, in_float64(steps, weight, bias, geometry))


@pytest.mark.usefixtures("tried_again")
@pytest.mark.parametrize("fault", ["saturates", "wraps", "is off by one"])
def test_a_machine_whose_products_are_wrong_is_found_out(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def products(rows: Tensor, columns: Tensor) -> Tensor:
        if fault == "saturates":  # pairs of unsigned by signed, as without int8 dot products
            shifted, kernel = rows.long() + 128, columns.long()
            pairs = shifted.unflatten(1, (-1, 2)), kernel.unflatten(0, (-1, 2))
            terms = torch.einsum("mkp,kpn->mkn", *pairs).clamp(-(1 << 15), (1 << 15) - 1)
            return (terms.sum(1) - 128 * kernel.sum(0)).int()
        sums = rows.long() @ columns.long()
        return (
            ((sums + (1 << 21)) % (1 << 22)) - (1 << 21) if fault == "wraps" else sums + 1
        ).int()

    monkeypatch.setattr(integer_sums, "_products", products)
    assert not int8_products_are_exact()


@pytest.mark.usefixtures("tried_again")
def test_a_right_product_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        integer_sums, "_products", lambda rows, columns: (rows.long() @ columns.long()).int()
    )
    assert int8_products_are_exact() == torch.backends.mkldnn.is_available()


def test_a_whole_network_answers_the_same_bits_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    network = quantize(guided(), recipe("warp*"), [pictures(8, 16)], network_role="affinenet")
    given = torch.from_numpy(pictures(4, 16, seed=1).transpose(0, 3, 1, 2).copy())
    products: list[int] = []
    plain = integer_sums._products
    monkeypatch.setattr(integer_sums, "_products", lambda *pair: products.append(1) or plain(*pair))
    with torch.no_grad():
        fast = network.module(given)
        count = len(products)
        monkeypatch.setattr(integer_sums, "int8_products_are_exact", lambda: False)
        slow = network.module(given)
    assert count > 0
    assert len(products) == count
    assert torch.equal(fast, slow)
    assert float(fast.std()) > 0.0
