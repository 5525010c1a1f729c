"""AffineNet's task: samples, a loss that vanishes at the truth, a score in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from network_toys import AFFINENET
from torch import Tensor
from training_toys import CONFIG, SHARP, Says, batch_of

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.training.config import LossWeights
from i2uv_edge.training.losses import resize
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.task import Batch


@pytest.fixture(scope="module")
def pictures() -> PictureToMap:
    return PictureToMap(SHARP, CONFIG)


def truth_of(task: PictureToMap, batch: Batch) -> Tensor:
    return task.surface.rasterise(batch["coarse"])


def changed(task: PictureToMap, **attributes: Any) -> PictureToMap:
    made = PictureToMap.__new__(PictureToMap)
    made.__dict__.update(task.__dict__, **attributes)
    return made


def test_sample_is_made_of_seed_and_index_alone(pictures: PictureToMap) -> None:
    first, other, again = (pictures.sample(1, index) for index in (5, 6, 5))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)
    assert any(not np.array_equal(v, pictures.sample(2, 5)[key]) for key, v in first.items())


def test_picture_is_the_size_the_network_takes(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    assert batch["picture"].shape == (2, 64, 64, 3)
    assert batch["picture"].dtype == torch.uint8
    assert batch["scale_mm"].shape == (2,)
    assert batch["scale_mm"].dtype == torch.float32


def test_true_map_scores_almost_nothing(pictures: PictureToMap) -> None:
    batch = batch_of(pictures, 3)
    score = pictures.score(Says(truth_of(pictures, batch)), batch)
    assert score.shape == (3,)
    assert (score < 0.3).all()


def test_score_is_in_millimetres_after_alignment(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    truth = truth_of(pictures, batch)
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
    truth = truth_of(pictures, batch)
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
    task = changed(pictures, teacher_forcing=forcing)
    batch = batch_of(pictures)
    truth = truth_of(pictures, batch)
    recorder = Recorder(truth)
    task.loss(recorder, batch, progress, coin)
    assert (recorder.guides is not None) is guided
    if recorder.guides is not None:
        assert [guide.shape[-1] for guide in recorder.guides] == [16, 32, 64]
        assert torch.equal(recorder.guides[-1], truth)


class PaperRecorder(AffineNet):
    """The same for the paper's network, whose coarsest maps nobody asks for."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__(input_size=64, resnet_depth=18, align_corners=True)
        self.maps = maps
        self.guides: Sequence[Tensor] | None = None

    def stages(self, picture: Tensor, guides: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        del picture
        self.guides = guides
        sizes = [resize(self.maps, size) for size in (8, 16, 32)]
        nonsense = torch.full((2, 3, 4, 4), 9.0)
        confident = [torch.cat((stage, stage[:, :1]), 1) for stage in (*sizes, self.maps)]
        return (nonsense, nonsense, *confident)


def test_paper_network_is_guided_too_and_its_four_finest_maps_supervised(
    pictures: PictureToMap,
) -> None:
    batch = batch_of(pictures)
    truth = truth_of(pictures, batch)
    recorder = PaperRecorder(truth)
    loss = changed(pictures, teacher_forcing=1.0).loss(recorder, batch, 0.0, 0.5)
    assert float(loss) < 1e-6
    assert recorder.guides is not None
    assert [guide.shape[-1] for guide in recorder.guides] == [8, 16, 16, 32]
    assert torch.equal(recorder.guides[1], recorder.guides[2])


@pytest.mark.parametrize("forcing", [0.0, 1.0])
def test_every_parameter_of_the_paper_network_has_a_gradient(
    pictures: PictureToMap, forcing: float
) -> None:
    torch.manual_seed(0)
    network = AffineNet(input_size=64, resnet_depth=18, align_corners=True).train()
    changed(pictures, teacher_forcing=forcing).loss(network, batch_of(pictures), 0, 0.5).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_network_without_stages_is_refused(pictures: PictureToMap) -> None:
    with pytest.raises(UsageError, match="Says has no maps of several stages"):
        pictures.loss(Says(torch.zeros(2, 3, 64, 64)), batch_of(pictures), 0.0, 0.0)


def test_vertices_of_the_sample_are_what_the_vertex_term_asks_for(pictures: PictureToMap) -> None:
    batch = batch_of(pictures)
    truth = truth_of(pictures, batch)
    task = PictureToMap(SHARP, replace(CONFIG, loss=LossWeights(0.0, 0.0, 0.0, vertex=1.0)))
    exact = float(task.loss(Recorder(truth), batch, 0.5, 0.5))
    moved = float(task.loss(Recorder(truth + 0.1), batch, 0.5, 0.5))
    assert exact < 0.002  # what reading a map of 64 texels costs
    assert moved == pytest.approx(0.1 / 4, rel=0.05)  # of four stages the finest alone
