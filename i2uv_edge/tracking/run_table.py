"""What a run came to, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["run_table"]

ENOUGH = 10  # frames; before, starting up is what is measured


def run_table(summary: Mapping[str, Any]) -> str:
    """The summary in `run.json`, what matters of it."""
    kind = summary["source"]["kind"]
    things = "frames" if summary["source"]["fps"] else "pictures"
    rows = [
        ("source", f"{summary['source']['name']} ({kind})"),
        (things, f"{summary['frames_seen']}, a hand in {summary['found']}"),
    ]
    if summary["frames_seen"] >= ENOUGH:
        share = f"{100 * summary['pre_post_share']:.0f} % of it before and behind the networks"
        rows.append(("a frame", f"{summary['frame_ms']:.1f} ms, {share} (medians)"))
    if things == "frames" and summary["fps"] is not None:
        rows.append(("rate", f"{summary['fps']:.0f} frames a second, reading and writing too"))
    if jitter := summary.get("jitter"):
        rows.append(("jitter, mm", _change(jitter, "mm")))
        rows.append(("jitter, pixels", _change(jitter, "px")))
    if apart := summary.get("difference_mm"):
        said = f"{apart['mean']:.2f} mm on average, {apart['max']:.1f} mm at most"
        rows.append(("float and int8", said))
    if summary["ended"] == "interrupted":
        rows.append(("ended", "interrupted; what was seen until then is written"))
    width = max(len(title) for title, _ in rows)
    return "\n".join(f"{title:{width}}  {said}" for title, said in rows)


def _change(jitter: Mapping[str, float | None], unit: str) -> str:
    before, after = (jitter[f"{when}_{unit}"] for when in ("before", "after"))
    if before is None or after is None:
        return "too few frames to say"
    return f"{before:.2f} before the filter, {after:.2f} behind it"
