"""What a training run is made of, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2uv_edge import resources
from i2uv_edge.errors import UsageError
from i2uv_edge.spec import load_network
from i2uv_edge.training.config import (
    RESERVED_SEEDS,
    KeypointWeights,
    LossWeights,
    TrainingConfig,
    load_config,
)
from i2uv_edge.training.task import EVALUATION_SEED

NEEDED = "steps = 10\nbatch = 4\nlearning_rate = 1e-3\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "path", sorted((resources.export_data() / "training").iterdir()), ids=lambda path: path.stem
)
def test_every_bundled_run_is_of_a_bundled_network(path: Path) -> None:
    config = load_config(path.stem)
    assert load_network(path.stem).name == path.stem
    assert config.steps > 100


def test_file_gives_the_values_and_the_rest_are_defaults(tmp_path: Path) -> None:
    config = load_config("any", write(tmp_path, f"{NEEDED}[loss]\ngradient = 2\n"))
    assert (config.steps, config.batch, config.learning_rate) == (10, 4, 1e-3)
    assert config.loss == LossWeights(gradient=2.0)
    assert config.ema == TrainingConfig(10, 4, 1e-3).ema


def test_settings_replace_keys_of_the_file_and_the_last_wins(tmp_path: Path) -> None:
    settings = ["steps=30", "steps=20", "learning_rate = 0.5", "loss.seam=0.25"]
    settings += ["dataset.path=/data/Frei HAND", "tensorboard=true", "betas=[0.5, 0.6]"]
    config = load_config("any", write(tmp_path, f"{NEEDED}[loss]\ngradient = 2"), settings)
    assert (config.steps, config.batch, config.learning_rate) == (20, 4, 0.5)
    assert config.loss == LossWeights(gradient=2.0, seam=0.25)
    assert config.dataset.path == "/data/Frei HAND"
    assert config.tensorboard is True
    assert config.betas == (0.5, 0.6)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("steps", "'steps' has no key and value"),
        ("=3", "'=3' has no key and value"),
        ("loss.=3", "'loss.=3' has no key and value"),
        ("steps.more=3", "steps is no table"),
        ("step=3", "unknown key 'step'"),
        ("loss.l2=3", "unknown key 'l2'"),
        ("steps=many", "steps = 'many' is a string"),
    ],
)
def test_setting_that_is_not_understood_is_refused(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        load_config("any", write(tmp_path, NEEDED), [setting])
    assert setting in raised.value.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(f"{NEEDED}step = 3", "unknown key 'step'", id="unknown key"),
        pytest.param(f"{NEEDED}[loss]\nl1 = 3", "unknown key 'l1'", id="unknown loss"),
        pytest.param("steps = 10\nbatch = 4", "'learning_rate' is missing", id="missing key"),
        pytest.param(NEEDED.replace("10", '"10"'), "steps = '10' is a string", id="type"),
        pytest.param(f"{NEEDED}precision = 'float64'", "precision = 'float64'", id="choice"),
        pytest.param(f"{NEEDED}ema = nan", "ema = nan", id="nan"),
    ],
)
def test_file_that_is_not_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=said) as raised:
        load_config("any", path)
    assert str(path) in raised.value.what


BAD = [
    ("steps", 0),
    ("batch", 1),
    ("learning_rate", 0.0),
    ("learning_rate", -1e-3),
    ("weight_decay", -1.0),
    ("warmup_steps", -1),
    ("gradient_clip", 0.0),
    ("ema", 1.0),
    ("ema", -0.1),
    ("teacher_forcing", 1.5),
    ("seed", -1),
    ("seed", RESERVED_SEEDS),
    ("workers", -1),
    ("threads", 0),
    ("checkpoint_every", 0),
    ("evaluate_every", 0),
    ("evaluation_samples", 0),
    ("coarse_edges", -0.5),
    ("predicted_maps", 2.0),
    ("micro_batch", 1),
    ("micro_batch", -2),
    ("smoothing", -1.0),
    ("features", -1.0),
    ("labels", -0.5),
]


def test_keypoint_terms_are_off_until_one_is_weighed(tmp_path: Path) -> None:
    path = write(tmp_path, NEEDED)
    assert not load_config("any", path).keypoints.any
    made = load_config("any", path, ["keypoints.length=0.5"])
    assert made.keypoints == KeypointWeights(length=0.5)
    assert made.keypoints.any
    with pytest.raises(UsageError, match="direction = -1"):
        load_config("any", path, ["keypoints.direction=-1.0"])
    with pytest.raises(UsageError, match="unknown key 'lenght'"):
        load_config("any", path, ["keypoints.lenght=1.0"])


@pytest.mark.parametrize(("key", "value"), BAD)
def test_value_out_of_range_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    rest = "".join(line + "\n" for line in NEEDED.splitlines() if not line.startswith(key))
    with pytest.raises(UsageError, match=rf"{key} = {value}"):
        load_config("any", write(tmp_path, f"{rest}{key} = {value}"))


@pytest.mark.parametrize(("key", "value"), BAD)
def test_setting_out_of_range_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{key} = {value}"):
        load_config("any", write(tmp_path, NEEDED), [f"{key}={value}"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("betas=[0.9, 1.0]", r"betas = \[0.9, 1.0\]"),
        ("augmentation.margin=[0.9, 1.2]", "margin"),
        ("augmentation.margin=[1.4, 1.2]", "margin"),
        ("augmentation.blur=2", "blur = 2.0"),
        ("augmentation.noise=-1", "noise = -1"),
    ],
)
def test_combination_that_makes_no_sense_is_refused(
    tmp_path: Path, setting: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load_config("any", write(tmp_path, NEEDED), [setting])


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r101", "r152"])
def test_the_paper_s_recipe_is_the_paper_s(name: str) -> None:
    for config in (load_config(f"affinenet-{name}"), load_config("srnet")):
        assert (config.batch, config.learning_rate, config.optimizer) == (512, 1e-3, "adam")
        assert config.batch % config.micro_batch == 0
        assert config.weight_decay == config.ema == config.teacher_forcing == 0.0
        assert (config.loss.map, config.loss.gradient > 0, config.loss.background > 0) == (1, 1, 1)
        assert config.loss.vertex == config.loss.seam == config.loss.depth == 0.0
    assert load_config("srnet").smoothing > 0


def test_network_without_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="no training file for the network srnet-huge") as raised:
        load_config("srnet-huge")
    assert "--config" in raised.value.remedy


def test_no_run_can_train_on_what_it_is_evaluated_on() -> None:
    assert EVALUATION_SEED >= RESERVED_SEEDS
