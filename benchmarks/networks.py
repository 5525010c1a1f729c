"""All networks in one table: what goes in and out, what they cost, where they would run.

    python benchmarks/networks.py --bundle build/sd865 --write docs/networks.md

What shapes decide (operators, segments, times) is of fresh weights and needs no bundle. How far
INT8 is off float is a bundle's to say. Host times are ratios: of interleaved runs on one thread,
over the first network's. What was measured is kept in the file of --kept and read from there again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import subjects  # noqa: E402
from i2uv_edge.bundle import Bundle  # noqa: E402
from i2uv_edge.device.timing import Contender, interleaved  # noqa: E402
from i2uv_edge.networks.layers import macs  # noqa: E402
from i2uv_edge.planning import plan  # noqa: E402
from i2uv_edge.requests import PlanRequest  # noqa: E402
from i2uv_edge.runners import open_interpreter  # noqa: E402
from i2uv_edge.spec import NetworkSpec, TensorSpec, load_network, network_names  # noqa: E402

BEGIN, END = "<!-- table of networks: begin -->", "<!-- table of networks: end -->"
DSP = "qnn"  # the runtime whose segments are counted
ROUNDS = 9
TITLES = (
    *("network", "takes", "answers", "M parameters", "GMAC", "INT8 off float, mm"),
    *("DSP segments", "ms, 865 (low..high)", "where", "host"),
)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    takes: str
    answers: str
    parameters: int
    gmac: float
    segments: int
    ms: tuple[float, float, float]
    runtime: str
    host: float

    def cells(self, off_mm: float | None) -> tuple[str, ...]:
        """In words; `off_mm` is None where no bundle says it."""
        best, low, high = self.ms
        return (
            f"`{self.name}`",
            self.takes,
            self.answers,
            f"{self.parameters / 1e6:.2f}",
            f"{self.gmac:.3f}",
            "" if off_mm is None else f"{off_mm:.2f}",
            str(self.segments),
            f"{best:.1f} ({low:.1f}..{high:.1f})",
            self.runtime,
            f"{self.host:.2f}",
        )


def table(rows: Sequence[Row], off_mm: Mapping[str, float]) -> str:
    """As Markdown; `off_mm` by network."""
    lines = ["| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES)]
    lines += ["| " + " | ".join(row.cells(off_mm.get(row.name))) + " |" for row in rows]
    return "\n".join(lines)


def written(text: str, made: str) -> str:
    """A page with the table between its marks.

    Raises
    ------
    ValueError
        It has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def off_float(bundles: Sequence[Path]) -> dict[str, float]:
    """By network, the mean distance in mm between TFLite and float that its bundle reports."""
    found: dict[str, float] = {}
    for folder in bundles:
        networks = Bundle.open(folder).manifest["networks"]
        report = json.loads((folder / "report.json").read_bytes())
        for row in report["scores"]:
            if (row["reference"], row["candidate"], row["metric"]) == (
                *("float", "tflite", "vertex_mean_mm"),
            ) and row["stage"] in networks:
                found[networks[row["stage"]]["name"]] = row["value"]
    return found


def rows(names: Sequence[str]) -> list[Row]:
    """Convert, place and time networks of these names."""
    found, contenders = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            spec = load_network(name)
            recipe = "w8a8-hand" if spec.role == "hand" else "w8a8"
            path = subjects.int8_file(spec, Path(folder) / f"{name}.tflite", recipe=recipe)
            found.append(_row(spec, path))
            contenders.append(_contender(name, path))
        times = interleaved(contenders, rounds=ROUNDS)
    first = times[names[0]].median
    return [
        replace(row, host=times[name].median / first)
        for row, name in zip(found, names, strict=True)
    ]


def _row(spec: NetworkSpec, path: Path) -> Row:
    module = subjects.fresh(spec)
    best = plan(PlanRequest(path))
    on_dsp = plan(PlanRequest(path, runtime=DSP))
    return Row(
        name=spec.name,
        takes=_shape(spec.input),
        answers=_answers(spec),
        parameters=sum(item.numel() for item in module.parameters()),
        gmac=macs(module, spec.input.shape[1:]) / 1e9,
        segments=sum(segment.unit == "DSP" for segment in on_dsp.segments),
        ms=(best.ms, best.ms_low, best.ms_high),
        runtime=best.runtime,
        host=float("nan"),
    )


def _shape(tensor: TensorSpec) -> str:
    return f"{tensor.name} " + "x".join(str(size) for size in tensor.shape[1:] if size > 1)


def _answers(spec: NetworkSpec) -> str:
    if spec.readout is None:
        return _shape(spec.output)
    return ", ".join(f"{name} {count}" for name, count in spec.readout.fields.items())


def _contender(name: str, path: Path) -> Contender:
    interpreter = open_interpreter(path.read_bytes())
    for detail in interpreter.get_input_details():
        noise = np.random.default_rng(0).random(tuple(detail["shape"]), np.float32)
        interpreter.set_tensor(detail["index"], noise)
    return Contender(name, interpreter.invoke)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="the first is what host times are over")
    parser.add_argument("--bundle", action="append", type=Path, default=[])
    parser.add_argument("--kept", type=Path, help="JSON of what was measured before")
    parser.add_argument("--write", type=Path, help="a page with marks; else it is printed")
    given = parser.parse_args()
    names = given.networks or sorted(network_names(), key=lambda name: name != "affinenet-edge")
    if given.kept is not None and given.kept.is_file():
        found = [Row(**item) for item in json.loads(given.kept.read_bytes())]
    else:
        found = rows(names)
        if given.kept is not None:
            given.kept.parent.mkdir(parents=True, exist_ok=True)
            given.kept.write_text(json.dumps([asdict(row) for row in found], indent=2))
    made = table(found, off_float(given.bundle))
    if given.write is None:
        print(made)
    else:
        text = given.write.read_text(encoding="utf-8")
        given.write.write_text(written(text, made), encoding="utf-8")


if __name__ == "__main__":
    main()
