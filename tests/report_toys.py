"""What a page is made of, on the built-in hand, without any network having run."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from i2uv_edge.bundle import Artifact
from i2uv_edge.findings import BlockFinding, Budget, Findings, Step
from i2uv_edge.hand import metrics
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.parity import Atlases, Compared, Sample, Truth
from i2uv_edge.plans import Alternative, Check, Checks, Plan, Segment
from i2uv_edge.report.material import (
    ConvertedFile,
    KeptFloat,
    Material,
    NetworkEncodings,
    Prediction,
    ProfiledNetwork,
    ProfiledSource,
    StepsApart,
    Subject,
    TensorParity,
    TensorTable,
)
from i2uv_edge.report.witness import Evidence, ReportWitness
from i2uv_edge.scores import Report, Scale, Score
from i2uv_edge.spec import GateSpec, load_gates
from i2uv_edge.tally import Answer

SCALE_MM = 250.0
PICTURE = 32


@cache
def atlas() -> Atlas:
    return Atlas.of_mesh(HandModel.load().coarse, 16)


@cache
def hand() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The template in the middle of the crop, fingers up, map units."""
    points = np.asarray(atlas().template) * np.float32([1, -1, -1]) / np.float32(SCALE_MM / 1000)
    low, high = points.min(0), points.max(0)
    return np.asarray(points - (low + high) / 2 + 0.5, np.float32)


@cache
def finger_labels() -> np.ndarray[Any, np.dtype[np.int8]]:
    """Whose finger each vertex is, indices into `FINGERS`."""
    template = atlas().template
    return metrics.finger_labels(template, atlas().joint_regressor @ template)


def compared(sample_id: str, off_mm: Any, *, stage: str = "affinenet", **changes: Any) -> Compared:
    """A sample whose candidate is off along x; `off_mm` is one number, or one for each vertex."""
    off = np.broadcast_to(np.float64(off_mm), len(hand())) / SCALE_MM
    moved = hand().astype(np.float64)
    moved[:, 0] += off
    theirs, ours = hand(), moved.astype(np.float32)
    picture = np.full((PICTURE, PICTURE, 3), 0.5, np.float32)
    truth = Truth(coarse=hand() + np.float32(10 / SCALE_MM), scale_mm=SCALE_MM)
    maps = [atlas().rasterise(vertices) for vertices in (theirs, ours)]
    made = Compared(
        sample=Sample(sample_id, picture, truth),
        reference="float",
        candidate="tflite",
        stage=stage,
        theirs=Answer(maps[0], theirs),
        ours=Answer(maps[1], ours),
        distances=np.abs(off * SCALE_MM).astype(np.float32),
        scale_mm=SCALE_MM,
    )
    return replace(made, **changes)


def witness(stage: str = "affinenet", **options: Any) -> ReportWitness:
    return ReportWitness("float", "tflite", stage, Atlases(atlas()), **options)


def evidence(*samples: Compared) -> Evidence:
    looks_on = witness()
    for sample in samples or (compared("a", 0.5), compared("b", 2.0), compared("c", 1.0)):
        looks_on.see(sample)
    found = looks_on.evidence()
    assert found is not None
    return found


def score(metric: str = "vertex_mean_mm", value: float = 0.5, **changes: Any) -> Score:
    row = {
        "reference": "float",
        "candidate": "tflite",
        "stage": "affinenet",
        "metric": metric,
        "value": value,
        "limit": None,
        "passed": True,
        "worst_sample": "b",
    }
    return Score(**{**row, **changes})


def scores() -> tuple[Score, ...]:
    truth = {"reference": "truth"}
    rows = [
        score(value=1.167, limit=1.2),
        score("vertex_p95_mm", 2.0, limit=3.0),
        score("vertex_p99_mm", 2.0),
        score("vertex_mean_mm/thumb", 1.25),
        score("vertex_mean_mm/index", 0.75),
    ]
    for name, error in (("float", 9.0), ("tflite", 9.05)):
        rows.append(score("pa_mpvpe_mm", error, limit=9.09, candidate=name, **truth))
        rows.append(score("pa_mpvpe_mm/thumb", error, candidate=name, **truth))
    return tuple(rows)


def subject(**changes: Any) -> Subject:
    tflite = Artifact("affinenet.tflite", "tflite", "ab" * 32, 1_234_567)
    weights = Artifact("float/affinenet.safetensors", "float", "cd" * 32, 4_000_000)
    eval_ = Artifact("eval/00000.jpg", "eval", "ef" * 32, 1000)
    made = Subject(
        model="toy",
        recipe=("w8a8", "Eight bits."),
        target=("sd865", "A phone."),
        files=(
            ConvertedFile(
                tflite,
                {"CONV_2D INT8>INT8": 3, "CONV_2D FLOAT32>FLOAT32": 1, "QUANTIZE FLOAT32>INT8": 1},
                {"INT8": 9_000_000, "FLOAT32": 1_000_000},
            ),
        ),
        encodings=(NetworkEncodings("affinenet", 46, 33, 32, 37),),
        kept_float=(KeptFloat("affinenet", "*.head", "Heads give coordinates.", ("first.head",)),),
        tools={"torch": "2.13.0", "i2uv-edge": "0.1.0"},
        sources={"calibration": "12" * 32},
        artifacts=(tflite, weights, eval_),
        sha256="34" * 32,
        commands=("i2uv-edge export toy", "i2uv-edge validate ."),
    )
    return replace(made, **changes)


def tensor(name: str, sqnr_db: float = 32.0, values: int = 1000, **changes: Any) -> TensorParity:
    files = {"tflite": StepsApart(0.0, 0), "onnx": StepsApart(0.0, 0)}
    return replace(TensorParity("affinenet", name, values, sqnr_db, 0.0, files), **changes)


def tensors() -> TensorTable:
    return TensorTable(
        4,
        (
            tensor("input", math.inf),
            tensor("stem.0", 36.81, files={"tflite": StepsApart(0.002, 1)}),
            tensor("stem.1", 30.04, values=3000, saturated=0.0004),
            tensor("body", 28.0, role="srnet"),
        ),
    )


def profiles() -> tuple[ProfiledSource, ...]:
    return (
        ProfiledSource(
            "host: a processor; measured on a desktop machine, which is no phone",
            ("threads", "median, ms"),
            (
                ProfiledNetwork(
                    "affinenet",
                    ("1", "1.250"),
                    (("stem.0", "Convolution", "CPU", "0.100 ms", "8.0%"),),
                    "affinenet, xnnpack, 1 thread: 176 operators, 176 on the CPU",
                ),
            ),
            notes=("Times are this machine's.",),
            tools={"ai-edge-litert": "2.3.0"},
        ),
        ProfiledSource(
            "hub: Samsung Galaxy Tab S7 (invented); reported by Qualcomm AI Hub",
            ("median, ms",),
            (ProfiledNetwork("affinenet", ("4.000",)),),
            jobs=("job j1: profile, SUCCESS",),
            notes=("from a server at 127.0.0.1: invented",),
        ),
    )


def segment(unit: str = "DSP", ms: float = 4.0, **changes: Any) -> Segment:
    made = Segment("affinenet", unit, 26, 0.16, 3.1, ms, ms * 0.8, ms * 1.5, "taken by qnn")
    return replace(made, **changes)


def plan(*segments: Segment, **changes: Any) -> Plan:
    refused = segment("CPU", 2.0, reason="CONV_2D is FLOAT32", offender="decoder.0.head")
    made = Plan(
        "sd865",
        "qnn",
        "DSP",
        "QNN delegate",
        segments or (segment(), refused, segment(network="srnet")),
        crossings=1,
        alternatives=(Alternative("gpu", 24.2, 17.4, 38.0, 20, False, "never measured in part"),),
    )
    return replace(made, **changes)


def prediction(*segments: Segment, split: bool = False, **changes: Any) -> Prediction:
    rows = (
        Check("ResNet-18", True, 10.0, 11.0),
        Check("FCN", False, 10.0, 17.0, "65 of 74 operators on the DSP"),
    )
    checks = Checks("sd865", "qnn", "a public table", {"gmac": 0.5}, 7.0, rows, {})
    return Prediction(plan(*segments, **changes), checks, split)


def findings() -> Findings:
    block = BlockFinding("affinenet", "stem", "", 0.05, 0.2, 0.5, 0.1)
    worst = replace(block, block="decoder.0", alone_mm=0.4, saved_mm=0.25)
    step = Step(("affinenet: decoder.0",), 0.35, 0.02, 0.03)
    return Findings(
        "toy",
        "w8a8",
        16,
        {"affinenet": 0.6},
        (worst, block),
        (),
        (step,),
        (Budget(0.5, "toy-0.5mm.toml", step, 0.48, 200),),
    )


def gates() -> tuple[GateSpec, ...]:
    return load_gates("w8a8")


def material(**changes: Any) -> Material:
    made = Material(
        report=Report("toy", 3, scores(), Scale("truth", 200.0, 190.0, 210.0)),
        gates=gates(),
        subject=subject(),
        atlas=atlas(),
        sizes={"float": 4_000_000, "tflite": 1_234_567},
        evidence=evidence(),
        tensors=tensors(),
        profiles=profiles(),
        predictions=(prediction(),),
        findings=findings(),
    )
    return replace(made, **changes)
