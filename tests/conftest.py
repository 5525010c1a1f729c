"""Shared by all tests: one thread for each library, since pytest runs several workers."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from model_toys import Ended, Toy

# Read when the libraries are first imported, which is after this file.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Give the model of `model_toys`, with fitted weights."""
    from model_toys import make_toy

    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def toy_world(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the toy's few pictures in the place of the bundled ones, and what it can pass in time."""
    move_in(toy, monkeypatch)


@pytest.fixture(scope="session")
def exported(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """Export the toy once; what the command came to, and the bundle, which nobody may change."""
    bundle = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = toy.export(bundle)
    return ended, bundle


def move_in(toy: Toy, patch: pytest.MonkeyPatch) -> None:
    """What `toy_world` does."""
    from model_toys import patient

    from i2uv_edge import parity, pipeline, resources, spec

    few = parity.StillHand(samples=1, copies=8)
    patch.setattr(pipeline, "measure", functools.partial(parity.measure, still=few))
    patch.setattr(resources, "calibration_data", lambda: toy.data)
    patch.setattr(pipeline, "load_gates", patient(spec.load_gates))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a .tflite of next to no weights and one of 9 MB."""
    from quantizer_toys import spec_of
    from torch import nn

    from i2uv_edge.convert.tflite import to_tflite

    folder = tmp_path_factory.mktemp("files")
    paths = []
    for width in (4, 1500):
        network = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, width, 1)).eval()
        paths.append(folder / f"{width}.tflite")
        to_tflite(network, spec_of(network, 8), paths[-1])
    return paths[0], paths[1]
