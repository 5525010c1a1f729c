"""What a build is made of: networks, models, recipes, targets and gates, read from TOML.

A name is the stem of a file in `export/` or `quantization/`; wherever a name is taken, a path that
ends in `.toml` is taken too. Reading is strict, see `strict_toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from i2uv_edge import resources, strict_toml
from i2uv_edge.errors import UsageError
from i2uv_edge.target_spec import TargetSpec

__all__ = [
    "METRICS",
    "ROLES",
    "ActivationSpec",
    "GateSpec",
    "MeshesSpec",
    "ModelSpec",
    "NetworkSpec",
    "Override",
    "ReadoutSpec",
    "RecipeSpec",
    "TargetSpec",
    "TensorSpec",
    "WeightSpec",
    "load_gates",
    "load_model",
    "load_network",
    "load_recipe",
    "load_target",
    "model_names",
    "network_names",
    "recipe_names",
    "seeing",
    "target_names",
]

Role = Literal["affinenet", "srnet", "hand"]
Bits = Literal[8, 32]
Metric = Literal[
    "vertex_mean_mm",
    "vertex_p95_mm",
    "vertex_p99_mm",
    "vertex_max_mm",
    "texel_mean_mm",
    "texel_max_units",
    "masked_psnr_db",
    "pa_mpvpe_mm",
    "pa_mpjpe_mm",
    "f5",
    "f15",
    "normal_deg",
    "flicker_mm",
    "spread_ratio",
    "float_macs_share",
]

ROLES: tuple[Role, ...] = ("affinenet", "srnet", "hand")
METRICS: tuple[str, ...] = get_args(Metric)

STAND_IN = "stand-in"
"""How a network's file names the built-in hand, where a path would name MANO's."""

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a network, as every runner sees it (float32).

    `shape` has one number for each letter of `layout` (for instance "NHWC"), the batch included;
    `unit` says what 1.0 means and `range` which values occur.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    unit: str
    range: tuple[float, float]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.layout) or min(self.shape, default=0) < 1:
            raise ValueError(
                f"shape {list(self.shape)} must hold one positive number for each letter of "
                f"layout {self.layout!r}"
            )
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} must be [low, high] with low < high")


@dataclass(frozen=True)
class MeshesSpec:
    """The meshes that a model's maps are of, where they are not the built-in hand's.

    `coarse` and, for an SRNet, `fine` are OBJ files with texture coordinates, in metres; the first
    vertices of the fine one are the coarse ones, in any pose. `mano` is a MANO model of the same
    vertices, which knows the joints. Paths are relative to the TOML that names them.
    """

    coarse: str
    fine: str = ""
    mano: str = ""

    def __post_init__(self) -> None:
        if not self.coarse:
            raise ValueError("meshes.coarse is empty; it names the mesh of AffineNet's maps")

    def beside(self, folder: Path) -> MeshesSpec:
        """Return this with paths that start from `folder`."""
        paths = {key: getattr(self, key) for key in ("coarse", "fine", "mano")}
        return MeshesSpec(**{key: str(folder / path) for key, path in paths.items() if path})

    def files(self) -> dict[str, Path]:
        """Return the files by their keys."""
        paths = {key: getattr(self, key) for key in ("coarse", "fine", "mano")}
        return {key: Path(path) for key, path in paths.items() if path}


@dataclass(frozen=True)
class ReadoutSpec:
    """How the answer of a network of the role "hand" becomes vertices.

    `origin` is what they are relative to, and so their unit: metres from the "crop"'s middle or
    from the "root" (joint 9), or the unit and middle of the "keypoints" that the network is given
    instead of a picture. `fields` names the parts of the output's channels in their order, each
    with how many it has. `hand` is a MANO model, relative to the TOML that names it; "stand-in"
    is the built-in hand in MANO's form.
    """

    origin: Literal["crop", "root", "keypoints"]
    fields: Mapping[str, int]
    hand: str = STAND_IN

    def __post_init__(self) -> None:
        if not self.fields or min(self.fields.values()) < 1:
            raise ValueError(f"fields {dict(self.fields)} must give each part its channels")

    def beside(self, folder: Path) -> ReadoutSpec:
        """Return this with a path that starts from `folder`."""
        if self.is_stand_in:
            return self
        return replace(self, hand=str(folder / self.hand))

    @property
    def is_stand_in(self) -> bool:
        """Whether no MANO model is named."""
        return self.hand == STAND_IN

    def slices(self) -> dict[str, slice]:
        """Which channels of the output each field is."""
        found, first = {}, 0
        for name, count in self.fields.items():
            found[name] = slice(first, first + count)
            first += count
        return found


@dataclass(frozen=True)
class NetworkSpec:
    """One network: `export/networks/NAME.toml`.

    `architecture` holds the keyword arguments of the family's constructor, which checks them.
    `parts` names groups of modules by a glob over their paths, so that one recipe fits every
    network: "heads" are the layers that give coordinates, "maps" what carries a map from one stage
    to the next, "narrows" what carries features there, "coarsest" the first map's own layers, and
    "warps" those that sample by a map.
    `convention` is how an AffineNet's map holds a hand, see `hand.camera.Convention`; `readout` how
    the answer of a network of the role "hand" does.
    """

    name: str
    role: Role
    family: str
    input: TensorSpec
    output: TensorSpec
    source: str
    architecture: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    convention: Literal["projected", "published"] = "projected"
    meshes: MeshesSpec | None = None
    readout: ReadoutSpec | None = None

    def __post_init__(self) -> None:
        if (self.role == "hand") != (self.readout is not None):
            raise ValueError(
                f"role = {self.role!r}: a network of the role hand has a table [readout], and no "
                "other has"
            )

    @property
    def takes_pictures(self) -> bool:
        """Whether its input is the picture itself."""
        if self.role == "srnet":
            return False
        return self.readout is None or self.readout.origin != "keypoints"


@dataclass(frozen=True)
class ModelSpec:
    """A pair of networks that runs chained, or one network alone: `export/models/NAME.toml`.

    `checkpoints` maps a role to a file name in the bundled `checkpoints/`, `quantized` to that of
    weights trained under a recipe; `meshes` go before those of its networks.
    """

    name: str
    description: str
    affinenet: str | None = None
    srnet: str | None = None
    hand: str | None = None
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    quantized: Mapping[str, str] = field(default_factory=dict)
    meshes: MeshesSpec | None = None

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("a model names an affinenet, an srnet or both, or a hand network")
        if self.hand is not None and len(self.networks) > 1:
            raise ValueError("a network of the role hand runs alone")
        for key in ("checkpoints", "quantized"):
            for role in getattr(self, key):
                if role not in self.networks:
                    raise ValueError(
                        f"{key}.{role} belongs to no network of this model; "
                        f"its roles are {', '.join(self.networks)}"
                    )

    @property
    def networks(self) -> dict[Role, str]:
        """The network name of each role this model has, in running order."""
        names = {role: getattr(self, role) for role in ROLES}
        return {role: name for role, name in names.items() if name is not None}


@dataclass(frozen=True)
class WeightSpec:
    """How weights are stored; 32 bits is float. Integer weights are symmetric.

    `rounding` is to the "nearest" integer, or "second-order" (see `quantizer.rounding`).
    """

    bits: Bits
    granularity: Literal["per-channel", "per-tensor"] = "per-channel"
    rounding: Literal["nearest", "second-order"] = "nearest"


@dataclass(frozen=True)
class ActivationSpec:
    """How activations are stored, and how their ranges are found; 32 bits is float.

    `percentile` (of the absolute values, 50..100) is used by range "percentile" alone.
    """

    bits: Bits
    symmetric: bool = False
    range: Literal["min-max", "percentile", "mse", "entropy"] = "min-max"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 50.0 < self.percentile <= 100.0:
            raise ValueError(f"percentile = {self.percentile} must be above 50 and at most 100")


@dataclass(frozen=True)
class Override:
    """Modules that stay in float, or become integer in finer steps (see `quantizer.dither`).

    They are those whose path matches the glob `match` ("head*", "decoder.warp*"), or those of a
    `part` that the network's own file names ("heads"); one of the two is given. A network whose
    file does not name the part is refused, unless the override is `optional`.
    """

    reason: str
    match: str = ""
    part: str = ""
    optional: bool = False
    network: Literal["affinenet", "srnet", "hand", "*"] = "*"
    precision: Literal["float", "dithered"] = "float"

    def __post_init__(self) -> None:
        if bool(self.match.strip()) == bool(self.part.strip()):
            raise ValueError("an override has either match, a glob of module paths, or part")
        if not self.reason.strip():
            raise ValueError(
                f"the override {self.match or self.part!r} needs a reason that is not empty"
            )


@dataclass(frozen=True)
class RecipeSpec:
    """How a model is quantized: `quantization/recipes/NAME.toml`.

    `max_float_macs` is the share (0..1) of a network's multiply-adds that may stay in float.
    `training` has, by role, the settings of the quantization-aware training that networks of this
    role go through, with the keys of a training run; without, calibration is all.
    """

    name: str
    description: str
    weights: WeightSpec
    activations: ActivationSpec
    overrides: tuple[Override, ...] = ()
    max_float_macs: float = 0.05
    input: Literal["float", "int8"] = "float"
    output: Literal["float", "int8"] = "float"
    training: Mapping[Role, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.weights.bits == 32) != (self.activations.bits == 32):
            raise ValueError("weights.bits and activations.bits must both be 32 (float) or neither")
        if self.is_float and (self.overrides or "int8" in (self.input, self.output)):
            raise ValueError("a float recipe has no overrides and no int8 input or output")
        if self.is_float and self.training:
            raise ValueError("a float recipe has nothing to train")
        if not 0.0 <= self.max_float_macs <= 1.0:
            raise ValueError(f"max_float_macs = {self.max_float_macs} must lie in 0..1")

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weights.bits == 32

    @property
    def floats(self) -> tuple[Override, ...]:
        """The overrides that leave something in float."""
        return tuple(item for item in self.overrides if item.precision == "float")

    def for_network(self, network: NetworkSpec) -> RecipeSpec:
        """Return the recipe with every part replaced by the network's own glob.

        Raises
        ------
        UsageError
            An override for networks of this role names a part that this one does not have.
        """
        overrides = []
        for override in self.overrides:
            glob = network.parts.get(override.part)
            if not override.part:
                overrides.append(override)
            elif glob is not None and override.network in ("*", network.role):
                overrides.append(replace(override, match=glob, part="", network=network.role))
            elif override.network == network.role and not override.optional:
                raise UsageError(
                    f"recipe {self.name}: network {network.name} has no part {override.part!r}",
                    expected=f"one of {', '.join(network.parts) or 'none: it names no parts'}",
                    remedy="name its modules under [parts] in the network's file",
                )
        return replace(self, overrides=tuple(overrides))


@dataclass(frozen=True)
class GateSpec:
    """One tolerance of `quantization/gates.toml`.

    It judges the rows of a report whose metric, reference, candidate, stage and recipe it names
    ("*" is any, and "!qnn" beside it leaves that one out). `kind` says what `limit` is: "absolute"
    is a bound of the value itself; "relative" and "difference" bound how far the value may be on
    the wrong side of the baseline, which is the same metric of the float model (0.01 is 1 % of it,
    or 0.01 of its unit).
    `direction` is the right side: "max" for a metric that should be small, "min" for one that
    should be large. Without `limit` the metric is reported, and fails only when it is no number.
    """

    metric: Metric
    reference: Literal["float", "fake-quant", "truth"]
    candidates: tuple[str, ...]
    stages: tuple[Literal["affinenet", "srnet", "hand", "chained", "*"], ...]
    applies_to: tuple[str, ...]
    reason: str
    limit: float | None = None
    direction: Literal["max", "min"] = "max"
    kind: Literal["absolute", "relative", "difference"] = "absolute"

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError(f"the gate of {self.metric} needs a reason that is not empty")
        for key in ("candidates", "stages", "applies_to"):
            if not getattr(self, key):
                raise ValueError(f"the gate of {self.metric} needs at least one of its {key}")

    def judges(self, *, metric: str, reference: str, candidate: str, stage: str) -> bool:
        """Whether a report row with these names is this gate's to judge."""
        return (
            (metric, reference) == (self.metric, self.reference)
            and _names(self.candidates, candidate)
            and _names(self.stages, stage)
        )

    def bound(self, baseline: float | None = None) -> float | None:
        """Return the limit in the metric's own unit; only absolute gates need no baseline."""
        if self.limit is None or self.kind == "absolute":
            return self.limit
        if baseline is None:
            raise ValueError(f"the {self.kind} gate of {self.metric} needs the float baseline")
        slack = self.limit * abs(baseline) if self.kind == "relative" else self.limit
        return baseline + slack if self.direction == "max" else baseline - slack


@dataclass(frozen=True)
class _GatesFile:
    gate: tuple[GateSpec, ...]


def seeing(specs: Mapping[Role, NetworkSpec]) -> NetworkSpec | None:
    """The network that is fed with samples themselves; None for an SRNet alone."""
    return specs.get("affinenet") or specs.get("hand")


def network_names() -> list[str]:
    """Return the bundled networks."""
    return _names_in(resources.export_data() / "networks")


def model_names() -> list[str]:
    """Return the bundled models; a network's name is accepted as a model too."""
    return _names_in(resources.export_data() / "models")


def recipe_names() -> list[str]:
    """Return the bundled recipes."""
    return _names_in(resources.quantization_data() / "recipes")


def target_names() -> list[str]:
    """Return the bundled targets."""
    return _names_in(resources.export_data() / "targets")


def load_network(name: str | Path) -> NetworkSpec:
    """Read a network by name or path."""
    return _load(NetworkSpec, "network", name, resources.export_data() / "networks")


def load_model(name: str | Path) -> ModelSpec:
    """Read a model by name or path, or make one of a single network, by its name or path.

    Its networks are read as well, to refuse a pair that cannot run chained.
    """
    networks = network_names()
    if str(name) in networks or _is_network_file(Path(name)):
        model = _alone(load_network(name), str(name))
    else:
        folder = resources.export_data() / "models"
        model = _load(ModelSpec, "model", name, folder, also_known=networks)
    _check_chain(model)
    return model


def load_recipe(name: str | Path) -> RecipeSpec:
    """Read a recipe by name or path."""
    return _load(RecipeSpec, "recipe", name, resources.quantization_data() / "recipes")


def load_target(name: str | Path) -> TargetSpec:
    """Read a target by name or path."""
    return _load(TargetSpec, "target", name, resources.export_data() / "targets")


def load_gates(recipe: str | None = None, *, path: Path | None = None) -> tuple[GateSpec, ...]:
    """Read every gate, or those that apply to the recipe of that name, in the order of the file."""
    path = path or resources.quantization_data() / "gates.toml"
    gates = strict_toml.load(_GatesFile, path).gate
    return tuple(gate for gate in gates if recipe is None or _names(gate.applies_to, recipe))


def _names(names: tuple[str, ...], name: str) -> bool:
    return f"!{name}" not in names and ("*" in names or name in names)


def _names_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


def _load(
    schema: type[T],
    kind: str,
    name: str | Path,
    folder: Path,
    *,
    also_known: list[str] | None = None,
) -> T:
    path = Path(name)
    if path.suffix != ".toml":
        known = _names_in(folder)
        if str(name) not in known:
            raise strict_toml.unknown_name(f"unknown {kind}", str(name), known + (also_known or []))
        path = folder / f"{name}.toml"
    spec = strict_toml.load(schema, path, name=path.stem)
    if isinstance(spec, NetworkSpec | ModelSpec) and spec.meshes is not None:
        spec = replace(spec, meshes=spec.meshes.beside(path.parent))
    if isinstance(spec, NetworkSpec) and spec.readout is not None:
        spec = replace(spec, readout=spec.readout.beside(path.parent))
    return spec


def _is_network_file(path: Path) -> bool:
    """Whether a TOML is a network's and not a model's; what cannot be read is neither."""
    if path.suffix != ".toml":
        return False
    try:
        return "role" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _alone(network: NetworkSpec, name: str) -> ModelSpec:
    return ModelSpec(
        name=network.name,
        description=f"the network {network.name} alone",
        affinenet=name if network.role == "affinenet" else None,
        srnet=name if network.role == "srnet" else None,
        hand=name if network.role == "hand" else None,
        checkpoints={network.role: f"{network.name}.safetensors"},
        meshes=network.meshes,
    )


def _check_chain(model: ModelSpec) -> None:
    specs = {role: load_network(name) for role, name in model.networks.items()}
    for role, spec in specs.items():
        if spec.role != role:
            raise UsageError(
                f"model {model.name}: {role} is {spec.name}, whose role is {spec.role}",
                expected=f"a network whose role is {role}",
            )
    if len(specs) == 2 and specs["affinenet"].output.shape != specs["srnet"].input.shape:
        raise UsageError(
            f"model {model.name}: {specs['affinenet'].name} gives a map of shape "
            f"{list(specs['affinenet'].output.shape)}, {specs['srnet'].name} takes "
            f"{list(specs['srnet'].input.shape)}",
            expected="an srnet that takes what the affinenet gives",
        )
