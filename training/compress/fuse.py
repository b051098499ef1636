"""Fuse: each BatchNorm that can be is folded into the layer before it, and the answers are proven to stay."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from training.compress.evaluating import net_answers
from training.measure.parity import require_same_answers

FOLDS_INTO: dict[type[nn.Module], tuple[type[nn.Module], ...]] = {
    nn.BatchNorm1d: (nn.Conv1d, nn.ConvTranspose1d, nn.Linear),
    nn.BatchNorm2d: (nn.Conv2d, nn.ConvTranspose2d),
    nn.BatchNorm3d: (nn.Conv3d, nn.ConvTranspose3d),
}
"""Layers that can take a BatchNorm in."""
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Fused:
    """A folded net: how many BatchNorms were taken in by a layer, and how many are left."""

    net: nn.Module
    batch_norms: int
    left: int


def fuse(net: nn.Module, held_out: NDArray[Any]) -> Fused:
    """A folded copy of a net in eval mode, proven equal on rows that it was not trained on.

    Raises ParityBroken where an answer changes by more than rounding.
    """
    fused = fold(net)
    require_same_answers(net_answers(net, held_out), net_answers(fused.net, held_out), "fold")
    return fused


def fold(net: nn.Module) -> Fused:
    """A copy of the net in which every convolution or dense layer with a BatchNorm right behind it has taken that in.

    In eval mode both are affine, so that they are one layer: its weights are scaled by gamma / sqrt(variance +
    epsilon), and its bias moved (S. Ioffe and C. Szegedy, arXiv:1502.03167, end of section 3.1). A net without
    BatchNorm is its own fold, and so is one that torch.fx cannot trace: its BatchNorms are left to the runtime, as are
    those that stand behind no layer of their own.
    """
    found = batch_norms(net)
    traced = trace(net) if found else None
    if traced is None:
        return Fused(net, 0, len(found))
    norms = [node for node in traced.graph.nodes if _follows_its_layer(node, traced)]
    for norm in norms:
        (layer,) = norm.all_input_nodes
        traced.set_submodule(str(layer.target), _folded(_module(layer, traced), _module(norm, traced)))
        norm.replace_all_uses_with(layer)
        traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return Fused(traced, len(norms), len(batch_norms(traced)))


def trace(net: nn.Module) -> fx.GraphModule | None:
    """A copy of the net as a graph of its layers; None where its forward depends on values."""
    try:
        return fx.symbolic_trace(deepcopy(net))
    except Exception:  # noqa: BLE001 - boundary: forward is anybody's code and runs on placeholders
        return None


def batch_norms(net: nn.Module) -> list[str]:
    """The names of a net's BatchNorms."""
    return [name for name, module in net.named_modules() if isinstance(module, _BatchNorm)]


def _follows_its_layer(node: fx.Node, traced: fx.GraphModule) -> bool:
    norm = _called(node, traced)
    if type(norm) not in FOLDS_INTO or norm.running_mean is None:  # without statistics it takes the batch's
        return False
    source = node.all_input_nodes[0]
    layer = _called(source, traced)
    # Folded weights are right for this one way through the layer, so there must be no other.
    calls = [call for call in traced.graph.nodes if call.target == source.target]
    reads = [read for read in traced.graph.nodes if read.op == "get_attr" and _is_part(read.target, source.target)]
    only_way = len(source.users) == len(calls) == 1 and not reads
    return only_way and isinstance(layer, FOLDS_INTO[type(norm)]) and _fits(layer)


def _is_part(weight: Any, layer: Any) -> bool:
    return str(weight).startswith(f"{layer}.")


def _fits(layer: nn.Module) -> bool:
    # PyTorch's fold cannot replace a weight that is computed, and scales the wrong axis of a transposed convolution in
    # groups.
    return not is_parametrized(layer) and not (isinstance(layer, TRANSPOSED) and layer.groups > 1)


def _folded(layer: Any, norm: Any) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, with_scale(norm))
    folded: nn.Module = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED))
    return folded


def with_scale(norm: _BatchNorm) -> _BatchNorm:
    """The same BatchNorm with gamma and beta; PyTorch's fold into a dense layer fails without them."""
    if norm.affine:
        return norm
    scaled = type(norm)(norm.num_features, norm.eps).eval()
    scaled.running_mean, scaled.running_var = norm.running_mean, norm.running_var
    return scaled


def _called(node: fx.Node, traced: fx.GraphModule) -> Any:
    return _module(node, traced) if node.op == "call_module" else None


def _module(node: fx.Node, traced: fx.GraphModule) -> Any:
    return traced.get_submodule(str(node.target))
