"""Tensors of a fake-quant network, one by one."""

from __future__ import annotations

import numpy as np
import torch
from quantizer_toys import pictures, recipe, relief, toy

from i2uv_edge.quantizer.network import float_twin, quantize
from i2uv_edge.quantizer.tensors import rounded_tensors, source_values, unread_values


def feed(size: int, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(pictures(1, size, seed).transpose(0, 3, 1, 2).copy())


def test_every_rounded_tensor_is_near_its_float_source() -> None:
    network = toy()
    made = quantize(network, recipe("head"), [pictures(3, 32)], network_role="affinenet")
    picture = feed(32, seed=0)
    rounded = rounded_tensors(made.module.graph_module, picture.double())
    floats = source_values(float_twin(network, made), picture)
    assert set(rounded) == set(made.encodings.activations)
    for name, own in rounded.items():
        entry = made.encodings.activations[name]
        assert (own.scale, own.zero_point) == (entry.scale, entry.zero_point)
        exact = floats[own.source]
        assert own.steps.shape == own.beyond.shape == exact.shape, name
        noise = np.square(own.real - exact).mean() / np.square(exact).mean()
        assert noise < 0.01, name


def test_values_beyond_the_grid_are_marked_and_no_others() -> None:
    made = quantize(toy(), recipe("head"), [pictures(3, 32)], network_role="affinenet")
    picture = feed(32, seed=0).double()
    picture[0, 0, 0, 0], picture[0, 1, 0, 0], picture[0, 2, 0, 0] = 2.0, 1.001, -0.5
    own = rounded_tensors(made.module.graph_module, picture)["input"]
    assert own.beyond[:3].tolist() == [True, False, True]
    assert not own.beyond[3:].any()
    assert own.steps[:3].tolist() == [127, 127, -128]


def test_texels_that_nobody_reads_are_found_through_depth_to_space() -> None:
    made = quantize(relief(), recipe(), [pictures(2, 16)], network_role="srnet")
    mask = np.zeros((32, 32), np.bool_)
    mask[4, 7] = True  # row 2, column 3 before; its place in the block of four is 1
    graph = float_twin(relief(), made)
    unread = unread_values(graph, mask)["last"].reshape(16, 16, 12)
    read = np.argwhere(~unread)
    assert sorted(read.tolist()) == [[2, 3, 3], [2, 3, 4], [2, 3, 5]]
    assert "body.1" not in unread_values(graph, mask)
    assert unread_values(graph, None) == {}
