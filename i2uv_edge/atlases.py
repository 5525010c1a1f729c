"""The atlases of a model's maps: made of the built-in hand, kept in a bundle's atlas.npz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.parity import Atlases, Sample
from i2uv_edge.spec import NetworkSpec, Role

__all__ = ["ModelAtlases"]

COARSE_PREFIX = "affinenet_"  # of AffineNet's arrays in atlas.npz where there is an SRNet as well


@dataclass(frozen=True)
class ModelAtlases(Atlases):
    """The atlas of the coarse maps and, with an SRNet, that of the fine ones."""

    coarse: Atlas
    fine: Atlas | None = None

    @staticmethod
    def of_networks(specs: Mapping[Role, NetworkSpec]) -> ModelAtlases:
        """The built-in hand's, for maps of the sizes that the networks give and take."""
        hand = HandModel.load()
        srnet = specs.get("srnet")
        coarse_map = srnet.input if srnet is not None else specs["affinenet"].output
        return ModelAtlases(
            coarse=Atlas.of_mesh(hand.coarse, coarse_map.shape[1]),
            fine=None if srnet is None else Atlas.of_mesh(hand.fine, srnet.output.shape[1]),
        )

    def write(self, path: Path) -> None:
        """Write atlas.npz: unprefixed the last map's atlas, AffineNet's own prefixed."""
        arrays: dict[str, NDArray[Any]] = self.coarse.arrays()
        if self.fine is not None:
            arrays = {**self.fine.arrays(), **self.coarse.arrays(COARSE_PREFIX)}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @staticmethod
    def read(path: Path, *, with_fine: bool) -> ModelAtlases:
        """Read what `write` wrote for a model with an SRNet, or without one.

        Raises
        ------
        InputError
            An array is missing.
        """
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        last = Atlas.from_arrays(arrays)
        if not with_fine:
            return ModelAtlases(coarse=last)
        return ModelAtlases(coarse=Atlas.from_arrays(arrays, COARSE_PREFIX), fine=last)

    def coarse_map(self, vertices: NDArray[Any]) -> NDArray[np.float32]:
        """(..., Vc, 3) -> (..., M, M, 3): what a faultless AffineNet would answer."""
        return self.coarse.rasterise(np.asarray(vertices, np.float32), fill=True)

    def with_coarse_map(self, sample: Sample) -> Sample:
        """The sample with its true coarse map, which is what an SRNet alone is fed with.

        Raises
        ------
        InputError
            The sample has no ground truth.
        """
        if sample.truth is None:
            raise InputError(
                f"sample {sample.id} has no ground truth, so no map to feed to an SRNet",
                expected="samples of a rendered set",
            )
        return replace(sample, affinenet_map=self.coarse_map(sample.truth.coarse))
