"""The verb `plan`: where a model runs on a device, and how fast.

It stands apart from the other verbs because it needs none of what those import, and so answers at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from i2uv_edge import strict_toml
from i2uv_edge.bundle import Bundle
from i2uv_edge.device import placement_model
from i2uv_edge.device.placement import Placement, Run, place
from i2uv_edge.device.placement_graph import Operator, read_network
from i2uv_edge.device.placement_model import Model
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.plans import Alternative, Checks, Plan, Segment
from i2uv_edge.requests import PlanRequest
from i2uv_edge.spec import ROLES, load_target
from i2uv_edge.target_spec import TargetSpec

__all__ = ["check", "plan"]

_BORDERS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class _Part:
    """A file and the network it is of, or is a segment of; `alone` if that is one for the CPU."""

    network: str
    name: str
    operators: tuple[Operator, ...]
    alone: bool = False


def plan(request: PlanRequest) -> Plan:
    """Say where the networks of a bundle, or one TFLite file, run and how long that takes.

    Without a runtime in the request, it is the advisable one with the best pessimistic time.

    Raises
    ------
    UsageError
        Unknown target or runtime; nothing is measured on the target; segments are asked for and
        there are none.
    InputError, DamagedError
        The file or the bundle cannot be read.
    """
    target = load_target(request.target)
    names = [request.runtime] if request.runtime else list(target.runtime)
    for name in names:
        _known(target, name)
    parts = _parts(request)
    made = {name: _plan(target, name, parts, request) for name in names}
    if request.runtime:
        return made[request.runtime]
    # What was never measured in part has no pessimistic end where it runs in part.
    choices = {name: found for name, found in made.items() if _advisable(target, found)}
    best = min(choices, key=lambda name: choices[name].ms_high)
    others = tuple(
        Alternative(
            name,
            found.ms,
            found.ms_low,
            found.ms_high,
            found.crossings,
            name in choices,
            found.note,
        )
        for name, found in made.items()
        if name != best
    )
    chosen = made[best]
    return Plan(**{**vars(chosen), "asked": False, "alternatives": others})


def check(request: PlanRequest) -> tuple[Checks, ...]:
    """Predict each network of the evidence from the others, for one runtime or for all."""
    target = load_target(request.target)
    names = [request.runtime] if request.runtime else list(target.runtime)
    for name in names:
        _known(target, name)
    return tuple(placement_model.check(target, name) for name in names)


def _known(target: TargetSpec, runtime: str) -> None:
    if runtime not in target.runtime:
        raise strict_toml.unknown_name(
            f"target {target.name}: unknown runtime", runtime, target.runtime
        )


def _parts(request: PlanRequest) -> list[_Part]:
    subject = request.subject
    if not subject.is_dir():
        if request.split:
            raise UsageError(f"{subject} is no bundle, so it holds no segments")
        return [_Part(subject.stem, subject.stem, read_network(subject))]
    bundle = Bundle.open(subject)
    if request.split:
        return _segments(bundle)
    held = {artifact.path for artifact in bundle.artifacts if artifact.kind == "tflite"}
    found = [role for role in ROLES if f"{role}.tflite" in held]
    if not found:
        raise InputError(f"the bundle {subject} holds no TFLite file")
    return [_Part(role, role, read_network(bundle.file(f"{role}.tflite"))) for role in found]


def _segments(bundle: Bundle) -> list[_Part]:
    parts = [
        _Part(
            role,
            str(fields["file"]).removeprefix("segments/").removesuffix(".tflite"),
            read_network(bundle.file(fields["file"])),
            alone=fields["unit"] == "CPU",
        )
        for role in ROLES
        for fields in bundle.manifest.get("networks", {}).get(role, {}).get("segments", ())
    ]
    if not parts:
        raise UsageError(
            f"the bundle {bundle.path} holds no segments",
            expected="a bundle that was exported with --split",
        )
    return parts


def _plan(target: TargetSpec, name: str, parts: Sequence[_Part], request: PlanRequest) -> Plan:
    runtime = target.runtime[name]
    model = placement_model.model_of(target, name)
    segments: list[Segment] = []
    crossings = 0
    unmeasured = False
    last: tuple[str, str] | None = None  # network and unit
    for part in parts:
        cut_off = part.alone and runtime.unit != "CPU"
        placement = (
            Placement((Run("CPU", part.operators),)) if cut_off else place(part.operators, runtime)
        )
        first = part.network, placement.runs[0].unit
        handed_over = last is not None and last[0] == part.network and last != first
        last = part.network, placement.runs[-1].unit
        crossings += placement.crossings + handed_over
        unmeasured |= placement.crossings > 0 and model.fallback is None
        unmeasured |= handed_over  # from one runtime to another
        segments += [_segment(part.name, run, placement, name, model) for run in placement.runs]
    how = "as segments" if request.split else "in part"
    note = (
        f"no network was measured that the {runtime.unit} ran {how}, so the range leaves out "
        "what the crossings cost"
        if unmeasured
        else ("" if runtime.advisable else f"not advised: {runtime.description}")
    )
    return Plan(
        target.name,
        name,
        runtime.unit,
        runtime.description,
        tuple(segments),
        crossings,
        pre_post_ms=request.pre_post_ms,
        note=note,
    )


def _advisable(target: TargetSpec, found: Plan) -> bool:
    return target.runtime[found.runtime].advisable and not found.note


def _segment(network: str, run: Run, placement: Placement, name: str, model: Model) -> Segment:
    ms, spread = model.ms(run, placement), model.spread(placement)
    reason, offender = f"taken by {name}", ""
    if run.refusals:
        # A change of type is only the border of what computes in that type.
        pairs = list(zip(run.operators, run.refusals, strict=True))
        inner = [pair for pair in pairs if pair[0].kind not in _BORDERS]
        operator, refusal = (inner or pairs)[0]
        reason, offender = str(refusal), operator.layer
    elif run.unit == "CPU" and name != placement_model.CPU_RUNTIME:
        inside = [operator for operator in run.operators if operator.kind not in _BORDERS]
        reason, offender = "cut off by the split", (inside or run.operators)[0].layer
    return Segment(
        network,
        run.unit,
        len(run.operators),
        sum(operator.gmac for operator in run.operators),
        sum(operator.mb() for operator in run.operators),
        ms,
        ms * spread.low,
        ms * spread.high,
        reason,
        offender,
    )
