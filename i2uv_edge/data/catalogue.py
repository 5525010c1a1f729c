"""Data sets by the name of their kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from i2uv_edge import resources
from i2uv_edge.data.archives import MapPairs, PictureArchives
from i2uv_edge.data.dataset import HandDataset, Mirrored
from i2uv_edge.data.folder import PictureFolder
from i2uv_edge.data.freihand import FreiHand
from i2uv_edge.data.ho3d import Ho3d
from i2uv_edge.data.rendered_hands import FrozenHands, RenderedHands
from i2uv_edge.data.video import VideoFrames
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.mano import Mano
from i2uv_edge.strict_toml import unknown_name

__all__ = ["KINDS", "open_dataset", "open_pairs"]

Hand = Literal["right", "left"]


def _rendered(path: Path | None, split: str, mano: Mano | None) -> HandDataset:
    del mano
    if split == "training" and path is None:
        return RenderedHands()
    return FrozenHands(path or resources.calibration_data() / "evaluation")


def _freihand(path: Path | None, split: str, mano: Mano | None) -> HandDataset:
    del mano
    return FreiHand(_needed("freihand", path), split)


def _ho3d(path: Path | None, split: str, mano: Mano | None) -> HandDataset:
    return Ho3d(_needed("ho3d", path), split, mano)


def _without_splits(
    kind: str, make: Callable[[Path], HandDataset]
) -> Callable[[Path | None, str, Mano | None], HandDataset]:
    def opened(path: Path | None, split: str, mano: Mano | None) -> HandDataset:
        del split, mano
        return make(_needed(kind, path))

    return opened


KINDS: dict[str, Callable[[Path | None, str, Mano | None], HandDataset]] = {
    "rendered": _rendered,
    "freihand": _freihand,
    "ho3d": _ho3d,
    "i2uv-archive": _without_splits("i2uv-archive", PictureArchives),
    "folder": _without_splits("folder", PictureFolder),
    "video": _without_splits("video", VideoFrames),
}


def open_dataset(
    kind: str,
    path: Path | None = None,
    *,
    split: str = "training",
    mano: Mano | None = None,
    hand: Hand = "right",
) -> HandDataset:
    """Open a data set.

    Parameters
    ----------
    kind
        One of `KINDS`.
    path
        Its folder or file; "rendered" needs none, and draws without one.
    split
        "training" or "evaluation", for those that have both.
    mano
        The hand model, from which HO3D's vertices are made.
    hand
        "left": the pictures show left hands, and are mirrored.

    Raises
    ------
    UsageError
        Unknown kind or split, or a path that is missing.
    InputError
        What is at the path is no such data set.
    """
    if kind not in KINDS:
        raise unknown_name("unknown kind of data set", kind, KINDS)
    opened = KINDS[kind](path, split, mano)
    return Mirrored(opened) if hand == "left" else opened


def open_pairs(path: Path) -> MapPairs:
    """Open a folder of map pairs of the published archive, for SRNet.

    Raises
    ------
    InputError
        There is no folder, or no `.npz` in it.
    """
    return MapPairs(path)


def _needed(kind: str, path: Path | None) -> Path:
    if path is None:
        raise UsageError(
            f"the data set {kind} needs a path",
            expected="where it lies on this machine",
            remedy=f"get it from its authors, and name its folder: --dataset {kind} PATH",
        )
    return path
