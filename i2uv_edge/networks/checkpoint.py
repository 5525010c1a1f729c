"""Weights in and out: safetensors of our own, torch files of users.

Pickle can run code, so a torch file is read with ``weights_only=True`` and refused if it holds
anything but tensors, plain containers and the options of a command line (`argparse.Namespace`),
which is what training scripts put beside their weights.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from i2uv_edge.errors import InputError
from i2uv_edge.networks.readouts import HandNetwork

SHOWN = 3  # names of each kind an error lists

# What torchvision's pictures are normalised by (torchvision.transforms, ImageNet1K weights).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_ENCODER_NAMES = {
    "conv1": "firstconv",
    "bn1": "firstbn",
    **{f"layer{number}": f"encoder{number}" for number in range(1, 5)},
}


def fits(module: nn.Module, path: Path) -> bool:
    """Whether a checkpoint's keys and shapes are the module's.

    Raises
    ------
    InputError
        The file cannot be read, as in `load_checkpoint`.
    """
    state = {key: value.shape for key, value in _state_of(module, path).items()}
    return state == {key: value.shape for key, value in module.state_dict().items()}


def network_of(path: Path) -> str | None:
    """The name of the network a checkpoint of ours was trained for; None for others' files."""
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}).get("network")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Fill ``module`` with the weights of ``path``, in float32 whatever the file's precision.

    Accepts ``.safetensors`` and torch files: a bare ``state_dict`` or one under the key ``state``
    (the layout of the published I2UV-HandNet code), with or without the ``module.`` prefix that
    ``DataParallel`` adds; and for a network of the role "hand" its authors' layout, see
    `readouts.HandNetwork.of_published`.

    Raises
    ------
    InputError
        Missing or damaged file, a file that would execute code, keys or shapes that do not fit the
        module, NaN or infinite weights.
    """
    state = _state_of(module, path)
    _check_fit(module, state, path)
    _check_finite(state, path)
    module.load_state_dict(state)


def load_initial(module: nn.Module, path: Path) -> None:
    """Fill ``module`` with weights to start training from.

    They are its own, as for `load_checkpoint`, or those of a torchvision ResNet classifier, which
    go to the encoder of an AffineNet. Such a ResNet was trained on pictures less ImageNet's mean
    colour and over its deviation; an AffineNet takes them as they are, 0..1. So the deviation goes
    into the first convolution and the mean into the first norm's running mean. Inside the picture
    the result is the same; the outermost pixels differ, because beyond the border there is black
    now and was the mean colour.

    Raises
    ------
    InputError
        As for `load_checkpoint`; the ResNet is of another depth, or the module has no such encoder.
    """
    state = _state_of(module, path)
    if not {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= state.keys():
        load_checkpoint(module, path)
        return
    encoder = dict(module.named_modules()).get("encoder.encoder_layer")
    if encoder is None:
        raise InputError(
            f"{path} holds a ResNet, and {type(module).__name__} has none",
            expected="weights of this network, or an AffineNet with a ResNet encoder",
            remedy="choose one of affinenet-r18, -r34, -r50, -r101, -r152",
        )
    named: dict[str, Tensor] = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if first != "fc":
            named[f"{_ENCODER_NAMES.get(first, first)}.{rest}"] = value.float()
    for key, value in encoder.state_dict().items():
        if key.endswith("num_batches_tracked"):  # which files from before 2018 do not have
            named.setdefault(key, value)
    _check_fit(encoder, named, path)
    _check_finite(named, path)
    weight = named["firstconv.weight"] / torch.tensor(IMAGENET_DEVIATION)[:, None, None]
    named["firstbn.running_mean"] = named["firstbn.running_mean"] + (
        weight.sum((2, 3)) @ torch.tensor(IMAGENET_MEAN)
    )
    named["firstconv.weight"] = weight
    encoder.load_state_dict(named)


def save_checkpoint(
    module: nn.Module,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write weights as safetensors in ``dtype``, integer buffers as they are.

    The same weights give the same bytes, as long as ``metadata`` has no more than one entry:
    safetensors writes several in any order.
    """
    state = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for key, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    # `save_file` would make a file that nobody else may read.
    partial.write_bytes(save(state, metadata=dict(metadata or {})))
    partial.replace(path)


def _state_of(module: nn.Module, path: Path) -> dict[str, Tensor]:
    """What a file holds for a module, by the module's own names."""
    content = _read(path)
    if isinstance(module, HandNetwork) and isinstance(content, Mapping):
        try:
            published = module.of_published(content)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"checkpoint {path} is laid out as {type(module).__name__}'s authors do it, and "
                f"cannot be taken ({type(error).__name__}: {error})",
                expected="the layout that its training script writes",
                remedy="fetch it again; or pass a state_dict of the network",
            ) from error
        if published is not None:
            return published
    flat = _flat(content, path)
    return {key.removeprefix("module."): value for key, value in flat.items()}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(
            f"checkpoint {path} does not exist",
            expected="a .safetensors or torch file of weights",
            remedy="check the path given with --checkpoint",
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
    try:
        with ExitStack() as held:
            # Of what the errors below say better.
            held.enter_context(warnings.catch_warnings(action="ignore"))
            held.enter_context(torch.serialization.safe_globals([argparse.Namespace]))
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind makes the unpickler raise anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign is None or not isinstance(error, pickle.UnpicklingError):
            raise _damaged(path, error) from error
        raise InputError(
            f"checkpoint {path} holds more than weights ({foreign.group(1)}); reading it would "
            f"execute code from it",
            expected="a state_dict of tensors",
            remedy="where you trust it: torch.load it yourself and torch.save its state_dict alone",
        ) from error


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state"), dict):
        content = content["state"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise InputError(
            f"checkpoint {path} is no state_dict",
            expected="a dictionary of tensors, bare or under the key 'state'",
            remedy="save it with torch.save({'state': network.state_dict()}, path)",
        )
    return content


def _damaged(path: Path, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), "")
    return InputError(
        f"checkpoint {path} cannot be read ({type(error).__name__}: {reason})",
        expected="a complete .safetensors or torch file",
        remedy="it is truncated or of another kind; fetch or save it again",
    )


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{path}: the weights of {key} hold NaN or infinite values",
                expected="finite weights",
                remedy="the training run that wrote them diverged; use an earlier checkpoint",
            )


def _check_fit(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = module.state_dict()
    problems = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    }
    found = [
        f"{len(keys)} {kind}: {', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise InputError(
            f"checkpoint {path} does not fit {type(module).__name__}; {'; '.join(found)}",
            expected=f"its {len(wanted)} tensors",
            remedy="choose the network it was trained for",
        )
