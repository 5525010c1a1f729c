from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from runner_toys import SIZE, Ports, ports

from i2uv_edge.chain import Chain, ChainSpec
from i2uv_edge.errors import InputError

Array = NDArray[Any]


class FakeRunner:
    def __init__(self, name: str, function: Any, contract: Ports) -> None:
        self.name = name
        self.input = contract.input
        self.output = contract.output
        self.function = function
        self.fed: list[Array] = []

    def __call__(self, feeds: Any) -> dict[str, Array]:
        (given,) = feeds.values()
        assert list(feeds) == [self.input.name]
        self.fed.append(given)
        return {self.output.name: self.function(given)}


class Corners:
    """Reads the four corners of a map as its vertices."""

    def read_vertices(self, uv_map: Array) -> Array:
        return uv_map[..., [0, 0, -1, -1], [0, -1, 0, -1], :]


def slope(given: Array) -> Array:
    """A map for each picture: x 0.2..0.6, y 0.3..0.8, z 0..0.1, times the picture's first value."""
    ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
    x, y = np.meshgrid(0.2 + 0.4 * ramp, 0.3 + 0.5 * ramp)
    z = 0.1 * (x - 0.2) / 0.4
    return (np.stack([x, y, z], -1)[None] * given[:, :1, :1, :1]).astype(np.float32)


def chain(refine: Any = lambda maps: maps, spec: ChainSpec | None = None) -> tuple[Chain, Any]:
    affinenet = FakeRunner("float", slope, ports())
    srnet = FakeRunner("float", refine, ports())
    return Chain(affinenet, srnet, coarse=Corners(), fine=Corners(), spec=spec), srnet


def ones(count: int = 2) -> Array:
    given = np.ones((count, SIZE, SIZE, 3), np.float32)
    given[1:] *= 0.5
    return given


def test_a_chain_feeds_srnet_each_axis_normalised_over_the_vertices() -> None:
    whole, srnet = chain()
    whole(ones())
    (fed,) = srnet.fed
    assert fed.dtype == np.float32
    assert fed[:, 0, 0] == pytest.approx(np.zeros((2, 3)), abs=1e-6)
    assert fed[:, -1, -1] == pytest.approx(np.ones((2, 3)), abs=1e-5)


def test_a_chain_takes_srnets_output_back_by_the_same_numbers() -> None:
    whole, _ = chain()
    made = whole(ones())
    assert list(made) == ["affinenet", "srnet", "vertices"]
    assert np.allclose(made["affinenet"], slope(ones()))
    assert np.allclose(made["srnet"], made["affinenet"], atol=1e-6)
    moved = chain(lambda maps: maps + np.float32(0.1))[0](ones())["srnet"]
    span = np.array([0.4, 0.5, 0.1]) * np.array([1.0, 0.5])[:, None]
    assert moved - made["srnet"] == pytest.approx(
        np.broadcast_to(0.1 * span[:, None, None], moved.shape), abs=1e-6
    )


def test_a_chain_clips_what_lies_far_outside_the_vertices() -> None:
    def spike(given: Array) -> Array:
        maps = slope(given)
        maps[:, 1, 1], maps[:, 1, 2] = 9.0, -9.0
        return maps

    whole, srnet = chain()
    whole._affinenet.function = spike  # type: ignore[union-attr]
    whole(ones())
    assert srnet.fed[0].max() == 1.25
    assert srnet.fed[0].min() == -0.25


def test_a_flat_hand_is_not_blown_up() -> None:
    whole, srnet = chain()
    whole._affinenet.function = lambda given: slope(given) * np.float32([1, 1, 0])  # type: ignore[union-attr]
    made = whole(ones())
    assert np.isfinite(srnet.fed[0]).all()
    assert (made["srnet"][..., 2] == 0).all()


def test_vertices_come_from_the_last_map() -> None:
    whole, _ = chain(lambda maps: maps * np.float32(0))
    made = whole(ones())
    assert np.array_equal(made["vertices"], Corners().read_vertices(made["srnet"]))
    alone = Chain(FakeRunner("float", slope, ports()), coarse=Corners())
    made = alone(ones())
    assert list(made) == ["affinenet", "vertices"]
    assert np.array_equal(made["vertices"], Corners().read_vertices(made["affinenet"]))
    assert alone.refine(made["affinenet"]) is None


def test_a_chain_of_an_srnet_alone_refines() -> None:
    srnet = FakeRunner("tflite", lambda maps: maps, ports())
    alone = Chain(None, srnet, coarse=Corners(), fine=Corners())
    assert alone.name == "tflite"
    assert alone(ones()) == {}
    assert np.allclose(alone.refine(slope(ones())), slope(ones()), atol=1e-6)  # type: ignore[arg-type]


def test_a_chain_needs_a_network_and_a_reader_for_each() -> None:
    with pytest.raises(ValueError, match="network"):
        Chain(None, coarse=Corners())
    with pytest.raises(ValueError, match="fine"):
        Chain(None, FakeRunner("x", slope, ports()), coarse=Corners())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_chain_carries_on_what_is_not_finite(bad: float) -> None:
    def broken(given: Array) -> Array:
        maps = slope(given)
        maps[0, 0, 0, 0] = bad
        return maps

    whole, _ = chain()
    whole._affinenet.function = broken  # type: ignore[union-attr]
    made = whole(ones())
    assert not np.isfinite(made["srnet"][0]).all()
    assert np.isfinite(made["srnet"][1]).all()


def test_the_chain_of_a_manifest_is_the_one_that_was_written() -> None:
    spec = ChainSpec(clip=(-0.5, 1.5), minimum_span=0.01)
    assert ChainSpec.of_fields(spec.fields()) == spec
    assert spec.fields()["clip"] == [-0.5, 1.5]


@pytest.mark.parametrize(
    "fields",
    [{}, {**ChainSpec().fields(), "clip": 3}, {**ChainSpec().fields(), "normalisation": "none"}],
)
def test_a_chain_that_cannot_be_read_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="chain"):
        ChainSpec.of_fields(fields)
