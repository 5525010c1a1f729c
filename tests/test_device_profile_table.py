"""A profile in words."""

from __future__ import annotations

from dataclasses import replace

from test_device_profiles import profile

from i2uv_edge.device.profile_table import cells, columns, heading, profile_table, slowest, summary
from i2uv_edge.device.profiles import Device, Layer


def test_the_heading_says_what_ran_and_what_it_stands_in_for() -> None:
    text = heading(profile())
    assert "hub: Samsung Galaxy Tab S7 (qualcomm-snapdragon-865+)" in text
    assert "standing in for a Snapdragon 865" in text
    assert "reported by Qualcomm AI Hub" in text
    assert "standing in" not in heading(profile(device=Device("x")))


def test_an_emulator_s_figures_are_called_no_times() -> None:
    assert "where time means nothing" in heading(profile(source="arm64-emulated"))


def test_there_are_columns_for_what_is_known_of_any_network() -> None:
    known = profile()
    assert "SDOT" in columns(known)
    bare = profile(networks=known.networks[1:])
    assert columns(bare) == ("file", "runtime", "threads")
    assert cells(known.networks[1], columns(known))[-1] == ""


def test_the_slowest_operators_come_first() -> None:
    own = profile().networks[0]
    assert slowest(own) == [("stem.0", "CONV_2D", "CPU", "0.500 ms", "25.0%")]
    more = (Layer("a", "x", "CPU", 0.1, 0.2), Layer("b", "x", "CPU", 0.4, 0.8))
    assert [row[0] for row in slowest(replace(own, layers=more))] == ["b", "a"]


def test_operators_are_counted_by_unit() -> None:
    own = profile().networks[0]
    assert summary(own) == "affinenet, xnnpack, 1 thread: 2 operators, 1 on the NPU, 1 on the CPU"
    assert summary(profile().networks[1]) == ""


def test_the_table_holds_figures_jobs_and_notes() -> None:
    text = profile_table(profile())
    for part in ("1.500", "50.0%", "0.25 of PyTorch", "job j1: inference, SUCCESS", "note: one"):
        assert part in text
