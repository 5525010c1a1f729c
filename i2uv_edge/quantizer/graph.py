"""A network as a flat list of known operations: what the quantizer and the converter both read.

`prepare` traces a module with torch.fx, folds batch norms into convolutions and notes every
tensor's shape. Warps, upsampling and depth-to-space stay whole: they are operations of this
project, not of torch, and each has one lowering.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from i2uv_edge.errors import ConversionError, InputError
from i2uv_edge.networks.layers import (
    DepthToSpace,
    FirstChannels,
    Gathered,
    RowNorm,
    StridedPad,
    Upsample,
    Warp,
    deploy,
)

__all__ = [
    "check_finite",
    "code_source",
    "constant_of",
    "fuses_relu",
    "kind_of",
    "layer_of",
    "mac_count",
    "module_of",
    "prepare",
    "shape_of",
    "tensor_inputs",
]

_LEAVES = (DepthToSpace, FirstChannels, Gathered, RowNorm, StridedPad, Upsample, Warp)

_NODE_KINDS = {"placeholder": "input", "output": "output", "get_attr": "constant"}

_MODULE_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.ReLU: "relu",
    nn.Sigmoid: "sigmoid",
    nn.LeakyReLU: "leaky_relu",
    nn.AdaptiveAvgPool2d: "mean",
    nn.MaxPool2d: "max_pool",
    nn.ZeroPad2d: "pad",
    nn.ConstantPad2d: "pad",
    StridedPad: "pad",
    DepthToSpace: "depth_to_space",
    FirstChannels: "channels",
    Gathered: "gathered",
    RowNorm: "row_norm",
    Upsample: "resize",
    Warp: "warp",
}

_FUNCTION_KINDS: dict[Callable[..., Any], str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    operator.sub: "sub",
    torch.sub: "sub",
    operator.mul: "mul",
    torch.mul: "mul",
    torch.cat: "concat",
    torch.concat: "concat",
    torch.relu: "relu",
    F.relu: "relu",
    torch.sigmoid: "sigmoid",
}

_METHOD_KINDS = {
    "add": "add",
    "mul": "mul",
    "sub": "sub",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "permute": "permute",
    "reshape": "reshape",
    "view": "reshape",
    "flatten": "reshape",
}


class _Root(nn.Module):
    """Keeps a network's own names apart from those a graph module has (`code`, `graph`, ...)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.network(x)
        return result


_PREFIX = "network."


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


def prepare(module: nn.Module, input_shape: tuple[int, int, int, int]) -> fx.GraphModule:
    """Trace a network into its deploy form with batch norms folded.

    Parameters
    ----------
    module
        The network, in training or deploy form; it is copied, never changed.
    input_shape
        NCHW shape of the one input, batch 1.

    Returns
    -------
    torch.fx.GraphModule
        Evaluates as the network does. Every node has `meta["shape"]` (None where it is no tensor)
        and `meta["layer"]`, the module path it came from.

    Raises
    ------
    InputError
        A weight is not finite.
    ConversionError
        The network does something that has no lowering.
    """
    check_finite(module)
    root = _Root(deploy(module))
    try:
        traced = _Tracer().trace(root)
    except Exception as error:  # torch.fx raises anything the traced code can raise
        raise ConversionError(
            f"{type(module).__name__} cannot be traced: {error}",
            expected="a forward pass without branches on tensor values",
        ) from error
    graph = fx.GraphModule(root, traced)
    graph.graph.eliminate_dead_code()
    _name_layers(graph)
    _drop_identities(graph)
    _fold_batch_norms(graph)
    _note_shapes(graph, input_shape)
    _fold_code_constants(graph)
    graph.delete_all_unused_submodules()  # what was folded must not look like something to train
    for node in graph.graph.nodes:
        kind_of(node)
    return graph


def check_finite(module: nn.Module) -> None:
    """Refuse a network with a NaN or infinite weight, naming the tensor."""
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise InputError(
                f"{name} holds {bad} of {value.numel()} values that are NaN or infinite",
                expected="finite weights",
                remedy="use a checkpoint from before the training diverged",
            )


def module_of(node: fx.Node) -> nn.Module:
    """Return the module a `call_module` node calls."""
    return cast(fx.GraphModule, node.graph.owning_module).get_submodule(str(node.target))


def kind_of(node: fx.Node) -> str:
    """Name the operation of a node; ConversionError, naming layer and operation, where unknown."""
    kind: str | None = None
    if node.op in _NODE_KINDS:
        kind = _NODE_KINDS[node.op]
    elif node.op == "call_module":
        module = module_of(node)
        kind = getattr(module, "graph_kind", None) or _MODULE_KINDS.get(type(module))
    elif node.op == "call_function":
        kind = _FUNCTION_KINDS.get(cast(Callable[..., Any], node.target))
    elif node.op == "call_method":
        kind = _METHOD_KINDS.get(str(node.target))
    if kind is None:
        what = type(module_of(node)).__name__ if node.op == "call_module" else _target(node)
        raise ConversionError(
            f"layer {layer_of(node)!r}: operation {what} has no integer and no float lowering",
            expected="one of "
            + ", ".join(sorted({*_MODULE_KINDS.values(), *_FUNCTION_KINDS.values()})),
            remedy="express the layer through these operations",
        )
    return kind


def layer_of(node: fx.Node) -> str:
    """Module path of a node; for a function or method, the path of the module that calls it."""
    return str(node.meta.get("layer", node.target))


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """NCHW (or plain) shape of a node's tensor."""
    return cast(tuple[int, ...], node.meta["shape"])


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """Nodes a node reads, in argument order, each once."""
    return list(node.all_input_nodes)


def constant_of(node: fx.Node) -> Tensor:
    """The tensor a `get_attr` node reads."""
    value: object = node.graph.owning_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return cast(Tensor, value)


def code_source(node: fx.Node) -> fx.Node | None:
    """The convolution behind (1, s*s*C, 1, 1) -> (1, s, s, C) -> (1, C, s, s), if a node ends that.

    Channel `(y * s + x) * C + c` of the convolution becomes channel c at (y, x).
    """
    chain = [node]
    for kind in ("permute", "reshape", "permute"):
        last = chain[-1]
        if kind_of(last) != kind or (last is not node and len(last.users) > 1):
            return None
        chain.append(last.all_input_nodes[0])
    last_permute, _, first_permute, conv = chain
    if kind_of(conv) != "conv" or len(conv.users) > 1 or shape_of(conv)[2:] != (1, 1):
        return None
    orders = (tuple(first_permute.args[1:]), tuple(last_permute.args[1:]))
    return conv if orders == ((0, 2, 3, 1), (0, 3, 1, 2)) else None


def fuses_relu(node: fx.Node) -> bool:
    """Whether a ReLU is the only reader of a convolution or add: it becomes part of it."""
    users = list(node.users)
    return kind_of(node) in ("conv", "add") and len(users) == 1 and kind_of(users[0]) == "relu"


def mac_count(node: fx.Node) -> int:
    """Multiply-accumulates of a convolution for one input; 0 for every other operation."""
    if kind_of(node) != "conv":
        return 0
    conv = cast(nn.Conv2d, module_of(node))
    _, channels, height, width = shape_of(node)
    taps = conv.kernel_size[0] * conv.kernel_size[1] * conv.in_channels // conv.groups
    return taps * channels * height * width


def calls(graph: fx.GraphModule, kind: type[nn.Module]) -> Iterator[fx.Node]:
    """Nodes that call a module of this type, in order."""
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(module_of(node), kind):
            yield node


def _target(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))


def _name_layers(graph: fx.GraphModule) -> None:
    """Give each node a unique name that says where in the network it is computed."""
    taken: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            layer = str(node.target).removeprefix(_PREFIX)
        elif node.op in ("placeholder", "output"):
            layer = kind_of(node)
        else:
            stack = node.meta.get("nn_module_stack") or {}
            path = next(reversed(stack.values()))[0] if stack else ""
            layer = f"{path}.{_target(node)}".removeprefix(_PREFIX)
        count = taken.get(layer, 0)
        taken[layer] = count + 1
        weighted = node.op == "call_module" and any(True for _ in module_of(node).parameters())
        if count and weighted:
            raise ConversionError(
                f"layer {layer!r} is used {count + 1} times in one pass",
                expected="each layer used once, since each use has its own ranges",
                remedy="give each use a layer of its own",
            )
        node.meta["layer"] = f"{layer}_{count}" if count else layer
        if count and node.op == "call_module":
            # Each use of a layer reads another tensor, and may become another integer layer.
            graph.add_submodule(_PREFIX + layer_of(node), copy.deepcopy(module_of(node)))
            node.target = _PREFIX + layer_of(node)


def _drop_identities(graph: fx.GraphModule) -> None:
    for node in [*calls(graph, nn.Identity), *calls(graph, nn.Dropout)]:
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.graph.erase_node(node)
    graph.recompile()


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    for node in calls(graph, nn.BatchNorm2d):
        source = node.all_input_nodes[0]
        if source.op != "call_module" or not isinstance(module_of(source), nn.Conv2d):
            raise ConversionError(
                f"layer {layer_of(node)!r}: batch norm cannot be folded into "
                f"{layer_of(source)!r}, which is no convolution",
                expected="each batch norm directly behind a convolution",
                remedy="change the network's deploy form",
            )
        if len(source.users) > 1:
            source = _own_convolution(graph, source, node)
        _fold(cast(nn.Conv2d, module_of(source)), cast(nn.BatchNorm2d, module_of(node)))
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    graph.recompile()


def _own_convolution(graph: fx.GraphModule, conv: fx.Node, norm: fx.Node) -> fx.Node:
    """A copy of a convolution for one of its readers, a batch norm; the others read it raw."""
    target = f"{conv.target}_normalized"
    graph.add_submodule(target, copy.deepcopy(module_of(conv)))
    with graph.graph.inserting_after(conv):
        node = graph.graph.call_module(target, conv.args)
    node.meta["layer"] = f"{layer_of(conv)}_normalized"
    norm.replace_input_with(conv, node)
    return node


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Fold in float64, so that the result is the nearest float32 to the exact one."""
    if norm.running_mean is None or norm.running_var is None:
        raise ConversionError("a batch norm without running statistics cannot be folded")
    gain = 1.0 / torch.sqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        gain = gain * norm.weight.double()
    shift = norm.bias.double() if norm.affine else torch.zeros_like(gain)
    bias = conv.bias.double() if conv.bias is not None else torch.zeros_like(gain)
    weight = conv.weight.double() * gain[:, None, None, None]
    conv.weight = nn.Parameter(weight.float())
    conv.bias = nn.Parameter((shift + (bias - norm.running_mean.double()) * gain).float())


@torch.no_grad()
def _fold_code_constants(graph: fx.GraphModule) -> None:
    """Add constants to the bias of a convolution that computes each texel by a channel of its own.

    That is a global code: (1, s*s*C, 1, 1) reshaped to (1, C, s, s). One rounding less, and one
    operator.
    """
    for node in list(graph.graph.nodes):
        if kind_of(node) != "add" or len(node.all_input_nodes) != 2:
            continue
        value, constant = node.all_input_nodes
        if kind_of(constant) != "constant":
            continue
        conv = code_source(value)
        if conv is None or len(value.users) > 1 or shape_of(constant) != shape_of(value):
            continue
        layer = cast(nn.Conv2d, module_of(conv))
        addend = constant_of(constant).detach().permute(0, 2, 3, 1).reshape(-1)
        bias = torch.zeros_like(addend) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter((bias.double() + addend.double()).float())
        node.replace_all_uses_with(value)
        graph.graph.erase_node(node)
        if not constant.users:
            graph.graph.erase_node(constant)
    graph.recompile()


class _Shapes(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else None
        return value


@torch.no_grad()
def _note_shapes(graph: fx.GraphModule, input_shape: tuple[int, int, int, int]) -> None:
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs)
        raise ConversionError(f"the network has {len(inputs)} inputs ({names})", expected="one")
    result = _Shapes(graph).run(torch.zeros(input_shape))
    if not isinstance(result, Tensor):
        raise ConversionError(
            f"the network returns a {type(result).__name__}",
            expected="one tensor, the finest map, in evaluation mode",
        )
