"""The public measurements, and whether the networks behind them are what they are said to be."""

from __future__ import annotations

import pytest

from i2uv_edge.device.cost_evidence import Row, load_evidence, operators_of

EVIDENCE = load_evidence("sd865")
ROWS = {row.name: row for row in EVIDENCE.row}

# Multiply-accumulates, 10^9, and int8 megabytes of weights, as their authors publish them.
PUBLISHED = {
    "ResNet-18": (1.81, 11.7),
    "ResNet-50": (4.09, 25.6),
    "ResNet-101": (7.80, 44.5),
    "WideResNet-50": (11.40, 68.9),
    "HRNetPose": (7.7, 28.5),
    "HRNetFace": (4.6, 9.68),
    "Real-ESRGAN-general": (19.8, 1.21),
    "QuickSRNetLarge": (7.1, 0.436),
    "QuickSRNetMedium": (1.0, 0.061),
    "QuickSRNetSmall": (0.54, 0.0333),
    "SESR-M5": (5.6, 0.343),
    "FCN-ResNet50": (142.7, 33.0),  # 152.7 with the auxiliary head, which has 10.0
    "ResNeXt50": (4.23, 25.0),
    "U-Net": (602.0, 31.0),
}


def row(*layers: str) -> Row:
    return Row("toy", "none", why="a test", layers=layers)


def test_every_network_that_is_used_is_checked_below() -> None:
    assert {row.name for row in EVIDENCE.row if row.use != "none"} == PUBLISHED.keys()


@pytest.mark.parametrize(("name", "gmac", "millions"), [(k, *v) for k, v in PUBLISHED.items()])
def test_the_layers_are_those_of_the_published_network(
    name: str, gmac: float, millions: float
) -> None:
    operators = operators_of(ROWS[name])
    assert sum(op.gmac for op in operators) == pytest.approx(gmac, rel=0.015)
    weights = sum(op.kernel[0] * op.kernel[1] * op.channels[0] * op.channels[1] for op in operators)
    assert weights / 1e6 == pytest.approx(millions, rel=0.025)


def test_what_others_count_is_what_is_counted_here() -> None:
    for one in EVIDENCE.row:
        if one.gmac is not None:
            assert one.gmac_source
            assert sum(op.gmac for op in operators_of(one)) == pytest.approx(one.gmac, rel=0.015)


def test_a_range_counts_by_its_middle() -> None:
    assert ROWS["ResNet-50"].ms("dsp") == pytest.approx(11.95)
    assert ROWS["ResNet-101"].ms("gpu") is None


def test_a_layer_says_all_that_a_cost_depends_on() -> None:
    first, second, third = operators_of(
        row("2 x conv 3x3/2 64>128 @57x40 groups 2 dilation 2", "upconv 2x2/2 128>64 @15x10")
    )
    assert first.output.shape == second.output.shape == (1, 29, 20, 128)
    assert (first.stride, first.groups, first.dilation, first.channels) == (2, 2, 2, (32, 128))
    assert third.output.shape == (1, 30, 20, 64)
    assert third.positions == 150
    assert (first.inputs[0].name, second.inputs[0].name) == ("input", first.output.name)


@pytest.mark.parametrize(
    "line", ["conv", "convolve 3x3 3>4 @5x5", "conv 3x5 3>4 @5x5", "add 4 5x5"]
)
def test_what_is_no_layer_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=f"toy: '{line}' is no layer"):
        row(line)


def test_a_row_that_is_not_used_says_why() -> None:
    with pytest.raises(ValueError, match="nothing says why"):
        Row("toy", "none")
    with pytest.raises(ValueError, match="no layers or no architecture"):
        Row("toy", "fit")
