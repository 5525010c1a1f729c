"""What following a hand costs, how steady it is and how late, on rendered clips.

`python benchmarks/tracking.py BUNDLE` runs a bundle on a clip as `i2uv-edge run` does, and follows
the hand of others for which the truth is known; `--json` prints the same as one document.
`--frames 10000` goes back and forth over the clip for that long and says what memory grew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from i2uv_edge import comparison, pipeline  # noqa: E402
from i2uv_edge.bundle import Bundle  # noqa: E402
from i2uv_edge.data.pictures import read_picture  # noqa: E402
from i2uv_edge.data.rendered_clip import ClipSettings, render_clip  # noqa: E402
from i2uv_edge.errors import I2uvError  # noqa: E402
from i2uv_edge.requests import RunRequest  # noqa: E402
from i2uv_edge.tracking.boxes import Margin  # noqa: E402
from i2uv_edge.tracking.one_euro import Jitter, OneEuro  # noqa: E402
from i2uv_edge.tracking.reader import HandReader  # noqa: E402
from i2uv_edge.tracking.records import write_picture  # noqa: E402
from i2uv_edge.tracking.tracker import Tracker  # noqa: E402
from i2uv_edge.tracking.video import VideoWriter  # noqa: E402

__all__ = ["Followed", "follow", "lag_ms", "measure", "picture", "speed", "table", "write_clip"]

Points = NDArray[Any]

CLIP = ClipSettings()
ROWS = slice(80, 560)  # of a square of 640: 640 x 480, as cameras give
FRAMES = 270
SEEDS = (1, 2, 3, 4, 5)
SHOWN = ("00003", "00007")  # samples of the bundle
SETTLED = 1000  # frames after which memory has taken its size
SETTLING = 0.08  # of a period, in which the hand is still and the filter not yet


@dataclass(frozen=True)
class Followed:
    """How a way of following did, means over clips.

    Attributes
    ----------
    jitter_mm, rest_jitter_mm : see `Jitter`, over all frames and while the hand is still
    error_mm : mean distance of the vertices from the truth, depth about its mean
    lag_ms : by how much later than the truth the middle of the hand comes
    lost : frames in which there was no hand
    """

    jitter_mm: float
    rest_jitter_mm: float
    error_mm: float
    lag_ms: float
    lost: int


def write_clip(path: Path, frames: int, *, length: int = FRAMES) -> None:
    """Write a clip as a video of 640 x 480, back and forth where it is to be longer than it is."""
    pictures = [sample.picture[ROWS] for sample in render_clip(SEEDS[0], min(length, frames), CLIP)]
    with VideoWriter(path, CLIP.fps) as video:
        for picture in islice(cycle(chain(pictures, pictures[-2:0:-1])), frames):
            video.write(picture)


def speed(bundle: Path, clip: Path, output: Path, **options: Any) -> dict[str, Any]:
    """The summary of a run, and what memory it held after a while and at its end, MB."""
    held: dict[str, float] = {}

    def notify(what: str, done: int, total: int) -> None:
        if done in (min(SETTLED, max(total // 2, 1)), total):
            held[f"frame {done}"] = resident_mb()

    start = time.process_time()
    result = pipeline.run(RunRequest(bundle, str(clip), output, force=True, **options), notify)
    spent = 1000 * (time.process_time() - start) / max(result.summary["frames_seen"], 1)
    return {**result.summary, "resident_mb": held, "cpu_ms": spent}


def resident_mb() -> float:
    """What this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def follow(contents: comparison.Contents, seeds: Sequence[int], frames: int) -> dict[str, Followed]:
    """Ways to follow a hand, on the same clips."""
    reader = HandReader(contents, "tflite")
    margin = Margin(*contents.bundle.manifest["preprocess"]["margin"])
    found: dict[str, list[Followed]] = {}
    for seed in seeds:
        always = Tracker(reader, _NeverHolds(margin.low, margin.high))
        mostly, steady = Tracker(reader, margin), OneEuro()
        paths: dict[str, list[Points]] = {}
        truth, mm, lost = [], [], {"box follows always": 0, "box stays": 0}
        for number, sample in enumerate(render_clip(seed, frames, CLIP)):
            truth.append(sample.fine * CLIP.size)
            mm.append(sample.frame.scale_mm / CLIP.size)
            for name, tracker in zip(lost, (always, mostly), strict=True):
                answer = tracker.follow(sample.picture)
                assert answer.look is not None
                lost[name] += bool(answer.doubt)
                paths.setdefault(name, []).append(answer.look.pixels)
            side = float(answer.look.box.side)
            filtered = steady(answer.look.pixels, number / CLIP.fps, side)
            paths.setdefault("box stays, One-Euro", []).append(filtered)
        for name, path in paths.items():
            made = _judged(np.stack(path), np.stack(truth), np.array(mm), lost.get(name, 0))
            found.setdefault(name, []).append(made)
    return {name: _mean(rows) for name, rows in found.items()}


class _NeverHolds(Margin):
    def holds(self, *_: Any) -> bool:
        return False


def _judged(path: Points, truth: Points, mm: Points, lost: int) -> Followed:
    ours, theirs = path * mm[:, None, None], truth * mm[:, None, None]
    for points in (ours, theirs):
        points[..., 2] -= points[..., 2].mean(1, keepdims=True)
    within = (np.arange(len(path)) / CLIP.fps / CLIP.period) % 1.0
    rest = (within > SETTLING) & (within < CLIP.rest)
    whole, still = Jitter(), Jitter()
    for points, rests in zip(ours, rest, strict=True):
        whole.add(points)
        if rests:
            still.add(points)
        else:
            still.restart()
    return Followed(
        jitter_mm=whole.value,
        rest_jitter_mm=still.value,
        error_mm=float(np.linalg.norm(ours - theirs, axis=-1).mean()),
        lag_ms=lag_ms(ours[..., :2].mean(1), theirs[..., :2].mean(1), CLIP.fps),
        lost=lost,
    )


def lag_ms(path: Points, truth: Points, fps: float) -> float:
    """By how much (T, 2) points come later than others, by the delay that explains them best."""
    times = np.arange(len(path)) / fps
    delays = np.arange(-60, 301, 1) / 1000.0
    errors = []
    for delay in delays:
        late = np.column_stack([np.interp(times - delay, times, truth[:, k]) for k in (0, 1)])
        apart = path - late
        errors.append(float(np.square(apart - apart.mean(0)).sum()))
    return float(1000 * delays[int(np.argmin(errors))])


def _mean(rows: Sequence[Followed]) -> Followed:
    values = [asdict(row) for row in rows]
    means = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
    return Followed(**{**means, "lost": sum(row.lost for row in rows)})


def measure(bundle: Path, frames: int, seeds: Sequence[int], length: int) -> dict[str, Any]:
    """Everything, as one document."""
    contents = comparison.open_contents(Bundle.open(bundle))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip(folder / "clip.mp4", frames, length=length)
        run = speed(bundle, folder / "clip.mp4", folder / "out")
    followed = follow(contents, seeds, length) if seeds else {}
    return {"run": run, "followed": {name: asdict(found) for name, found in followed.items()}}


def picture(bundle: Path, path: Path) -> None:
    """Draw float, int8 and their difference on two held-out pictures, as `run --compare` does."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for sample in SHOWN:
            output = Path(name) / sample
            source = bundle / "eval" / f"{sample}.jpg"
            pipeline.run(RunRequest(bundle, str(source), output, compare=True))
            rows.append(read_picture(output / f"{sample}-overlay.jpg"))
    write_picture(path, np.concatenate(rows))


def table(found: dict[str, Any]) -> str:
    """The document as text."""
    run = found["run"]
    lines = [f"{run['frames_seen']} frames of 640 x 480, {run['runner']}, medians, one thread", ""]
    lines += [f"  {name:12} {ms:7.3f} ms" for name, ms in run["median_ms"].items()]
    lines += [
        "",
        f"a frame without reading and writing   {run['frame_ms']:.2f} ms",
        f"the two networks                      {run['networks_ms']:.2f} ms",
        f"before and behind them, of picture -> crop -> networks -> gather -> overlay   "
        f"{100 * run['pre_post_share']:.0f} %",
        f"around them, bookkeeping and all      {100 * run['around_share']:.0f} %",
        f"end to end, reading and writing too   {run['fps']:.0f} frames a second",
        f"processor time of a frame, starting up, reading and writing too   {run['cpu_ms']:.1f} ms",
        "memory held   "
        + ", ".join(f"{mb:.0f} MB at {when}" for when, mb in run["resident_mb"].items()),
    ]
    if found["followed"]:
        lines += ["", f"{'':20} {'jitter':>8} {'at rest':>8} {'error':>8} {'lag':>8}  lost"]
    for name, row in found["followed"].items():
        lines.append(
            f"{name:20} {row['jitter_mm']:5.2f} mm {row['rest_jitter_mm']:5.2f} mm "
            f"{row['error_mm']:5.1f} mm {row['lag_ms']:5.0f} ms  {row['lost']}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure and print; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a bundle")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the run")
    parser.add_argument("--clips", type=int, default=len(SEEDS), help="to follow a hand in")
    parser.add_argument("--picture", type=Path, help="write docs/run.jpg here, and do no more")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    try:
        if options.picture is not None:
            picture(options.bundle, options.picture)
            return 0
        found = measure(options.bundle, options.frames, SEEDS[: options.clips], FRAMES)
    except I2uvError as error:
        print(f"tracking: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
