"""Fuse: each BatchNorm is folded into the convolution before it, and the answers are proven to stay."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.errors import FoldRefused
from training.measure.answers import net_answers
from training.measure.parity import require_same_answers


@dataclass(frozen=True)
class Fused:
    """A net without BatchNorm, and how many it had."""

    net: nn.Module
    batch_norms: int


def fuse(net: nn.Module, held_out: NDArray[Any]) -> Fused:
    """A folded copy of a net in eval mode, proven equal on rows that it was not trained on.

    Raises FoldRefused where a BatchNorm remains, and ParityBroken where an answer changes by more than rounding.
    """
    fused = fold(net)
    require_no_batch_norm(fused.net)
    require_same_answers(net_answers(net, held_out), net_answers(fused.net, held_out), "fold")
    return fused


def fold(net: nn.Module) -> Fused:
    """A copy of the net in which every convolution with a BatchNorm right behind it has taken that one in.

    In eval mode both are affine, so that they are one convolution: its weights are scaled by gamma / sqrt(variance +
    epsilon), and its bias moved (S. Ioffe and C. Szegedy, arXiv:1502.03167, end of section 3.1).
    """
    traced = fx.symbolic_trace(deepcopy(net))
    norms = [node for node in traced.graph.nodes if _follows_its_convolution(node, traced)]
    for norm in norms:
        (convolution,) = norm.all_input_nodes
        traced.set_submodule(
            str(convolution.target), fuse_conv_bn_eval(_module(convolution, traced), _module(norm, traced))
        )
        norm.replace_all_uses_with(convolution)
        traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return Fused(traced, len(norms))


def _follows_its_convolution(node: fx.Node, traced: fx.GraphModule) -> bool:
    if not _calls(node, nn.BatchNorm2d, traced):
        return False
    source = node.all_input_nodes[0]
    # Folded weights are right for this one way through the convolution, so there must be no other.
    calls = [call for call in traced.graph.nodes if call.target == source.target]
    return _calls(source, nn.Conv2d, traced) and len(source.users) == 1 and len(calls) == 1


def _calls(node: fx.Node, kind: type[nn.Module], traced: fx.GraphModule) -> bool:
    return node.op == "call_module" and isinstance(_module(node, traced), kind)


def _module(node: fx.Node, traced: fx.GraphModule) -> Any:
    return traced.get_submodule(str(node.target))


def require_no_batch_norm(net: nn.Module) -> None:
    """Raises FoldRefused, which names every BatchNorm of the net."""
    if left := [name for name, module in net.named_modules() if isinstance(module, _BatchNorm)]:
        raise FoldRefused(
            f"expected a convolution of its own before every BatchNorm, got none before {', '.join(left)}"
        )
