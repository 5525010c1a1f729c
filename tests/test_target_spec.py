from __future__ import annotations

from pathlib import Path

import pytest

from i2uv_edge import spec
from i2uv_edge.errors import UsageError
from i2uv_edge.target_spec import LimitSpec

TARGET = """
description = "a phone"
soc = "X1"
sources = ["a test"]

[runtime.toy]
unit = "DSP"
description = "a runtime"
source = "a test"
certainty = "assumed"

[[runtime.toy.limit]]
operators = ["CONV_2D"]
max_stride = 2
source = "a test"
certainty = "documented"
"""


def load(folder: Path, text: str) -> spec.TargetSpec:
    path = folder / "toy.toml"
    path.write_text(text)
    return spec.load_target(path)


def test_a_target_of_one_s_own_is_read(tmp_path: Path) -> None:
    target = load(tmp_path, TARGET)
    (limit,) = target.runtime["toy"].limit
    assert limit.conditions == ("max_stride",)
    assert (limit.max_stride, limit.certainty) == (2, "documented")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("max_stride = 2", "max_strides = 2", "'max_strides'"),
        ("max_stride = 2", "", "a limit has one condition, this one has none"),
        ("max_stride = 2", "max_stride = 2\nmax_rank = 4", "this one has max_rank, max_stride"),
        ('certainty = "documented"', 'certainty = "sure"', "one of 'measured', 'documented'"),
        ('unit = "DSP"', 'unit = "FPGA"', "one of 'CPU', 'DSP'"),
        ('source = "a test"\ncertainty = "documented"', 'certainty = "documented"', "'source'"),
    ],
)
def test_what_is_wrong_in_a_target_is_named(old: str, new: str, named: str, tmp_path: Path) -> None:
    assert TARGET.count(old) == 1
    with pytest.raises(UsageError, match=named.replace("(", r"\(")):
        load(tmp_path, TARGET.replace(old, new))


@pytest.mark.parametrize("name", spec.target_names())
def test_every_fact_of_a_bundled_target_has_a_source(name: str) -> None:
    target = spec.load_target(name)
    rows = [*target.cpu, *target.processor, *target.runtime.values()]
    for runtime in target.runtime.values():
        rows += [*runtime.operators, *runtime.limit]
        rows += [runtime.cost] if runtime.cost else []
    assert all(row.source.strip() for row in rows)
    assert target.runtime["xnnpack"].unit == "CPU"


def test_the_format_holds_other_chips() -> None:
    units = {name: spec.load_target(name).processor[0].architecture for name in spec.target_names()}
    assert units == {"sd865": "V66", "sd888": "V68", "sd8gen2": "V73"}


def test_only_what_is_set_is_a_condition() -> None:
    limit = LimitSpec("a test", "assumed", operators=("PAD",), zero_padding=True)
    assert limit.conditions == ("zero_padding",)
