"""Curves of training runs: what a log says, as a picture."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from benchmarks.curves import POINTS, Curve, draw, main, read_curve
from i2uv_edge.errors import InputError

HEAD = "step,loss,samples_per_second,score_mm,learning_rate,memory_mb\n"
LOG = HEAD + "50,0.25,90.0,,1e-3,700\n100,0.125,90.0,21.5,1e-3,700\n150,0.1,90.0,20.25,1e-5,700\n"
CURVE = Curve((50, 100, 150), (0.25, 0.125, 0.1), (100, 150), (21.5, 20.25))


def test_log_is_read_with_the_rows_that_have_a_score(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    assert read_curve(tmp_path / "log.csv") == CURVE
    assert read_curve(tmp_path) == CURVE


def test_log_of_before_it_had_six_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,samples_per_second,score_mm\n50,0.25,90.0,\n100,0.125,90.0,21.5\n")
    assert read_curve(path) == Curve((50, 100), (0.25, 0.125), (100,), (21.5,))


@pytest.mark.parametrize("text", [HEAD, "a,b\n1,2\n", HEAD + "50,x,1,,1,1\n", HEAD + "50\n"])
def test_what_is_no_log_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"log\.csv"):
        read_curve(path)


def test_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.csv"):
        read_curve(tmp_path)


def test_picture_names_the_runs_in_the_order_of_their_last_scores(tmp_path: Path) -> None:
    worse = Curve(CURVE.steps, CURVE.losses, CURVE.scored, (25.0, 24.0))
    unscored = Curve(CURVE.steps, CURVE.losses, (), ())
    curves = {"early": unscored, "worse": worse, "better": CURVE}
    text = draw(curves, tmp_path / "new" / "picture.svg", title="Two and a half").read_text()
    at = [text.index(f">{label}<") for label in ("better: 20.25 mm", "worse: 24.00 mm", "early")]
    assert at == sorted(at)
    assert ">Two and a half<" in text


def test_same_logs_give_the_same_bytes(tmp_path: Path) -> None:
    first, again = (draw({"run": CURVE}, tmp_path / f"{n}.svg").read_bytes() for n in "ab")
    assert first == again


def test_long_runs_make_small_pictures_that_end_where_the_run_ends(tmp_path: Path) -> None:
    steps = tuple(range(50, 100_000, 50))
    losses = tuple(math.exp(-step / 1e5) + 0.1 * (step % 100) / 50 for step in steps)
    curve = Curve(steps, losses, steps[::10], losses[::10])
    path = draw({"one": curve, "two": curve}, tmp_path / "long.svg")
    assert len(steps) > 5 * POINTS
    assert path.stat().st_size < 60_000


def test_command_draws_runs_by_their_folders_or_by_given_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my-run"
    run.mkdir()
    (run / "log.csv").write_text(LOG)
    picture = tmp_path / "two.svg"
    command = ["curves.py", str(run), f"other={run}/log.csv"]
    monkeypatch.setattr(sys, "argv", [*command, "-o", str(picture)])
    assert main() == 0
    text = picture.read_text()
    assert ">my-run: 20.25 mm<" in text
    assert ">other: 20.25 mm<" in text
    monkeypatch.setattr(sys, "argv", [*command, str(tmp_path / "none"), "-o", str(picture)])
    assert main() == 2
    assert "none" in capsys.readouterr().err
