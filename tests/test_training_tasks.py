"""What the networks learn from: samples, losses that vanish at the truth, scores in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET, tensor
from torch import Tensor, nn
from torch.utils.data import default_collate

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.losses import resize
from i2uv_edge.training.tasks import Batch, PictureToMap, SuperResolution, Task, make_task

CONFIG = TrainingConfig(steps=10, batch=2, learning_rate=1e-3)
SHARP = replace(AFFINENET, output=tensor("map", 64))  # maps large enough to hold the mesh
FINE = replace(SRNET, input=tensor("map", 32), output=tensor("map", 128))


class Says(nn.Module):
    """Gives the same maps whatever it is shown."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        del x
        return self.maps


@pytest.fixture(scope="module")
def pictures() -> PictureToMap:
    return PictureToMap(SHARP, CONFIG)


@pytest.fixture(scope="module")
def relief() -> SuperResolution:
    return SuperResolution(FINE, replace(CONFIG, predicted_maps=0.0))


def batch_of(task: Task, count: int = 2) -> Batch:
    made: Batch = default_collate([task.sample(3, index) for index in range(count)])
    return made


def rasterised(atlas: Any, vertices: Tensor) -> Tensor:
    return torch.from_numpy(np.moveaxis(atlas.rasterise(vertices.numpy(), fill=True), -1, 1).copy())


def fine_truth(task: SuperResolution, batch: Batch) -> Tensor:
    return rasterised(task.fine, batch["fine"])


# --- which task -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "kind"), [(AFFINENET, PictureToMap), (SRNET, SuperResolution)])
def test_task_is_that_of_the_role(spec: NetworkSpec, kind: type) -> None:
    assert type(make_task(spec, CONFIG)) is kind


def test_family_that_nobody_can_train_is_refused() -> None:
    with pytest.raises(UsageError, match=r"toy-affinenet: no training .* family resnet"):
        make_task(replace(AFFINENET, family="resnet"), CONFIG)


@pytest.mark.parametrize("name", ["pictures", "relief"])
def test_sample_is_made_of_seed_and_index_alone(name: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(name)
    first, other, again = (task.sample(1, index) for index in (5, 6, 5))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)
    assert any(not np.array_equal(value, task.sample(2, 5)[key]) for key, value in first.items())


# --- picture to map -------------------------------------------------------------------------------


def test_picture_is_the_size_the_network_takes(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    assert batch["picture"].shape == (2, 64, 64, 3)
    assert batch["picture"].dtype == torch.uint8
    assert batch["scale_mm"].shape == (2,)
    assert batch["scale_mm"].dtype == torch.float32


def test_true_map_scores_almost_nothing(pictures: PictureToMap) -> None:
    batch = batch_of(pictures, 3)
    score = pictures.score(Says(rasterised(pictures.atlas, batch["coarse"])), batch)
    assert score.shape == (3,)
    assert (score < 0.3).all()


def test_score_is_in_millimetres_after_alignment(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    truth = rasterised(pictures.atlas, batch["coarse"])
    moved = pictures.score(Says(1.3 * truth + 0.1), batch)
    assert (moved < 0.3).all()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    small, large = (pictures.score(Says(truth + s * noise), batch).mean() for s in (0.01, 0.02))
    assert large == pytest.approx(2 * small, rel=0.2)
    assert 0.2 < small / float(batch["scale_mm"].mean()) / 0.01 < 2  # about the noise, averaged


class Recorder(AffineNetEdge):
    """Notes the maps its warps are to follow, and gives given maps."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__(input_size=64, **AFFINENET.architecture)
        self.maps = maps
        self.guides: Sequence[Tensor] | None = None

    def stages(self, picture: Tensor, guides: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        assert picture.dtype == torch.float32
        assert 0.0 <= picture.min() < picture.max() <= 1.0
        self.guides = guides
        return (*(resize(self.maps, size) for size in (8, 16, 32)), self.maps)


def test_loss_vanishes_at_the_truth(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    truth = rasterised(pictures.atlas, batch["coarse"])
    assert float(pictures.loss(Recorder(truth), batch, 0.5, 0.5)) < 1e-6
    assert float(pictures.loss(Recorder(truth + 0.1), batch, 0.5, 0.5)) > 0.09


@pytest.mark.parametrize(
    ("forcing", "progress", "coin", "guided"),
    [
        (0.0, 0.0, 0.0, False),
        (0.0, 0.5, 0.0, False),
        (0.5, 0.0, 0.99, True),
        (0.5, 0.25, 0.49, True),
        (0.5, 0.25, 0.51, False),
        (0.5, 0.5, 0.0, False),
    ],
)
def test_warps_follow_the_truth_at_first(
    pictures: PictureToMap, forcing: float, progress: float, coin: float, guided: bool
) -> None:
    task = PictureToMap.__new__(PictureToMap)
    task.__dict__.update(pictures.__dict__, teacher_forcing=forcing)
    batch = batch_of(pictures)
    truth = rasterised(pictures.atlas, batch["coarse"])
    recorder = Recorder(truth)
    task.loss(recorder, batch, progress, coin)
    assert (recorder.guides is not None) is guided
    if recorder.guides is not None:
        assert [guide.shape[-1] for guide in recorder.guides] == [16, 32, 64]
        assert torch.equal(recorder.guides[-1], truth)


# --- coarse map to fine map -----------------------------------------------------------------------


def test_maps_are_normalised_by_the_coarse_hand(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    coarse = relief.coarse.read_vertices(batch["coarse_map"].numpy())
    np.testing.assert_allclose(coarse.min(1), 0.0, atol=0.02)
    np.testing.assert_allclose(coarse.max(1), 1.0, atol=0.02)
    assert batch["coarse_map"].shape == (2, 32, 32, 3)
    # Relief reaches a little beyond.
    assert -0.1 < float(batch["fine"].min()) <= 0.01
    assert 0.99 < float(batch["fine"].max()) < 1.1


def test_true_fine_map_scores_almost_nothing(relief: SuperResolution) -> None:
    batch = batch_of(relief, 3)
    score = relief.score(Says(fine_truth(relief, batch)), batch)
    assert score.shape == (3,)
    assert (score < 0.2).all()


def test_upsampled_coarse_map_scores_the_missing_relief(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    coarse = resize(batch["coarse_map"].permute(0, 3, 1, 2), 128)
    perfect = relief.score(Says(fine_truth(relief, batch)), batch)
    plain = relief.score(Says(coarse), batch)
    assert (plain > 2 * perfect).all()
    assert (plain < 5.0).all()


def test_score_is_in_millimetres_of_each_axis(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    off = torch.zeros(1, 3, 1, 1)
    off[0, 0] = 0.1
    score = relief.score(Says(fine_truth(relief, batch) + off), batch)
    np.testing.assert_allclose(score, 0.1 * batch["extent_mm"][:, 0].numpy(), rtol=0.05)


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_inputs_are_perturbed_as_often_as_asked_for(relief: SuperResolution, part: float) -> None:
    task = SuperResolution.__new__(SuperResolution)
    task.__dict__.update(relief.__dict__, perturbed=part)
    batch = batch_of(task, 4)
    for name in ("smooth", "rough"):
        moved = batch[name].abs().amax((1, 2, 3)) > 0
        assert moved.tolist() == [part == 1.0] * 4


def test_loss_asks_for_the_relief_and_not_for_what_it_cannot_know(relief: SuperResolution) -> None:
    task = SuperResolution.__new__(SuperResolution)
    task.__dict__.update(relief.__dict__, perturbed=1.0)
    batch = batch_of(task)
    truth = fine_truth(task, batch)
    drifted = truth + resize(batch["smooth"].permute(0, 3, 1, 2), 128)
    assert float(task.loss(Says(drifted), batch, 0.0, 0.0)) < 1e-4
    assert float(task.loss(Says(truth), batch, 0.0, 0.0)) > 0.1
