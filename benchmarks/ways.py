"""The ways to int8 that `peers.py` compares: this project's, and other tools as they stand.

Every tool is used as its own documentation begins: its defaults, and nothing mended. A way takes a
`Task` and a path, writes a file there and says how to run it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import published
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.layers import deploy
from i2uv_edge.networks.registry import build
from i2uv_edge.parity import Sample
from i2uv_edge.quantizer.network import load_quantized, quantize
from i2uv_edge.quantizer.stored import StoredWeights
from i2uv_edge.spec import NetworkSpec, load_recipe

__all__ = ["Answer", "Float32", "Made", "Skipped", "Task", "Way", "in_deploy_form", "in_torch"]

Float32 = NDArray[np.float32]
Answer = Callable[[Float32], Float32]  # (1, S, S, 3) picture -> (1, S, S, 3) map
ONNX_OPSET = 18
LARGE = 32 << 20  # bytes of weights from which on ai-edge-quantizer 0.10.0 fails


class Skipped(Exception):  # noqa: N818 - nothing went wrong
    """There is nothing to compare, for the reason that it says."""


@dataclass(frozen=True)
class Task:
    """What every way starts from, and what it is judged on.

    Attributes
    ----------
    spec, checkpoint : the network and its weights
    calibration : (1, S, S, 3) pictures, the same for all
    samples : held out, with their millimetres
    trained : what quantization-aware training made of the network; or why there is nothing
    deployed : whether other tools get the network with its warps as gathers, this project's form
    """

    spec: NetworkSpec
    checkpoint: Path
    calibration: Sequence[Float32]
    samples: Sequence[Sample]
    trained: StoredWeights | str = "no training was done to it"
    deployed: bool = False

    @property
    def side(self) -> int:
        """Of the picture."""
        return self.spec.input.shape[1]

    def module(self) -> nn.Module:
        """The network in this project's form."""
        network = build(self.spec)
        load_checkpoint(network, self.checkpoint)
        return network.eval()

    def foreign(self) -> nn.Module:
        """The network as other tools get it: a published one as published, plain PyTorch."""
        architecture = self.spec.architecture
        if "resnet_depth" not in architecture:
            return deploy(self.module()) if self.deployed else self.module()
        network = published.AffineNet(
            int(architecture["resnet_depth"]), align_corners=bool(architecture["align_corners"])
        )
        load_checkpoint(network, self.checkpoint)
        return network.eval()


@dataclass(frozen=True)
class Made:
    """A network in the form some way gives it: its file, if it has one, and how to run it once."""

    path: Path | None
    answer: Answer


Way = Callable[[Task, Path], Made]


def ours(task: Task, path: Path) -> Made:
    """Make it int8 here, by the recipe w8a8."""
    recipe = load_recipe("w8a8").for_network(task.spec)
    network = quantize(task.module(), recipe, task.calibration, network_role="affinenet")
    to_tflite(network, task.spec, path)
    return Made(path, on_tflite(path))


def ours_trained(task: Task, path: Path) -> Made:
    """The recipe w8a8-qat with the weights that its training made."""
    if isinstance(task.trained, str):
        raise Skipped(task.trained)
    recipe = load_recipe("w8a8-qat").for_network(task.spec)
    stored = task.trained
    network = load_quantized(task.module(), recipe, stored.encodings, stored.tensors)
    to_tflite(network, task.spec, path)
    return Made(path, on_tflite(path))


def ours_float(task: Task, path: Path) -> Made:
    """Convert it here, by the recipe float."""
    to_tflite(task.module(), task.spec, path)
    return Made(path, on_tflite(path))


def litert_float(task: Task, path: Path) -> Made:
    """The network through litert-torch as it stands, float."""
    import litert_torch

    given = (torch.zeros(1, 3, task.side, task.side),)
    litert_torch.convert(task.foreign(), given).export(str(path))
    return Made(path, on_tflite(path))


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
    return Made(path, on_tflite(path))


def litert_int8_mended(task: Task, path: Path) -> Made:
    """The same with its fault in large weights worked round."""
    with _large_weights_in_slices():
        return litert_int8(task, path)


def onnxruntime_int8(task: Task, path: Path) -> Made:
    """The network exported to ONNX by torch, then onnxruntime.quantization's static Q/DQ."""
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
        task.foreign(),
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
    return Made(path, on_onnx(path))


def in_deploy_form(way: Way) -> Way:
    """The same way from the network with its warps as gathers."""
    return lambda task, path: way(replace(task, deployed=True), path)


def pt2e_in_torch(task: Task, path: Path) -> Made:
    """Torchao's PT2E with litert-torch's quantizer, left in PyTorch: what it computes, no file."""
    del path
    return Made(None, in_torch(_pt2e(task)[0]))


def pt2e_file(task: Task, path: Path) -> Made:
    """The same through litert-torch."""
    import litert_torch
    from litert_torch.quantize.quant_config import QuantConfig

    module, tool = _pt2e(task)
    given = (torch.zeros(1, 3, task.side, task.side),)
    settings = QuantConfig(pt2e_quantizer=tool)
    litert_torch.convert(module, given, quant_config=settings).export(str(path))
    return Made(path, on_tflite(path))


def _pt2e(task: Task) -> tuple[nn.Module, Any]:
    """Its quantized graph, and the quantizer that annotated it."""
    from litert_torch.quantize import pt2e_quantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    settings = pt2e_quantizer.get_symmetric_quantization_config(
        is_per_channel=True, is_dynamic=False
    )
    tool = pt2e_quantizer.PT2EQuantizer().set_global(settings)
    given = (torch.zeros(1, 3, task.side, task.side),)
    prepared = prepare_pt2e(torch.export.export(task.foreign(), given).module(), tool)
    watch = in_torch(prepared)
    for picture in task.calibration:
        watch(picture)
    return convert_pt2e(prepared, fold_quantize=False), tool


def in_torch(module: nn.Module) -> Answer:
    """Runs a module, NCHW."""

    def answer(picture: Float32) -> Float32:
        with torch.inference_mode():
            made = module(torch.from_numpy(picture.transpose(0, 3, 1, 2).copy()))
        return np.asarray(made.permute(0, 2, 3, 1).numpy())

    return answer


def on_onnx(path: Path) -> Answer:
    """Runs an ONNX file, NCHW, on one thread."""
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


def on_tflite(path: Path) -> Answer:
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
