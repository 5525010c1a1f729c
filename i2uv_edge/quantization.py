"""A model's networks under a recipe: calibrated, and trained where the recipe says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from i2uv_edge import resources
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.chain import ChainSpec
from i2uv_edge.data.calibration import CalibrationSet
from i2uv_edge.data.rendered_set import read_set
from i2uv_edge.errors import UsageError
from i2uv_edge.networks.model import Network
from i2uv_edge.parity import Sample as HandSample
from i2uv_edge.parity import Truth
from i2uv_edge.quantizer.network import (
    QuantizedNetwork,
    float_twin,
    load_quantized,
    quantize,
    tuned,
)
from i2uv_edge.quantizer.stored import StoredWeights, is_stored, read_stored
from i2uv_edge.quantizer.trainable import trainable
from i2uv_edge.requests import Notify
from i2uv_edge.runners import TorchRunner
from i2uv_edge.spec import (
    ModelSpec,
    NetworkSpec,
    RecipeSpec,
    Role,
    load_network,
    load_recipe,
    seeing,
)
from i2uv_edge.standpoints import seen_from
from i2uv_edge.training import loop
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.imitation import Imitation
from i2uv_edge.training.log import Progress

__all__ = [
    "POST_TRAINING",
    "Quantization",
    "calibration_of",
    "check_calibration",
    "default_recipe",
    "split_checkpoints",
    "trained_weights",
]

# The recipe that needs calibration alone, and whose gates an integer recipe without gates of its
# own is held to.
POST_TRAINING = "w8a8"
OF_HANDS = "w8a8-hand"  # the same for a network of the role hand
TRAINED = "w8a8-qat"


@dataclass(frozen=True)
class Quantization:
    """What networks are quantized by.

    Attributes
    ----------
    networks : with their weights, in running order
    recipe : for all of them
    calibration : pictures to take ranges from
    atlases : of their maps
    trained : what training has made of some of the networks under this recipe
    """

    networks: Mapping[Role, Network]
    recipe: RecipeSpec
    calibration: CalibrationSet
    atlases: ModelAtlases
    trained: Mapping[Role, StoredWeights] = field(default_factory=dict)

    def network(self, role: Role, notify: Notify) -> QuantizedNetwork:
        """The network as training has left it, or as calibration makes it.

        Raises
        ------
        InputError
            A calibration picture cannot be read, or makes the network give what is not finite; the
            trained weights are not of this network.
        ConversionError
            A layer that cannot be quantized.
        """
        network = self.networks[role]
        recipe = self.recipe.for_network(network.spec)
        if role in self.trained:
            stored = self.trained[role]
            return load_quantized(network.module, recipe, stored.encodings, stored.tensors)
        fine = self.atlases.fine
        return quantize(
            network.module,
            recipe,
            self._counted_feeds(role, notify),
            network_role=role,
            output_mask=fine.mask if role == "srnet" and fine else None,
        )

    def train(
        self,
        role: Role,
        config: TrainingConfig,
        output: Path,
        *,
        resume: bool = False,
        notify: Notify,
        report: Callable[[Progress], None],
    ) -> StoredWeights | None:
        """Calibrate a network, then train it to answer as its float form does.

        ``output`` holds the run, as `training.loop.train` says. Of several processes that train
        together the first gets the weights, the others None.

        Raises
        ------
        UsageError
            There is a run at ``output`` already, or none to resume; settings that do not fit.
        """
        network = self.networks[role]
        before = self.network(role, notify)
        teacher = float_twin(network.module, before) if config.features else network.module
        task = Imitation(teacher, network.spec, config)
        made: list[QuantizedNetwork] = []

        def finish(averaged: nn.Module) -> None:
            assert isinstance(averaged, fx.GraphModule)
            made.append(tuned(network.module, before, averaged))

        def start() -> nn.Module:
            return trainable(before.graph)

        loop.tune(start, task, config, output, resume=resume, save=finish, report=report)
        for after in made:
            assert after.tensors is not None
            name, parent = network.spec.name, network.source_sha256
            return StoredWeights(name, parent, after.encodings, after.tensors)
        return None

    def _counted_feeds(self, role: Role, notify: Notify) -> Iterator[NDArray[np.float32]]:
        total = len(self.calibration.paths)
        for done, feed in enumerate(self._feeds(role)):
            notify(f"calibrating {role}", done, total)
            yield feed

    def _feeds(self, role: Role) -> Iterator[NDArray[np.float32]]:
        """What the network of that role will be fed with, one calibration sample at a time."""
        spec = self.networks[role].spec
        if spec.takes_pictures:
            yield from self.calibration.batches(spec.input.shape[1])
            return
        if spec.readout is not None:
            yield from self._keypoints(spec)
            return
        chain = ChainSpec()
        for maps in self._coarse_maps():
            yield chain.normalise(maps, chain.bounds(self.atlases.coarse.read_vertices(maps)))

    def _keypoints(self, spec: NetworkSpec) -> Iterator[NDArray[np.float32]]:
        """(1, H, W, C) of the rendered hands of the calibration set."""
        assert spec.readout is not None
        for name, sample in read_set(resources.calibration_data() / "pictures"):
            truth = Truth(sample.coarse, sample.frame.scale_mm, joints=sample.joints)
            shown = HandSample(name, np.zeros((1, 1, 3), np.float32), truth)
            yield seen_from(spec.readout.origin, shown).taken[None]

    def _coarse_maps(self) -> Iterator[NDArray[np.float32]]:
        """(1, M, M, 3) as the float AffineNet answers; without one, true maps of rendered hands."""
        affinenet = self.networks.get("affinenet")
        if affinenet is None:
            for _, sample in read_set(resources.calibration_data() / "pictures"):
                yield self.atlases.coarse_map(sample.coarse)[None]
            return
        runner = TorchRunner(affinenet.module, affinenet.spec)
        for pictures in self.calibration.batches(affinenet.spec.input.shape[1]):
            yield runner({runner.input.name: pictures})[runner.output.name]


def split_checkpoints(
    paths: Sequence[Path],
) -> tuple[tuple[Path, ...], dict[Path, StoredWeights]]:
    """Files of float weights, and what files hold that `i2uv-edge quantize` wrote."""
    stored = {path: read_stored(path) for path in paths if is_stored(path)}
    return tuple(path for path in paths if path not in stored), stored


def trained_weights(
    model: ModelSpec,
    recipe: RecipeSpec,
    networks: Mapping[Role, Network],
    given: Mapping[Path, StoredWeights],
) -> dict[Role, StoredWeights]:
    """What training under the recipe has made of these very networks, by role.

    Parameters
    ----------
    given
        What files of `i2uv-edge quantize` hold; where there is none for a network, the bundled one
        is taken.

    Raises
    ------
    UsageError
        The recipe trains a network, and there is no file of what that made of these weights; a file
        is for another recipe or network.
    InputError
        The bundled file is damaged.
    """
    found: dict[Role, StoredWeights] = {}
    for role in recipe.training:
        if role not in networks:
            continue
        network = networks[role]
        own = [item for item in given.values() if item.network == network.spec.name]
        bundled = resources.checkpoints() / model.quantized.get(role, "")
        if not own and bundled.is_file():
            own = [read_stored(bundled)]
        fitting = [
            item
            for item in own
            if (item.parent, item.encodings.recipe) == (network.source_sha256, recipe.name)
        ]
        if not fitting:
            raise UsageError(
                f"the recipe {recipe.name} trains {network.spec.name}, and "
                + ("what there is was trained from other weights" if own else "that was not done"),
                expected="a file that `i2uv-edge quantize` made of these weights under this recipe",
                remedy=f"i2uv-edge quantize {model.name} --recipe {recipe.name}, with the same "
                "--checkpoint; then pass its files with --checkpoint, too",
            )
        found[role] = fitting[-1]
    for path, item in given.items():
        if item not in found.values():
            raise UsageError(
                f"{path} holds {item.network} under the recipe {item.encodings.recipe}, which is "
                f"not what {model.name} under {recipe.name} needs",
                expected=f"networks {', '.join(n.spec.name for n in networks.values())}",
                remedy="drop it, or choose its recipe with --recipe",
            )
    return found


def default_recipe(
    model: ModelSpec,
    networks: Mapping[Role, Network],
    given: Mapping[Path, StoredWeights],
    calibration: Path | None,
) -> RecipeSpec:
    """The recipe where none is asked for: the one with training, if that was done to the weights.

    Whether the ``given`` ones fit is for `trained_weights` to say. Who names pictures to calibrate
    on wants ranges of these pictures, not those training left.

    Raises
    ------
    InputError
        The bundled file is damaged.
    """
    recipe = load_recipe(TRAINED)
    if given:
        return recipe
    if calibration is None and set(recipe.training) & set(networks):
        with contextlib.suppress(UsageError):
            trained_weights(model, recipe, networks, given)
            return recipe
    return load_recipe(OF_HANDS if "hand" in networks else POST_TRAINING)


def check_calibration(folder: Path | None, model: ModelSpec, recipe: RecipeSpec) -> None:
    """Refuse a folder of pictures where there is nothing to calibrate on pictures (UsageError)."""
    what = ""
    if recipe.is_float:
        what = f"the recipe {recipe.name} quantizes nothing"
    elif not _takes_pictures(model):
        what = f"{model.name} takes no pictures"
    if what and folder is not None:
        raise UsageError(f"{what}, so there is nothing to calibrate", remedy="drop --calibration")


def _takes_pictures(model: ModelSpec) -> bool:
    first = seeing({role: load_network(name) for role, name in model.networks.items()})
    return first is not None and first.takes_pictures


def calibration_of(
    folder: Path | None, model: ModelSpec, recipe: RecipeSpec
) -> CalibrationSet | None:
    """The pictures of a folder, or the bundled ones; None for a recipe that quantizes nothing.

    Raises
    ------
    UsageError
        As for `check_calibration`.
    InputError
        There is no picture in the folder.
    """
    check_calibration(folder, model, recipe)
    if recipe.is_float:
        return None
    return CalibrationSet.of_folder(folder or resources.calibration_data() / "pictures")
