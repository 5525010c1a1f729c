"""INT8 hand-mesh networks for phones, with the error stated in millimetres.

The verbs are those of the command line: each takes its request and gives its result.

>>> import i2uv_edge
>>> result = i2uv_edge.export(i2uv_edge.ExportRequest(output="build/sd865"))  # doctest: +SKIP
>>> result.report.passed  # doctest: +SKIP
True

Nothing is imported before it is used: `import i2uv_edge` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2uv_edge.bundle import Bundle as Bundle
    from i2uv_edge.diagnosis.examine import doctor as doctor
    from i2uv_edge.diagnosis.results import Diagnosis as Diagnosis
    from i2uv_edge.errors import I2uvError as I2uvError
    from i2uv_edge.pipeline import analyze as analyze
    from i2uv_edge.pipeline import calibrate as calibrate
    from i2uv_edge.pipeline import evaluate as evaluate
    from i2uv_edge.pipeline import export as export
    from i2uv_edge.pipeline import profile as profile
    from i2uv_edge.pipeline import quantize as quantize
    from i2uv_edge.pipeline import run as run
    from i2uv_edge.pipeline import train as train
    from i2uv_edge.pipeline import validate as validate
    from i2uv_edge.planning import plan as plan
    from i2uv_edge.plans import Plan as Plan
    from i2uv_edge.requests import AnalyzeRequest as AnalyzeRequest
    from i2uv_edge.requests import AnalyzeResult as AnalyzeResult
    from i2uv_edge.requests import CalibrateRequest as CalibrateRequest
    from i2uv_edge.requests import CalibrateResult as CalibrateResult
    from i2uv_edge.requests import EvaluateRequest as EvaluateRequest
    from i2uv_edge.requests import EvaluateResult as EvaluateResult
    from i2uv_edge.requests import ExportRequest as ExportRequest
    from i2uv_edge.requests import ExportResult as ExportResult
    from i2uv_edge.requests import PlanRequest as PlanRequest
    from i2uv_edge.requests import ProfileRequest as ProfileRequest
    from i2uv_edge.requests import ProfileResult as ProfileResult
    from i2uv_edge.requests import QuantizeRequest as QuantizeRequest
    from i2uv_edge.requests import QuantizeResult as QuantizeResult
    from i2uv_edge.requests import RunRequest as RunRequest
    from i2uv_edge.requests import RunResult as RunResult
    from i2uv_edge.requests import TrainRequest as TrainRequest
    from i2uv_edge.requests import TrainResult as TrainResult
    from i2uv_edge.requests import ValidateRequest as ValidateRequest
    from i2uv_edge.requests import ValidateResult as ValidateResult
    from i2uv_edge.scores import Report as Report

_HOMES = {
    "Bundle": "bundle",
    "Diagnosis": "diagnosis.results",
    "I2uvError": "errors",
    "analyze": "pipeline",
    "calibrate": "pipeline",
    "doctor": "diagnosis.examine",
    "evaluate": "pipeline",
    "export": "pipeline",
    "profile": "pipeline",
    "plan": "planning",
    "quantize": "pipeline",
    "run": "pipeline",
    "train": "pipeline",
    "validate": "pipeline",
    "AnalyzeRequest": "requests",
    "AnalyzeResult": "requests",
    "CalibrateRequest": "requests",
    "CalibrateResult": "requests",
    "EvaluateRequest": "requests",
    "EvaluateResult": "requests",
    "ExportRequest": "requests",
    "ExportResult": "requests",
    "ProfileRequest": "requests",
    "ProfileResult": "requests",
    "PlanRequest": "requests",
    "QuantizeRequest": "requests",
    "QuantizeResult": "requests",
    "RunRequest": "requests",
    "RunResult": "requests",
    "TrainRequest": "requests",
    "TrainResult": "requests",
    "ValidateRequest": "requests",
    "ValidateResult": "requests",
    "Plan": "plans",
    "Report": "scores",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
