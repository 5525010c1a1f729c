from __future__ import annotations

import pytest
import torch
from quantizer_toys import relief, tiny_affinenet, toy
from torch import Tensor, nn

from i2uv_edge.networks.layers import ConvBnRelu
from i2uv_edge.quantizer.blocks import MOST, Block, find_blocks
from i2uv_edge.quantizer.graph import kind_of, layer_of, mac_count, prepare
from i2uv_edge.quantizer.plan import matches
from i2uv_edge.spec import Override

PARTS = {"heads": "*.head", "warps": "*.warp"}


def blocks_of(module: nn.Module, size: int, parts: dict[str, str] | None = None) -> list[Block]:
    return list(find_blocks(prepare(module, (1, 3, size, size)), "affinenet", parts))


def names(blocks: list[Block]) -> list[str]:
    return [block.name for block in blocks]


def test_a_head_and_a_refinement_of_one_stage_are_two_blocks() -> None:
    found = blocks_of(tiny_affinenet(), 64, PARTS)
    assert 10 <= len(found) <= MOST
    assert {"first.refine", "first.head", "decoder.1.refine", "decoder.2.head"} <= set(names(found))


def test_every_convolution_is_covered_by_one_block() -> None:
    graph = prepare(tiny_affinenet(), (1, 3, 64, 64))
    found = find_blocks(graph, "affinenet", PARTS)
    convolutions = [node for node in graph.graph.nodes if kind_of(node) == "conv"]
    for node in convolutions:
        covering = [
            block.name
            for block in found
            if matches(Override(match=block.name, reason="a test"), "affinenet", layer_of(node))
        ]
        assert len(covering) == 1, layer_of(node)
    assert sum(block.macs for block in found) == sum(map(mac_count, convolutions))


def test_blocks_of_a_part_are_of_that_part_alone() -> None:
    found = blocks_of(tiny_affinenet(), 64, PARTS)
    assert {b.name for b in found if b.part} == {b.name for b in found if b.name.endswith("head")}
    assert {b.part for b in found} == {"heads", ""}


def test_a_concatenation_goes_with_the_only_block_that_reads_it() -> None:
    found = {block.name: block for block in blocks_of(toy(), 32)}
    (concatenation,) = found["mix"].concatenations
    assert "cat" in concatenation
    assert found["mix"].globs == ("mix", concatenation)
    assert all(not block.concatenations for name, block in found.items() if name != "mix")


def test_a_small_network_has_a_block_for_each_convolution() -> None:
    assert names(blocks_of(relief(), 16)) == ["body", "last"]
    assert names(blocks_of(toy(), 32)) == [
        "stem",
        "block.conv1",
        "block.conv2",
        "deep",
        "mix",
        "head",
    ]


class Deep(nn.Module):
    """Stages of the given depths, as an encoder's."""

    def __init__(self, *depths: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvBnRelu(3, 3) for _ in range(depth))) for depth in depths
        )

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


@pytest.mark.parametrize(
    ("depths", "count"),
    [
        pytest.param((2, 2), 4, id="all divided"),
        pytest.param((20, 2), 1 * 20 + 2, id="what has most is divided first"),
        pytest.param((MOST, 2), 2, id="a stage that has too many stays whole"),
        pytest.param((15, 15), 2, id="stages of one size stay whole together"),
    ],
)
def test_a_stage_stays_whole_where_there_would_be_too_many(
    depths: tuple[int, ...], count: int
) -> None:
    torch.manual_seed(0)
    assert len(blocks_of(Deep(*depths).eval(), 8)) == count
