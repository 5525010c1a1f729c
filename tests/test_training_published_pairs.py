"""SRNet on the pairs of maps of the published archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from network_toys import SRNET, tensor
from torch import Tensor
from training_toys import CONFIG, Says, batch_of

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.training.config import DatasetSettings, LossWeights, TrainingConfig
from i2uv_edge.training.loop import train
from i2uv_edge.training.published_pairs import PAIRS, PublishedPairs
from i2uv_edge.training.task import EVALUATION_SEED
from i2uv_edge.training.tasks import make_task

SPEC = replace(
    SRNET, family="srnet", architecture={}, input=tensor("map", 48), output=tensor("map", 48)
)
COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the built-in hand as the archive would keep it, tilted a little more in each pair."""
    made = tmp_path_factory.mktemp("pairs")
    model = HandModel.load()
    atlases = {name: Atlas.of_mesh(getattr(model, name), 48) for name in ("coarse", "fine")}
    for index in range(COUNT):
        angle = 0.3 * index
        tilt = np.array(
            [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
        )
        coarse, fine = model.coarse.vertices @ tilt.T, model.fine.vertices @ tilt.T
        low, high = coarse.min(0), coarse.max(0)
        maps = {
            name: atlases[kind].rasterise(((points - low) / (high - low)).astype(np.float32))
            for name, kind, points in (("uvz_778", "coarse", coarse), ("uvz_3k", "fine", fine))
        }
        np.savez(made / f"{index}.npz", max_min=np.stack([high, low]), **maps)
    return made


def config(folder: Path) -> TrainingConfig:
    return replace(CONFIG, dataset=DatasetSettings(PAIRS, str(folder)), evaluation_samples=2)


@pytest.fixture(scope="module")
def pairs(folder: Path) -> PublishedPairs:
    task = make_task(SPEC, config(folder))
    assert isinstance(task, PublishedPairs)
    return task


def planes(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)


def test_sample_is_made_of_seed_and_index_alone(pairs: PublishedPairs) -> None:
    first, other, again = (pairs.sample(1, index) for index in (5, 6, 5))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_both_maps_turn_together_and_fill_the_hand_s_extent(pairs: PublishedPairs) -> None:
    batch = batch_of(pairs, 4)
    held = torch.from_numpy(pairs.held[0])
    on_surface = batch["coarse"][:, held]
    np.testing.assert_allclose(on_surface.amin(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(on_surface.amax(1), 1.0, atol=1e-6)
    relief = (batch["fine"] - batch["coarse"])[:, held] * batch["extent"][:, None]
    assert 0.0001 < relief.norm(dim=-1).mean() < 0.004  # metres
    held_out = pairs.sample(EVALUATION_SEED, 0)
    turned = batch["extent"].numpy()
    assert (abs(turned[:, :2] - held_out["extent"][:2]).max(1) > 0.002).all()


def test_held_out_pairs_are_the_last_and_upright(pairs: PublishedPairs, folder: Path) -> None:
    made = pairs.sample(EVALUATION_SEED, 1)
    with np.load(folder / f"{COUNT - 1}.npz") as stored:
        held = pairs.held[1]
        span, low = stored["max_min"][0] - stored["max_min"][1], stored["max_min"][1]
        wanted = stored["uvz_3k"][held] * span + low
    got = made["fine"][held] * made["extent"]
    np.testing.assert_allclose(got - got.mean(0), wanted - wanted.mean(0), atol=1e-5)


def test_texels_without_surface_hold_the_nearest_that_has_one(pairs: PublishedPairs) -> None:
    made = pairs.sample(0, 0)
    assert made["fine"][~pairs.held[1]].any(-1).mean() > 0.95
    rows, columns = np.nonzero(~pairs.held[1])
    surface = np.argwhere(pairs.held[1])
    for row, column in list(zip(rows, columns, strict=True))[::97]:
        apart = np.linalg.norm(surface - (row, column), axis=1)
        nearest = surface[apart == apart.min()]
        assert any((made["fine"][row, column] == made["fine"][r, c]).all() for r, c in nearest)


def test_truth_has_no_loss_and_no_error_and_the_coarse_map_has(pairs: PublishedPairs) -> None:
    batch = batch_of(pairs)
    fine, coarse = planes(batch["fine"]), planes(batch["coarse"])
    assert float(pairs.loss(Says(fine), batch, 0.0, 0.0)) < 1e-6
    assert (pairs.score(Says(fine), batch) < 1e-4).all()
    assert float(pairs.loss(Says(coarse), batch, 0.0, 0.0)) > 0.05
    assert (pairs.score(Says(coarse), batch) > 0.1).all()
    assert (pairs.score(Says(coarse), batch) < 4.0).all()


def test_it_trains(folder: Path, tmp_path: Path) -> None:
    assert train(SPEC, replace(config(folder), steps=2), tmp_path).is_file()


# --- what it refuses ------------------------------------------------------------------------------


def test_maps_of_another_size_are_refused(folder: Path) -> None:
    other = replace(SPEC, input=tensor("map", 32), output=tensor("map", 32))
    with pytest.raises(UsageError, match="maps of sides 48 and 48"):
        PublishedPairs(other, config(folder))


def test_too_few_pairs_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="holds 6 pairs"):
        PublishedPairs(SPEC, replace(config(folder), evaluation_samples=6))


def test_terms_that_need_a_mesh_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="without their mesh"):
        PublishedPairs(SPEC, replace(config(folder), loss=LossWeights(seam=1.0)))
