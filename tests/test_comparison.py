from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from model_toys import PICTURES, Ended, Toy

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle
from i2uv_edge.comparison import Contents, Samples
from i2uv_edge.dumps import DumpRunner, write_dump
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.parity import Sample
from i2uv_edge.spec import load_recipe
from i2uv_edge.strict_toml import text_of


@pytest.fixture(scope="module")
def contents(exported: tuple[Ended, Path]) -> Contents:
    return comparison.open_contents(Bundle.open(exported[1]))


def test_contents_are_those_of_the_export(contents: Contents) -> None:
    assert contents.model == "toy"
    assert list(contents.specs) == ["affinenet", "srnet"]
    assert contents.specs["srnet"].architecture["width"] == 8
    assert contents.recipe.name == "w8a8"
    assert contents.available == ("tflite", "onnx", "fake-quant")


def test_a_bundle_without_onnx_files_provides_none(contents: Contents) -> None:
    kept = tuple(item for item in contents.bundle.artifacts if item.kind != "onnx")
    older = replace(contents, bundle=replace(contents.bundle, artifacts=kept))
    assert older.available == ("tflite", "fake-quant")
    assert older.sizes["onnx"] == 0
    with pytest.raises(UsageError, match="cannot provide 'onnx'"):
        comparison.runners(older, ["onnx"])


def test_sizes_are_those_of_the_files(contents: Contents) -> None:
    folder = contents.bundle.path
    for kind in ("tflite", "onnx"):
        files = [(folder / f"{role}.{kind}").stat().st_size for role in contents.specs]
        assert contents.sizes[kind] == sum(files)
        assert contents.sizes["float"] > contents.sizes[kind]


def test_every_runner_answers_with_maps_of_the_same_shapes(contents: Contents) -> None:
    runners = comparison.runners(contents, ["float", "tflite", "onnx", "fake-quant", "float"])
    assert [runner.name for runner in runners] == ["float", "tflite", "onnx", "fake-quant"]
    (sample,) = list(comparison.samples(contents).stream)[:1]
    for runner in runners:
        made = runner(sample.picture[None])
        assert made["affinenet"].shape == (1, 16, 16, 3)
        assert made["srnet"].shape == (1, 64, 64, 3)


def test_what_a_bundle_does_not_hold_is_refused(contents: Contents) -> None:
    with pytest.raises(UsageError, match="cannot provide 'qnn'"):
        comparison.runners(contents, ["qnn"])


@pytest.mark.usefixtures("toy_world")
def test_onnx_runtime_equals_the_fake_quant_networks_in_its_own_arithmetic(
    toy: Toy, tmp_path: Path
) -> None:
    """And not in that of TFLite's kernels, which is the fault worked round."""
    recipe = load_recipe("w8a8")
    # The features that are resized are integer then, and resizing is what rounds in two ways.
    own = tuple(item for item in recipe.overrides if item.part != "narrows")
    path = tmp_path / "own.toml"
    path.write_text(text_of(replace(recipe, overrides=own), "name"))
    toy.export(tmp_path / "bundle", "--recipe", str(path))
    contents = comparison.open_contents(Bundle.open(tmp_path / "bundle"))
    pair = ("fake-quant", "onnx")
    assert comparison.stand_ins(contents, [("float", "onnx"), ("fake-quant", "tflite")]) == {}
    (stand_in,) = comparison.stand_ins(contents, [pair, ("float", "onnx")]).values()
    assert stand_in.name == "fake-quant"
    onnx, plain = comparison.runners(contents, ["onnx", "fake-quant"])
    pictures = np.stack([sample.picture for sample in comparison.samples(contents).stream])
    found = onnx(pictures)["affinenet"]
    off, before = (
        np.abs(other(pictures)["affinenet"] - found).mean((1, 2, 3)) for other in (stand_in, plain)
    )
    # In a picture or two a value that float32 puts onto a tie rounds the other way.
    assert np.median(off) < 1e-6
    assert np.median(before) > 1e-4


def test_the_samples_of_a_bundle_carry_truth(contents: Contents) -> None:
    found = comparison.samples(contents)
    stream = list(found.stream)
    assert tuple(sample.id for sample in stream) == found.ids
    assert (len(found.ids), found.skipped) == (PICTURES, 0)
    assert all(sample.truth is not None for sample in stream)
    assert stream[0].picture.shape == (64, 64, 3)


def test_the_samples_of_a_folder_are_its_pictures(contents: Contents, toy: Toy) -> None:
    found = comparison.samples(contents, toy.data / "pictures")
    assert found.ids[0] == "00000.jpg"
    assert found.skipped == 2  # the truth and the manifest of the set
    assert all(sample.truth is None for sample in found.stream)


def test_an_srnet_alone_is_fed_with_true_maps_and_takes_no_pictures(
    contents: Contents, toy: Toy
) -> None:
    alone = replace(contents, specs={"srnet": contents.specs["srnet"]})
    found = list(comparison.samples(alone).stream)
    assert found[0].affinenet_map is not None
    assert found[0].affinenet_map.shape == (16, 16, 3)
    with pytest.raises(UsageError, match="takes no pictures"):
        comparison.samples(alone, toy.data / "pictures")


def test_the_share_of_float_work_is_that_of_the_heads_and_warps(contents: Contents) -> None:
    rows = {row.stage: row for row in comparison.float_shares(contents)}
    assert set(rows) == {"affinenet", "srnet"}
    assert 0 < rows["affinenet"].value < 0.05
    assert rows["srnet"].value == 0
    floats = replace(contents, recipe=SimpleNamespace(is_float=True))  # type: ignore[arg-type]
    assert comparison.float_shares(floats) == []


# --- dumps know only some samples -----------------------------------------------------------------


def some(*ids: str) -> Samples:
    def stream() -> Iterator[Sample]:
        for name in ids:
            yield Sample(name, np.zeros((2, 2, 3), np.float32))

    return Samples(ids, stream(), skipped=3)


def dump(folder: Path, *ids: str) -> Any:
    tensors = {"affinenet": np.zeros((1, 2, 2, 3), np.float32)}
    write_dump(folder, ((name, tensors) for name in ids), source="phone")
    return DumpRunner(folder)


def test_without_a_dump_all_samples_stay() -> None:
    found = comparison.restricted(some("a", "b"), [])
    assert found.ids == ("a", "b")
    assert [sample.id for sample in found.stream] == ["a", "b"]


def test_only_samples_that_every_dump_knows_stay(tmp_path: Path) -> None:
    dumps = [dump(tmp_path / "1", "c", "a"), dump(tmp_path / "2", "b", "c")]
    found = comparison.restricted(some("a", "b", "c"), dumps)
    assert found.ids == ("c",)
    assert [sample.id for sample in found.stream] == ["c"]
    assert found.skipped == 3


def test_a_sample_that_only_a_dump_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds samples that are not compared: x"):
        comparison.restricted(some("a"), [dump(tmp_path / "1", "a", "x")])
