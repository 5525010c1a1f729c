"""One fitted network through this project and through what else there is, in one table.

`python benchmarks/peers.py` fits AffineNet (minutes, once), makes it int8 in each way from the same
calibration pictures, and says how far the vertices are off the float network, how long an inference
takes, how large the file is, and what layout changes and scattered reads it holds. Every tool
is used as its own documentation begins: its defaults, and nothing mended. Where one fails, the
reason stands in the table.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks import published, subjects  # noqa: E402
from benchmarks.fitted import fitted  # noqa: E402
from benchmarks.timing import Contender, interleaved, quiet_output  # noqa: E402
from i2uv_edge import resources  # noqa: E402
from i2uv_edge.convert.histogram import read_operators  # noqa: E402
from i2uv_edge.convert.tflite import to_tflite  # noqa: E402
from i2uv_edge.data.calibration import CalibrationSet  # noqa: E402
from i2uv_edge.data.evaluation import bundled_samples  # noqa: E402
from i2uv_edge.hand.atlas import Atlas  # noqa: E402
from i2uv_edge.hand.model import HandModel  # noqa: E402
from i2uv_edge.networks.checkpoint import load_checkpoint  # noqa: E402
from i2uv_edge.networks.registry import build  # noqa: E402
from i2uv_edge.parity import Sample  # noqa: E402
from i2uv_edge.quantizer.network import quantize  # noqa: E402
from i2uv_edge.spec import NetworkSpec, load_recipe  # noqa: E402

__all__ = ["WAYS", "Outcome", "Task", "compare", "table"]

Float32 = NDArray[np.float32]
Answer = Callable[[Float32], Float32]  # (1, S, S, 3) picture -> (1, S, S, 3) map
ONNX_OPSET = 18
LARGE = 32 << 20  # bytes of weights from which on ai-edge-quantizer 0.10.0 fails
COUNTED = ("TRANSPOSE", "GATHER_ND")  # by the names of TFLite


@dataclass(frozen=True)
class Task:
    """What every way starts from, and what it is judged on.

    Attributes
    ----------
    spec, checkpoint : the network and its weights
    calibration : (1, S, S, 3) pictures, the same for all
    samples : held out, with their millimetres
    """

    spec: NetworkSpec
    checkpoint: Path
    calibration: Sequence[Float32]
    samples: Sequence[Sample]

    @property
    def side(self) -> int:
        """Of the picture."""
        return self.spec.input.shape[1]

    def module(self) -> nn.Module:
        """The network in this project's form."""
        network = build(self.spec)
        load_checkpoint(network, self.checkpoint)
        return network.eval()

    def published(self) -> nn.Module:
        """The network in its published form."""
        architecture = self.spec.architecture
        network = published.AffineNet(
            int(architecture["resnet_depth"]), align_corners=bool(architecture["align_corners"])
        )
        load_checkpoint(network, self.checkpoint)
        return network.eval()


@dataclass(frozen=True)
class Made:
    """A network in the form some way gives it: its file, and how to run it once."""

    path: Path
    answer: Answer


@dataclass(frozen=True)
class Outcome:
    """A line of the table; NaN where a way failed, for the `reason`."""

    name: str
    mean_mm: float = math.nan
    p95_mm: float = math.nan
    ms: float = math.nan
    megabytes: float = math.nan
    operators: Mapping[str, int] = field(default_factory=dict)
    seconds: float = math.nan
    reason: str = ""


def ours(task: Task, path: Path) -> Made:
    """Make it int8 here, by the recipe w8a8."""
    recipe = load_recipe("w8a8").for_network(task.spec)
    network = quantize(task.module(), recipe, task.calibration, network_role="affinenet")
    to_tflite(network, task.spec, path)
    return Made(path, _tflite(path))


def ours_float(task: Task, path: Path) -> Made:
    """Convert it here, by the recipe float."""
    to_tflite(task.module(), task.spec, path)
    return Made(path, _tflite(path))


def litert_float(task: Task, path: Path) -> Made:
    """The published form through litert-torch as it stands, float."""
    import litert_torch

    given = (torch.zeros(1, 3, task.side, task.side),)
    litert_torch.convert(task.published(), given).export(str(path))
    return Made(path, _tflite(path))


def litert_int8(task: Task, path: Path) -> Made:
    """The same, then ai-edge-quantizer's static int8 recipe."""
    from ai_edge_quantizer import quantizer, recipe

    source = path.with_suffix(".float.tflite")
    litert_float(task, source)
    tool = quantizer.Quantizer(str(source))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    signature, name = _signature(source)
    feeds = [{name: picture.transpose(0, 3, 1, 2)} for picture in task.calibration]
    ranges = tool.calibrate({signature: feeds}, num_threads=1)
    tool.quantize(ranges, enable_progress_report=False).export_model(str(path))
    return Made(path, _tflite(path))


def litert_int8_mended(task: Task, path: Path) -> Made:
    """The same with its fault in large weights worked round."""
    with _large_weights_in_slices():
        return litert_int8(task, path)


def onnxruntime_int8(task: Task, path: Path) -> Made:
    """The published form exported to ONNX by torch, then onnxruntime.quantization's static Q/DQ."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(task.calibration)

        def get_next(self) -> dict[str, Float32] | None:
            picture = next(self._left, None)
            return None if picture is None else {"image": picture.transpose(0, 3, 1, 2)}

    source, prepared = path.with_suffix(".float.onnx"), path.with_suffix(".prepared.onnx")
    given = (torch.zeros(1, 3, task.side, task.side),)
    torch.onnx.export(
        task.published(),
        given,
        str(source),
        input_names=["image"],
        opset_version=ONNX_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True
    )
    return Made(path, _onnx(path))


REPAIRS = {"the same, its fault worked round": "litert-torch + ai-edge-quantizer, int8"}
"""Ways that are gone only where another one failed."""

WAYS: dict[str, Callable[[Task, Path], Made]] = {
    "i2uv-edge, int8": ours,
    "litert-torch + ai-edge-quantizer, int8": litert_int8,
    "the same, its fault worked round": litert_int8_mended,
    "ONNX Runtime static Q/DQ, int8": onnxruntime_int8,
    "i2uv-edge, float": ours_float,
    "litert-torch, float": litert_float,
}
_SUFFIXES = {"ONNX Runtime static Q/DQ, int8": ".onnx"}


def compare(
    task: Task, ways: Mapping[str, Callable[[Task, Path], Made]] = WAYS, *, rounds: int = 15
) -> list[Outcome]:
    """Go every way, measure what came of it; what fails gives a line that says why."""
    torch.set_num_threads(1)
    atlas = Atlas.of_mesh(HandModel.load().coarse, task.spec.output.shape[1])
    truth = _torch(task.module())
    references = [atlas.read_vertices(truth(sample.picture[None]))[0] for sample in task.samples]
    found: dict[str, Outcome] = {}
    made: dict[str, Made] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, way) in enumerate(ways.items()):
            if name in REPAIRS and not found[REPAIRS[name]].reason:
                continue
            path = Path(folder) / f"{number}{_SUFFIXES.get(name, '.tflite')}"
            start = time.monotonic()
            try:
                made[name] = way(task, path)
                outcome = _judged(name, made[name], task, atlas, references)
            except Exception as error:  # whatever a tool raises is what the table has to say
                made.pop(name, None)
                found[name] = Outcome(name, reason=_short(error))
                continue
            found[name] = replace(outcome, seconds=time.monotonic() - start)
        picture = task.samples[0].picture[None]
        contenders = [_contender("PyTorch, float", truth, picture)]
        contenders += [_contender(name, item.answer, picture) for name, item in made.items()]
        times = interleaved(contenders, rounds=rounds)
    eager = Outcome("PyTorch, float", 0.0, 0.0, times["PyTorch, float"].ms)
    return [eager, *(_timed(outcome, times) for outcome in found.values())]


def _timed(outcome: Outcome, times: Mapping[str, Any]) -> Outcome:
    return replace(outcome, ms=times[outcome.name].ms) if outcome.name in times else outcome


def _contender(name: str, answer: Answer, picture: Float32) -> Contender:
    return Contender(name, lambda: answer(picture))


def _judged(
    name: str, made: Made, task: Task, atlas: Atlas, references: Sequence[Float32]
) -> Outcome:
    distances = []
    for sample, reference in zip(task.samples, references, strict=True):
        assert sample.truth is not None
        maps = made.answer(sample.picture[None])
        if maps.shape != task.spec.output.shape or not np.isfinite(maps).all():
            raise ValueError(f"its answer has shape {maps.shape}, or is not finite")
        off = np.linalg.norm(atlas.read_vertices(maps)[0] - reference, axis=-1)
        distances.append(off * sample.truth.scale_mm)
    every = np.concatenate(distances)
    return Outcome(
        name,
        float(every.mean()),
        float(np.percentile(every, 95)),
        megabytes=made.path.stat().st_size / 1e6,
        operators=_operators(made.path),
    )


def _operators(path: Path) -> dict[str, int]:
    """How often the counted operators occur."""
    if path.suffix == ".onnx":
        import onnx

        names = Counter(node.op_type for node in onnx.load(path).graph.node)
        return {"TRANSPOSE": names["Transpose"], "GATHER_ND": names["GatherND"]}
    counts = Counter(operator.op for operator in read_operators(path))
    return {name: counts[name] for name in COUNTED}


def _torch(module: nn.Module) -> Answer:
    def answer(picture: Float32) -> Float32:
        with torch.inference_mode():
            made = module(torch.from_numpy(picture.transpose(0, 3, 1, 2).copy()))
        return np.asarray(made.permute(0, 2, 3, 1).numpy())

    return answer


def _onnx(path: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(picture: Float32) -> Float32:
        (made,) = session.run(None, {name: np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})
        return np.asarray(made.transpose(0, 2, 3, 1))

    return answer


def _tflite(path: Path) -> Answer:
    """Runs a file whose ports may be integer and may have their channels first."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(picture: Float32) -> Float32:
        given = picture.transpose(0, 3, 1, 2) if takes["shape"][1] == 3 else picture
        interpreter.set_tensor(takes["index"], _stored(given, takes))
        interpreter.invoke()
        made = _real(interpreter.get_tensor(gives["index"]), gives)
        return made.transpose(0, 2, 3, 1) if gives["shape"][1] == 3 else made

    return answer


def _stored(values: Float32, port: Mapping[str, Any]) -> NDArray[Any]:
    if not np.issubdtype(port["dtype"], np.integer):
        return np.ascontiguousarray(values)
    scale, zero = port["quantization"]
    limits = np.iinfo(port["dtype"])
    steps = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
    return np.ascontiguousarray(steps.astype(port["dtype"]))


def _real(values: NDArray[Any], port: Mapping[str, Any]) -> Float32:
    if not np.issubdtype(port["dtype"], np.integer):
        return np.asarray(values, np.float32)
    scale, zero = port["quantization"]
    return np.asarray((values.astype(np.float32) - zero) * np.float32(scale), np.float32)


def _signature(path: Path) -> tuple[str, str]:
    """Name of a file's one signature and of its one input."""
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(model_path=str(path), num_threads=1).get_signature_list()
    ((signature, ports),) = signatures.items()
    (name,) = ports["inputs"]
    return str(signature), str(name)


@contextmanager
def _large_weights_in_slices() -> Iterator[None]:
    """Let ai-edge-quantizer round weights over 32 MiB a few output channels at a time.

    Its own way of doing such in parts (0.10.0) takes scales of shape (O, 1, 1, 1) apart wrongly and
    raises "input operand has more dimensions than allowed by the axis remapping".
    """
    from dataclasses import replace as changed

    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as tool

    plain = tool.uniform_quantize

    def in_slices(values: Any, parameters: Any, *rest: Any, **options: Any) -> Any:
        axis = parameters.quantized_dimension
        if values.ndim != 4 or values.nbytes <= LARGE or axis is None:
            return plain(values, parameters, *rest, **options)
        scales, zeros = (np.ravel(item) for item in (parameters.scale, parameters.zero_point))
        parts = np.array_split(np.arange(values.shape[axis]), 8)
        return np.concatenate(
            [
                plain(
                    np.take(values, part, axis),
                    changed(parameters, scale=scales[part], zero_point=zeros[part]),
                    *rest,
                    **options,
                )
                for part in parts
            ],
            axis,
        )

    tool.uniform_quantize = in_slices
    try:
        yield
    finally:
        tool.uniform_quantize = plain


def _short(error: BaseException) -> str:
    """The first words of what an error came from."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:110]}"


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as text."""
    width = max(len(outcome.name) for outcome in outcomes)
    head = f"{'':{width}}  off float, mm     ms      MB  TRANSPOSE  GATHER_ND  made in s"
    lines = [head, f"{'':{width}}   mean    p95"]
    for item in outcomes:
        if item.reason:
            lines.append(f"{item.name:{width}}  failed: {item.reason}")
            continue
        counts = "".join(f"{item.operators.get(name, 0):>11}" for name in COUNTED)
        if not item.operators:
            counts = f"{'':22}"
        size = "" if math.isnan(item.megabytes) else f"{item.megabytes:.1f}"
        seconds = "" if math.isnan(item.seconds) else f"{item.seconds:.0f}"
        lines.append(
            f"{item.name:{width}} {item.mean_mm:6.2f} {item.p95_mm:6.2f} {item.ms:7.1f} {size:>7}"
            f"{counts}{seconds:>11}".rstrip()
        )
    return "\n".join(lines)


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="affinenet-r50", help="  [default: affinenet-r50]")
    parser.add_argument("--calibration", type=int, default=32, help="pictures  [default: 32]")
    parser.add_argument("--samples", type=int, default=24, help="pictures  [default: 24]")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each  [default: 15]")
    options = parser.parse_args()
    spec = subjects.at_side(options.network)
    pictures = CalibrationSet.of_folder(resources.calibration_data() / "pictures")
    side = spec.input.shape[1]
    with quiet_output():
        task = Task(
            spec,
            fitted(options.network, report=lambda line: print(line, file=sys.stderr)),
            list(islice(pictures.batches(side), options.calibration)),
            list(islice(bundled_samples(side), options.samples)),
        )
        outcomes = compare(task, rounds=options.rounds)
    print(
        f"{spec.name}: {options.calibration} pictures calibrated on, {options.samples} compared; "
        f"medians of {options.rounds} interleaved rounds, 1 thread\n"
    )
    print(table(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
