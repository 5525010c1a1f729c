from __future__ import annotations

from pathlib import Path

import pytest
from plan_toys import Toy

from i2uv_edge.convert.histogram import read_operators
from i2uv_edge.device.placement_graph import read_network
from i2uv_edge.errors import InputError


def test_a_convolution_is_read_with_all_that_placement_depends_on(tmp_path: Path) -> None:
    toy = Toy((1, 9, 9, 8)).conv(channels=16, stride=2, dilation=2, groups=2)
    (operator,) = read_network(toy.write(tmp_path / "m.tflite"))
    assert (operator.kind, operator.layer) == ("CONV_2D", "conv")
    assert (operator.kernel, operator.stride, operator.dilation) == ((3, 3), 2, 2)
    assert (operator.groups, operator.channels, operator.positions) == (2, (4, 16), 25)
    assert operator.gmac == pytest.approx(9 * 4 * 16 * 25 / 1e9)
    assert [tensor.name for tensor in operator.inputs] == ["x"]


@pytest.mark.parametrize(
    ("toy", "macs"),
    [
        (Toy().conv(channels=8), 9 * 4 * 8 * 64),
        (Toy().depthwise(), 9 * 4 * 64),
        (Toy().depthwise(multiplier=2), 9 * 8 * 64),
        (Toy().upconv(channels=8), 4 * 4 * 8 * 64),
        (Toy((1, 6)).dense(channels=10), 60),
        (Toy().add(), 0),
    ],
    ids=["conv", "depthwise", "multiplied", "upconv", "dense", "add"],
)
def test_work_is_counted_as_the_histogram_counts_it(toy: Toy, macs: int, tmp_path: Path) -> None:
    path = toy.write(tmp_path / "m.tflite")
    (operator,) = read_network(path)
    assert operator.gmac == pytest.approx(macs / 1e9)
    assert read_operators(path)[0].macs == macs


def test_thin_layers_fill_whole_lanes(tmp_path: Path) -> None:
    (operator,) = read_network(Toy().conv(channels=8, kernel=1).write(tmp_path / "m.tflite"))
    assert operator.lane_gmac(32, 32) == pytest.approx(32 * 32 * 64 / 1e9)
    assert operator.mb() == pytest.approx(64 * (4 + 8) / 1e6)
    assert operator.mb(32) == pytest.approx(64 * (32 + 32) / 1e6)


def test_floats_take_four_bytes(tmp_path: Path) -> None:
    (operator,) = read_network(Toy(dtype="float32").plain("FLOOR").write(tmp_path / "m.tflite"))
    assert operator.is_float
    assert operator.mb() == pytest.approx(2 * 4 * 256 / 1e6)


@pytest.mark.parametrize(("filler", "zero"), [(None, True), (3, True), (-128, False)])
def test_padding_is_with_the_zero_of_the_grid_or_not(
    filler: int | None, zero: bool, tmp_path: Path
) -> None:
    (operator,) = read_network(Toy().pad(filler).write(tmp_path / "m.tflite"))
    assert operator.zero_padding is zero


@pytest.mark.parametrize("content", [None, b"", b"no flatbuffer at all", b"\0\0\0\0TFL3\xff\xff"])
def test_what_is_no_tflite_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.tflite (cannot be read|is no TFLite file)"):
        read_network(path)


def test_a_file_without_operators_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it holds no operators"):
        read_network(Toy().write(tmp_path / "m.tflite"))
