"""Which device stands in for the target."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from i2uv_edge.device.hub_devices import pick_device
from i2uv_edge.errors import HubError, UsageError


@dataclass(frozen=True)
class Listed:
    name: str
    os: str
    attributes: tuple[str, ...]


def listed(name: str, *attributes: str, os: str = "11") -> Listed:
    return Listed(name, os, ("framework:tflite", *attributes))


EXACT = listed("Galaxy S20", "chipset:qualcomm-snapdragon-865", "hexagon:v66")
PLUS = listed("Galaxy Tab S7", "chipset:qualcomm-snapdragon-865+", "hexagon:v66")
PROXY = listed("RB5 (Proxy)", "chipset:qualcomm-qcs8250", "hexagon:v66")
NEXT = listed("Galaxy S21", "chipset:qualcomm-snapdragon-888", "hexagon:v68")
OTHER = listed("Galaxy S23", "chipset:qualcomm-snapdragon-8gen2", "hexagon:v73")


@pytest.mark.parametrize(
    ("devices", "picked", "because"),
    [
        ((OTHER, NEXT, PROXY, PLUS, EXACT), EXACT, ""),
        ((OTHER, NEXT, PROXY, PLUS), PLUS, "the 865+"),
        ((OTHER, NEXT, PROXY), PROXY, "V66 DSP"),
        ((OTHER, NEXT), NEXT, "another NPU"),
    ],
)
def test_the_nearest_chipset_is_picked_and_the_stand_in_is_explained(
    devices: tuple[Listed, ...], picked: Listed, because: str
) -> None:
    found = pick_device(devices, target="sd865")
    assert found.name == picked.name
    assert found.chipset == picked.attributes[1].removeprefix("chipset:")
    assert because in found.stands_in_for
    assert bool(found.stands_in_for) == (picked is not EXACT)


def test_a_device_without_tflite_is_no_stand_in() -> None:
    without = Listed(EXACT.name, EXACT.os, EXACT.attributes[1:])
    assert pick_device((without, PLUS), target="sd865").name == PLUS.name


def test_the_name_says_nothing_of_the_chipset() -> None:
    impostor = listed("Snapdragon 865", "chipset:qualcomm-snapdragon-8gen2")
    assert pick_device((impostor, PLUS), target="sd865").name == PLUS.name


def test_of_several_the_one_with_the_newest_system_is_taken() -> None:
    newer = listed("Galaxy Tab S7", *PLUS.attributes[1:], os="13")
    assert pick_device((PLUS, newer), target="sd865").os == "13"


def test_a_list_without_a_stand_in_names_what_there_is() -> None:
    with pytest.raises(HubError, match=r"none of the 1 devices.*\n.*\n.*--device.*Galaxy S23"):
        pick_device((OTHER,), target="sd865")


def test_a_device_can_be_named_in_any_case() -> None:
    found = pick_device((OTHER, PLUS), target="sd865", wanted="galaxy s23")
    assert found.name == "Galaxy S23"
    assert "chosen with --device" in found.stands_in_for


def test_a_stand_in_that_was_named_says_nothing_of_what_is_listed() -> None:
    found = pick_device((EXACT, PLUS), target="sd865", wanted=PLUS.name)
    assert found.stands_in_for.startswith("Snapdragon 865: chosen with --device; the 865+")


def test_the_target_itself_stands_in_for_nothing_when_it_is_named() -> None:
    assert pick_device((EXACT,), target="sd865", wanted=EXACT.name).stands_in_for == ""


@pytest.mark.parametrize("wanted", ["Galaxy Tab S6", "tab"])
def test_an_unknown_name_is_an_error_with_near_ones(wanted: str) -> None:
    with pytest.raises(UsageError, match="near ones: Galaxy Tab S7"):
        pick_device((OTHER, PLUS), target="sd865", wanted=wanted)


def test_another_target_needs_a_device_by_name() -> None:
    with pytest.raises(UsageError, match=r"target sd888\n(.*\n)*.*--device"):
        pick_device((NEXT,), target="sd888")
    assert pick_device((NEXT,), target="sd888", wanted=NEXT.name).name == NEXT.name
