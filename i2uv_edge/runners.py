"""What runs a network, whatever runs it.

A runner takes named arrays and returns named arrays: float32 in NHWC, real values, whatever the
network holds inside. `i2uv_edge.chain` runs a pair of them as they run on the phone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError, MissingDependencyError
from i2uv_edge.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "Contract",
    "Port",
    "Runner",
    "Stored",
    "TfliteRunner",
    "TorchRunner",
    "checked_feed",
    "checked_output",
    "one_torch_thread",
    "open_interpreter",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]


class Contract(Protocol):
    """What goes into a network and what comes out; a `NetworkSpec` is one."""

    @property
    def input(self) -> TensorSpec:
        """The one input."""

    @property
    def output(self) -> TensorSpec:
        """The one output."""


class Runner(Contract, Protocol):
    """Runs one network, on any number of samples at a time."""

    @property
    def name(self) -> str:
        """What runs it, for tables and messages: "float", "tflite"."""

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Run the network.

        Parameters
        ----------
        feeds
            The input's name -> (N, H, W, C) float32, real values; N need not be the contract's 1.

        Returns
        -------
        dict
            The output's name -> (N, H, W, C) float32, real values.
        """


class TorchRunner:
    """Runs a torch module that takes and returns one (N, C, H, W) tensor.

    Parameters
    ----------
    module
        Is put into evaluation mode, and stays there.
    contract
        Its input and output as everyone else sees them, NHWC.
    threads
        Hold torch to that many while the module runs; without it torch decides.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        contract: Contract,
        *,
        name: str = "float",
        threads: int | None = None,
    ) -> None:
        self.name = name
        self.input = contract.input
        self.output = contract.output
        self._module = module.eval()
        self._threads = threads

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Run the module without gradients; see `Runner`."""
        import torch

        samples = checked_feed(self, feeds)
        threads = torch.get_num_threads()
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                made = self._module(torch.from_numpy(samples.transpose(0, 3, 1, 2).copy()))
        finally:
            torch.set_num_threads(threads)
        if not isinstance(made, torch.Tensor) or made.ndim != 4:
            raise InputError(
                f"{self.name}: the module returned {_described(made)}",
                expected=f"one (N, C, H, W) tensor for {self.output.name!r}",
            )
        maps = made.permute(0, 2, 3, 1).to(torch.float32).contiguous().numpy()
        return {self.output.name: checked_output(self, maps, len(samples))}


class TfliteRunner:
    """Runs a .tflite file of one input and one output, sample after sample.

    Integer inputs and outputs are quantized and dequantized with the scales in the file.

    Parameters
    ----------
    path
        The file.
    contract
        Its input and output as everyone else sees them. Converters rename tensors, so shapes are
        compared and names are not.
    interpreter
        What has opened the file already, and answers as LiteRT's interpreter does.

    Raises
    ------
    MissingDependencyError
        No interpreter is installed.
    InputError
        The file is missing or no TFLite model, or its tensors are not the contract's.
    """

    def __init__(
        self,
        path: Path | str,
        contract: Contract,
        *,
        name: str = "tflite",
        threads: int = 1,
        interpreter: Any = None,
    ) -> None:
        self.name = name
        self.input = contract.input
        self.output = contract.output
        try:
            self._interpreter = interpreter or open_interpreter(
                Path(path).read_bytes(), threads=threads
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise InputError(
                f"{path} cannot be run: {reason}",
                expected="a TFLite model with built-in operators",
                remedy="convert the network again",
            ) from error
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._takes = self._port(path, "input", details[0])
        self._gives = self._port(path, "output", details[1])
        self._indices = details[0][0]["index"], details[1][0]["index"]

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Run the model once for each sample; see `Runner`."""
        samples = checked_feed(self, feeds)
        takes, gives = self._indices
        maps = []
        for sample in samples:
            self._interpreter.set_tensor(takes, self._takes.stored(sample[None]))
            self._interpreter.invoke()
            maps.append(self._gives.real(self._interpreter.get_tensor(gives)))
        found = np.concatenate(maps)
        return {self.output.name: checked_output(self, found, len(samples))}

    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the file says of its input and of its output, as it stores them.

        "name", "shape", "dtype", "scale" and "zero_point"; the last two are 1.0 and 0 for floats.
        """
        return self._takes.fields(), self._gives.fields()

    def _port(self, path: Path | str, side: str, details: list[dict[str, Any]]) -> Port:
        spec = self.input if side == "input" else self.output
        shapes = [tuple(map(int, detail["shape"])) for detail in details]
        if shapes != [(1, *spec.shape[1:])]:
            raise InputError(
                f"{path} has {side}s of shapes {shapes}",
                expected=f"one {side} of shape {(1, *spec.shape[1:])} ({spec.name}, {spec.layout})",
                remedy="convert the network again, or name the network that the file was made from",
            )
        quantization = details[0]["quantization_parameters"]
        dtype = np.dtype(details[0]["dtype"])
        scales, zero_points = quantization["scales"], quantization["zero_points"]
        if dtype.kind in "iu" and len(scales) != 1:
            raise InputError(
                f"the {side} of {path} is {dtype} with {len(scales)} scales",
                expected="one scale and zero point for the tensor",
            )
        scale, zero_point = (scales[0], zero_points[0]) if dtype.kind in "iu" else (1.0, 0)
        return Port(str(details[0]["name"]), shapes[0], dtype, float(scale), int(zero_point))


@dataclass(frozen=True)
class Stored:
    """A tensor as a device holds it: real value = (stored - zero_point) * scale."""

    array: Array
    scale: float = 1.0
    zero_point: int = 0

    def real(self) -> Float32:
        """Return the real values."""
        if self.array.dtype.kind not in "iu":
            return self.array.astype(np.float32)
        steps = self.array.astype(np.float32) - np.float32(self.zero_point)
        return steps * np.float32(self.scale)


@dataclass(frozen=True)
class Port:
    """An input or output as a file holds it; scale and zero point are 1.0 and 0 for floats."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero_point: int = 0

    def stored(self, real: Float32) -> Array:
        """Turn real values into what the file takes."""
        if self.dtype.kind not in "iu":
            return np.asarray(real, self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.rint(real / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(steps, limits.min, limits.max), self.dtype)

    def real(self, stored: Array) -> Float32:
        """Turn what the file gives into real values."""
        return Stored(stored, self.scale, self.zero_point).real()

    def fields(self) -> dict[str, Any]:
        """Return what the manifest holds of it."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def open_interpreter(content: bytes, *, threads: int = 1) -> Any:
    """Open a TFLite model, its tensors allocated.

    Raises
    ------
    MissingDependencyError
        No interpreter is installed.
    ValueError, RuntimeError
        It refuses the model.
    """
    interpreter = _interpreter()
    with _quiet():
        made = interpreter(model_content=content, num_threads=threads)
        made.allocate_tensors()
    return made


def _interpreter() -> Any:
    # The first is maintained; the others run where a user has them already.
    modules = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")
    for module in modules:
        try:
            return importlib.import_module(module).Interpreter
        except ImportError:
            continue
    raise MissingDependencyError(
        "no TFLite interpreter is installed",
        expected="one of ai-edge-litert, tflite-runtime, tensorflow",
        remedy="pip install ai-edge-litert",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the interpreter says of itself ("INFO: Created ...") out of the user's terminal.

    It writes to the file descriptor and has no switch; what goes wrong comes as an exception.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # nobody listens
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def checked_feed(runner: Runner, feeds: Mapping[str, Array]) -> Float32:
    """Return the samples a runner is fed with; InputError where they are not its contract's."""
    spec = runner.input
    if set(feeds) != {spec.name}:
        raise InputError(
            f"{runner.name} was fed {sorted(feeds) or 'nothing'}",
            expected=f"{spec.name!r} and nothing else",
        )
    samples = feeds[spec.name]
    expected = f"{spec.name!r}: float32 {spec.layout} of shape (N, {_numbers(spec.shape[1:])})"
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
        raise InputError(f"{runner.name} was fed {_described(samples)}", expected=expected)
    if samples.ndim != len(spec.shape) or samples.shape[1:] != spec.shape[1:] or not len(samples):
        raise InputError(f"{runner.name} was fed {_described(samples)}", expected=expected)
    return samples


def checked_output(runner: Runner, maps: Float32, count: int) -> Float32:
    """Return a runner's maps; InputError where their shape is not its contract's."""
    expected = (count, *runner.output.shape[1:])
    if maps.shape != expected:
        raise InputError(
            f"{runner.name} returned {_described(maps)} for {runner.output.name!r}",
            expected=f"shape ({_numbers(expected)})",
            remedy="the network is not the one that the specification describes, or its layout is",
        )
    return maps


def _described(value: object) -> str:
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return kind if shape is None else f"{kind} {value.dtype} of shape ({_numbers(shape)})"  # type: ignore[attr-defined]


def _numbers(shape: Iterable[int]) -> str:
    return ", ".join(str(size) for size in shape)


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Hold torch to one thread: ranges, and so bytes, must not depend on how many cores there are.

    Networks this small lose little; on a machine that is busy they gain.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
