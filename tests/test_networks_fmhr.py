"""FMHR's decoder equals one written as its authors write it, from their checkpoint's layout."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.hands.fmhr import Fmhr
from i2uv_edge.networks.layers import macs
from i2uv_edge.networks.mesh_levels import level_sizes
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_network

VERTICES = 60


class Cheb(nn.Module):
    """Features (n, m, c) -> (n, m, o); both orders of a channel lie together in the weight."""

    def __init__(self, inputs: int, outputs: int, order: int) -> None:
        super().__init__()
        self.order = order
        self.w = nn.Parameter(torch.randn(inputs * order, outputs) * 0.2)

    def forward(self, x: Tensor, laplacian: Tensor) -> Tensor:
        parts = [x] if self.order == 1 else [x, laplacian @ x]
        return torch.stack(parts, -1).flatten(2) @ self.w


class Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, channels, 1) + 0.5)
        self.beta = nn.Parameter(torch.randn(1, channels, 1) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        count, rows, channels = x.shape
        groups = min(32, channels)
        y = x.mT.reshape(count, groups, channels // groups, rows)
        mean = y.mean((2, 3), keepdim=True)
        variance = y.var((2, 3), unbiased=False, keepdim=True)
        y = ((y - mean) / torch.sqrt(variance + 1e-5)).reshape(count, channels, rows)
        return (y * self.gamma + self.beta).mT


class Block(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.gn1, self.gn2, self.gn3 = Norm(inputs), Norm(32), Norm(32)
        self.lin1, self.conv, self.lin2 = Cheb(inputs, 32, 1), Cheb(32, 32, 2), Cheb(32, 64, 1)
        if inputs != 64:
            self.filter = Cheb(inputs, 64, 1)

    def forward(self, x: Tensor, laplacian: Tensor, up: Tensor) -> Tensor:
        raised = up @ x
        y = self.lin1(F.relu(self.gn1(raised)), laplacian)
        y = self.conv(F.relu(self.gn2(y)), laplacian)
        y = self.lin2(F.relu(self.gn3(y)), laplacian)
        return y + (self.filter(raised, laplacian) if hasattr(self, "filter") else raised)


class Published(nn.Module):
    """The authors' network: 62 tensors, sparse matrices among them."""

    def __init__(self, vertices: int) -> None:
        super().__init__()
        sizes = level_sizes(vertices)
        for level, size in enumerate(sizes):
            self.register_buffer(f"L_{level}", sparse(size, size, 5, level))
        for level, (finer, coarser) in enumerate(itertools.pairwise(sizes)):
            self.register_buffer(f"U_{level}", sparse(finer, coarser, 3, level + 9))
        self.coarsest = sizes[-1]
        self.fc_decode = nn.Sequential(nn.Linear(63, 64), nn.Linear(64, sizes[-1] * 64))
        self.decode_conv1x1 = Cheb(64, 128, 1)
        self.decoder = nn.ModuleList(Block(128 if number == 0 else 64) for number in range(4))
        self.conv3 = Cheb(64, 3, 2)
        self.std = nn.Parameter(torch.rand(1, vertices, 3) * 0.1)
        self.mean = nn.Parameter(torch.randn(1, vertices, 3) * 0.1)
        layers = (sizes[-1] * 64 + sizes[3] * 3, 256, 128, 64, 55)
        self.fc_param = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(layers)))

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        def matrix(name: str, level: int) -> Tensor:
            return getattr(self, f"{name}_{level}").to_dense()  # type: ignore[no-any-return]

        code = F.leaky_relu(self.fc_decode(keypoints), 0.2)
        x = self.decode_conv1x1(code.reshape(-1, self.coarsest, 64), matrix("L", 3))
        coarse = None
        for number, block in enumerate(self.decoder):
            level = 3 - number
            x = block(x, matrix("L", level), matrix("U", level))
            if coarse is None:
                coarse = self.conv3(x, matrix("L", level)) * self.std.mean() + self.mean.mean()
        assert coarse is not None
        parameters = self.fc_param(torch.cat((code, coarse.flatten(1)), 1))
        return self.conv3(x, matrix("L", 0)) * self.std + self.mean, parameters


def sparse(rows: int, columns: int, most: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, columns, generator=generator)
    kept = torch.rand(rows, columns, generator=generator).argsort(1)[:, : min(most, columns)]
    mask = torch.zeros(rows, columns).scatter(1, kept, 1.0)
    return (dense * mask * 0.5).to_sparse_coo()


def published(vertices: int = VERTICES) -> Published:
    torch.manual_seed(4)
    return Published(vertices).eval()


def written(folder: Path, network: nn.Module) -> Path:
    path = folder / "gcn_right.pth"
    torch.save(network.state_dict(), path)
    return path


@torch.no_grad()
def test_the_authors_checkpoint_gives_what_their_network_gives(tmp_path: Path) -> None:
    theirs, ours = published(), Fmhr(vertices=VERTICES, taps=5).eval()
    assert len(theirs.state_dict()) == 62
    load_checkpoint(ours, written(tmp_path, theirs))
    keypoints = torch.randn(2, 63)
    vertices, parameters = theirs(keypoints)
    found = ours(keypoints[:, :, None, None]).flatten(1)
    expected = torch.cat((vertices.flatten(1), parameters), 1)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_rows_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a row has 5 entries, 4 taps are asked for"):
        load_checkpoint(Fmhr(vertices=VERTICES, taps=4), written(tmp_path, published()))


def test_a_checkpoint_of_another_mesh_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not fit Fmhr"):
        load_checkpoint(Fmhr(vertices=48, taps=5), written(tmp_path, published()))


def test_levels_work_and_size_are_the_papers() -> None:
    assert level_sizes(778) == [778, 778, 389, 195, 98]
    network = Fmhr().eval()
    # 19.0 million multiply-adds as published, of which folding the last layers saves 1.4 and
    # leaving out three intermediate meshes 0.5.
    assert macs(network, (1, 1, 63)) / 1e6 == pytest.approx(17.1, abs=0.1)
    assert network.output_shape == (1, 1, 1, 3 * 778 + 55)


def test_matrices_of_the_built_in_hand_are_there_from_the_start() -> None:
    network = build(load_network("fmhr-gcn"))
    weight = network.decoder[0].up.weight  # type: ignore[union-attr, index]
    torch.testing.assert_close(weight.sum(1), torch.ones(len(weight)))


def test_vertices_are_read_as_they_are() -> None:
    network = build(load_network("fmhr-gcn"))
    assert isinstance(network, Fmhr)
    answers = np.arange(2755, dtype=np.float32).reshape(1, 1, 1, -1)
    found = network.readout(stand_in()).read(answers)
    np.testing.assert_array_equal(found[0], np.arange(2700).reshape(900, 3))


def test_a_hand_of_another_size_is_refused() -> None:
    hand = replace(stand_in(), template=stand_in().template[:778])
    with pytest.raises(UsageError, match="900 vertices, the hand that its file names has 778"):
        build(load_network("fmhr-gcn")).readout(hand)  # type: ignore[operator]
