"""Data sets as AffineNet learns from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_toys import write_archives, write_freihand, write_ho3d, write_mano
from network_toys import AFFINENET
from torch import nn
from training_toys import CONFIG, SHARP, batch_of

from i2uv_edge.data.dataset import BUILT_IN, HandSample
from i2uv_edge.data.ho3d import Ho3d
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.camera import project
from i2uv_edge.hand.mano import Mano
from i2uv_edge.hand.model import HandModel
from i2uv_edge.training import annotated
from i2uv_edge.training.annotated import AnnotatedPictures
from i2uv_edge.training.config import (
    AugmentationSettings,
    DatasetSettings,
    KeypointWeights,
    TrainingConfig,
)
from i2uv_edge.training.imitation import Imitation
from i2uv_edge.training.loop import train
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.task import EVALUATION_SEED

CAMERA = np.array([[300.0, 0.0, 48.0], [0.0, 300.0, 48.0], [0.0, 0.0, 1.0]], np.float32)


class Turning:
    """The mean hand, turned further with each sample, before a grey wall whose shade numbers it."""

    name = "turning"

    def __init__(self, count: int = 12, topology: str = BUILT_IN) -> None:
        self.count = count
        self.topology = topology
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < self.count:
            raise IndexError
        self.asked.append(index)
        angle = 0.5 * index
        turn = np.array(
            [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        )
        vertices = HandModel.load().coarse.vertices
        placed = (vertices - vertices.mean(0)) @ turn.T + (0.01, 0.02, 0.6)
        shade = np.uint8(20 * index)
        return HandSample(
            id=str(index),
            picture=np.full((96, 96, 3), shade, np.uint8),
            intrinsics=CAMERA,
            vertices=placed.astype(np.float32),
        )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Turning]:
    """Give the toy data sets that are opened, by their split."""
    made: dict[str, Turning] = {}

    def open_dataset(kind: str, path: Path | None, *, split: str, **others: Any) -> Turning:
        assert kind == "turning"
        del path, others
        return made.setdefault(split, Turning(12 if split == "training" else 5))

    monkeypatch.setattr(annotated, "open_dataset", open_dataset)
    return made


def config(evaluation_samples: int = 3, **dataset: Any) -> TrainingConfig:
    settings = DatasetSettings(kind="turning", **dataset)
    return replace(CONFIG, dataset=settings, evaluation_samples=evaluation_samples)


@pytest.mark.usefixtures("opened")
def test_sample_is_made_of_seed_and_index_alone() -> None:
    source = AnnotatedPictures(config(), 64)
    first, other, again = (source.sample(1, index) for index in (5, 6, 5))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)
    assert first["picture"].shape == (64, 64, 3)
    assert first["picture"].dtype == np.uint8


def test_every_sample_that_is_not_held_out_comes_once_a_round_in_another_order(
    opened: dict[str, Turning],
) -> None:
    source = AnnotatedPictures(config(), 64)
    for index in range(27):
        source.sample(0, index)
    rounds = [opened["training"].asked[start : start + 9] for start in (0, 9, 18)]
    assert [sorted(numbers) for numbers in rounds] == [list(range(9))] * 3
    assert rounds[0] != rounds[1] != rounds[2]
    opened["training"].asked.clear()
    for index in range(5):
        source.sample(EVALUATION_SEED, index)
    assert opened["training"].asked == [9, 10, 11, 9, 10]


def test_held_out_split_leaves_the_whole_of_the_other(opened: dict[str, Turning]) -> None:
    source = AnnotatedPictures(config(held_out="evaluation"), 64)
    for index in range(12):
        source.sample(0, index)
    assert sorted(opened["training"].asked) == list(range(12))
    for index in range(3):
        source.sample(EVALUATION_SEED, index)
    assert opened["evaluation"].asked == [0, 1, 2]


@pytest.mark.usefixtures("opened")
def test_held_out_samples_are_plain() -> None:
    source = AnnotatedPictures(config(), 64)
    made = source.sample(EVALUATION_SEED, 0)
    middle = made["picture"][32, 32]
    assert (middle == 180).all()  # sample 9 of the wall, its light untouched
    extent = np.ptp(made["coarse"][:, :2], axis=0).max()
    settings = AugmentationSettings()
    assert extent == pytest.approx(2 / sum(settings.margin), rel=1e-3)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("seed", [0, EVALUATION_SEED])
def test_map_holds_where_the_camera_sees_the_hand_and_its_size(seed: int) -> None:
    source = AnnotatedPictures(config(), 64)
    made = source.sample(seed, 0)
    coarse, scale_mm = made["coarse"], float(made["scale_mm"])
    assert coarse[:, 2].mean() == pytest.approx(0.5, abs=1e-4)
    assert -0.1 < coarse[:, :2].min() < coarse[:, :2].max() < 1.1
    # Thickness does not depend on the turn in the picture's plane, so it tells the scale.
    template = HandModel.load().coarse.vertices
    length = np.linalg.norm(coarse.max(0) - coarse.min(0)) * scale_mm
    assert 0.6 < length / (1000 * np.linalg.norm(template.max(0) - template.min(0))) < 1.4


@pytest.mark.usefixtures("opened")
def test_task_learns_from_it_and_scores_in_millimetres() -> None:
    task = PictureToMap(SHARP, config())
    batch = batch_of(task, 3, EVALUATION_SEED)
    truth = task.surface.rasterise(batch["coarse"])

    class Says(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            del picture
            return truth

    assert (task.score(Says(), batch) < 0.5).all()


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.usefixtures("opened")
def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match="has 12 samples") as raised:
        AnnotatedPictures(config(evaluation_samples=12), 64)
    assert "dataset.held_out" in raised.value.remedy


def test_mesh_without_texture_coordinates_is_refused(opened: dict[str, Turning]) -> None:
    opened["training"] = Turning(topology="mano")
    with pytest.raises(UsageError, match="are mano's, for which no texture coordinates") as raised:
        AnnotatedPictures(config(), 64)
    assert "dataset.atlas" in raised.value.remedy


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: replace(found, vertices=None), "has no mesh to learn from"),
        (lambda found: replace(found, intrinsics=None), "has no mesh to learn from"),
        (lambda found: replace(found, vertices=found.vertices[:7]), "has 7 vertices, the atlas"),
    ],
)
def test_sample_that_cannot_be_learned_from_is_refused_by_its_id(
    change: Callable[[HandSample], HandSample], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Turning.__getitem__
    monkeypatch.setattr(Turning, "__getitem__", lambda self, index: change(original(self, index)))
    task = PictureToMap(AFFINENET, config())
    with pytest.raises(InputError, match=f"sample 9 .*{said}"):
        task.sample(EVALUATION_SEED, 0)


# --- the authors' layouts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an OBJ file of as many vertices as MANO has: the built-in hand's, cut off there."""
    hand = HandModel.load().coarse
    kept = (hand.faces < 778).all(1)
    lines = [f"v {x} {y} {z}" for x, y, z in hand.vertices[:778]]
    lines += [f"vt {u} {v}" for u, v in hand.uv]
    for face, uv_face in zip(hand.faces[kept] + 1, hand.uv_faces[kept] + 1, strict=True):
        lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(face, uv_face, strict=True)))
    path = tmp_path_factory.mktemp("mesh") / "hand.obj"
    path.write_text("\n".join(lines))
    return path


def test_freihand_trains_a_network(tmp_path: Path, mesh: Path) -> None:
    folder = write_freihand(tmp_path / "freihand")
    dataset = DatasetSettings("freihand", str(folder), atlas=str(mesh), held_out="evaluation")
    made = replace(CONFIG, dataset=dataset, steps=2, evaluation_samples=2)
    path = train(AFFINENET, made, tmp_path / "run")
    assert path.is_file()
    source = AnnotatedPictures(made, 64)
    sample = source.sample(0, 0)
    assert np.isfinite(sample["coarse"]).all()
    assert 10 < float(sample["scale_mm"]) < 2000


def test_ho3d_trains_a_network_on_hands_that_mano_makes(tmp_path: Path, mesh: Path) -> None:
    folder = write_ho3d(tmp_path / "ho3d", count=4)
    mano = write_mano(tmp_path / "MANO_RIGHT.pkl")
    dataset = DatasetSettings("ho3d", str(folder), atlas=str(mesh), mano=str(mano))
    made = replace(CONFIG, dataset=dataset, steps=2, batch=2, evaluation_samples=2)
    losses = []
    path = train(
        AFFINENET,
        made,
        tmp_path / "run",
        report=lambda progress: losses.append(progress.loss),
    )
    assert path.is_file()
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    found = Ho3d(folder, mano=Mano.load(mano))[3]
    assert found.vertices is not None
    source = AnnotatedPictures(made, 64)
    held_out = source.sample(EVALUATION_SEED, 1)  # the last of the four
    depth = (found.vertices[:, 2] - found.vertices[:, 2].mean()) * 1000 / held_out["scale_mm"]
    np.testing.assert_allclose(held_out["coarse"][:, 2] - 0.5, depth, atol=1e-3)


def test_ho3d_without_a_hand_model_has_no_mesh_to_learn_from(tmp_path: Path, mesh: Path) -> None:
    folder = write_ho3d(tmp_path / "ho3d", count=4)
    dataset = DatasetSettings("ho3d", str(folder), atlas=str(mesh))
    made = replace(CONFIG, dataset=dataset, steps=2, evaluation_samples=2)
    with pytest.raises(InputError, match=r"(?s)has no mesh to learn from.*dataset\.mano"):
        train(AFFINENET, made, tmp_path / "run")


WEIGHTS = KeypointWeights(distance=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_keypoints_are_where_the_augmented_picture_shows_the_joints(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    mesh = HandModel.load().coarse

    class Jointed(Turning):
        def __getitem__(self, index: int) -> HandSample:
            sample = super().__getitem__(index)
            assert sample.vertices is not None
            return replace(sample, joints=mesh.joint_regressor @ sample.vertices)

    monkeypatch.setattr(annotated, "open_dataset", lambda *_, **__: Jointed())
    source = AnnotatedPictures(replace(config(), keypoints=WEIGHTS), 64)
    made = source.sample(seed, 3)
    assert made["keypoints"].shape == (21, 3)
    assert (made["keypoints"][:, 2] == 1.0).all()
    regressed = mesh.joint_regressor @ made["coarse"]  # but for perspective, which is not affine
    np.testing.assert_allclose(made["keypoints"][:, :2], regressed[:, :2], atol=5e-3)
    assert "keypoints" not in AnnotatedPictures(config(), 64).sample(seed, 3)


def test_freihand_s_joints_are_keypoints_of_mano_s_mesh(tmp_path: Path, mesh: Path) -> None:
    folder = write_freihand(tmp_path / "freihand")
    mano = write_mano(tmp_path / "MANO_RIGHT.pkl")
    dataset = DatasetSettings(
        "freihand", str(folder), atlas=str(mesh), held_out="evaluation", mano=str(mano)
    )
    made = replace(CONFIG, dataset=dataset, evaluation_samples=2, keypoints=WEIGHTS)
    task = Imitation(nn.Identity(), SHARP, made)
    batch = batch_of(task)
    assert batch["keypoints"].shape == (2, 21, 3)
    assert "keypoints" not in batch_of(task, seed=EVALUATION_SEED)
    assert task.keypoints is not None
    regressor = Mano.load(mano).joint_regressor()
    np.testing.assert_array_equal(task.keypoints.regressor.numpy(), regressor)
    without = replace(made, dataset=replace(dataset, mano=""))
    with pytest.raises(UsageError, match=r"(?s)joints of the mesh are not known.*dataset\.mano"):
        Imitation(nn.Identity(), SHARP, without)


def test_a_data_set_without_joints_has_no_keypoints(tmp_path: Path, mesh: Path) -> None:
    folder = write_archives(tmp_path / "archive", 4)
    dataset = DatasetSettings("i2uv-archive", str(folder), atlas=str(mesh))
    made = replace(CONFIG, dataset=dataset, evaluation_samples=2, keypoints=WEIGHTS)
    with pytest.raises(UsageError, match="have no keypoints to weigh"):
        AnnotatedPictures(made, 64)


def test_a_sample_without_joints_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking(Turning):
        def __getitem__(self, index: int) -> HandSample:
            joints = None if index else np.full((21, 3), 0.5, np.float32)
            return replace(super().__getitem__(index), joints=joints)

    monkeypatch.setattr(annotated, "open_dataset", lambda *_, **__: Lacking())
    source = AnnotatedPictures(replace(config(), keypoints=WEIGHTS), 64)
    with pytest.raises(InputError, match=r"sample [1-9] of the data set has no keypoints"):
        [source.sample(0, index) for index in range(2)]


def test_archive_s_maps_are_read_as_vertices(tmp_path: Path, mesh: Path) -> None:
    folder = write_archives(tmp_path / "archive", 4)
    dataset = DatasetSettings("i2uv-archive", str(folder), atlas=str(mesh))
    made = replace(CONFIG, dataset=dataset, evaluation_samples=2)
    source = AnnotatedPictures(made, 64)
    sample = source.sample(0, 0)
    assert sample["coarse"].shape == (778, 3)
    assert sample["coarse"][:, 2].mean() == pytest.approx(0.5, abs=1e-4)


def test_map_of_an_archive_gives_the_hand_it_was_made_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atlas = Atlas.of_mesh(HandModel.load().coarse, 128)
    template = HandModel.load().coarse.vertices
    placed = (template - template.min(0)) / 0.3 + 0.1  # 300 mm a map unit

    class Stored(Turning):
        def __getitem__(self, index: int) -> HandSample:
            picture = np.zeros((96, 96, 3), np.uint8)
            uv_map = atlas.rasterise(placed.astype(np.float32))
            return HandSample(id=str(index), picture=picture, uv_map=uv_map)

    monkeypatch.setattr(annotated, "open_dataset", lambda *_, **__: Stored())
    source = AnnotatedPictures(config(), 64)
    made = source.sample(EVALUATION_SEED, 0)
    side = 300 * np.ptp(placed[:, :2], axis=0).max() * sum(AugmentationSettings().margin) / 2
    assert float(made["scale_mm"]) == pytest.approx(side, rel=0.04)
    away = made["coarse"] * made["scale_mm"] - 1000 * template
    assert abs(away - away.mean(0)).mean() < 2.0


def test_projection_is_the_meaning_of_x_and_y(opened: dict[str, Turning]) -> None:
    source = AnnotatedPictures(config(), 64)
    made = source.sample(EVALUATION_SEED, 0)
    found = opened["training"][9]
    seen = project(found.vertices, found.intrinsics)
    apart = np.ptp(seen, axis=0).max() / np.ptp(made["coarse"][:, :2], axis=0).max()
    low, high = seen.min(0), seen.max(0)
    wanted = (seen - (low + high) / 2) / apart + 0.5
    np.testing.assert_allclose(made["coarse"][:, :2], wanted, atol=1e-3)
