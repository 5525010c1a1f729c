"""A steadier hand: the One-Euro filter, and how much a hand trembles before and after it.

The filter (Casiez, Roussel and Vogel, CHI 2012) is a low-pass whose cutoff grows with speed: a hand
that rests is smoothed, one that moves is followed. It runs on vertices in the picture, not on maps:
a map's units change with the crop, and what should be steady is what is seen. Speeds are in widths
of the hand's box a second, so that one setting serves near and far hands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jitter", "OneEuro", "OneEuroSettings"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class OneEuroSettings:
    """How strongly to smooth.

    The defaults take the jitter of rendered clips to less than a half (of a hand at rest, to a
    fifth) for 19 ms of lag, `benchmarks/tracking.py`.

    Attributes
    ----------
    cutoff : Hz at rest; lower trembles less
    beta : Hz by which the cutoff grows for each box width a second; higher lags less
    speed_cutoff : Hz of the low-pass on the speed itself
    """

    cutoff: float = 1.0
    beta: float = 5.0
    speed_cutoff: float = 1.0


class OneEuro:
    """Filters (V, 3) points over time.

    All points share one cutoff, that of their mean speed, in which the noise of single ones
    averages out; and a hand whose points lag by different times would be bent.
    """

    def __init__(self, settings: OneEuroSettings | None = None) -> None:
        self._settings = settings or OneEuroSettings()
        self.restart()

    def restart(self) -> None:
        """What comes next has nothing to do with what came before."""
        self._points: Float32 | None = None
        self._velocity: Float32 | None = None
        self._time = -math.inf

    def __call__(self, points: Float32, time: float, width: float) -> Float32:
        """Give the filtered points.

        Parameters
        ----------
        points
            (V, 3) pixels.
        time
            Seconds. A time that is not later than the last restarts the filter.
        width
            Of the hand's box, pixels.
        """
        elapsed = time - self._time
        self._time = time
        if self._points is None or self._velocity is None or not 0.0 < elapsed < math.inf:
            self._points, self._velocity = points, np.zeros_like(points)
            return points
        chosen = self._settings
        share = _share(chosen.speed_cutoff, elapsed)
        velocity = (points - self._points) / np.float32(elapsed)
        self._velocity = self._velocity + np.float32(share) * (velocity - self._velocity)
        speed = float(np.linalg.norm(self._velocity, axis=1).mean()) / max(width, 1.0)
        share = _share(chosen.cutoff + chosen.beta * speed, elapsed)
        self._points = self._points + np.float32(share) * (points - self._points)
        return self._points


def _share(cutoff: float, elapsed: float) -> float:
    """How much of what is new a low-pass takes up: 1 / (1 + tau / elapsed)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * elapsed))


class Jitter:
    """How much points tremble, whatever they do besides.

    The second difference over three frames takes smooth motion away; of independent noise it has
    six times the variance. The result is that noise's root mean square over points and frames.
    """

    def __init__(self) -> None:
        self._last: list[Float32] = []
        self._sum = 0.0
        self._count = 0

    def restart(self) -> None:
        """What comes next has nothing to do with what came before."""
        self._last = []

    def add(self, points: Float32, unit: float = 1.0) -> None:
        """Take the next frame's (V, 3) points; `unit` is what one of theirs is in the result's."""
        self._last = [*self._last[-2:], points]
        if len(self._last) == 3:
            first, second, third = self._last
            bend = (first - 2 * second + third).astype(np.float64)
            self._sum += float(np.square(bend).sum(-1).mean()) * unit**2 / 6.0
            self._count += 1

    @property
    def value(self) -> float:
        """Root mean square over points and frames; NaN without three frames in a row."""
        return math.sqrt(self._sum / self._count) if self._count else math.nan
