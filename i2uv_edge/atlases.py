"""The atlases of a model's maps, kept in a bundle's atlas.npz.

They are made of the built-in hand, or of meshes that a user's model or network names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.mano import VERTICES, Mano
from i2uv_edge.hand.model import HandModel
from i2uv_edge.parity import Atlases, Sample
from i2uv_edge.spec import MeshesSpec, NetworkSpec, Role

__all__ = ["ModelAtlases", "hand_of", "meshes_of"]

COARSE_PREFIX = "affinenet_"  # of AffineNet's arrays in atlas.npz where there is an SRNet as well
MANO_PREFIX = "mano_"  # of the arrays of the model that a hand network's answers pose
SAME_PLACE = 1e-3  # how far apart texture coordinates of one vertex may be: a quarter of a texel


@dataclass(frozen=True)
class ModelAtlases(Atlases):
    """The atlas of the coarse maps and, with an SRNet, that of the fine ones.

    That of a network of the role "hand" is of its vertices, one a texel; `mano` is the hand model
    that its answers pose.
    """

    coarse: Atlas
    fine: Atlas | None = None
    mano: Mano | None = None

    @staticmethod
    def of_networks(
        specs: Mapping[Role, NetworkSpec], meshes: MeshesSpec | None = None
    ) -> ModelAtlases:
        """For maps of the sizes that the networks give and take.

        Parameters
        ----------
        specs
            The networks.
        meshes
            What the maps are of; without, what `meshes_of` the networks says, and then the
            built-in hand.

        Raises
        ------
        UsageError
            The networks name different meshes, or none for an SRNet's maps.
        InputError
            A mesh or hand model cannot be used, or they do not belong together.
        """
        if "hand" in specs:
            return _of_hand(specs["hand"])
        srnet = specs.get("srnet")
        coarse_size = (srnet.input if srnet is not None else specs["affinenet"].output).shape[1]
        fine_size = None if srnet is None else srnet.output.shape[1]
        meshes = meshes or meshes_of(specs)
        if meshes is not None:
            return _of_meshes(meshes, coarse_size, fine_size)
        hand = HandModel.load()
        return ModelAtlases(
            coarse=Atlas.of_mesh(hand.coarse, coarse_size),
            fine=None if fine_size is None else Atlas.of_mesh(hand.fine, fine_size),
        )

    @property
    def built_in(self) -> bool:
        """Whether the maps are of the built-in hand, for which there is rendered ground truth."""
        return np.array_equal(self.coarse.template, HandModel.load().coarse.vertices)

    def write(self, path: Path) -> None:
        """Write atlas.npz: unprefixed the last map's atlas, AffineNet's own prefixed."""
        arrays: dict[str, NDArray[Any]] = self.coarse.arrays()
        if self.fine is not None:
            arrays = {**self.fine.arrays(), **self.coarse.arrays(COARSE_PREFIX)}
        if self.mano is not None:
            arrays |= {MANO_PREFIX + key: array for key, array in self.mano.arrays().items()}
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
        own = {
            key.removeprefix(MANO_PREFIX): array
            for key, array in arrays.items()
            if key.startswith(MANO_PREFIX)
        }
        if not with_fine:
            mano = Mano.from_arrays(own, path) if own else None
            return ModelAtlases(coarse=last, mano=mano)
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


def hand_of(spec: NetworkSpec) -> Mano:
    """The hand model that the answers of a network of the role "hand" pose.

    Raises
    ------
    InputError
        The file that the network names is no MANO model.
    """
    assert spec.readout is not None
    return stand_in() if spec.readout.is_stand_in else Mano.load(Path(spec.readout.hand))


def _of_hand(spec: NetworkSpec) -> ModelAtlases:
    mano = hand_of(spec)
    if spec.readout is not None and spec.readout.is_stand_in:
        mesh = HandModel.load().coarse
        return ModelAtlases(
            Atlas.of_vertices(mesh.vertices, mesh.faces, mesh.joint_regressor), mano=mano
        )
    template = mano.template.astype(np.float32)
    joints = np.zeros((0, len(template)), np.float32)
    if len(template) == VERTICES:  # the fingertips are known by their numbers
        joints = mano.joint_regressor()
    return ModelAtlases(Atlas.of_vertices(template, mano.faces, joints), mano=mano)


def meshes_of(specs: Mapping[Role, NetworkSpec]) -> MeshesSpec | None:
    """The meshes that networks name, None if none does.

    Raises
    ------
    UsageError
        They name different ones.
    """
    named = {spec.meshes for spec in specs.values() if spec.meshes is not None}
    if len(named) > 1:
        raise UsageError(
            f"the networks {', '.join(spec.name for spec in specs.values())} name different meshes",
            remedy="name the meshes of the pair in the model's file, under [meshes]",
        )
    return next(iter(named), None)


def _of_meshes(meshes: MeshesSpec, coarse_size: int, fine_size: int | None) -> ModelAtlases:
    coarse, fine = Atlas.from_obj(Path(meshes.coarse), coarse_size), None
    if fine_size is not None:
        if not meshes.fine:
            raise UsageError(
                f"{meshes.coarse} has no fine mesh beside it, and the model has an SRNet",
                expected="the key `fine` under [meshes]",
                remedy="name the mesh that the SRNet's maps are of",
            )
        fine = Atlas.from_obj(Path(meshes.fine), fine_size)
        _check_nested(meshes, coarse, fine)
    if meshes.mano:
        joints = Mano.load(Path(meshes.mano)).joint_regressor()
        if joints.shape[1] != len(coarse.template):
            raise InputError(
                f"{meshes.coarse} has {len(coarse.template)} vertices, {meshes.mano} has "
                f"{joints.shape[1]}",
                expected="a mesh with the vertices of that hand model, in its order",
                remedy="leave `mano` out: then nothing is said of joints",
            )
        coarse = replace(coarse, joint_regressor=joints)
        if fine is not None:
            finer = np.zeros((len(joints), len(fine.template)), np.float32)
            finer[:, : joints.shape[1]] = joints
            fine = replace(fine, joint_regressor=finer)
    return ModelAtlases(coarse, fine)


def _check_nested(meshes: MeshesSpec, coarse: Atlas, fine: Atlas) -> None:
    """A fine map is read down to the coarse vertices where those alone are known.

    Texture coordinates tell, not positions: of the published pair the fine mesh is posed.
    """
    count = len(coarse.template)
    if count <= len(fine.template):
        apart = np.abs(_texture_places(fine)[:count] - _texture_places(coarse)).max()
        if apart <= SAME_PLACE:
            return
    raise InputError(
        f"the first vertices of {meshes.fine} are not those of {meshes.coarse}",
        expected="a subdivision of the coarse mesh that keeps its vertices first, and where they "
        "lie in the texture",
        remedy="export both from one model, without reordering vertices",
    )


def _texture_places(atlas: Atlas) -> NDArray[np.float64]:
    """(V, 2) mean of each vertex's texture coordinates; 0 for one that no face uses."""
    pairs = np.stack([atlas.faces.ravel(), atlas.uv_faces.ravel()], axis=1)
    vertex, corner = np.unique(pairs, axis=0).T
    total = np.zeros((len(atlas.template), 2))
    np.add.at(total, vertex, atlas.uv[corner].astype(np.float64))
    count = np.bincount(vertex, minlength=len(total))
    return np.asarray(total / np.maximum(count, 1)[:, None])
