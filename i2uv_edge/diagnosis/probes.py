"""Real runs, as small as they can be: one function for each backend, run in processes of their own.

A probe takes a folder for files that a later one reads, and says in a line what came of it; what it
raises is what is wrong. Those of one group share a process and its imports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2uv_edge.errors import I2uvError, MissingDependencyError

if TYPE_CHECKING:
    from i2uv_edge.quantizer.network import QuantizedNetwork
    from i2uv_edge.spec import NetworkSpec

__all__ = ["GROUPS", "Probe", "ProbeError", "all_probes"]

MOST_OFF_MM = 30.0  # the mean hand's error on the evaluation set: a trained network is below it
MOST_STEPS = 4.5  # QNN rounds on its own terms; a wrong layout would be tens of steps off
MOST_LEVELS = 12  # that JPEG changes a smooth picture by
SIDE = 8
AGAIN = "pip install --force-reinstall"
ARM64_REMEDY = "i2uv-edge profile BUNDLE --on arm64 fetches it, once"


class ProbeError(I2uvError):
    """A backend runs and gives something wrong."""


@dataclass(frozen=True)
class Probe:
    """A run, whether the package needs it, and what to do where it does not work."""

    name: str
    run: Callable[[Path], str]
    required: bool = False
    remedy: str = ""


def bundled_model(folder: Path) -> str:
    """The bundled weights on the first evaluation picture, against its truth."""
    from i2uv_edge.atlases import ModelAtlases
    from i2uv_edge.comparison import float_chain
    from i2uv_edge.data.evaluation import bundled_samples
    from i2uv_edge.networks.model import load_networks
    from i2uv_edge.parity import measure
    from i2uv_edge.scores import BASELINE
    from i2uv_edge.spec import load_model

    networks = load_networks(load_model("edge"))
    modules = {role: (own.spec, own.module) for role, own in networks.items()}
    atlases = ModelAtlases.of_networks({role: spec for role, (spec, _) in modules.items()})
    size = networks["affinenet"].spec.input.shape[1]
    sample = next(bundled_samples(size))
    found = measure([float_chain(modules, atlases)], [sample], atlases, pairs=[], still=None)
    (off,) = (
        own.value
        for own in found.measurements
        if (own.candidate, own.stage, own.metric) == (BASELINE, "chained", "pa_mpvpe_mm")
    )
    if not off < MOST_OFF_MM:
        raise ProbeError(
            f"edge answers picture {sample.id} with a hand {off:.1f} mm off the truth",
            expected=f"less than {MOST_OFF_MM:g} mm",
        )
    return f"edge sees picture {sample.id} {off:.1f} mm off the truth (PA-MPVPE)"


def tflite(folder: Path) -> str:
    """A small integer network converted and run by LiteRT."""
    from i2uv_edge.convert.tflite import to_tflite
    from i2uv_edge.runners import TfliteRunner

    network, spec = _small_network()
    to_tflite(network, spec, folder / "srnet.tflite")
    return _compared(TfliteRunner(folder / "srnet.tflite", spec), network, spec, "xnnpack")


def onnx(folder: Path) -> str:
    """The same in ONNX, run by ONNX Runtime."""
    from i2uv_edge.convert.onnx import to_onnx
    from i2uv_edge.onnx_runner import OnnxRunner

    network, spec = _small_network()
    to_onnx(network, spec, folder / "srnet.onnx")
    return _compared(OnnxRunner(folder / "srnet.onnx", spec), network, spec, "onnxruntime")


def renderer(folder: Path) -> str:
    """The built-in hand drawn by the renderer, which numba compiles."""
    import numpy as np

    from i2uv_edge.hand.atlas import Atlas
    from i2uv_edge.hand.model import HandModel
    from i2uv_edge.report.meshes import hand_sides

    atlas = Atlas.of_mesh(HandModel.load().coarse, 16)
    drawn = hand_sides(atlas, np.ones((len(atlas.template), 3)), 64)["palm"]
    share = float((drawn[..., 3] > 0).mean())
    if not 0.1 < share < 0.9:
        raise ProbeError(f"the hand covers {share:.0%} of its picture", expected="10 to 90 %")
    return f"the built-in hand of {len(atlas.template)} vertices, drawn"


def pictures(folder: Path) -> str:
    """A picture written and read again."""
    import cv2
    import numpy as np

    from i2uv_edge.data.pictures import read_picture

    ramp = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[:, None, None], (1, 32, 3))
    kinds = []
    for kind in ("jpg", "png", "webp"):
        path = folder / f"ramp.{kind}"
        if cv2.imwrite(str(path), ramp):
            kinds.append(kind)
            off = int(np.abs(read_picture(path).astype(np.int16) - ramp).max())
            if off > MOST_LEVELS:
                raise ProbeError(f"a {kind} picture comes back changed by {off} of 255 levels")
    if not {"jpg", "png"} <= set(kinds):
        raise ProbeError(f"OpenCV writes {', '.join(kinds) or 'no picture'}, not jpg and png")
    return f"OpenCV {cv2.__version__} writes and reads {', '.join(kinds)}"


def video(folder: Path) -> str:
    """A few frames written and read again by each codec there is."""
    import cv2
    import numpy as np

    from i2uv_edge.data.video import VideoFrames

    works = []
    for code, name in (("MJPG", "made.avi"), ("mp4v", "made.mp4"), ("VP80", "made.webm")):
        path = folder / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (64, 64))
        for level in (40, 120, 200):
            writer.write(np.full((64, 64, 3), level, np.uint8))
        writer.release()
        if path.is_file() and path.stat().st_size and len(VideoFrames(path)) == 3:
            works.append(code)
    if not works:
        raise ProbeError("no video comes back: OpenCV has none of MJPG, mp4v, VP80")
    return f"written and read: {', '.join(works)}"


def cameras(folder: Path) -> str:
    """What could read a camera; none is opened."""
    import cv2

    registry = cv2.videoio_registry
    names = [registry.getBackendName(own) for own in registry.getCameraBackends()]
    if not names:
        raise ProbeError("OpenCV was built without anything that reads cameras")
    devices = len(list(Path("/dev").glob("video*")))
    return f"read by {', '.join(names)}; {devices or 'no'} camera{'s' * (devices != 1)} here"


def dlc(folder: Path) -> str:
    """The small network compiled to a DLC, in QNN whole."""
    from i2uv_edge.device import qnn

    qnn.to_dlcs({folder / "srnet.dlc": _file(folder, "srnet.onnx").read_bytes()})
    size = (folder / "srnet.dlc").stat().st_size
    return f"{qnn.PACKAGE} {qnn.versions()[qnn.PACKAGE]} compiles a small network, {size} bytes"


def htp(folder: Path) -> str:
    """The small network on QNN's emulated HTP, against LiteRT."""
    import numpy as np

    from i2uv_edge.device.parts import write_parts
    from i2uv_edge.device.qnn_emulator import emulated_runners
    from i2uv_edge.runners import TfliteRunner

    _file(folder, "srnet.onnx")
    spec = _small_spec()
    runner = TfliteRunner(_file(folder, "srnet.tflite"), spec)
    takes, gives = runner.tensors()
    parts = write_parts(folder, {"srnet": spec}, split=False, notify=lambda *_: None)
    entry = {"inputs": [takes], "outputs": [gives], **parts.entries["srnet"]}
    emulated = emulated_runners(folder, {"srnet": spec}, {"srnet": entry}, name="htp")["srnet"]
    theirs, ours = (own({"uv": _feed()})["fine"] for own in (runner, emulated))
    steps = float(np.abs(ours - theirs).max() / gives["scale"])
    if not steps < MOST_STEPS:
        raise ProbeError(f"it is {steps:.1f} steps off LiteRT", expected=f"less than {MOST_STEPS}")
    return f"a small network within {math.ceil(steps - 1e-6)} steps of LiteRT"


def arm64(folder: Path) -> str:
    """The small network in the emulated Arm processor, if that was fetched before."""
    import numpy as np

    from i2uv_edge.device.arm64 import CPU, Emulated
    from i2uv_edge.device.arm64_root import load_packages, prepare
    from i2uv_edge.device.debian_files import cache_folder
    from i2uv_edge.runners import TfliteRunner

    cache, packages = cache_folder("arm64"), load_packages()
    if not (cache / packages.digest).is_dir():
        raise MissingDependencyError("not fetched yet", remedy=ARM64_REMEDY)
    root = prepare(cache, packages)
    path, spec = _file(folder, "srnet.tflite"), _small_spec()
    theirs = TfliteRunner(path, spec)({"uv": _feed()})["fine"]
    ours = TfliteRunner(path, spec, interpreter=Emulated(root, path))({"uv": _feed()})["fine"]
    off = float(np.abs(ours - theirs).max())
    return f"{CPU}, emulated, runs a small network {off:.2g} off this machine's"


def hub(folder: Path) -> str:
    """Whether Qualcomm's client can be imported; no server is asked."""
    try:
        import qai_hub
    except ImportError as error:
        raise MissingDependencyError(
            f"qai-hub cannot be imported: {error}", remedy="pip install 'i2uv-edge[hub]'"
        ) from error
    return f"{qai_hub.__name__} {version('qai-hub')} can be imported"


GROUPS: Mapping[str, tuple[Probe, ...]] = {
    "networks": (
        Probe("bundled model", bundled_model, True, f"{AGAIN} torch, and i2uv-edge itself"),
        Probe("TFLite", tflite, True, f"{AGAIN} ai-edge-litert"),
        Probe("ONNX", onnx, True, f"{AGAIN} onnx onnxruntime onnxsim"),
        Probe("renderer", renderer, True, f"{AGAIN} numba"),
    ),
    "pictures": (
        Probe("pictures", pictures, True, f"{AGAIN} opencv-python-headless"),
        Probe("video", video, remedy=f"{AGAIN} opencv-python-headless"),
        Probe("cameras", cameras, remedy=f"{AGAIN} opencv-python-headless"),
    ),
    "QNN": (
        Probe("DLC files", dlc, remedy="pip install 'i2uv-edge[qnn]'"),
        Probe("emulated HTP", htp, remedy="pip install 'i2uv-edge[qnn]'"),
    ),
    "Arm": (Probe("emulated Arm", arm64, remedy=ARM64_REMEDY),),
    "AI Hub": (Probe("AI Hub client", hub, remedy="pip install 'i2uv-edge[hub]'"),),
}
"""By process; those after the first may read what the first wrote."""


def all_probes() -> dict[str, Probe]:
    """Every probe by its name."""
    return {probe.name: probe for own in GROUPS.values() for probe in own}


# --- a small network ------------------------------------------------------------------------------


def _small_spec() -> NetworkSpec:
    from i2uv_edge.spec import NetworkSpec, TensorSpec

    fine = (1, 4 * SIDE, 4 * SIDE, 3)
    return NetworkSpec(
        name="small",
        role="srnet",
        family="srnet_edge",
        input=TensorSpec("uv", (1, SIDE, SIDE, 3), "NHWC", "extent", (0.0, 1.0)),
        output=TensorSpec("fine", fine, "NHWC", "extent", (0.0, 1.0)),
        source="made to try what runs networks",
    )


def _small_network() -> tuple[QuantizedNetwork, NetworkSpec]:
    """An SRNet, all integer from end to end, with weights from a seed."""
    import torch

    from i2uv_edge.networks.srnet_edge import SRNetEdge
    from i2uv_edge.quantizer.network import quantize
    from i2uv_edge.spec import ActivationSpec, RecipeSpec, WeightSpec

    torch.manual_seed(0)
    module = SRNetEdge(width=8, depth=2).eval()
    with torch.no_grad():
        module.last.weight.mul_(10.0)
    recipe = RecipeSpec(
        name="small",
        description="all integer",
        weights=WeightSpec(bits=8),
        activations=ActivationSpec(bits=8, range="min-max"),
        input="int8",
        output="int8",
    )
    return quantize(module, recipe, [_feed()], network_role="srnet"), _small_spec()


def _feed() -> Any:
    """(1, SIDE, SIDE, 3) float32 0..1, a ramp."""
    import numpy as np

    ramp = np.linspace(0.0, 1.0, SIDE, dtype=np.float32)
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), -1)[None]


def _compared(runner: Any, network: QuantizedNetwork, spec: NetworkSpec, arithmetic: Any) -> str:
    import numpy as np

    from i2uv_edge.runners import TorchRunner

    reference = TorchRunner(network.module_in(arithmetic), spec, name="fake-quant")
    theirs, ours = (own({"uv": _feed()})["fine"] for own in (reference, runner))
    off = float(np.abs(ours - theirs).max())
    steps = off / network.encodings.activations[list(network.encodings.activations)[-1]].scale
    if not steps < 1.5:
        raise ProbeError(f"it is {steps:.1f} steps off fake-quant", expected="at most one")
    return f"a small integer network converted and run, {round(steps)} steps off fake-quant"


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        maker = {"srnet.tflite": "TFLite", "srnet.onnx": "ONNX"}[name]
        raise ProbeError(f"{maker} gave no file to try it with", remedy=f"mend {maker} first")
    return folder / name
