"""The figures about following a hand, on paths whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_toys import Ended

from benchmarks import tracking
from i2uv_edge.data.rendered_clip import ClipSettings


@pytest.mark.parametrize("late", [0.0, 25.0, 80.0])
def test_lag_is_the_delay_of_a_path(late: float) -> None:
    times = np.arange(120) / 30

    def path(delay: float) -> np.ndarray:
        return np.column_stack([np.sin(2 * (times - delay)), np.cos(3 * (times - delay))])

    assert tracking.lag_ms(path(late / 1000) + 5.0, path(0.0), 30.0) == pytest.approx(late, abs=3)


def test_everything_is_measured_on_a_short_clip(
    exported: tuple[Ended, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "CLIP", ClipSettings(size=640, period=0.4))
    found = tracking.measure(exported[1], 12, (1,), 12)
    assert found["run"]["frames_seen"] == 12
    assert found["run"]["cpu_ms"] > 0
    ways = found["followed"]
    assert list(ways) == ["box follows always", "box stays", "box stays, One-Euro"]
    assert ways["box stays, One-Euro"]["jitter_mm"] < ways["box stays"]["jitter_mm"]
    assert "end to end" in tracking.table(found)
