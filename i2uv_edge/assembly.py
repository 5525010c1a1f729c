"""The sealed part of a bundle, file by file, from a model's networks."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2uv_edge.atlases import ModelAtlases, meshes_of
from i2uv_edge.bundle import seal, sha256_of, write_json
from i2uv_edge.chain import ChainSpec
from i2uv_edge.comparison import tflite_chain
from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.data.calibration import CalibrationSet
from i2uv_edge.data.evaluation import read_evaluation, write_evaluation
from i2uv_edge.data.pictures import PREPROCESS
from i2uv_edge.data.synthetic import SceneSettings
from i2uv_edge.device.parts import Parts, write_parts
from i2uv_edge.dumps import write_dump
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.layers import deploy
from i2uv_edge.networks.model import Network
from i2uv_edge.onnx_runner import OnnxRunner
from i2uv_edge.quantization import Quantization
from i2uv_edge.quantizer.network import QuantizedNetwork
from i2uv_edge.quantizer.stored import StoredWeights, write_tensors
from i2uv_edge.requests import Notify
from i2uv_edge.runners import Stored, TfliteRunner
from i2uv_edge.spec import (
    MeshesSpec,
    ModelSpec,
    NetworkSpec,
    RecipeSpec,
    Role,
    TargetSpec,
    TensorSpec,
    seeing,
)
from i2uv_edge.standpoints import as_taken, picture_size

__all__ = ["Build", "write_sealed"]

GOLDEN_SAMPLES = 4
# What runs where may become known better without making the bundle another one.
TARGET_FIELDS = ("name", "description", "soc", "sources")
TOOLS = (
    "i2uv-edge",
    "torch",
    "numpy",
    "opencv-python-headless",
    "ai-edge-litert",
    "onnx",
    "onnxruntime",
    "onnxsim",
)


@dataclass(frozen=True)
class Build:
    """What a bundle is made from.

    Attributes
    ----------
    model, recipe, target : what was asked for
    networks : with their weights, in running order
    calibration : None for a recipe that quantizes nothing
    trained : what training has made of some of the networks under this recipe
    split : whether the networks are cut into segments for DSP and CPU as well
    """

    model: ModelSpec
    recipe: RecipeSpec
    target: TargetSpec
    networks: Mapping[Role, Network]
    calibration: CalibrationSet | None
    trained: Mapping[Role, StoredWeights] = field(default_factory=dict)
    split: bool = False

    @property
    def specs(self) -> dict[Role, NetworkSpec]:
        """The networks' contracts."""
        return {role: network.spec for role, network in self.networks.items()}

    @property
    def meshes(self) -> MeshesSpec | None:
        """What the maps are of, where it is not the built-in hand."""
        return self.model.meshes or meshes_of(self.specs)

    def quantization(self, calibration: CalibrationSet, atlases: ModelAtlases) -> Quantization:
        """What its networks are quantized by."""
        return Quantization(self.networks, self.recipe, calibration, atlases, self.trained)


def write_sealed(folder: Path, build: Build, notify: Notify) -> None:
    """Quantize, convert and write everything that the manifest lists, and the manifest.

    Raises
    ------
    InputError
        A calibration picture cannot be read, or makes the network give what is not finite.
    ConversionError
        A layer that cannot be quantized or converted.
    """
    atlases = ModelAtlases.of_networks(build.specs, build.meshes)
    encodings: dict[str, Any] = {}
    for role, network in build.networks.items():
        save_checkpoint(
            network.module,
            folder / "float" / f"{role}.safetensors",
            {"network": network.spec.name},
            dtype=torch.float32,
        )
        made: torch.nn.Module | QuantizedNetwork = deploy(network.module)
        if build.calibration is not None:
            made = build.quantization(build.calibration, atlases).network(role, notify)
            encodings[role] = made.encodings.to_dict()
            if made.tensors is not None:
                write_tensors(folder / "quantized" / f"{role}.safetensors", made.tensors)
        notify(f"converting {role}", 0, 0)
        to_tflite(made, network.spec, folder / f"{role}.tflite")
        to_onnx(made, network.spec, folder / f"{role}.onnx")
    if encodings:
        write_json(folder / "encodings.json", encodings)
    atlases.write(folder / "atlas.npz")
    write_evaluation(folder / "eval", with_truth=atlases.built_in)
    if seeing(build.specs) is not None:
        _write_golden(folder, build.specs, atlases)
    fields = _manifest_fields(folder, build)
    parts = Parts()
    if encodings:
        parts = write_parts(folder, build.specs, split=build.split, notify=notify)
    for role, entry in parts.entries.items():
        fields["networks"][role] |= entry
    fields["tools"] |= parts.tools
    seal(folder, fields, parents={**_parents(build), **parts.parents})


def _write_golden(folder: Path, specs: Mapping[Role, NetworkSpec], atlases: ModelAtlases) -> None:
    """What the TFLite files answer to the first samples, for an app's tests to compare with."""
    chain = tflite_chain(folder, specs, atlases)
    samples = []
    stream = as_taken(read_evaluation(folder / "eval", picture_size(specs)), specs, atlases)
    for sample in islice(stream, GOLDEN_SAMPLES):
        given = Stored(sample.taken)
        if sample.feed is None:
            given = Stored(np.rint(sample.picture * 255).astype(np.uint8), 1 / 255, 0)
        made = {name: array[0] for name, array in chain(sample.taken[None]).items()}
        samples.append((sample.id, {"input": given, **made}))
    write_dump(folder / "golden", samples, source="tflite")


def _manifest_fields(folder: Path, build: Build) -> dict[str, Any]:
    sources = {f"checkpoint.{role}": item.source_sha256 for role, item in build.networks.items()}
    if build.meshes is not None:
        sources |= {f"mesh.{key}": sha256_of(path) for key, path in build.meshes.files().items()}
    if (hand := _hand_file(build)) is not None:
        sources["mano"] = sha256_of(hand)
    calibration = None
    if build.calibration is not None:
        sources["calibration"] = build.calibration.sha256
        calibration = {
            "pictures": len(build.calibration.paths),
            "sha256": build.calibration.sha256,
        }
    return {
        "model": build.model.name,
        "networks": {role: _contract(folder, spec) for role, spec in build.specs.items()},
        "recipe": asdict(build.recipe),
        "target": {name: getattr(build.target, name) for name in TARGET_FIELDS},
        "tools": {**{name: version(name) for name in TOOLS}, "python": platform.python_version()},
        "sources": sources,
        "calibration": calibration,
        "preprocess": _preprocess(build.specs),
        "chain": ChainSpec().fields(),
    }


def _preprocess(specs: Mapping[Role, NetworkSpec]) -> dict[str, Any]:
    """How a picture becomes AffineNet's input, as an app has to do it."""
    margin = SceneSettings().margin
    return {**PREPROCESS, "size": picture_size(specs), "margin": list(margin)}


def _contract(folder: Path, spec: NetworkSpec) -> dict[str, Any]:
    """What an app has to know to run the network's TFLite file, and to run its ONNX file."""
    tflite = TfliteRunner(folder / f"{spec.role}.tflite", spec).tensors()
    onnx = OnnxRunner(folder / f"{spec.role}.onnx", spec).tensors()
    return {
        "name": spec.name,
        "spec": _spec_fields(spec),
        **_ports(spec, *tflite, layout="NHWC"),
        "onnx": _ports(spec, *onnx, layout="NCHW"),
    }


def _spec_fields(spec: NetworkSpec) -> dict[str, Any]:
    """The network's file. Paths of a user's machine stay out: what they name is in atlas.npz."""
    found = {k: value for k, value in asdict(spec).items() if k not in ("name", "meshes")}
    if spec.readout is None:
        del found["readout"]
    else:
        found["readout"]["hand"] = Path(spec.readout.hand).name
    return found


def _ports(
    spec: NetworkSpec, takes: dict[str, Any], gives: dict[str, Any], *, layout: str
) -> dict[str, Any]:
    return {
        "inputs": [{**takes, "layout": layout, **_meaning(spec.input)}],
        "outputs": [{**gives, "layout": layout, **_meaning(spec.output)}],
    }


def _meaning(tensor: TensorSpec) -> dict[str, Any]:
    return {"unit": tensor.unit, "range": list(tensor.range)}


def _parents(build: Build) -> dict[str, str]:
    parents: dict[str, str] = {}
    for role in build.networks:
        parents[f"float/{role}.safetensors"] = f"checkpoint.{role}"
        parents[f"{role}.tflite"] = f"float/{role}.safetensors"
        parents[f"{role}.onnx"] = f"float/{role}.safetensors"
        if role in build.trained:
            parents[f"quantized/{role}.safetensors"] = f"float/{role}.safetensors"
    if build.calibration is not None:
        parents["encodings.json"] = "calibration"
    if build.meshes is not None:
        parents["atlas.npz"] = "mesh.coarse"
    if _hand_file(build) is not None:
        parents["atlas.npz"] = "mano"
    return parents


def _hand_file(build: Build) -> Path | None:
    """The hand model that answers pose, where it is not the built-in one."""
    readouts = [spec.readout for spec in build.specs.values() if spec.readout is not None]
    return next((Path(item.hand) for item in readouts if not item.is_stand_in), None)
