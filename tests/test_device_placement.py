"""Every limit of the bundled target, met and broken by a file of the project's own writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from plan_toys import Toy

from i2uv_edge.device.placement import place
from i2uv_edge.device.placement_graph import read_network
from i2uv_edge.errors import InputError
from i2uv_edge.spec import load_target
from i2uv_edge.target_spec import LimitSpec, RuntimeSpec

RUNTIMES = load_target("sd865").runtime
LIMITS = [
    (name, limit, operator)
    for name, runtime in RUNTIMES.items()
    for limit in runtime.limit
    for operator in (limit.operators or ("",))
]

# For each condition and operator: a file within it, one beyond it, and what the refusal says.
Case = tuple[Callable[[], Toy], Callable[[], Toy], str]
CASES: dict[tuple[str, str], Case] = {
    ("types", ""): (
        lambda: Toy().conv(),
        lambda: Toy(dtype="int32").add(),
        "ADD is INT32, only ",
    ),
    ("max_rank", ""): (
        lambda: Toy((1, 2, 2, 4)).add(),
        lambda: Toy((1, 1, 2, 2, 4)).add(),
        "ADD has 5 dimensions, at most 4",
    ),
    ("max_stride", "CONV_2D"): (
        lambda: Toy().conv(stride=3),
        lambda: Toy().conv(stride=4),
        "CONV_2D has stride 4, at most 3",
    ),
    ("max_stride", "DEPTHWISE_CONV_2D"): (
        lambda: Toy().depthwise(stride=3),
        lambda: Toy().depthwise(stride=4),
        "DEPTHWISE_CONV_2D has stride 4, at most 3",
    ),
    ("max_stride", "TRANSPOSE_CONV"): (
        lambda: Toy().upconv(stride=3),
        lambda: Toy().upconv(stride=4),
        "TRANSPOSE_CONV has stride 4, at most 3",
    ),
    ("max_dilation", "CONV_2D"): (
        lambda: Toy().conv(),
        lambda: Toy().conv(dilation=2),
        "CONV_2D has dilation 2, at most 1",
    ),
    ("max_dilation", "DEPTHWISE_CONV_2D"): (
        lambda: Toy().depthwise(),
        lambda: Toy().depthwise(dilation=2),
        "DEPTHWISE_CONV_2D has dilation 2, at most 1",
    ),
    ("max_groups", "CONV_2D"): (
        lambda: Toy().conv(),
        lambda: Toy().conv(groups=2),
        "CONV_2D has 2 groups, at most 1",
    ),
    ("max_multiplier", "DEPTHWISE_CONV_2D"): (
        lambda: Toy().depthwise(),
        lambda: Toy().depthwise(multiplier=2),
        "DEPTHWISE_CONV_2D has depth multiplier 2, at most 1",
    ),
    ("kernel_width", "DEPTHWISE_CONV_2D"): (
        lambda: Toy().depthwise(kernel=(5, 3)),
        lambda: Toy().depthwise(kernel=(3, 5)),
        "DEPTHWISE_CONV_2D has kernel width 5, only 3",
    ),
    ("max_output_side", "RESIZE_BILINEAR"): (
        lambda: Toy().resize(65, 65),
        lambda: Toy().resize(8, 66),
        "RESIZE_BILINEAR writes 66 pixels a side, at most 65",
    ),
    ("zero_padding", "PADV2"): (
        lambda: Toy().pad(),
        lambda: Toy().pad(-128),
        "PADV2 pads with another value than zero",
    ),
    ("max_network_tensor_mb", ""): (
        lambda: Toy((1, 1000, 1000, 32)).add(),
        lambda: Toy((1, 1000, 1000, 33)).add(),
        "tensor 'x' has 33 MB, at most 32",
    ),
}


def identity(value: object) -> str:
    return value.conditions[0] if isinstance(value, LimitSpec) else str(value)


def operators(toy: Toy, folder: Path):  # type: ignore[no-untyped-def]
    return read_network(toy.write(folder / "m.tflite"))


@pytest.mark.parametrize(("runtime", "limit", "operator"), LIMITS, ids=identity)
def test_what_is_beyond_a_limit_falls_to_the_cpu_for_that_reason(
    runtime: str, limit: LimitSpec, operator: str, tmp_path: Path
) -> None:
    (condition,) = limit.conditions
    within, beyond, reason = CASES[condition, operator]
    (run,) = place(operators(beyond(), tmp_path), RUNTIMES[runtime]).runs
    assert run.unit == "CPU"
    assert reason in run.refusals[0].reason
    assert run.refusals[0].source == limit.source
    assert run.refusals[0].certainty == limit.certainty
    (run,) = place(operators(within(), tmp_path), RUNTIMES[runtime]).runs
    assert (run.unit, run.refusals) == (RUNTIMES[runtime].unit, ())


@pytest.mark.parametrize(
    ("runtime", "kind", "certainty"),
    [
        ("qnn", "GATHER", "assumed"),
        ("qnn", "GATHER_ND", "assumed"),
        ("qnn", "BATCH_MATMUL", "assumed"),
        ("hexagon", "GATHER", "documented"),
        ("hexagon", "BATCH_MATMUL", "documented"),
        ("hexagon", "PRELU", "documented"),
        ("gpu", "GATHER", "assumed"),
    ],
)
def test_what_no_list_names_falls_to_the_cpu(
    runtime: str, kind: str, certainty: str, tmp_path: Path
) -> None:
    (run,) = place(operators(Toy().plain(kind), tmp_path), RUNTIMES[runtime]).runs
    assert run.unit == "CPU"
    assert run.refusals[0].reason == f"{kind} is not among the operators it takes"
    assert run.refusals[0].certainty == certainty


def test_the_cpu_takes_everything(tmp_path: Path) -> None:
    toy = Toy().conv().to("float32").plain("FLOOR").plain("GATHER")
    placement = place(operators(toy, tmp_path), RUNTIMES["xnnpack"])
    assert [(run.unit, len(run.operators)) for run in placement.runs] == [("CPU", 4)]
    assert (placement.crossings, placement.delegated) == (0, False)


def test_a_float_part_in_the_middle_cuts_twice(tmp_path: Path) -> None:
    toy = Toy().conv(name="a").to("float32").plain("FLOOR").to("int8").conv(name="b")
    placement = place(operators(toy, tmp_path), RUNTIMES["qnn"])
    assert [(run.unit, len(run.operators)) for run in placement.runs] == [
        ("DSP", 1),
        ("CPU", 3),
        ("DSP", 1),
    ]
    assert placement.crossings == 2


def test_branches_join_the_run_that_they_are_ready_for(tmp_path: Path) -> None:
    """As TFLite partitions: order in the file makes no cut where the data makes none."""
    toy = Toy().conv(name="a", channels=4)
    branch = toy.last
    toy.plain("GATHER", "left")
    left = toy.last
    toy.last = branch
    toy.conv(name="right", channels=4).add(left)
    placement = place(operators(toy, tmp_path), RUNTIMES["qnn"])
    kinds = [[operator.layer for operator in run.operators] for run in placement.runs]
    assert kinds == [["a", "right"], ["left"], ["add"]]


def test_a_runtime_without_lists_takes_everything(tmp_path: Path) -> None:
    bare = RuntimeSpec("DSP", "a test", "a test", "assumed")
    (run,) = place(operators(Toy().plain("GATHER"), tmp_path), bare).runs
    assert run.unit == "DSP"


def test_an_operator_that_waits_for_itself_is_refused(tmp_path: Path) -> None:
    (operator,) = operators(Toy().conv(name="a"), tmp_path)
    with pytest.raises(InputError, match="operator 'a' reads what no operator before it writes"):
        place([replace(operator, inputs=(operator.output,))], RUNTIMES["qnn"])
