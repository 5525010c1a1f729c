from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from i2uv_edge.spec import Override, RecipeSpec, load_recipe, recipe_names
from i2uv_edge.strict_toml import text_of

AWKWARD = 'a "quoted" \\ back\nslash\t\x7f, 0.3 mm — é'


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_is_written_reads_back_the_same(name: str, tmp_path: Path) -> None:
    recipe = replace(load_recipe(name), training={})
    path = tmp_path / f"{name}.toml"
    path.write_text(text_of(recipe, "name"), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_text_of_any_kind_reads_back_the_same(tmp_path: Path) -> None:
    recipe = replace(
        load_recipe("w8a8"),
        name="mine",
        description=AWKWARD,
        overrides=(Override(reason=AWKWARD, match="a.*"), Override(reason="b", part="heads")),
        max_float_macs=0.12,
        input="int8",
    )
    path = tmp_path / "mine.toml"
    path.write_text(text_of(recipe, "name"), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert isinstance(load_recipe(path), RecipeSpec)


def test_defaults_are_not_written() -> None:
    assert "precision" not in text_of(Override(reason="r", match="m"))
