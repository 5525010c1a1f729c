"""Distillation: a student learns its teacher's maps of pictures that nobody annotated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET, fitted, tensor
from torch import Tensor
from training_toys import CONFIG, batch_of

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.distillation import Distillation
from i2uv_edge.training.loop import train
from i2uv_edge.training.losses import resize
from i2uv_edge.training.task import EVALUATION_SEED, pictures
from i2uv_edge.training.tasks import make_task

# The paper's kind of network, at its map's full size, on larger pictures than the student's.
TEACHER = NetworkSpec(
    name="teacher",
    role="affinenet",
    family="affinenet",
    input=tensor("picture", 96),
    output=tensor("map", 96),
    source="a toy",
    architecture={"resnet_depth": 18, "align_corners": True, "confidence": True},
)


@pytest.fixture(autouse=True)
def known_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {spec.name: spec for spec in (AFFINENET, SRNET, TEACHER)}
    monkeypatch.setattr("i2uv_edge.networks.model.load_network", lambda name: known[name])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    made = {}
    for spec in (AFFINENET, SRNET, TEACHER):
        torch.manual_seed(0)
        module = build(spec)
        if spec is AFFINENET:
            module = fitted(module, 64, steps=5)
        made[spec.name] = folder / f"{spec.name}.safetensors"
        save_checkpoint(module, made[spec.name], {"network": spec.name})
    return made


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(3):
        colour = np.random.default_rng(index).integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(colour, (160, 120)))
    return folder


def config(teacher: Path, images: Path | str = "") -> TrainingConfig:
    return replace(CONFIG, teacher=str(teacher), images=str(images))


def test_there_is_a_teacher_when_one_is_named(checkpoints: dict[str, Path]) -> None:
    assert isinstance(make_task(AFFINENET, config(checkpoints["teacher"])), Distillation)


@pytest.mark.parametrize("folder", [True, False], ids=["photographs", "rendered"])
def test_sample_is_a_picture_as_large_as_the_one_that_sees_more_takes_it(
    checkpoints: dict[str, Path], photographs: Path, folder: bool
) -> None:
    task = Distillation(AFFINENET, config(checkpoints["teacher"], photographs if folder else ""))
    first, other, again = (task.sample(1, index) for index in (5, 6, 5))
    assert set(first) == {"picture"}
    assert first["picture"].shape == (96, 96, 3)
    assert np.array_equal(first["picture"], again["picture"])
    assert not np.array_equal(first["picture"], other["picture"])
    held_out = task.sample(EVALUATION_SEED, 0)
    assert held_out["picture"].shape == (64, 64, 3)
    assert {"coarse", "scale_mm"} < set(held_out)


def test_student_that_says_what_the_teacher_says_has_nothing_to_learn(
    checkpoints: dict[str, Path], photographs: Path
) -> None:
    task = Distillation(AFFINENET, config(checkpoints[AFFINENET.name], photographs))
    batch = batch_of(task)
    with torch.no_grad():
        same = float(task.loss(task.teacher, batch, 0.5, 0.5))
        other = float(task.loss(build(AFFINENET), batch, 0.5, 0.5))
    assert same < 0.5 * other  # what is left is the coarser stages'


def test_target_is_the_teacher_s_map_at_the_same_texture_coordinates(
    checkpoints: dict[str, Path], photographs: Path
) -> None:
    task = Distillation(AFFINENET, config(checkpoints["teacher"], photographs))
    batch = batch_of(task)
    with torch.no_grad():
        wanted = resize(task.teacher(pictures(batch["picture"])), 16)
    assert wanted.shape == (2, 3, 16, 16)  # the confidence is not to be learned

    class Student(type(build(AFFINENET))):  # type: ignore[misc]
        def stages(self, picture: Tensor, guides: object = None) -> tuple[Tensor, ...]:
            assert picture.shape == (2, 3, 64, 64)
            assert guides is None
            return tuple(resize(wanted, size) for size in (2, 4, 8, 16))

    student = Student(input_size=64, **AFFINENET.architecture)
    assert float(task.loss(student, batch, 0.0, 0.0)) < 1e-6


def test_teacher_is_left_as_it_was(checkpoints: dict[str, Path], photographs: Path) -> None:
    task = Distillation(AFFINENET, config(checkpoints["teacher"], photographs))
    student = build(AFFINENET).train()
    before = [value.clone() for value in task.teacher.state_dict().values()]
    task.loss(student, batch_of(task), 0.0, 0.0).backward()
    after = task.teacher.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(value.grad is None for value in task.teacher.parameters())
    assert any(value.grad is not None for value in student.parameters())


def test_student_comes_nearer_to_the_teacher(
    checkpoints: dict[str, Path], photographs: Path, tmp_path: Path
) -> None:
    chosen = config(checkpoints[AFFINENET.name], photographs)
    losses: list[float] = []
    run = replace(chosen, steps=25, learning_rate=1e-2, seed=3, evaluation_samples=2)
    path = train(AFFINENET, run, tmp_path, report=lambda progress: losses.append(progress.loss))
    assert path.is_file()
    assert losses[-1] < 0.8 * losses[0]


# --- what it refuses ------------------------------------------------------------------------------


def test_teacher_that_is_no_affinenet_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="is toy-srnet, whose role is srnet"):
        Distillation(AFFINENET, config(checkpoints[SRNET.name]))


def test_checkpoint_that_does_not_say_whose_it_is_needs_its_network_named(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    silent = tmp_path / "w.pt"
    torch.save(build(TEACHER).state_dict(), silent)
    with pytest.raises(UsageError, match="does not say which network it belongs to"):
        Distillation(AFFINENET, config(silent))
    named = replace(config(silent), teacher_network="teacher")
    assert Distillation(AFFINENET, named).sizes == (64, 96)


def test_missing_teacher_and_folder_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*none\.safetensors"):
        Distillation(AFFINENET, config(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="holds no picture"):
        Distillation(AFFINENET, config(checkpoints["teacher"], tmp_path))
