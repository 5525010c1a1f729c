"""The profile of this machine, on a bundle of toys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from model_toys import Ended

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle
from i2uv_edge.device import host
from i2uv_edge.device.host import EAGER, ONNX, profile_on_host, thread_counts
from i2uv_edge.device.profiles import Profile


@pytest.fixture(scope="module")
def profile(exported: tuple[Ended, Path]) -> Profile:
    contents = comparison.open_contents(Bundle.open(exported[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "ROUNDS", 3)
        patch.setattr(host, "FEWEST_ROUNDS", 3)
        patch.setattr(host, "PROFILED_RUNS", 3)
        patch.setattr(host, "cores", lambda: 2)
        return profile_on_host(contents, lambda what, done, total: None)


def test_each_network_is_timed_with_each_number_of_threads(profile: Profile) -> None:
    ran = [(own.role, own.threads) for own in profile.networks]
    assert ran == [("affinenet", 1), ("affinenet", 2), ("srnet", 1), ("srnet", 2)]
    assert all(own.latency_ms and own.latency_ms.runs == 3 for own in profile.networks)
    assert all(own.first_ms and own.first_ms > 0.0 for own in profile.networks)


def test_one_thread_is_held_against_torch_and_onnx_runtime(profile: Profile) -> None:
    one, two = profile.networks[:2]
    assert [other.name for other in one.against] == [EAGER, ONNX]
    assert [other.name for other in two.against] == ["LiteRT, 1 thread"]
    assert one.latency_ms is not None
    for other in one.against:
        assert other.ratio == pytest.approx(one.latency_ms.median / other.median_ms)


def test_operators_have_shares_of_the_whole(profile: Profile) -> None:
    for own in profile.networks:
        if own.threads > 1:
            assert own.layers == ()
            continue
        assert len(own.layers) > 3
        assert sum(layer.share or 0.0 for layer in own.layers) == pytest.approx(1.0)
    assert "encoder.stem.0.0" in [layer.name for layer in profile.networks[0].layers]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_a_process_of_its_own(profile: Profile) -> None:
    assert all(0.0 < (own.memory_mb or 0.0) < 20.0 for own in profile.networks)


def test_it_is_of_the_bundle_and_names_its_tools(
    profile: Profile, exported: tuple[Ended, Path]
) -> None:
    bundle = Bundle.open(exported[1])
    assert profile.bundle == bundle.sha256
    hashes = {item.path: item.sha256 for item in bundle.artifacts}
    assert all(own.sha256 == hashes[own.file] for own in profile.networks)
    assert {"ai-edge-litert", "onnxruntime", "torch"} <= profile.tools.keys()


@pytest.mark.parametrize(
    ("available", "counts"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_threads_double_up_to_all_cores(available: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(available) == counts
