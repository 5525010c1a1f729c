"""The section of the page that follows tensors through the networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
from report_toys import material, tensor, tensors

from i2uv_edge.report.blocks import blocks, section
from i2uv_edge.report.material import StepsApart, TensorTable
from i2uv_edge.report.page import render


def networks(*rows: Any) -> Any:
    found = section(material(tensors=TensorTable(4, rows) if rows else tensors()))
    assert found is not None
    return found.content["networks"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["input", "a.x", "a.y"], {"input": ["input"], "a": ["a.x", "a.y"]}),
        (
            ["a.0", "a.1", "a.2", "a.3"],
            {"a.0": ["a.0"], "a.1": ["a.1"], "a.2": ["a.2"], "a.3": ["a.3"]},
        ),
        (
            ["a.s.0", "a.s.1", "a.t.0", "a.t.1", "b.u"],
            {"a.s": ["a.s.0", "a.s.1"], "a.t": ["a.t.0", "a.t.1"], "b": ["b.u"]},
        ),
        # One path cannot be split, however many tensors have it.
        (["a", "a", "a", "a"], {"a": ["a", "a", "a", "a"]}),
    ],
)
def test_a_block_is_a_module_of_few_tensors(
    names: list[str], expected: dict[str, list[str]]
) -> None:
    assert blocks(names, largest=3) == expected


def test_every_tensor_is_in_one_block_and_in_order() -> None:
    names = [f"enc.{stage}.{layer}" for stage in range(3) for layer in range(5)] + ["head"]
    grouped = blocks(names)
    assert [name for members in grouped.values() for name in members] == names


def test_a_block_has_the_worst_signal_to_noise_and_shares_of_all_its_values() -> None:
    affinenet, srnet = networks()
    assert networks(tensor("input", 148.0))[0].blocks[0].sqnr == "exact"
    stem = affinenet.blocks[1]
    assert (stem.name, stem.tensors, stem.sqnr) == ("stem", 2, "30.0")
    assert stem.saturated == "0.030%"  # 0.04 % of three quarters of the values
    tflite, onnx = stem.files
    assert (tflite.share, tflite.most) == ("0.050%", "1")
    assert (onnx.share, onnx.most) == ("0", "0")
    assert affinenet.blocks[0].sqnr == "exact"
    assert affinenet.blocks[0].bar == 0
    assert [row.name for row in affinenet.tensors] == ["input", "stem.0", "stem.1"]
    assert [row.name for row in srnet.blocks] == ["body"]


def test_what_is_little_is_not_nothing_and_no_signal_is_said() -> None:
    few = tensor("a", -math.inf, files={"onnx": StepsApart(1e-9, 1)})
    (network,) = networks(few)
    (row,) = network.blocks
    assert row.sqnr == "no signal"
    assert row.bar == 1
    assert [(cell.share, cell.most) for cell in row.files] == [("< 0.001%", "1")]


def test_without_files_there_is_no_word_of_them() -> None:
    text = render(material(tensors=TensorTable(1, (tensor("a", files={}),))))
    assert "on 1 picture." in text
    assert "A file differs" not in text


@pytest.mark.parametrize("table", [None, TensorTable(4, ())])
def test_where_nothing_is_quantized_the_section_is_left_out(table: TensorTable | None) -> None:
    assert section(material(tensors=table)) is None
    assert "Block by block" not in render(material(tensors=table))
