"""Losses on maps, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.training.config import LossWeights
from i2uv_edge.training.losses import MapLoss, resize
from i2uv_edge.training.surface import Surface

# Four texels of surface on a staircase.
MASK = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
ONLY = {
    "map": LossWeights(map=1.0, gradient=0.0, background=0.0),
    "gradient": LossWeights(map=0.0, gradient=1.0, background=0.0),
    "background": LossWeights(map=0.0, gradient=0.0, background=1.0),
}


def one_map(values: list[list[float]]) -> Tensor:
    """(1, 3, 3, 3): the values in x, nothing in y and z."""
    made = torch.zeros(1, 3, 3, 3)
    made[0, 0] = torch.tensor(values)
    return made


ERROR = one_map([[3, 0, -6], [1, 9, 0], [0, 12, 0]])


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        # 3 + 0 + 9 + 0 over the four texels and three channels of the surface
        ("map", 12 / 12),
        # 6 + 1 + 0 + 12 + 0 over the five texels and three channels beside it
        ("background", 19 / 15),
        # along u |0 - 3| + |0 - 9| over two pairs, along v |9 - 0| over one pair, three channels
        ("gradient", 12 / 6 + 9 / 3),
    ],
)
def test_each_term_is_the_mean_over_its_own_texels(term: str, expected: float) -> None:
    truth = torch.rand(1, 3, 3, 3)
    loss = MapLoss(MASK, ONLY[term]).finest(truth + ERROR, truth)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_terms_are_added_with_their_weights() -> None:
    truth = torch.rand(1, 3, 3, 3)
    loss = MapLoss(MASK, LossWeights(map=2.0, gradient=3.0, background=5.0))
    expected = 2 * 12 / 12 + 3 * (12 / 6 + 9 / 3) + 5 * 19 / 15
    assert loss.finest(truth + ERROR, truth).item() == pytest.approx(expected, rel=1e-5)


def test_batch_is_averaged() -> None:
    truth = torch.rand(2, 3, 3, 3)
    made = truth + torch.cat([ERROR, torch.zeros_like(ERROR)])
    loss = MapLoss(MASK, ONLY["map"]).finest(made, truth)
    assert loss.item() == pytest.approx(12 / 24, rel=1e-5)


def test_shift_of_the_whole_map_has_no_gradient_loss() -> None:
    truth = torch.rand(1, 3, 3, 3)
    assert MapLoss(MASK, ONLY["gradient"]).finest(truth + 0.3, truth).item() < 1e-6
    assert MapLoss(MASK, ONLY["map"]).finest(truth + 0.3, truth).item() == pytest.approx(0.3)


@pytest.mark.parametrize("term", ONLY)
def test_map_that_is_all_or_no_surface_has_a_finite_loss(term: str) -> None:
    truth = torch.zeros(1, 3, 3, 3)
    for mask in (torch.zeros_like(MASK), torch.ones_like(MASK)):
        assert torch.isfinite(MapLoss(mask, ONLY[term]).finest(truth + ERROR, truth))


def test_stages_count_alike_and_only_the_finest_has_a_gradient_term() -> None:
    truth = torch.zeros(1, 3, 8, 8)
    mask = torch.ones(8, 8, dtype=torch.bool)
    loss = MapLoss(mask, LossWeights(map=1.0, gradient=1.0, background=1.0))
    ripple = torch.tensor([0.0, 1.0]).repeat(4).expand(1, 3, 8, 8)
    coarse, fine = torch.full((1, 3, 4, 4), 0.4), ripple
    both = loss.stages((coarse, fine), truth).item()
    assert both == pytest.approx((0.4 + loss.finest(fine, truth).item()) / 2, rel=1e-5)
    assert loss.finest(fine, truth).item() == pytest.approx(0.5 + 1.0, rel=1e-5)


def test_coarse_truth_is_the_fine_one_at_the_same_texture_coordinates() -> None:
    v, u = torch.meshgrid(torch.linspace(0, 1, 9), torch.linspace(0, 1, 9), indexing="ij")
    truth = torch.stack([u, v, u + v])[None]
    mask = torch.ones(9, 9, dtype=torch.bool)
    loss = MapLoss(mask, LossWeights())
    v, u = torch.meshgrid(torch.linspace(0, 1, 4), torch.linspace(0, 1, 4), indexing="ij")
    coarse = torch.stack([u, v, u + v])[None]
    assert loss.stages((coarse, truth), truth).item() < 1e-6
    assert loss.stages((coarse.flip(-1), truth), truth).item() > 0.05


def test_coarse_mask_leaves_out_the_background() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    truth = torch.zeros(1, 3, 8, 8)
    coarse = torch.zeros(1, 3, 4, 4)
    coarse[..., 3] = 7.0  # wrong where there is no surface
    assert MapLoss(mask, ONLY["map"]).stages((coarse, truth), truth).item() == 0.0
    assert MapLoss(mask, ONLY["background"]).stages((coarse, truth), truth).item() > 1.0


def test_gradient_of_the_loss_reaches_every_texel() -> None:
    predicted = torch.rand(1, 3, 3, 3).requires_grad_()
    loss = MapLoss(MASK, LossWeights(map=1.0, gradient=0.0, background=1.0))
    loss.finest(predicted, torch.full((1, 3, 3, 3), 2.0)).backward()
    assert predicted.grad is not None
    assert (predicted.grad < 0).all()


def test_resize_keeps_the_corners() -> None:
    maps = torch.rand(1, 3, 8, 8)
    made = resize(maps, 3).numpy()
    np.testing.assert_allclose(made[..., ::2, ::2], maps[..., ::7, ::7].numpy(), atol=1e-6)


# --- terms of the archive -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def surface() -> Surface:
    return Surface(Atlas.of_mesh(HandModel.load().coarse, 64))


def alone(**weight: float) -> LossWeights:
    return LossWeights(map=0.0, gradient=0.0, background=0.0, **weight)


def hands(count: int = 2) -> Tensor:
    coarse = torch.from_numpy(HandModel.load().coarse.vertices)
    return torch.stack([coarse * (1 + index) for index in range(count)])


@pytest.mark.parametrize(
    ("term", "per_millimetre"), [("vertex", 0.001 / 3), ("seam", 0.0), ("depth", 0.0)]
)
def test_terms_of_the_archive_see_a_shift_in_depth_as_they_should(
    surface: Surface, term: str, per_millimetre: float
) -> None:
    truth = surface.rasterise(hands())
    loss = MapLoss.of(surface, alone(**{term: 1.0}))
    shift = torch.tensor([0.0, 0.0, 0.05])[None, :, None, None]
    exact, moved = loss.finest(truth, truth).item(), loss.finest(truth + shift, truth).item()
    assert moved - exact == pytest.approx(50 * per_millimetre, abs=1e-6)


def test_vertex_term_is_held_against_the_vertices_that_are_given(surface: Surface) -> None:
    vertices = hands()
    truth = surface.rasterise(vertices)
    loss = MapLoss.of(surface, alone(vertex=2.0))
    assert loss.finest(truth, truth).item() == pytest.approx(0.0, abs=1e-7)
    assert 0.0 < loss.finest(truth, truth, vertices).item() < 2 * 0.0005
    assert loss.finest(truth, truth, vertices + 0.1).item() == pytest.approx(0.2, rel=0.01)


def test_seam_term_sees_a_chart_that_is_torn_off(surface: Surface) -> None:
    truth = surface.rasterise(hands())
    loss = MapLoss.of(surface, alone(seam=1.0))
    torn = truth.clone()
    torn.flatten(2)[:, :, surface.seams[0].unique()] += 0.02
    whole = loss.finest(truth, truth).item()
    assert whole < 0.004  # texels beside a seam hold points millimetres from it
    assert loss.finest(torn, truth).item() > whole + 0.01


def test_depth_term_is_the_error_behind_the_mean_one(surface: Surface) -> None:
    truth = surface.rasterise(hands())
    loss = MapLoss.of(surface, alone(depth=1.0))
    slope = torch.linspace(-1, 1, 64).expand(64, 64)
    made = truth.clone()
    made[:, 2] += slope
    masked = slope[surface.mask]
    wanted = (masked - masked.mean()).abs().mean().item()
    assert loss.finest(made, truth).item() == pytest.approx(wanted, rel=1e-4)
    made[:, :2] += 5.0
    assert loss.finest(made, truth).item() == pytest.approx(wanted, rel=1e-4)


def test_terms_on_vertices_and_seams_need_a_surface() -> None:
    for weights in (alone(vertex=1.0), alone(seam=1.0)):
        with pytest.raises(ValueError, match="need a surface"):
            MapLoss(MASK, weights)
    MapLoss(MASK, alone(depth=1.0))


@pytest.mark.parametrize("term", ["vertex", "seam", "depth"])
def test_terms_of_the_archive_have_gradients(surface: Surface, term: str) -> None:
    truth = surface.rasterise(hands(1))
    made = (truth + 0.01 * torch.rand(truth.shape)).requires_grad_()
    MapLoss.of(surface, alone(**{term: 1.0})).finest(made, truth, hands(1)).backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
