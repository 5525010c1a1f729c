"""What a bundle holds, ready to be run side by side: its runners and the samples to run them on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import nn

from i2uv_edge import strict_toml
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.bundle import MANIFEST, Bundle
from i2uv_edge.chain import Chain, ChainSpec, PosedRunner, Posing, VertexReader
from i2uv_edge.convert.histogram import macs_by_dtype
from i2uv_edge.data.evaluation import folder_samples, read_evaluation
from i2uv_edge.data.pictures import list_pictures
from i2uv_edge.device.segments import segment_runner
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.emulation import EmulatedRunner
from i2uv_edge.errors import DamagedError, I2uvError, InputError, UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.registry import build, readout
from i2uv_edge.onnx_runner import OnnxRunner
from i2uv_edge.parity import HandRunner, Sample
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.fake_quant import Arithmetic
from i2uv_edge.quantizer.network import QuantizedNetwork, load_quantized
from i2uv_edge.quantizer.stored import read_tensors
from i2uv_edge.runners import Runner, TfliteRunner, TorchRunner
from i2uv_edge.scores import BASELINE, EMULATED, Measurement
from i2uv_edge.spec import ROLES, NetworkSpec, RecipeSpec, Role, seeing
from i2uv_edge.standpoints import as_taken, picture_size

__all__ = [
    "ARM64",
    "FORMATS",
    "QNN",
    "SPLIT",
    "Contents",
    "Samples",
    "dump_notes",
    "emulated_chain",
    "fake_quant_chain",
    "float_chain",
    "float_network",
    "float_shares",
    "gmac",
    "network_runners",
    "open_contents",
    "quantized_networks",
    "restricted",
    "runners",
    "samples",
    "stand_ins",
    "tflite_chain",
]

FORMATS = ("tflite", "onnx")  # kinds of files that are candidates, in the order of a table
ARM64 = "arm64"
"""The .tflite files on an emulated Arm processor: a candidate for who asks for it."""

QNN = "qnn"
"""The segments with QNN's emulated HTP, which is no V66, for all that is integer: likewise."""

SPLIT = "split"
"""The segments of the .tflite files, chained: a candidate for who asks for it."""


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
    atlases: ModelAtlases
    chain: ChainSpec

    @property
    def available(self) -> tuple[str, ...]:
        """The candidates this bundle can provide, in the order of a table."""
        kinds = {item.kind for item in self.bundle.artifacts}
        formats = tuple(name for name in FORMATS if name in kinds)
        return formats if self.recipe.is_float else (*formats, "fake-quant")

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the networks by what runs them; fake-quant has no files of its own."""
        return {
            kind: sum(item.bytes for item in self.bundle.artifacts if item.kind == kind)
            for kind in (BASELINE, *FORMATS)
        }


@dataclass(frozen=True)
class Samples:
    """Samples to run on, made one by one, and what is known of them beforehand.

    Attributes
    ----------
    ids : of all of them, in order
    stream : can be taken once
    skipped : files of the folder that are no pictures
    """

    ids: tuple[str, ...]
    stream: Iterator[Sample]
    skipped: int = 0

    def first(self, count: int) -> Samples:
        """The first of them, and none of the others."""
        return Samples(self.ids[:count], islice(self.stream, count), self.skipped)


def open_contents(bundle: Bundle) -> Contents:
    """Read what is needed to run a verified bundle's networks.

    Raises
    ------
    DamagedError
        The manifest, which no hash protects, does not say what it should.
    """
    manifest, where = bundle.manifest, str(bundle.path / MANIFEST)
    try:
        networks: dict[Role, NetworkSpec] = {
            role: strict_toml.parse(
                NetworkSpec, entry["spec"], where=f"{where}: networks.{role}", name=entry["name"]
            )
            for role in ROLES
            if (entry := manifest["networks"].get(role)) is not None
        }
        if not networks:
            raise ValueError("it names no network")
        return Contents(
            bundle=bundle,
            model=str(manifest["model"]),
            specs=networks,
            recipe=strict_toml.parse(RecipeSpec, manifest["recipe"], where=f"{where}: recipe"),
            atlases=ModelAtlases.read(bundle.file("atlas.npz"), with_fine="srnet" in networks),
            chain=ChainSpec.of_fields(manifest["chain"]),
        )
    except (I2uvError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{where} does not describe this bundle: {error!s}",
            expected="the manifest as it was written",
            remedy="export or copy the bundle again",
        ) from error


def runners(contents: Contents, names: Sequence[str]) -> list[HandRunner]:
    """What runs under each name, which is one of the candidates or a device's dump folder.

    Raises
    ------
    MissingDependencyError
        What emulates an Arm processor is not there and cannot be fetched.
    UsageError
        The bundle does not hold it.
    DamagedError
        A dump was made with another bundle, or is incomplete.
    """
    return [_runner(contents, name) for name in dict.fromkeys(names)]


def stand_ins(
    contents: Contents, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], HandRunner]:
    """What the files of a pair are compared with in the place of its reference.

    ONNX Runtime is compared with the fake-quant networks in its own arithmetic: behind a resize it
    and XNNPACK round one value in a thousand to another step, and what is to be found are faults of
    the conversion.
    """
    pair = ("fake-quant", "onnx")
    if pair not in pairs:
        return {}
    return {pair: fake_quant_chain(contents, "onnxruntime")}


def samples(contents: Contents, images: Path | None = None) -> Samples:
    """The samples of a bundle, or the pictures of a folder.

    Raises
    ------
    InputError
        There is no picture in the folder.
    UsageError
        A folder was named, and the bundle's networks take no pictures.
    """
    first = seeing(contents.specs)
    size = picture_size(contents.specs)
    if images is not None:
        if first is None or not first.takes_pictures:
            raise UsageError(
                f"{contents.bundle.path} holds {_taker(contents.specs)}, which takes no pictures",
                remedy="leave --images out: the bundle's own samples carry what it takes",
            )
        paths, skipped = list_pictures(images)
        return Samples(tuple(path.name for path in paths), folder_samples(images, size), skipped)
    folder = contents.bundle.path / "eval"
    ids = tuple(path.stem for path in list_pictures(folder)[0])
    stream = read_evaluation(folder, size)
    return Samples(ids, as_taken(stream, contents.specs, contents.atlases))


def _taker(specs: Mapping[Role, NetworkSpec]) -> str:
    first = seeing(specs)
    return "an SRNet alone" if first is None else first.name


def restricted(found: Samples, taking_part: Sequence[HandRunner]) -> Samples:
    """Leave the samples that every dump among the runners knows; a dump answers for no others.

    Raises
    ------
    InputError
        A dump knows a sample that is not among them.
    """
    ids = list(found.ids)
    for dump in taking_part:
        if not isinstance(dump, DumpRunner):
            continue
        unknown = sorted(set(dump.ids) - set(found.ids))
        if unknown:
            raise InputError(
                f"the dump {dump.name} holds samples that are not compared: "
                f"{', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}",
                expected=f"ids of the pictures, which are {', '.join(found.ids[:3])}, ...",
                remedy="compare it on the pictures it was made from",
            )
        ids = [name for name in ids if name in dump.ids]
    kept = set(ids)
    stream = (sample for sample in found.stream if sample.id in kept)
    return Samples(tuple(ids), stream, found.skipped)


def dump_notes(contents: Contents, taking_part: Sequence[HandRunner]) -> list[str]:
    """What cannot be known of dumps, a line each."""
    notes = []
    sealed = (contents.bundle.path / "golden").resolve()
    for dump in taking_part:
        if not isinstance(dump, DumpRunner):
            continue
        if not dump.bundle and Path(dump.name).resolve() != sealed:
            notes.append(f"{dump.name} names no bundle: it may have been made with another one")
        if count := dump.without_input:
            notes.append(
                f"{dump.name} holds no input of {count} samples: their crops were not compared"
            )
    return notes


def gmac(contents: Contents) -> float:
    """Billion multiply-adds of all networks for one picture."""
    files = [contents.bundle.file(f"{role}.tflite") for role in contents.specs]
    return sum(sum(macs_by_dtype(file).values()) for file in files) / 1e9


def float_shares(contents: Contents) -> list[Measurement]:
    """The share of each quantized network's multiply-adds that its TFLite file does in float."""
    rows: list[Measurement] = []
    for role in contents.specs if not contents.recipe.is_float else ():
        macs = macs_by_dtype(contents.bundle.file(f"{role}.tflite"))
        share = macs.get("FLOAT32", 0) / max(sum(macs.values()), 1)
        rows.append(Measurement(BASELINE, "tflite", role, "float_macs_share", share))
    return rows


def float_chain(
    modules: Mapping[Role, tuple[NetworkSpec, nn.Module]],
    atlases: ModelAtlases,
    chain: ChainSpec | None = None,
) -> Chain:
    """The float networks, chained."""
    parts = {role: TorchRunner(module, spec) for role, (spec, module) in modules.items()}
    specs = {role: spec for role, (spec, _) in modules.items()}
    return _chain(BASELINE, parts, specs, atlases, chain)


def tflite_chain(
    folder: Path,
    specs: Mapping[Role, NetworkSpec],
    atlases: ModelAtlases,
    chain: ChainSpec | None = None,
) -> Chain:
    """The converted networks in a bundle's folder, chained."""
    parts = {role: TfliteRunner(folder / f"{role}.tflite", spec) for role, spec in specs.items()}
    return _chain("tflite", parts, specs, atlases, chain)


def fake_quant_chain(contents: Contents, arithmetic: Arithmetic = "xnnpack") -> Chain:
    """The fake-quant networks, chained."""
    parts = {
        role: TorchRunner(network.module_in(arithmetic), contents.specs[role], name="fake-quant")
        for role, network in quantized_networks(contents).items()
    }
    return _chain_of(contents, "fake-quant", parts)


def emulated_chain(contents: Contents) -> Chain:
    """The ONNX files computed literally, chained."""
    parts = {
        role: EmulatedRunner(contents.bundle.file(f"{role}.onnx"), spec)
        for role, spec in contents.specs.items()
    }
    return _chain_of(contents, EMULATED, parts)


def _arm64_chain(contents: Contents) -> Chain:
    from i2uv_edge.device.arm64 import emulated_runners

    parts = emulated_runners(contents.bundle.path, contents.specs)
    return _chain_of(contents, ARM64, parts)


def _qnn_chain(contents: Contents) -> Chain:
    from i2uv_edge.device.qnn_emulator import emulated_runners

    networks = contents.bundle.manifest["networks"]
    parts = emulated_runners(contents.bundle.path, contents.specs, networks, name=QNN)
    return _chain_of(contents, QNN, parts)


def _split_chain(contents: Contents) -> Chain:
    parts: dict[Role, Runner] = {}
    for role, spec in contents.specs.items():
        fields = contents.bundle.manifest["networks"][role].get("segments")
        if fields is None:
            raise UsageError(
                f"the bundle {contents.bundle.path} holds no segments",
                expected="a bundle that was exported with --split",
            )
        parts[role] = segment_runner(contents.bundle.path, spec, fields)
    return _chain_of(contents, SPLIT, parts)


def _onnx_chain(contents: Contents) -> Chain:
    parts = {
        role: OnnxRunner(contents.bundle.file(f"{role}.onnx"), spec)
        for role, spec in contents.specs.items()
    }
    return _chain_of(contents, "onnx", parts)


def _runner(contents: Contents, name: str) -> HandRunner:
    if name == BASELINE or (name == "tflite" and name in contents.available):
        return _chain_of(contents, name, network_runners(contents, name))
    if name in contents.available:
        if name == "onnx":
            return _onnx_chain(contents)
        return fake_quant_chain(contents)
    if name == ARM64:
        return _arm64_chain(contents)
    if name == QNN:
        return _qnn_chain(contents)
    if name == SPLIT:
        return _split_chain(contents)
    if Path(name).is_dir():
        return _dump(contents, name)
    raise UsageError(
        f"the bundle {contents.bundle.path} cannot provide {name!r}",
        expected=f"one of {BASELINE}, {', '.join(contents.available)}, {ARM64}, {SPLIT}, {QNN}, "
        "or a device's dump folder",
    )


def network_runners(contents: Contents, name: str) -> dict[Role, Runner]:
    """What runs each network alone: "float", or "tflite" for the files that an app gets."""
    if name == BASELINE:
        return {
            role: TorchRunner(float_network(contents, role), spec)
            for role, spec in contents.specs.items()
        }
    return {
        role: TfliteRunner(contents.bundle.file(f"{role}.tflite"), spec)
        for role, spec in contents.specs.items()
    }


def float_network(contents: Contents, role: Role) -> nn.Module:
    """A float network with its weights."""
    module = build(contents.specs[role])
    load_checkpoint(module, contents.bundle.file(f"float/{role}.safetensors"))
    return module


def quantized_networks(contents: Contents) -> dict[Role, QuantizedNetwork]:
    """The networks that the converted files were written from."""
    stored = json.loads(contents.bundle.file("encodings.json").read_bytes())
    networks: dict[Role, QuantizedNetwork] = {}
    for role, spec in contents.specs.items():
        encodings = Encodings.from_dict(stored[role])
        recipe = contents.recipe.for_network(spec)
        tensors = None
        name = f"quantized/{role}.safetensors"
        if any(item.path == name for item in contents.bundle.artifacts):
            tensors = read_tensors(contents.bundle.file(name))
        module = float_network(contents, role)
        networks[role] = load_quantized(module, recipe, encodings, tensors)
    return networks


def _dump(contents: Contents, folder: str) -> DumpRunner:
    bundle, first = contents.bundle, seeing(contents.specs)
    leading = "affinenet" if first is None else str(first.role)
    readers: dict[str, VertexReader] = {leading: contents.atlases.coarse}
    if contents.atlases.fine is not None:
        readers["srnet"] = contents.atlases.fine
    # Named as the user named it: golden/ says of itself that it is "tflite", which is taken.
    dump = DumpRunner(folder, name=folder, readers=readers)
    if dump.bundle and dump.bundle != bundle.sha256:
        raise DamagedError(
            f"the dump {folder} was made with another bundle: it names {dump.bundle}",
            expected=f"{bundle.sha256}, the sha256 of {bundle.path / MANIFEST}",
            remedy="put this bundle onto the device and dump again",
        )
    return dump


def _chain_of(contents: Contents, name: str, parts: Mapping[Role, Runner]) -> Chain:
    return _chain(name, parts, contents.specs, contents.atlases, contents.chain)


def _chain(
    name: str,
    parts: Mapping[Role, Runner],
    specs: Mapping[Role, NetworkSpec],
    atlases: ModelAtlases,
    spec: ChainSpec | None,
) -> Chain:
    if "hand" in parts:
        assert atlases.mano is not None
        posing = Posing(readout(specs["hand"], atlases.mano), atlases.coarse.size)
        posed = PosedRunner(parts["hand"], posing)
        return Chain(posed, coarse=atlases.coarse, spec=spec, name=name, first="hand")
    return Chain(
        parts.get("affinenet"),
        parts.get("srnet"),
        coarse=atlases.coarse,
        fine=atlases.fine,
        spec=spec,
        name=name,
    )
