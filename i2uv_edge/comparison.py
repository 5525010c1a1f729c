"""What a bundle holds, ready to be run side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from i2uv_edge import strict_toml
from i2uv_edge.bundle import Bundle
from i2uv_edge.data.rendered_set import read_set
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.parity import Atlases, HandRunner, Sample
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.network import load_quantized
from i2uv_edge.runners import Chain, ChainSpec, Runner, TfliteRunner, TorchRunner
from i2uv_edge.spec import NetworkSpec, RecipeSpec, Role

__all__ = [
    "Atlases",
    "Contents",
    "atlas_arrays",
    "atlases_for",
    "float_chain",
    "normalised",
    "open_contents",
    "runners",
    "tflite_chain",
    "tflite_tensors",
    "torch_runner",
    "true_maps",
    "with_true_map",
]

Float32 = NDArray[np.float32]

COARSE_PREFIX = "affinenet_"  # of AffineNet's arrays in atlas.npz where there is an SRNet as well


@dataclass(frozen=True)
class Contents:
    """An opened bundle.

    Attributes
    ----------
    bundle : verified
    model : its name
    specs : the networks by role, in running order
    recipe : how they were quantized
    atlases : of their maps
    chain : what is between the networks
    """

    bundle: Bundle
    model: str
    specs: Mapping[Role, NetworkSpec]
    recipe: RecipeSpec
    atlases: Atlases
    chain: ChainSpec

    @property
    def available(self) -> tuple[str, ...]:
        """The candidates this bundle can provide, in the order of a table."""
        return ("tflite",) if self.recipe.is_float else ("tflite", "fake-quant")

    @property
    def picture_size(self) -> int:
        """Side of the pictures the first network takes; of any size if it takes none."""
        spec = self.specs.get("affinenet")
        return 256 if spec is None else spec.input.shape[1]


def open_contents(bundle: Bundle) -> Contents:
    """Read what is needed to run a verified bundle's networks."""
    manifest = bundle.manifest
    where = str(bundle.path / "manifest.json")
    networks: dict[Role, NetworkSpec] = {}
    for role in ("affinenet", "srnet"):
        if role in manifest["networks"]:
            entry = manifest["networks"][role]
            networks[role] = strict_toml.parse(
                NetworkSpec, entry["spec"], where=where, name=entry["name"]
            )
    with np.load(bundle.file("atlas.npz"), allow_pickle=False) as arrays:
        stored = dict(arrays)
    last = Atlas.from_arrays(stored)
    atlases = Atlases(coarse=last)
    if "srnet" in networks:
        atlases = Atlases(coarse=Atlas.from_arrays(stored, COARSE_PREFIX), fine=last)
    return Contents(
        bundle=bundle,
        model=str(manifest["model"]),
        specs=networks,
        recipe=strict_toml.parse(RecipeSpec, manifest["recipe"], where=where),
        atlases=atlases,
        chain=ChainSpec.of_fields(manifest["chain"]),
    )


def runners(contents: Contents, names: Sequence[str]) -> list[HandRunner]:
    """What runs under each name: float, fake-quant, tflite, or the folder of a device's dump.

    Raises
    ------
    UsageError
        The bundle does not hold it.
    """
    return [_runner(contents, name) for name in dict.fromkeys(names)]


def _runner(contents: Contents, name: str) -> HandRunner:
    bundle = contents.bundle
    if name == "float":
        modules = {role: (spec, _float(contents, role)) for role, spec in contents.specs.items()}
        return float_chain(modules, contents.atlases, contents.chain)
    if name in contents.available and name == "tflite":
        return tflite_chain(bundle.path, contents.specs, contents.atlases, contents.chain)
    if name in contents.available and name == "fake-quant":
        stored = json.loads(bundle.file("encodings.json").read_bytes())
        parts: dict[Role, Runner] = {}
        for role, spec in contents.specs.items():
            encodings = Encodings.from_dict(stored[role])
            quantized = load_quantized(_float(contents, role), contents.recipe, encodings)
            parts[role] = torch_runner(name, spec, quantized.module)
        return _chain(name, parts, contents.atlases, contents.chain)
    if Path(name).is_dir():
        return DumpRunner(name)
    raise UsageError(
        f"the bundle {bundle.path} cannot provide {name!r}",
        expected=f"one of float, {', '.join(contents.available)}, or the folder of a device dump",
    )


def _float(contents: Contents, role: Role) -> nn.Module:
    module = build(contents.specs[role])
    load_checkpoint(module, contents.bundle.file(f"float/{role}.safetensors"))
    return module


def torch_runner(name: str, spec: NetworkSpec, module: nn.Module) -> TorchRunner:
    """A torch module behind the runner interface."""
    return TorchRunner(module, spec, name=name)


def float_chain(
    modules: Mapping[Role, tuple[NetworkSpec, nn.Module]],
    atlases: Atlases,
    chain: ChainSpec | None = None,
) -> Chain:
    """The float networks, chained."""
    parts: dict[Role, Runner] = {
        role: torch_runner("float", spec, module) for role, (spec, module) in modules.items()
    }
    return _chain("float", parts, atlases, chain or ChainSpec())


def tflite_chain(
    folder: Path,
    specs: Mapping[Role, NetworkSpec],
    atlases: Atlases,
    chain: ChainSpec | None = None,
) -> Chain:
    """The converted networks of a bundle's folder, chained."""
    parts: dict[Role, Runner] = {
        role: TfliteRunner(folder / f"{role}.tflite", spec) for role, spec in specs.items()
    }
    return _chain("tflite", parts, atlases, chain or ChainSpec())


def _chain(name: str, parts: Mapping[Role, Runner], atlases: Atlases, spec: ChainSpec) -> Chain:
    coarse, fine = atlases.coarse, atlases.fine
    assert isinstance(coarse, Atlas)
    assert fine is None or isinstance(fine, Atlas)
    return Chain(
        parts.get("affinenet"), parts.get("srnet"), coarse=coarse, fine=fine, spec=spec, name=name
    )


def atlases_for(roles: Sequence[Role], sizes: Mapping[Role, int]) -> Atlases:
    """The built-in hand's atlases for networks whose maps have those sides."""
    model = HandModel.load()
    coarse = Atlas.of_mesh(model.coarse, sizes["affinenet"])
    fine = Atlas.of_mesh(model.fine, sizes["srnet"]) if "srnet" in roles else None
    return Atlases(coarse=coarse, fine=fine)


def atlas_arrays(atlases: Atlases) -> dict[str, NDArray[Any]]:
    """The content of atlas.npz: unprefixed the last map's atlas, AffineNet's own prefixed."""
    coarse, fine = atlases.coarse, atlases.fine
    assert isinstance(coarse, Atlas)
    if fine is None:
        return coarse.arrays()
    assert isinstance(fine, Atlas)
    return {**fine.arrays(), **coarse.arrays(COARSE_PREFIX)}


def normalised(maps: Float32, atlases: Atlases, chain: ChainSpec | None = None) -> Float32:
    """What SRNet is fed with, made of AffineNet's maps (N, M, M, 3)."""
    assert isinstance(atlases.coarse, Atlas)
    spec = chain or ChainSpec()
    return spec.normalise(maps, spec.bounds(atlases.coarse.read_vertices(maps)))


def true_maps(folder: Path, atlases: Atlases) -> Iterator[Float32]:
    """The true coarse maps (1, M, M, 3) of a rendered set, for an SRNet alone."""
    assert isinstance(atlases.coarse, Atlas)
    for _, sample in read_set(folder):
        yield atlases.coarse.rasterise(sample.coarse, fill=True)[None]


def with_true_map(sample: Sample, atlases: Atlases) -> Sample:
    """A sample that carries its true coarse map, for an SRNet alone."""
    assert isinstance(atlases.coarse, Atlas)
    assert sample.truth is not None
    truth = np.asarray(sample.truth.coarse, np.float32)
    return replace(sample, affinenet_map=atlases.coarse.rasterise(truth, fill=True))


def tflite_tensors(path: Path) -> dict[str, dict[str, Any]]:
    """Name, shape, dtype, scale and zero point of a file's one input and one output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    result = {}
    details = {"input": interpreter.get_input_details(), "output": interpreter.get_output_details()}
    for side, (detail,) in details.items():
        scale, zero_point = detail["quantization"]
        result[side] = {
            "name": str(detail["name"]),
            "shape": [int(extent) for extent in detail["shape"]],
            "dtype": np.dtype(detail["dtype"]).name,
            "scale": float(scale) or 1.0,
            "zero_point": int(zero_point),
        }
    return result


