"""Small networks and recipes that the tests of quantizer and convert share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.layers import ConvBnRelu, DepthToSpace, Upsample, Warp
from i2uv_edge.networks.srnet_edge import SRNetEdge
from i2uv_edge.spec import (
    ActivationSpec,
    NetworkSpec,
    Override,
    RecipeSpec,
    TensorSpec,
    WeightSpec,
)


def recipe(
    *floats: str,
    ranges: str = "min-max",
    percentile: float = 99.9,
    granularity: str = "per-channel",
    symmetric: bool = False,
    max_float_macs: float = 1.0,
    **ends: str,
) -> RecipeSpec:
    """An int8 recipe that leaves the modules matching `floats` alone."""
    return RecipeSpec(
        name="toy",
        description="for tests",
        weights=WeightSpec(bits=8, granularity=granularity),  # type: ignore[arg-type]
        activations=ActivationSpec(
            bits=8,
            symmetric=symmetric,
            range=ranges,  # type: ignore[arg-type]
            percentile=percentile,
        ),
        overrides=tuple(Override(match=glob, reason="a test") for glob in floats),
        max_float_macs=max_float_macs,
        **ends,  # type: ignore[arg-type]
    )


def settle(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics and gains as training leaves them, and turn to evaluation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                size = layer.num_features
                layer.running_mean.copy_(0.2 * torch.randn(size, generator=generator))  # type: ignore[union-attr]
                layer.running_var.copy_(0.5 + torch.rand(size, generator=generator))  # type: ignore[union-attr]
                layer.weight.copy_(0.7 + 0.6 * torch.rand(size, generator=generator))
                layer.bias.copy_(0.2 * torch.randn(size, generator=generator))
    return module.eval()


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvBnRelu(width, width)
        self.conv2 = ConvBnRelu(width, width, relu=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.conv2(self.conv1(x)) + x)
        return result


class Toy(nn.Module):
    """A residual block, two readers of one tensor, a pool, a resize, a concatenation, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBnRelu(3, 8, stride=2)
        self.block = Residual(8)
        self.pool = nn.MaxPool2d(2)
        self.deep = ConvBnRelu(8, 8)
        self.up = Upsample()
        self.mix = ConvBnRelu(16, 8)
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.block(self.stem(picture * 2.0 - 1.0))
        y = self.up(self.deep(self.pool(x)))
        result: Tensor = self.head(self.mix(torch.cat((y, x), 1)))
        return result


class Guided(nn.Module):
    """AffineNet's ways in small: a global code, a learned constant, a map that guides a warp."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = ConvBnRelu(3, 8)
        self.pool = nn.MaxPool2d(16)
        self.code = nn.Conv2d(8, 8 * 8 * 6, 1)
        self.constant = nn.Parameter(torch.randn(1, 6, 8, 8) * 0.3)
        self.head1 = nn.Conv2d(6, 3, 3, padding=1)
        self.narrow = nn.Conv2d(6, 5, 1)
        self.up = Upsample()
        self.place = nn.Parameter(torch.randn(1, 5, 16, 16) * 0.3)
        self.warp = Warp(16)
        self.mix = ConvBnRelu(5 + 8 + 3, 8)
        self.head2 = nn.Conv2d(8, 3, 1)

    def forward(self, picture: Tensor) -> Tensor:
        feature = self.feature(picture * 4.0 - 2.0)
        code = self.code(self.pool(feature)).permute(0, 2, 3, 1).reshape(-1, 8, 8, 6)
        x = code.permute(0, 3, 1, 2) + self.constant
        coarse = self.up(self.head1(x) * 0.3 + 0.5)
        x = self.up(self.narrow(x)) + self.place
        x = self.mix(torch.cat((x, self.warp(feature, coarse), coarse), 1))
        result: Tensor = coarse + self.head2(x)
        return result


class Relief(nn.Module):
    """SRNet in small: an integer residual through depth-to-space on a float base."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(8, 12, 3, padding=1)
        self.expand = DepthToSpace(2, 3)
        self.base = Upsample(2)

    def forward(self, uv: Tensor) -> Tensor:
        result: Tensor = self.base(uv) + self.expand(self.last(self.body(uv)))
        return result


def toy(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return settle(Toy(), seed)


def guided(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return settle(Guided(), seed)


def relief(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Relief().eval()


def tiny_affinenet(seed: int = 0, **changes: Any) -> nn.Module:
    """AffineNetEdge for 64-pixel pictures, its maps far enough from constant to move the warps."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "input_size": 64,
        "stem": 8,
        "encoder_widths": (8, 8, 8, 8, 8),
        "encoder_depths": (1, 1, 1, 1, 1),
        "decoder_widths": (8, 8, 8, 8),
        "lateral_widths": (8, 8, 8),
        "reduced": 8,
        "code": 16,
    }
    network = AffineNetEdge(**{**sizes, **changes})
    settle(network, seed)
    with torch.no_grad():
        for name, layer in network.named_modules():
            if name.endswith("head"):
                layer.weight.mul_(40.0)  # type: ignore[operator, union-attr]
    return network


def tiny_srnet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = SRNetEdge(width=8, depth=3).eval()
    with torch.no_grad():
        network.last.weight.mul_(10.0)
    return network


def pictures(count: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth pictures of 256 grey levels, (N, S, S, 3) float32 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    fine = nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    levels = torch.round(fine * 255.0) / 255.0
    return levels.permute(0, 2, 3, 1).contiguous().numpy()


def apply(module: nn.Module, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run an NCHW module on an NHWC batch."""
    with torch.no_grad():
        result = module(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
    return np.ascontiguousarray(result.permute(0, 2, 3, 1).numpy())


def spec_of(module: nn.Module, size: int, role: str = "affinenet") -> NetworkSpec:
    """The contract of a network that takes (1, size, size, 3)."""
    made = apply(module, np.zeros((1, size, size, 3), np.float32)).shape
    return NetworkSpec(
        name="toy",
        role=role,  # type: ignore[arg-type]
        family="toy",
        input=TensorSpec("picture_in", (1, size, size, 3), "NHWC", "RGB", (0.0, 1.0)),
        output=TensorSpec("map_out", made, "NHWC", "crop sides", (0.0, 1.0)),
        source="tests",
    )


def run_tflite(path: Path, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a float-in, float-out file sample by sample."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in batch:
        interpreter.set_tensor(source["index"], sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"]).copy())
    return np.concatenate(outputs)
