"""Pictures in, what the networks see in them out: `i2uv-edge run`."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atomic import write_folder
from i2uv_edge.bundle import write_json
from i2uv_edge.comparison import Contents
from i2uv_edge.data.pictures import Box
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.hand.confidence import seam_disagreement_mm
from i2uv_edge.requests import Notify, RunRequest, RunResult
from i2uv_edge.scores import BASELINE
from i2uv_edge.tracking.boxes import Extent, Margin, around, square_of
from i2uv_edge.tracking.one_euro import Jitter, OneEuro, OneEuroSettings
from i2uv_edge.tracking.overlay import lay_over
from i2uv_edge.tracking.palms import PalmDetector
from i2uv_edge.tracking.panels import write_line
from i2uv_edge.tracking.reader import HandReader
from i2uv_edge.tracking.records import Hand, number, write_hand, write_picture
from i2uv_edge.tracking.second_opinion import SecondOpinion
from i2uv_edge.tracking.sources import Frame, Source, open_source
from i2uv_edge.tracking.stages import OUTSIDE, Stages, shares
from i2uv_edge.tracking.tracker import Found, Tracker
from i2uv_edge.tracking.video import VideoWriter

__all__ = ["FRAMES", "RUN", "run"]

UInt8 = NDArray[np.uint8]

RUN, FRAMES = "run.json", "frames.jsonl"
BEST = "best"

# How much more a map may disagree with itself than those of the bundle's golden pictures before it
# is taken for no hand's. Of 200 rendered hands 1 % were above it, of 60 pictures without one 95 %.
DOUBTFUL = 1.6
PICTURE_SAMPLES = 2  # drawn for each pixel, along a side; of a video, where time counts, 1
MOST_SUPERSAMPLED = 1600  # pixels; beyond, a picture's own pixels are fine enough
RECENT = 30  # frames that the figures on a video are of


def run(contents: Contents, request: RunRequest, notify: Notify) -> RunResult:
    """Read the hand in every picture of a source, and write what was read.

    Raises
    ------
    UsageError, InputError
        The source, the output or the box cannot be used; the bundle takes no pictures.
    """
    source = open_source(request.source)
    with ExitStack() as stack:
        stack.callback(source.close)
        destination = request.output or Path("build") / "run" / source.name
        folder = stack.enter_context(
            write_folder(
                destination, replaceable=lambda old: (old / RUN).is_file(), force=request.force
            )
        )
        session = _Session(contents, request, source)
        ended = session.run(folder, notify)
        summary = session.summary(ended)
        write_json(folder / RUN, summary)
    note = "\n".join(filter(None, [_failed(contents), session.note]))
    return RunResult(destination, summary, source.skipped, note)


class _Session:
    """One source, watched from its first picture to its last."""

    def __init__(self, contents: Contents, request: RunRequest, source: Source) -> None:
        self._contents, self._request, self._source = contents, request, source
        self._stages = Stages()
        name = BASELINE if request.float_network else "tflite"
        self._reader = HandReader(contents, name, hand=request.hand, stages=self._stages)
        self._other = SecondOpinion(contents, self._reader) if request.compare else None
        preprocess = contents.bundle.manifest["preprocess"]
        self._margin = Margin(*map(float, preprocess["margin"]))
        self._tracker = Tracker(
            self._reader,
            self._margin,
            limit_mm=doubtful_mm(contents),
            detector=None if request.detector is None else PalmDetector(request.detector),
        )
        settings = OneEuroSettings(cutoff=request.cutoff, beta=request.beta)
        self._filter = OneEuro(settings) if request.steady else None
        self._jitter = {
            name: Jitter() for name in ("before_px", "before_mm", "after_px", "after_mm")
        }
        self._moving = source.fps > 0
        self._counts = {"frames_seen": 0, "found": 0, "searched": 0}
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._best: tuple[Frame, Hand, dict[str, Any]] | None = None
        self._began = self._ended = 0.0
        self.note = ""

    def run(self, folder: Path, notify: Notify) -> str:
        """Watch it all and return how it ended."""
        ended = "no more frames"
        with ExitStack() as stack:
            rows = stack.enter_context((folder / FRAMES).open("w", encoding="utf-8"))
            video = None
            if self._moving:
                path = folder / f"{self._source.name}.mp4"
                video = stack.enter_context(VideoWriter(path, self._source.fps))
            total = self._total()
            try:
                for frame in self._frames():
                    self._take(frame, folder, rows, video)
                    notify(self._said(), self._counts["frames_seen"], total)
            except KeyboardInterrupt:
                # What was seen so far is kept; a camera has no other end.
                ended = "interrupted"
        self._write_best(folder)
        if ended != "interrupted":
            if self._counts["frames_seen"] == self._request.frames:
                return "as many as were asked for"
            self.note = self._source.note
        return ended

    def summary(self, ended: str) -> dict[str, Any]:
        """What `run.json` holds."""
        counts, medians = self._counts, self._stages.medians()
        elapsed = self._ended - self._began
        found: dict[str, Any] = {
            "schema": 1,
            "bundle": self._contents.bundle.sha256,
            "model": self._contents.model,
            "runner": self._reader.name,
            "hand": self._request.hand,
            "source": {
                "kind": self._source.kind,
                "name": self._source.name,
                "fps": self._source.fps,
                "note": self.note,
            },
            **counts,
            "ended": ended,
            "fps": number((counts["frames_seen"] - 1) / elapsed if elapsed > 0 else math.nan),
            "median_ms": {name: number(ms) for name, ms in medians.items()},
            **{name: number(value) for name, value in shares(medians).items()},
        }
        if self._filter is not None:
            found["jitter"] = {name: number(item.value) for name, item in self._jitter.items()}
        if self._other is not None:
            found |= self._other.summary()
        return found

    def _total(self) -> int:
        known = [count for count in (self._source.total, self._request.frames) if count]
        return min(known, default=0)

    def _frames(self) -> Iterator[Frame]:
        """The frames, the time that each took to come going to a stage."""
        frames = iter(self._source)
        while self._request.frames is None or self._counts["frames_seen"] < self._request.frames:
            with self._stages("read"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _take(self, frame: Frame, folder: Path, rows: IO[str], video: VideoWriter | None) -> None:
        if not self._moving:
            self._tracker.forget()
        first = not self._counts["frames_seen"]
        given = self._request.box if first or not self._moving else None
        box = None if given is None else self._square(given)
        with self._stages("track"):
            found = self._tracker.follow(frame.picture, box)
            about = self._about(frame, found)
            hand = self._hand(frame, found)
        shown = self._shown(frame.picture, hand, about)
        if self._moving and not self._other:
            with self._stages("readout"):
                write_line(shown, self._figures(found))
        with self._stages("write"):
            if video is not None:
                video.write(shown)
                about["joints"] = FRAMES if hand is not None else None
                self._keep_best(frame, hand, about)
            else:
                self._write_picture(folder, frame, shown, hand, about)
        self._count(found)
        ms = self._stages.end_frame()
        own = sum(value for name, value in ms.items() if name not in OUTSIDE)
        self._recent.append((own, self._ended))
        with self._stages("write"):
            row = {**about, "ms": {name: number(value) for name, value in ms.items()}}
            if video is not None and hand is not None:
                row["hand"] = hand.fields()["joints"]
            rows.write(json.dumps(row, allow_nan=False) + "\n")

    def _square(self, rectangle: tuple[float, float, float, float]) -> Box:
        left, top, width, height = rectangle
        return around(Extent(left, top, left + width, top + height), self._margin)

    def _hand(self, frame: Frame, found: Found) -> Hand | None:
        """The hand to show, steadied where that is asked for; None where there is none."""
        if found.look is None or (found.doubt and self._moving):
            self._restart()
            return None
        look = found.look
        with self._stages("scale"):
            scale = self._reader.scale_mm(look.vertices)
        pixels = look.pixels
        if self._filter is not None and self._moving:
            if found.how not in ("tracked", "given"):
                self._restart()
            with self._stages("steady"):
                raw, side = pixels, float(look.box.side)
                pixels = self._filter(raw, frame.time, side)
            self._measure_jitter(raw, pixels, scale / side)
        joints = np.asarray(self._reader.atlas.joint_regressor @ pixels, np.float32)
        return Hand(look, pixels, joints, scale)

    def _restart(self) -> None:
        if self._filter is not None:
            self._filter.restart()
        for jitter in self._jitter.values():
            jitter.restart()

    def _measure_jitter(self, raw: Any, steady: Any, mm_per_pixel: float) -> None:
        for when, points in (("before", raw), ("after", steady)):
            self._jitter[f"{when}_px"].add(points[:, :2])
            self._jitter[f"{when}_mm"].add(points, mm_per_pixel)

    def _about(self, frame: Frame, found: Found) -> dict[str, Any]:
        look = found.look
        return {
            "name": frame.name,
            "box": None if look is None else square_of(look.box),
            "found": look is not None and not found.doubt,
            "how": found.how,
            "doubt": found.doubt,
            "seam_disagreement_mm": None if look is None else number(look.disagreement_mm),
        }

    def _shown(self, picture: UInt8, hand: Hand | None, about: dict[str, Any]) -> UInt8:
        """The picture with the hand over it; with `compare`, three of them."""
        samples = 1
        if not self._moving and max(picture.shape) <= MOST_SUPERSAMPLED:
            samples = PICTURE_SAMPLES
        faces = self._reader.faces
        with self._stages("overlay"):
            shown = picture.copy()
            if hand is not None:
                lay_over(shown, hand.pixels, faces, samples=samples)
        if self._other is None:
            return shown
        with self._stages("compare"):
            panels, fields = self._other.panels(picture, shown, hand, samples)
        about |= fields
        return panels

    def _write_picture(
        self, folder: Path, frame: Frame, shown: UInt8, hand: Hand | None, about: dict[str, Any]
    ) -> None:
        """What is written of a picture: into the folder itself, or one for each of several."""
        name = Path(frame.name).stem
        if self._source.kind == "folder":
            folder = folder / frame.name
            folder.mkdir()
        write_picture(folder / f"{name}-overlay.jpg", shown)
        about["joints"] = None
        if hand is not None:
            write_hand(folder, name, frame.picture, hand, self._reader, about)
            inside = f"{frame.name}/" if self._source.kind == "folder" else ""
            about["joints"] = f"{inside}{name}-joints.json"

    def _keep_best(self, frame: Frame, hand: Hand | None, about: dict[str, Any]) -> None:
        """Remember the frame that is surest of all so far."""
        surest = math.inf if self._best is None else self._best[1].look.disagreement_mm
        if hand is not None and (self._best is None or hand.look.disagreement_mm < surest):
            self._best = frame, hand, about

    def _write_best(self, folder: Path) -> None:
        if self._best is None:
            return
        frame, hand, about = self._best
        best = folder / BEST
        best.mkdir()
        shown = frame.picture.copy()
        lay_over(shown, hand.pixels, self._reader.faces, samples=PICTURE_SAMPLES)
        write_picture(best / f"{BEST}-overlay.jpg", shown)
        write_hand(best, BEST, frame.picture, hand, self._reader, about)

    def _count(self, found: Found) -> None:
        self._counts["frames_seen"] += 1
        self._counts["found"] += found.look is not None and not found.doubt
        self._counts["searched"] += found.how in ("whole", "detector")
        self._ended = time.perf_counter()
        if self._counts["frames_seen"] == 1:
            self._began = self._ended  # what comes before is starting up

    def _figures(self, found: Found) -> str:
        """The line on a video."""
        where = found.how if not found.doubt else f"no hand: {found.doubt}"
        if not self._recent:
            return where
        latency = sum(own for own, _ in self._recent) / len(self._recent)
        first, last = self._recent[0][1], self._recent[-1][1]
        rate = (len(self._recent) - 1) / (last - first) if last > first else 0.0
        name = self._reader.name
        figures = f"{name}  {latency:.1f} ms  {rate:.0f} fps"
        if found.look is not None:
            figures += f"  seams {found.look.disagreement_mm:.1f} mm"
        return f"{figures}  {where}"

    def _said(self) -> str:
        """What the progress bar says."""
        kind = "frames" if self._moving else "pictures"
        frames, found = self._counts["frames_seen"], self._counts["found"]
        elapsed = self._ended - self._began
        rate = f", {(frames - 1) / elapsed:.0f} a second" if elapsed > 0 else ""
        return f"{kind}: a hand in {found} of {frames}{rate}"


def doubtful_mm(contents: Contents) -> float:
    """From what disagreement on a map is taken for no hand's, by the maps in `golden/`.

    Models differ in how well they agree with themselves; infinite where the mesh has no seams, or
    the bundle no golden maps.
    """
    folder = contents.bundle.path / "golden"
    golden = DumpRunner(folder)
    values = [
        float(seam_disagreement_mm(contents.atlases.coarse, tensors["affinenet"]))
        for tensors in map(golden.sample, golden.ids)
        if "affinenet" in tensors
    ]
    median = float(np.median(values)) if values else math.nan
    return DOUBTFUL * median if math.isfinite(median) else math.inf


def _failed(contents: Contents) -> str:
    """A line about a bundle whose gates failed; its report is outside the seal, and may be gone."""
    try:
        report = json.loads((contents.bundle.path / "report.json").read_bytes())
    except (OSError, ValueError):
        return ""
    if not isinstance(report, dict) or report.get("passed", True):
        return ""
    return f"{contents.bundle.path} failed its gates: `i2uv-edge validate` says which"
