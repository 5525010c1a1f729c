"""What becomes integer, and which tensors share a range."""

from __future__ import annotations

import pytest
from layer_toys import LAYERS
from quantizer_toys import guided, pictures, recipe, relief, tiny_srnet, toy
from torch import Tensor, nn

from i2uv_edge.errors import ConversionError, UsageError
from i2uv_edge.quantizer.graph import layer_of, prepare
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.quantizer.plan import QuantPlan, keeps_float, make_plan, matches
from i2uv_edge.spec import Override, RecipeSpec


def plan_of(
    network: nn.Module, made: RecipeSpec, size: int = 32, concat: str = "auto"
) -> QuantPlan:
    graph = prepare(network, (1, 3, size, size))
    return make_plan(graph, made, "affinenet", concat=concat)  # type: ignore[arg-type]


def groups(plan: QuantPlan) -> dict[str, str]:
    return {point.name: point.group for point in plan.points}


def integer_layers(plan: QuantPlan) -> set[str]:
    return {layer_of(node) for node in plan.integer}


def test_the_quantizer_sits_behind_the_relu_that_is_fused() -> None:
    names = set(groups(plan_of(toy(), recipe())))
    assert "stem.2" in names
    assert "block.relu" in names
    assert not names & {"stem.0", "block.add", "mix.0"}


def test_a_residual_add_has_a_range_of_its_own() -> None:
    found = groups(plan_of(toy(), recipe()))
    assert found["block.relu"] == "block.relu"
    assert found["block.conv2.0"] == "block.conv2.0"


def test_pool_and_resize_keep_the_range_of_what_they_read() -> None:
    found = groups(plan_of(toy(), recipe(), concat="requantize"))
    assert "pool" not in found
    assert found["up"] == found["deep.2"]


def test_concatenation_shares_where_nothing_else_reads_its_input() -> None:
    found = groups(plan_of(toy(), recipe()))
    # The resized branch feeds the concatenation alone; block.relu also feeds the pool.
    assert found["up"] == found["deep.2"] == found["block.relu->cat"]
    assert found["block.relu"] != found["up"]


def test_concatenation_can_share_or_requantize_all_inputs() -> None:
    shared = groups(plan_of(toy(), recipe(), concat="shared"))
    assert shared["up"] == shared["block.relu"]
    assert not any("->" in name for name in shared)
    apart = groups(plan_of(toy(), recipe(), concat="requantize"))
    assert {name for name in apart if "->" in name} == {"up->cat", "block.relu->cat"}
    assert apart["up->cat"] == apart["block.relu->cat"] != apart["up"]


def test_an_override_keeps_a_layer_and_what_only_it_computes_in_float() -> None:
    plan = plan_of(toy(), recipe("head"))
    assert "head" not in integer_layers(plan)
    assert "head" not in groups(plan)
    assert 0.0 < plan.float_macs_share < 0.2


def test_the_map_path_stays_float_until_a_concatenation_takes_it_in() -> None:
    plan = plan_of(guided(), recipe("head*", "*warp*"), size=16)
    integers = integer_layers(plan)
    assert not integers & {"head1", "mul_1", "add_1", "up", "warp", "head2", "add_3"}
    assert {"feature.0", "code", "narrow", "up_1", "add_2", "cat", "mix.0"} <= integers
    found = groups(plan)
    assert found["up"] == found["warp"] == found["add_2"]  # as they enter the concatenation


def test_a_constant_has_its_own_range_and_leaves_its_sum_integer() -> None:
    plan = plan_of(guided(), recipe("head*", "*warp*"), size=16)
    found = groups(plan)
    assert found["place"] == "place"
    assert "add_2" in integer_layers(plan)


@pytest.mark.parametrize("network", [relief(), tiny_srnet()], ids=["toy", "srnet"])
def test_a_residual_is_integer_and_its_sum_with_the_base_is_float(network: nn.Module) -> None:
    plan = plan_of(network, recipe(), size=16)
    integers = integer_layers(plan)
    assert {"last", "expand"} <= integers
    assert not integers & {"base", "add"}
    assert "last" in groups(plan)
    assert plan.float_macs_share == 0.0


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x) + 1.0
        return result


def test_a_sum_with_a_number_is_float() -> None:
    plan = plan_of(Shifted(), recipe(), size=8)
    assert "add" not in integer_layers(plan)
    assert groups(plan)["conv.1"] == "conv.1"


def test_a_fused_relu_is_what_its_convolution_is() -> None:
    plan = plan_of(Shifted(), recipe("conv.1"), size=8)
    assert {"conv.0", "conv.1"} <= integer_layers(plan)
    plan = plan_of(Shifted(), recipe("conv.0"), size=8)
    assert not {"conv.0", "conv.1"} & integer_layers(plan)


def test_an_int8_input_is_rounded_for_all_its_readers() -> None:
    plan = plan_of(relief(), recipe("base", "add", input="int8"), size=16)
    assert "input" in integer_layers(plan)
    (point,) = (point for point in plan.points if point.name == "input")
    assert len(point.readers) == 2


def test_too_much_float_work_names_the_largest_layers() -> None:
    with pytest.raises(ConversionError, match=r"leaves .*% of the work in float \(mix\.0"):
        plan_of(toy(), recipe("mix", "head", max_float_macs=0.05))


def test_an_override_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'haed\*' matches no layer"):
        plan_of(toy(), recipe("haed*"))


@pytest.mark.parametrize(
    ("glob", "layer", "fits"),
    [
        ("decoder.head1", "decoder.head1", True),
        ("head*", "decoder.head1", True),
        ("decoder.head*", "decoder.head1", True),
        ("*warp*", "decoder.warp2", True),
        ("decoder.warp2", "decoder.warp2.coordinates.mul", True),
        ("head", "decoder.head1", False),
        ("head1", "decoder.subhead1", False),
        ("decoder", "encoder.stem.0", False),
    ],
)
def test_globs_fit_module_paths_their_parents_and_their_ends(
    glob: str, layer: str, fits: bool
) -> None:
    assert matches(Override(match=glob, reason="a test"), "affinenet", layer) is fits
    assert keeps_float(recipe(glob), "affinenet", layer) is fits


def test_an_override_holds_for_its_network_alone() -> None:
    override = Override(match="*", reason="a test", network="srnet")
    assert not matches(override, "affinenet", "head")
    assert matches(override, "srnet", "head")


def test_a_sigmoid_that_weighs_integers_has_the_grid_of_its_kernels() -> None:
    made = quantize(LAYERS["swish"], recipe(), [pictures(2, 12)], network_role="hand")
    found = {
        name: (entry.scale, entry.zero_point)
        for name, entry in made.encodings.activations.items()
        if name.endswith("sigmoid")
    }
    assert list(found.values()) == [(1 / 256, -128)]


def test_a_sigmoid_that_is_an_answer_stays_float() -> None:
    made = quantize(LAYERS["sigmoid"], recipe(), [pictures(2, 12)], network_role="hand")
    assert not any("sigmoid" in name for name in made.encodings.activations)
    assert len(made.encodings.activations) == 2  # the picture and the convolution


def test_a_product_with_a_number_stays_float() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.conv(x) * 0.5
            return result

    made = quantize(Scaled(), recipe(), [pictures(2, 12)], network_role="hand")
    assert "mul" not in made.encodings.activations
