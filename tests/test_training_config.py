"""What a training run is made of, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2uv_edge import resources
from i2uv_edge.errors import UsageError
from i2uv_edge.spec import load_network
from i2uv_edge.training.config import RESERVED_SEEDS, LossWeights, TrainingConfig, load_config
from i2uv_edge.training.tasks import EVALUATION_SEED

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


def test_overrides_win_unless_they_are_none(tmp_path: Path) -> None:
    config = load_config("any", write(tmp_path, NEEDED), steps=20, batch=None, learning_rate=0.5)
    assert (config.steps, config.batch, config.learning_rate) == (20, 4, 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(f"{NEEDED}step = 3", "unknown key 'step'", id="unknown key"),
        pytest.param(f"{NEEDED}[loss]\nl1 = 3", "unknown key 'l1'", id="unknown loss"),
        pytest.param("steps = 10\nbatch = 4", "'learning_rate' is missing", id="missing key"),
        pytest.param(NEEDED.replace("10", '"10"'), "steps = '10' is a string", id="type"),
        pytest.param(f"{NEEDED}precision = 'float16'", "precision = 'float16'", id="choice"),
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
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_value_out_of_range_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    rest = "".join(line + "\n" for line in NEEDED.splitlines() if not line.startswith(key))
    with pytest.raises(UsageError, match=rf"{key} = {value}"):
        load_config("any", write(tmp_path, f"{rest}{key} = {value}"))


@pytest.mark.parametrize(("key", "value"), BAD)
def test_override_out_of_range_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{key} = {value}"):
        load_config("any", write(tmp_path, NEEDED), **{key: value})


def test_network_without_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="no training file for the network srnet-huge") as raised:
        load_config("srnet-huge")
    assert "--config" in raised.value.remedy


def test_no_run_can_train_on_what_it_is_evaluated_on() -> None:
    assert EVALUATION_SEED >= RESERVED_SEEDS
