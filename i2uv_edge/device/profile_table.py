"""A profile in words: for the command line, and for the report's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from i2uv_edge.device.profiles import MEANINGS, Job, NetworkProfile, Profile

__all__ = ["cells", "columns", "heading", "job_line", "profile_table", "slowest", "summary"]

SHOWN_LAYERS = 8


def profile_table(profile: Profile) -> str:
    """Lay out one source's figures, its slowest operators, jobs and notes."""
    names = columns(profile)
    rows = [("", *names), *((own.role, *cells(own, names)) for own in profile.networks)]
    parts = [heading(profile), "", *_laid_out(rows)]
    for own in profile.networks:
        if own.layers:
            parts += ["", summary(own)]
            parts += _laid_out([(f"  {name}", *rest) for name, *rest in slowest(own)])
    if profile.jobs:
        parts += ["", *(job_line(job) for job in profile.jobs)]
    if profile.notes:
        parts += ["", *(f"note: {note}" for note in profile.notes)]
    return "\n".join(line.rstrip() for line in parts)


def heading(profile: Profile) -> str:
    """Source and device in a line, and what its figures are worth."""
    device = profile.device
    chipset = f" ({device.chipset})" if device.chipset else ""
    instead = f", standing in for {device.stands_in_for}" if device.stands_in_for else ""
    meaning = profile.invented or MEANINGS[profile.source]
    return f"{profile.source}: {device.name}{chipset}{instead}; {meaning}"


def columns(profile: Profile) -> tuple[str, ...]:
    """What is known of any of its networks."""
    return tuple(
        name for name, cell in _COLUMNS.items() if any(cell(own) for own in profile.networks)
    )


def cells(own: NetworkProfile, names: Sequence[str]) -> tuple[str, ...]:
    """The row of a network; empty where nothing is known."""
    return tuple(_COLUMNS[name](own) for name in names)


def slowest(own: NetworkProfile, most: int = SHOWN_LAYERS) -> list[tuple[str, str, str, str, str]]:
    """Name, kind, unit, milliseconds and share of the operators that take longest."""
    timed = [layer for layer in own.layers if layer.ms is not None or layer.share is not None]
    timed.sort(key=lambda layer: -(layer.ms if layer.ms is not None else layer.share or 0.0))
    return [
        (
            layer.name,
            layer.type,
            layer.unit,
            "" if layer.ms is None else f"{layer.ms:.3f} ms",
            "" if layer.share is None else f"{layer.share:.1%}",
        )
        for layer in timed[:most]
    ]


def summary(own: NetworkProfile) -> str:
    """How many operators ran where; "" where none are known."""
    if not own.layers:
        return ""
    counts = {unit: sum(layer.unit == unit for layer in own.layers) for unit in _UNITS}
    where = ", ".join(f"{count} on the {unit}" for unit, count in counts.items() if count)
    threads = f"{own.threads} thread{'s'[: own.threads > 1]}"
    return f"{own.role}, {own.runtime}, {threads}: {len(own.layers)} operators, {where}"


def job_line(job: Job) -> str:
    """What a job was, and where it can be looked up."""
    return f"job {job.id}: {job.kind}, {job.status} {job.url}".rstrip()


_UNITS = ("NPU", "DSP", "GPU", "CPU")


def _against(own: NetworkProfile) -> str:
    return ", ".join(f"{other.ratio:.2f} of {other.name}" for other in own.against)


def _sdot(own: NetworkProfile) -> str:
    found = own.instructions
    return f"{found.sdot / found.total:.1%}" if found is not None and found.total else ""


_COLUMNS: dict[str, Callable[[NetworkProfile], str]] = {
    "file": lambda own: own.file,
    "runtime": lambda own: own.runtime,
    "threads": lambda own: str(own.threads),
    "median, ms": lambda own: f"{own.latency_ms.median:.3f}" if own.latency_ms else "",
    "least": lambda own: f"{own.latency_ms.least:.3f}" if own.latency_ms else "",
    "p90": lambda own: f"{own.latency_ms.p90:.3f}" if own.latency_ms else "",
    "cold start, ms": lambda own: "" if own.first_ms is None else f"{own.first_ms:.1f}",
    "memory, MB": lambda own: "" if own.memory_mb is None else f"{own.memory_mb:.1f}",
    "instructions, M": lambda own: (
        "" if own.instructions is None else f"{own.instructions.total / 1e6:.2f}"
    ),
    "SDOT": _sdot,
    "off, mean mm": lambda own: "" if own.off_mm is None else f"{own.off_mm.mean:.4f}",
    "p95 mm": lambda own: "" if own.off_mm is None else f"{own.off_mm.p95:.4f}",
    "time beside others": _against,
}


def _laid_out(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
