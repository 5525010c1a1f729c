"""A bundle's report: what stands in it beside the scores is collected here, and both files written.

`i2uv_edge.report` draws the page from plain data; this module knows where the data is.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2uv_edge import planning, resources
from i2uv_edge.blockwise import tensor_table
from i2uv_edge.bundle import Artifact, sha256_of, write_json, write_text
from i2uv_edge.comparison import FORMATS, Contents, gmac, samples
from i2uv_edge.convert.histogram import dtype_histogram, macs_by_dtype, read_operators
from i2uv_edge.convert.onnx_histogram import onnx_histogram, onnx_macs
from i2uv_edge.data.calibration import CalibrationSet
from i2uv_edge.device.profile_table import cells, columns, heading, job_line, slowest, summary
from i2uv_edge.device.profiles import Profile, read_profiles
from i2uv_edge.effort import Effort
from i2uv_edge.errors import I2uvError, InputError, UsageError
from i2uv_edge.findings import ANALYSIS, Findings, read_findings
from i2uv_edge.quantizer.plan import matches
from i2uv_edge.report.material import (
    ConvertedFile,
    KeptFloat,
    Material,
    NetworkEncodings,
    Prediction,
    ProfiledNetwork,
    ProfiledSource,
    Subject,
    TensorTable,
)
from i2uv_edge.report.page import render
from i2uv_edge.report.witness import ReportWitness
from i2uv_edge.requests import CANDIDATES, PlanRequest, ValidateRequest
from i2uv_edge.scores import BASELINE, Report
from i2uv_edge.spec import (
    GateSpec,
    load_model,
    load_target,
    model_names,
    network_names,
    recipe_names,
    target_names,
)

__all__ = [
    "PAGE",
    "SCORES",
    "bundled_weights",
    "check_free",
    "findings_of",
    "witness",
    "write_report",
]

SCORES, PAGE = "report.json", "report.html"
CONVERTED = ("tflite", "onnx", "dlc")
# What counts the operators of a kind of file, and its multiply-accumulates.
READERS = {"tflite": (dtype_histogram, macs_by_dtype), "onnx": (onnx_histogram, onnx_macs)}


def witness(contents: Contents, pairs: Sequence[tuple[str, str]]) -> ReportWitness:
    """What looks on for the report: at float and TFLite, or else at the first pair."""
    main = (BASELINE, "tflite")
    reference, candidate = main if main in pairs else pairs[0]
    roles = list(contents.specs)
    stage = "chained" if len(roles) > 1 else roles[0]
    return ReportWitness(reference, candidate, stage, contents.atlases)


def check_free(folder: Path) -> None:
    """Refuse to write over a report.

    Raises
    ------
    UsageError
        One lies there.
    """
    for name in (SCORES, PAGE):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} exists already",
                remedy="replace it with --force, or name another folder with --report",
            )


def write_report(
    folder: Path,
    contents: Contents,
    report: Report,
    gates: tuple[GateSpec, ...],
    seen: ReportWitness,
    request: ValidateRequest,
) -> None:
    """Write report.json and report.html into a folder, which is made if need be.

    An analysis that the request names is put beside them.

    Parameters
    ----------
    folder
        Where to.
    contents
        The bundle.
    report, gates
        What was measured, and what judged it.
    seen
        What looked on.
    request
        What was compared.
    """
    findings = findings_of(contents, request)
    material = Material(
        report=report,
        gates=gates,
        subject=_subject(contents, request),
        atlas=contents.atlases.fine or contents.atlases.coarse,
        sizes=contents.sizes,
        evidence=seen.evidence(),
        tensors=_tensors(contents, request),
        profiles=_profiles(contents),
        predictions=_predictions(contents),
        findings=findings,
    )
    page = render(material)
    folder.mkdir(parents=True, exist_ok=True)
    if request.analysis is not None:
        write_text(folder / ANALYSIS, request.analysis.read_text(encoding="utf-8"))
    write_json(folder / SCORES, report.fields())
    write_text(folder / PAGE, page)


def findings_of(contents: Contents, request: ValidateRequest) -> Findings | None:
    """The analysis that a report shows: the one the request names, or the bundle's own if any.

    Raises
    ------
    InputError
        There is none at that path, or it is of another model.
    DamagedError
        It is no analysis.
    """
    path = request.analysis or contents.bundle.path / ANALYSIS
    if request.analysis is None and not path.exists():
        return None
    found = read_findings(path)
    if found.model != contents.model:
        raise InputError(
            f"{path} is an analysis of the model {found.model}",
            expected=f"one of {contents.model}, which the bundle holds",
            remedy=f"i2uv-edge quantize {contents.model} --analyze",
        )
    return found


def _tensors(contents: Contents, request: ValidateRequest) -> TensorTable | None:
    """Parity inside the networks, on the first few of the pictures that were compared."""
    found = samples(contents, request.images)
    few = found.first(Effort(gmac(contents)).inside(len(found.ids)))
    kinds = [name for name in request.candidates or contents.available if name in FORMATS]
    return tensor_table(contents, list(few.stream), kinds)


def _predictions(contents: Contents) -> tuple[Prediction, ...]:
    """The best plan, and what the DSP would come to, of the files and of their segments.

    None for a target that does not come with the package, or of which nothing was measured.
    """
    name = str(_table(contents, "target").get("name", ""))
    if name not in target_names() or not load_target(name).evidence:
        return ()
    runtimes = load_target(name).runtime
    dsp = [own for own, spec in runtimes.items() if spec.advisable and spec.unit == "DSP"]
    is_split = any(item.kind == "segment" for item in contents.bundle.artifacts)
    found = []
    for split in (False, True) if is_split else (False,):
        chosen = dict.fromkeys(dsp if split else ["", *dsp])  # "": whatever is best
        plans = {
            own.runtime: own
            for runtime in chosen
            for own in [
                planning.plan(PlanRequest(contents.bundle.path, name, runtime, split=split))
            ]
        }
        for own in plans.values():
            (checks,) = planning.check(PlanRequest(Path(), name, own.runtime))
            found.append(Prediction(own, checks, split))
    return tuple(found)


def _profiles(contents: Contents) -> tuple[ProfiledSource, ...]:
    """What was measured of this bundle; what lies there of another one is not shown."""
    bundle = contents.bundle
    found = [own for own in read_profiles(bundle.path) if own.bundle == bundle.sha256]
    return tuple(_profiled(profile) for profile in found)


def _profiled(profile: Profile) -> ProfiledSource:
    names = columns(profile)
    networks = (
        ProfiledNetwork(own.role, cells(own, names), tuple(slowest(own)), summary(own))
        for own in profile.networks
    )
    return ProfiledSource(
        heading=heading(profile),
        columns=names,
        networks=tuple(networks),
        jobs=tuple(job_line(job) for job in profile.jobs),
        notes=profile.notes,
        tools=profile.tools,
    )


def _subject(contents: Contents, request: ValidateRequest) -> Subject:
    bundle = contents.bundle
    target = _table(contents, "target")
    commands, remarks = _commands(contents, request)
    return Subject(
        model=contents.model,
        recipe=(contents.recipe.name, contents.recipe.description),
        target=(str(target.get("name", "")), str(target.get("description", ""))),
        files=tuple(
            _converted(contents, artifact)
            for kind in CONVERTED
            for artifact in bundle.artifacts
            if artifact.kind == kind
        ),
        encodings=_encodings(contents),
        kept_float=_kept_float(contents),
        tools=_table(contents, "tools"),
        sources=bundle.sources,
        artifacts=bundle.artifacts,
        sha256=bundle.sha256,
        commands=commands,
        remarks=remarks,
    )


def _table(contents: Contents, key: str) -> dict[str, Any]:
    """A table of the manifest; empty where there is none, since no hash protects it."""
    found = contents.bundle.manifest.get(key)
    return dict(found) if isinstance(found, dict) else {}


def _converted(contents: Contents, artifact: Artifact) -> ConvertedFile:
    if artifact.kind not in READERS:
        return ConvertedFile(artifact)
    path = contents.bundle.file(artifact.path)
    operators, macs = READERS[artifact.kind]
    return ConvertedFile(artifact, operators(path), macs(path))


def _encodings(contents: Contents) -> tuple[NetworkEncodings, ...]:
    if contents.recipe.is_float:
        return ()
    stored = json.loads(contents.bundle.file("encodings.json").read_bytes())
    return tuple(
        NetworkEncodings(
            role=role,
            activations=len(own["activations"]),
            weights=len(own["weights"]),
            equalized=len(own["equalization"]),
            bias_corrected=len(own["bias_correction"]),
        )
        for role, own in stored.items()
    )


def _kept_float(contents: Contents) -> tuple[KeptFloat, ...]:
    found = []
    for role, spec in contents.specs.items():
        overrides = contents.recipe.for_network(spec).floats
        operators = read_operators(contents.bundle.file(f"{role}.tflite")) if overrides else []
        layers = [op.layer for op in operators if op.macs and not op.is_integer]
        for override in overrides:
            own = tuple(layer for layer in layers if matches(override, role, layer))
            if override.network in ("*", role):
                found.append(KeptFloat(role, override.match, override.reason, own))
    return tuple(found)


def _commands(
    contents: Contents, request: ValidateRequest
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes the bundle and this page again, and what to know about it.

    Taken from the manifest and not from a command line: a bundle holds no paths of the machine
    it was made on, and the page comes out the same wherever it is written.
    """
    remarks: list[str] = []
    words = ["i2uv-edge", "export"]
    for option, name, known in (
        ("", contents.model, [*model_names(), *network_names()]),
        ("--target", str(_table(contents, "target").get("name", "")), target_names()),
        ("--recipe", contents.recipe.name, recipe_names()),
    ):
        value = name
        if not name:
            continue
        if name not in known:
            value = f"{name}.toml"
            remarks.append(f"{value} does not come with the package; its maker has it.")
        words += [option, value] if option else [value]
    for role in contents.specs:
        source = contents.bundle.sources.get(f"checkpoint.{role}")
        if source != bundled_weights(contents.model, role):
            words += ["--checkpoint", f"float/{role}.safetensors"]
    calibration = contents.bundle.sources.get("calibration")
    if calibration not in (None, _bundled_calibration()):
        words += ["--calibration", "PICTURES"]
        count = _table(contents, "calibration").get("pictures", "?")
        remarks.append(
            f"PICTURES is the folder of the {count} pictures that the ranges were taken from; "
            f"their SHA-256 is {calibration}."
        )
    words += ["-o", "../again"]
    return (shlex.join(words), shlex.join(_validate(request))), tuple(remarks)


def _validate(request: ValidateRequest) -> list[str]:
    words = ["i2uv-edge", "validate", "."]
    if request.images is not None:
        words += ["--images", "PICTURES"]
    if request.reference is not None:
        words += ["--reference", request.reference]
    for candidate in request.candidates:
        words += ["--candidate", candidate if candidate in CANDIDATES else "DUMP"]
    if request.is_default:
        return words
    words += ["--analysis", "ANALYSIS"] if request.analysis is not None else []
    return [*words, "--report", "../report"]


def bundled_weights(model_name: str, role: str) -> str | None:
    """The hash of the weights that the package brings for a role of a model; None without."""
    try:
        model = load_model(model_name)
    except I2uvError:
        return None
    path = resources.checkpoints() / model.checkpoints.get(role, "")
    return sha256_of(path) if path.is_file() else None


def _bundled_calibration() -> str:
    return CalibrationSet.of_folder(resources.calibration_data() / "pictures").sha256
