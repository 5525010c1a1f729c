"""Where the files that come with the package lie, installed or in a checkout.

The folders `export/`, `quantization/` and `calibration_data/` at the top of the repository are
installed as the data packages `i2uv_edge._export`, `._quantization` and `._calibration_data`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from i2uv_edge.errors import I2uvError

__all__ = ["calibration_data", "checkpoints", "export_data", "hand_assets", "quantization_data"]


def export_data() -> Path:
    """Return the folder of network, model and target files."""
    return _folder("i2uv_edge._export")


def quantization_data() -> Path:
    """Return the folder of recipes and of `gates.toml`."""
    return _folder("i2uv_edge._quantization")


def calibration_data() -> Path:
    """Return the folder of the bundled sets: `pictures` to calibrate on, `evaluation` held out."""
    return _folder("i2uv_edge._calibration_data")


def checkpoints() -> Path:
    """Return the folder of the bundled weights."""
    return _folder("i2uv_edge") / "checkpoints"


def hand_assets() -> Path:
    """Return the folder of the built-in hand."""
    return _folder("i2uv_edge") / "hand" / "assets"


def _folder(package: str) -> Path:
    try:
        # A wheel is always unpacked, so a resource is a plain path and needs no `as_file`.
        return Path(str(resources.files(package)))
    except ModuleNotFoundError as error:
        raise I2uvError(
            f"the data package {package} is not installed",
            expected="i2uv_edge installed together with its data folders",
            remedy="run `pip install -e .` at the top of the repository",
        ) from error
