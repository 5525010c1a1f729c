"""A model's networks with their weights in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from i2uv_edge import resources
from i2uv_edge.bundle import sha256_of
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import fits, load_checkpoint, network_of
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import ModelSpec, NetworkSpec, Role, load_network


@dataclass(frozen=True)
class Network:
    """A network, its weights loaded, and the SHA-256 of the file they came from."""

    spec: NetworkSpec
    module: nn.Module
    source_sha256: str


def load_networks(model: ModelSpec, checkpoints: Sequence[Path] = ()) -> dict[Role, Network]:
    """Build a model's networks in running order and fill them.

    Parameters
    ----------
    model
        The model.
    checkpoints
        Files to use instead of the bundled ones; each goes to the network its tensors fit.

    Raises
    ------
    InputError
        A checkpoint is missing, damaged or fits none of the networks.
    UsageError
        Two checkpoints fit one network, or a network has no weights at all.
    """
    specs = {role: load_network(name) for role, name in model.networks.items()}
    modules = {role: build(spec) for role, spec in specs.items()}
    chosen = _assign(modules, checkpoints)
    networks: dict[Role, Network] = {}
    for role, spec in specs.items():
        path = chosen.get(role) or _bundled(model, role, spec)
        load_checkpoint(modules[role], path)
        networks[role] = Network(spec, modules[role], sha256_of(path))
    return networks


def open_checkpoint(path: Path, name: str = "") -> Network:
    """The network that a checkpoint says it belongs to, or that of ``name``, filled from it.

    Raises
    ------
    InputError
        The checkpoint is missing or damaged, or does not fit.
    UsageError
        It does not say which network it belongs to, or an unknown one.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}", remedy="check the path")
    name = name or network_of(path) or ""
    if not name:
        raise UsageError(
            f"{path} does not say which network it belongs to",
            expected="a checkpoint that `i2uv-edge train` wrote, or the network's name beside it",
            remedy="export it first: i2uv-edge export NETWORK --checkpoint FILE",
        )
    spec = load_network(name)
    module = build(spec)
    load_checkpoint(module, path)
    return Network(spec, module, sha256_of(path))


def _assign(modules: dict[Role, nn.Module], checkpoints: Sequence[Path]) -> dict[Role, Path]:
    if len(modules) == 1 and len(checkpoints) == 1:
        return {next(iter(modules)): checkpoints[0]}  # whose misfit `load_checkpoint` explains
    chosen: dict[Role, Path] = {}
    for path in checkpoints:
        roles = [role for role, module in modules.items() if fits(module, path)]
        if not roles:
            raise InputError(
                f"checkpoint {path} fits none of the model's networks",
                expected=f"the weights of one of {', '.join(modules)}",
                remedy="export its network alone to see which tensors differ",
            )
        if roles[0] in chosen:
            raise UsageError(
                f"{chosen[roles[0]]} and {path} are both weights of {roles[0]}",
                remedy="give one checkpoint for each network",
            )
        chosen[roles[0]] = path
    return chosen


def _bundled(model: ModelSpec, role: Role, spec: NetworkSpec) -> Path:
    name = model.checkpoints.get(role, "")
    path = resources.checkpoints() / name
    if not name or not path.is_file():
        raise UsageError(
            f"there are no bundled weights for {spec.name}",
            expected="a checkpoint of your own",
            remedy=f"pass it with --checkpoint, or train one: i2uv-edge train {spec.name}",
        )
    return path
