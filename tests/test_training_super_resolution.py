"""SRNet's task: pairs of maps, a network's own maps, smoothed relief."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET
from scipy.ndimage import gaussian_filter
from torch import Tensor
from training_toys import CONFIG, FINE, Says, batch_of

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.training import super_resolution
from i2uv_edge.training.losses import resize
from i2uv_edge.training.super_resolution import SuperResolution, extent, gaussian, shared_part
from i2uv_edge.training.task import EVALUATION_SEED, Batch


@pytest.fixture(scope="module")
def relief() -> SuperResolution:
    return SuperResolution(FINE, replace(CONFIG, predicted_maps=0.0))


def changed(task: SuperResolution, **attributes: Any) -> SuperResolution:
    made = SuperResolution.__new__(SuperResolution)
    made.__dict__.update(task.__dict__, **attributes)
    return made


def fine_truth(task: SuperResolution, batch: Batch) -> Tensor:
    low, span = extent(batch["coarse"])
    return task.fine.rasterise((batch["fine"] - low) / span)


def coarse_truth(task: SuperResolution, batch: Batch) -> Tensor:
    low, span = extent(batch["coarse"])
    return task.coarse.rasterise((batch["coarse"] - low) / span)


def test_sample_is_made_of_seed_and_index_alone(relief: SuperResolution) -> None:
    first, other, again = (relief.sample(1, index) for index in (5, 6, 5))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)
    assert any(not np.array_equal(v, relief.sample(2, 5)[key]) for key, v in first.items())


def test_maps_are_normalised_by_the_coarse_hand(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    given, target = relief.pair(batch)
    assert given.shape == (2, 3, 32, 32)
    assert target.shape == (2, 3, 128, 128)
    coarse = relief.coarse.read_vertices(given).numpy()
    np.testing.assert_allclose(coarse.min(1), 0.0, atol=0.02)
    np.testing.assert_allclose(coarse.max(1), 1.0, atol=0.02)
    # Relief reaches a little beyond.
    fine = relief.fine.read_vertices(target)
    assert -0.1 < float(fine.min()) <= 0.01
    assert 0.99 < float(fine.max()) < 1.1
    torch.testing.assert_close(target, fine_truth(relief, batch), atol=1e-5, rtol=0)


def test_true_fine_map_scores_almost_nothing(relief: SuperResolution) -> None:
    batch = batch_of(relief, 3)
    score = relief.score(Says(fine_truth(relief, batch)), batch)
    assert score.shape == (3,)
    assert (score < 0.2).all()


def test_upsampled_coarse_map_scores_the_missing_relief(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    coarse = resize(coarse_truth(relief, batch), 128)
    perfect = relief.score(Says(fine_truth(relief, batch)), batch)
    plain = relief.score(Says(coarse), batch)
    assert (plain > 2 * perfect).all()
    assert (plain < 5.0).all()


def test_score_is_in_millimetres_of_each_axis(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    off = torch.zeros(1, 3, 1, 1)
    off[0, 0] = 0.1
    score = relief.score(Says(fine_truth(relief, batch) + off), batch)
    np.testing.assert_allclose(
        score, 0.1 * batch["scale_mm"] * extent(batch["coarse"])[1][:, 0, 0], rtol=0.05
    )


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_inputs_are_perturbed_as_often_as_asked_for(relief: SuperResolution, part: float) -> None:
    task = changed(relief, predicted=part)
    batch = batch_of(task, 4)
    for name in ("smooth", "rough"):
        moved = batch[name].abs().amax((1, 2, 3)) > 0
        assert moved.tolist() == [part == 1.0] * 4
        assert not task.sample(EVALUATION_SEED, 0)[name].any()


def test_loss_asks_for_the_relief_and_not_for_what_it_cannot_know(relief: SuperResolution) -> None:
    task = changed(relief, predicted=1.0)
    batch = batch_of(task)
    truth = fine_truth(task, batch)
    drifted = truth + resize(batch["smooth"].permute(0, 3, 1, 2), 128)
    assert float(task.loss(Says(drifted), batch, 0.0, 0.0)) < 1e-4
    assert float(task.loss(Says(truth), batch, 0.0, 0.0)) > 0.1


# --- a network's own maps -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def follows(tmp_path_factory: pytest.TempPathFactory) -> SuperResolution:
    """Give the task of an SRNet that sees nothing but the toy AffineNet's maps."""
    path = tmp_path_factory.mktemp("affinenet") / "w.safetensors"
    torch.manual_seed(0)
    save_checkpoint(build(AFFINENET), path, {"network": "toy"})
    spec = replace(SRNET, input=AFFINENET.output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("i2uv_edge.networks.model.load_network", lambda name: AFFINENET)
        return SuperResolution(spec, replace(CONFIG, affinenet=str(path), predicted_maps=1.0))


def answering(task: SuperResolution, maps: Tensor) -> SuperResolution:
    return changed(task, affinenet=Says(maps))


def test_network_looks_at_the_picture_of_the_hand_that_is_asked_for(
    follows: SuperResolution,
) -> None:
    batch = batch_of(follows)
    assert batch["seen"].tolist() == [True, True]
    assert batch["picture"].shape == (2, 64, 64, 3)
    assert float(batch["picture"].float().std()) > 5
    assert batch["scale_mm"].min() > 50
    with torch.no_grad():
        assert follows.affinenet is not None
        made = follows.affinenet(super_resolution.pictures(batch["picture"]))
    given, _ = follows.pair(batch)
    low, span = extent(follows.coarse.read_vertices(made))
    wanted = (made - low.transpose(1, 2)[..., None]) / span.transpose(1, 2)[..., None]
    torch.testing.assert_close(given, wanted.clamp(-0.25, 1.25), atol=1e-5, rtol=1e-4)


def test_network_is_left_as_it_was(follows: SuperResolution) -> None:
    module = build(replace(SRNET, input=AFFINENET.output))
    batch = batch_of(follows)
    follows.loss(module, batch, 0.0, 0.0).backward()
    assert follows.affinenet is not None
    assert not follows.affinenet.training
    assert all(value.grad is None for value in follows.affinenet.parameters())
    assert all(value.grad is not None for value in module.parameters())


def test_errors_over_the_whole_hand_are_shared_and_those_of_a_texel_are_not(
    relief: SuperResolution,
) -> None:
    batch = batch_of(relief)
    batch["seen"] = torch.tensor([True, True])
    batch["picture"] = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    maps = relief.coarse.rasterise(batch["coarse"])
    exact = answering(relief, maps).pair(batch)[1]
    bent = maps.clone()
    bent[:, 0] += 0.5 * bent[:, 1]  # sheared: an error that varies slowly
    _, target = answering(relief, bent).pair(batch)
    low, span = extent(relief.coarse.read_vertices(bent))
    sheared = batch["fine"].clone()
    sheared[..., 0] += 0.5 * sheared[..., 1]
    wanted = (sheared - low) / span
    apart = (relief.fine.read_vertices(target) - wanted).abs().mean()
    unmoved = (relief.fine.read_vertices(exact) - wanted).abs().mean()
    assert apart < 0.2 * unmoved
    noise = 0.002 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    _, target = answering(relief, maps + noise).pair(batch)
    low, span = extent(relief.coarse.read_vertices(maps + noise))
    moved = relief.fine.read_vertices(target) * span + low - batch["fine"]
    assert moved.std() < 0.35 * noise.std()


def test_maps_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(build(AFFINENET), tmp_path / "w.safetensors", {"network": "toy"})
    monkeypatch.setattr("i2uv_edge.networks.model.load_network", lambda name: AFFINENET)
    config = replace(CONFIG, affinenet=str(tmp_path / "w.safetensors"))
    with pytest.raises(UsageError, match=r"\[1, 16, 16, 3\], toy-srnet takes \[1, 32, 32, 3\]"):
        SuperResolution(FINE, config)


# --- smoothing ------------------------------------------------------------------------------------


def test_gaussian_is_that_of_scipy() -> None:
    maps = torch.rand(2, 3, 20, 20)
    made = gaussian(maps, 1.3)
    wanted = gaussian_filter(maps.numpy(), (0, 0, 1.3, 1.3), mode="constant", radius=4)
    np.testing.assert_allclose(made, wanted, atol=1e-6)


def test_smoothed_target_loses_fine_relief_and_keeps_positions(relief: SuperResolution) -> None:
    batch = batch_of(relief)
    _, sharp = relief.pair(batch)
    _, soft = changed(relief, smoothing=1.5).pair(batch)
    mask = relief.fine.mask
    coarse = relief.under.rasterise(
        (batch["coarse"] - extent(batch["coarse"])[0]) / extent(batch["coarse"])[1]
    )
    before, after = (sharp - coarse)[..., mask], (soft - coarse)[..., mask]
    assert 0.3 * before.std() < after.std() < 0.97 * before.std()
    assert (soft - sharp)[..., mask].abs().max() < before.abs().max()


def test_shared_part_of_a_shift_is_the_shift_and_of_one_vertex_little() -> None:
    faces = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4]], np.int32)
    matrix = shared_part(faces, 16)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-5)
    assert (matrix > 0).all()
    assert matrix[:, 0].max() < 0.3
    np.testing.assert_array_equal(
        shared_part(faces, 1)[0], np.float32([1, 1, 1, 0, 0]) / np.float32(3)
    )
