"""A bundle's networks on an emulated 64-bit Arm processor, for who has no phone at hand.

The processor is a Cortex-A76, the nearest that the emulator knows to the Cortex-A77 of a Snapdragon
865: both have the int8 dot products for which XNNPACK has kernels of its own. What comes out is
what the same kernels give on a phone; how long it takes here says nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.bundle import sha256_of
from i2uv_edge.device import arm64_guest, instructions
from i2uv_edge.device.arm64_root import Root, load_packages, prepare
from i2uv_edge.device.profiles import Device, Instructions, NetworkProfile, Profile
from i2uv_edge.device.stages import Contents, Stage, bundle_samples, stages
from i2uv_edge.errors import InputError
from i2uv_edge.requests import Notify
from i2uv_edge.runners import TfliteRunner
from i2uv_edge.spec import NetworkSpec, Role

__all__ = ["CPU", "Emulated", "count_instructions", "emulated_runners", "profile_on_arm64"]

Array = NDArray[Any]

CPU = "cortex-a76"
DEVICE = Device(
    "Cortex-A76, emulated by qemu-user", "", "the Cortex-A77 of the Snapdragon 865 (SM8250)"
)
SECONDS_TO_END = 10.0
_CHATTER = ("INFO:", "WARNING:", "===")  # on standard error, where nothing is wrong
TRIES = 3  # until the runtime lies at the same addresses in two runs


class Emulated:
    """A TFLite file opened inside the emulated processor; answers as LiteRT's interpreter does.

    Parameters
    ----------
    root
        What emulates.
    path
        The file, of one input and one output.
    log
        Options of the emulator that make it write down what it runs; the lines are counted.

    Raises
    ------
    InputError
        The file cannot be opened there, or the emulated program ended.
    """

    def __init__(self, root: Root, path: Path, *, log: tuple[str, ...] = ()) -> None:
        self._path = path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._counter = _Counter() if log else None
        command = [
            *(str(root.emulator), "-cpu", CPU, "-L", str(root.root), *log),
            *("-E", "OMP_NUM_THREADS=1", "-E", "OPENBLAS_NUM_THREADS=1"),
            *(str(root.python), "-I", "-S", arm64_guest.__file__, str(root.site), str(path)),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log else self._errors,
        )
        self._close = weakref.finalize(self, _end, self._process, self._errors)
        if self._counter is not None and self._process.stderr is not None:
            self._counter.read(self._process.stderr)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._feed, self._answer = self._process.stdin, self._process.stdout
        self._opened: dict[str, Any] = json.loads(self._line())
        self._given: Array | None = None
        self._made: Array | None = None

    @property
    def code(self) -> list[list[int]]:
        """First address and the one behind the last of each piece of the runtime's code."""
        return list(self._opened["code"])

    def get_input_details(self) -> list[dict[str, Any]]:
        """Of the one input, as LiteRT's interpreter gives them."""
        return [_details(fields) for fields in self._opened["inputs"]]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Of the one output."""
        return [_details(fields) for fields in self._opened["outputs"]]

    def set_tensor(self, index: int, value: Array) -> None:
        """Set the input."""
        self._given = value

    def invoke(self) -> None:
        """Run the network once."""
        assert self._given is not None
        (takes,), (gives,) = self.get_input_details(), self.get_output_details()
        try:
            self._feed.write(np.ascontiguousarray(self._given, takes["dtype"]).tobytes())
            self._feed.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        size = int(np.prod(gives["shape"])) * gives["dtype"]().itemsize
        content = self._answer.read(size)
        if len(content) != size:
            raise self._ended()
        self._made = np.frombuffer(content, gives["dtype"]).reshape(gives["shape"])

    def get_tensor(self, index: int) -> Array:
        """The output."""
        assert self._made is not None
        return self._made

    def close(self) -> list[Instructions]:
        """End the emulated program; what was counted of each inference, if anything was."""
        self._feed.close()
        counted = [] if self._counter is None else self._counter.result()
        self._close()
        return counted

    def _line(self) -> bytes:
        line = self._answer.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        return line

    def _ended(self) -> InputError:
        self._process.wait(SECONDS_TO_END)
        self._errors.seek(0)
        said = [
            line
            for line in self._errors.read().decode(errors="replace").splitlines()
            if line.strip() and not line.startswith(_CHATTER)
        ]
        ended = f"the emulator ended with {self._process.returncode}"
        return InputError(
            f"{self._path.name} cannot be run on the emulated processor: "
            f"{said[-1] if said else ended}",
            expected="a TFLite file with built-in operators",
            remedy="see whether it runs here: i2uv-edge validate",
        )


class _Counter:
    """Counts the lines of a log while the process that writes it runs."""

    def __init__(self) -> None:
        self._found: list[Instructions] = []
        self._thread: threading.Thread | None = None

    def read(self, log: IO[bytes]) -> None:
        def run() -> None:
            with log:
                self._found = instructions.count(log)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self) -> list[Instructions]:
        if self._thread is not None:
            self._thread.join()
        return self._found


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # a feed that nobody took
                pipe.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()


def _details(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": fields["name"],
        "index": fields["index"],
        "shape": np.array(fields["shape"], np.int32),
        "dtype": np.dtype(fields["dtype"]).type,
        "quantization_parameters": {
            "scales": np.array(fields["scales"], np.float32),
            "zero_points": np.array(fields["zero_points"], np.int32),
        },
    }


def emulated_runners(
    folder: Path, specs: Mapping[Role, NetworkSpec], root: Root | None = None
) -> dict[Role, TfliteRunner]:
    """The files of a bundle's folder, each opened in an emulated processor."""
    found = root or prepare()
    runners: dict[Role, TfliteRunner] = {}
    for role, spec in specs.items():
        path = folder / f"{role}.tflite"
        runners[role] = TfliteRunner(path, spec, name="arm64", interpreter=Emulated(found, path))
    return runners


def count_instructions(root: Root, path: Path) -> tuple[Instructions, bool]:
    """Count the instructions of one warm inference in the runtime's code.

    Returns
    -------
    tuple
        The instructions, and whether another inference took as many.

    Raises
    ------
    InputError
        The file cannot be run there.
    """
    emulated = Emulated(root, path)
    code = emulated.code
    emulated.close()
    for _ in range(TRIES):
        ranges = ",".join(f"{first:#x}..{behind - 1:#x}" for first, behind in code)
        emulated = Emulated(root, path, log=("-d", instructions.LOG, "-dfilter", ranges))
        (detail,) = emulated.get_input_details()
        emulated.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        if emulated.code != code:  # where the system put it differs; look there
            code = emulated.code
            emulated.close()
            continue
        for _ in range(3):
            emulated.invoke()
        _, second, third = emulated.close()  # the first one also prepares
        return third, second == third
    raise InputError(
        f"{path.name}: the emulator puts the runtime at other addresses each time",
        remedy="try again on a machine that is less busy",
    )


def profile_on_arm64(contents: Contents, notify: Notify, root: Root | None = None) -> Profile:
    """Run a bundle's networks on the emulated processor beside this machine's own, and count.

    Raises
    ------
    MissingDependencyError
        What emulates is not there and cannot be fetched.
    InputError
        A network cannot be run there.
    """
    packages = load_packages()
    root = root or prepare(notify=notify)
    folder = contents.bundle.path
    here = {
        role: TfliteRunner(contents.bundle.file(f"{role}.tflite"), spec)
        for role, spec in contents.specs.items()
    }
    samples = bundle_samples(contents)
    found = stages(here, contents.specs, contents.atlases, contents.chain, samples)
    notify("opening the networks on the emulated processor", 0, 0)
    there = emulated_runners(folder, contents.specs, root)
    networks: list[NetworkProfile] = []
    notes = list(_NOTES)
    for number, (role, stage) in enumerate(found.items()):
        notify(f"emulating {role}", number, len(found))
        own, seen = _compared(there[role], stage, folder / f"{role}.tflite")
        counted, repeatable = count_instructions(root, folder / f"{role}.tflite")
        networks.append(replace(own, instructions=counted))
        notes.append(f"{role}: {seen}")
        if not repeatable:
            notes.append(f"{role}: another inference took another number of instructions")
    return Profile(
        source="arm64-emulated",
        bundle=contents.bundle.sha256,
        device=DEVICE,
        tools={
            "qemu-user": packages.version("qemu-user-static"),
            "ai-edge-litert": packages.version("ai-edge-litert"),
        },
        networks=tuple(networks),
        notes=tuple(notes),
    )


_NOTES = (
    "Instructions are those of one warm inference inside LiteRT's own libraries, on one thread: "
    "without the C library's (copies of memory). They are no time: a Cortex-A76 runs up to two dot "
    "products in a cycle, and waits for memory that nobody emulated.",
    "off_mm is the emulated processor against this machine's LiteRT on the same file.",
)


@dataclass(frozen=True)
class _Seen:
    values: int
    differing: int
    most: float

    def __str__(self) -> str:
        if not self.differing:
            return f"all {self.values} output values are those of this machine, bit for bit"
        return (
            f"{self.differing} of {self.values} output values differ from this machine's, "
            f"by at most {self.most:.2g}"
        )


def _compared(runner: TfliteRunner, stage: Stage, path: Path) -> tuple[NetworkProfile, _Seen]:
    spec = stage.spec
    made = runner({spec.input.name: stage.feed})[spec.output.name]
    reference = TfliteRunner(path, spec)({spec.input.name: stage.feed})[spec.output.name]
    apart = np.abs(made - reference)
    seen = _Seen(made.size, int(np.count_nonzero(made != reference)), float(apart.max()))
    own = NetworkProfile(
        role=spec.role,
        file=path.name,
        sha256=sha256_of(path),
        runtime="xnnpack",
        off_mm=stage.off_mm(made),
    )
    return own, seen
