"""Which of Qualcomm AI Hub's devices stands in for the target, by chipset and never by name only.

The Hub's list changes: the proxies of the 865 it once had were gone in January 2026, and a tablet
with an 865+ was left.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from i2uv_edge.errors import HubError, UsageError

__all__ = ["HubDevice", "Picked", "pick_device"]

TFLITE = "framework:tflite"
CHOSEN = "chosen with --device"


class HubDevice(Protocol):
    """What the client says of a device; a `qai_hub.Device` is one."""

    @property
    def name(self) -> str:
        """As it is listed."""

    @property
    def os(self) -> str:
        """Version of its system."""

    @property
    def attributes(self) -> Sequence[str]:
        """Such as "chipset:qualcomm-snapdragon-865+", "framework:tflite", "hexagon:v66"."""


@dataclass(frozen=True)
class Picked:
    """A device, its chipset as it is listed, and for what it stands in: "" if it is the target."""

    name: str
    os: str
    chipset: str
    stands_in_for: str


@dataclass(frozen=True)
class _Choice:
    """An attribute that makes a device eligible.

    `missing` says what is not listed where it is picked, `near` how near it is; both are empty for
    the target itself.
    """

    attribute: str
    missing: str = ""
    near: str = ""


# The target's own chipset first, then what is nearest to it.
_CHOICES: dict[str, tuple[_Choice, ...]] = {
    "sd865": (
        _Choice("chipset:qualcomm-snapdragon-865"),
        _Choice(
            "chipset:qualcomm-snapdragon-865+",
            "no device with one is listed",
            "the 865+ (sm8250-ab) is the nearest",
        ),
        _Choice(
            "hexagon:v66", "neither it nor an 865+ is listed", "this chipset has a V66 DSP, too"
        ),
        _Choice(
            "chipset:qualcomm-snapdragon-888",
            "no device with a V66 DSP is listed",
            "the 888 has another NPU, whose times say nothing of the 865's DSP",
        ),
    )
}
_TITLES = {"sd865": "Snapdragon 865"}


def pick_device(devices: Sequence[HubDevice], *, target: str, wanted: str = "") -> Picked:
    """Choose a device that runs TFLite files.

    Parameters
    ----------
    devices
        All that are listed.
    target
        The target's name, "sd865".
    wanted
        The name of a device, which is then taken whatever it is; case does not matter.

    Raises
    ------
    UsageError
        No device has that name; the message lists near ones. Nothing is known of what stands in for
        the target.
    HubError
        None of the listed devices can stand in for the target.
    """
    choices = _CHOICES.get(target, ())
    if wanted:
        return _named(devices, wanted, choices, target)
    if not choices:
        raise UsageError(
            f"nothing is known of which device stands in for the target {target}",
            expected=f"one of {', '.join(_CHOICES)}",
            remedy="name a device with --device",
        )
    for choice in choices:
        found = [item for item in devices if {choice.attribute, TFLITE} <= set(item.attributes)]
        if found:
            best = max(found, key=lambda item: (_version(item.os), item.name))
            return _picked(best, target, choice.missing, choice.near)
    raise HubError(
        f"none of the {len(devices)} devices that Qualcomm AI Hub lists can stand in for {target}",
        expected="one that runs TFLite and has "
        + " or ".join(choice.attribute for choice in choices),
        remedy=f"name one with --device{_some(sorted({item.name for item in devices}))}",
    )


def _named(
    devices: Sequence[HubDevice], wanted: str, choices: Sequence[_Choice], target: str
) -> Picked:
    own = [item for item in devices if item.name.lower() == wanted.lower()]
    if not own:
        names = {item.name.lower(): item.name for item in devices}
        near = difflib.get_close_matches(wanted.lower(), names, n=5, cutoff=0.4)
        near += [low for low in names if wanted.lower() in low and low not in near][:5]
        raise UsageError(
            f"Qualcomm AI Hub lists no device {wanted!r}",
            expected="one of its names"
            + (f"; near ones: {', '.join(names[low] for low in near)}" if near else ""),
            remedy="leave --device out for the one nearest to the target",
        )
    best = max(own, key=lambda item: _version(item.os))
    for choice in choices:
        if choice.attribute in best.attributes:
            return _picked(best, target, choice.missing and CHOSEN, choice.near)
    return _picked(best, target, CHOSEN, "nothing is known of how near it is")


def _picked(device: HubDevice, target: str, missing: str, near: str) -> Picked:
    reason = f"{_TITLES.get(target, target)}: {missing}; {near}" if near else ""
    return Picked(device.name, device.os, _chipset(device), reason)


def _chipset(device: HubDevice) -> str:
    names = [item.partition(":")[2] for item in device.attributes if item.startswith("chipset:")]
    return ", ".join(names)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _some(names: Sequence[str]) -> str:
    return f", such as {', '.join(names[:5])}" if names else ""
