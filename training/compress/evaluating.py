"""A net in eval mode for a while, and a run in it that says where a net fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import RemovalRefused


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Every module of the net in eval mode inside the block, and in the mode that it had behind it."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def require_runs(net: nn.Module, example: Tensor) -> Tensor:
    """The net's answers to `example` in eval mode. Raises RemovalRefused, which names the layer that fails."""
    entered: list[str] = []
    hooks = [hook for name, module in net.named_modules() for hook in _watch(module, name, entered)]
    try:
        with evaluating(net), torch.no_grad():
            answers: Tensor = net(example)
    except Exception as error:  # whatever a net of the user's own raises at a width that it does not expect
        layer = entered[-1] or type(net).__name__
        raise RemovalRefused(f"{layer}: expected to run at its new width, got: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return answers


def _watch(module: nn.Module, name: str, entered: list[str]) -> Iterator[Any]:
    def leave(*_: object) -> None:
        entered.pop()

    yield module.register_forward_pre_hook(lambda *_: entered.append(name))
    yield module.register_forward_hook(leave)
