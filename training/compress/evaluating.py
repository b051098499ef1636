"""A net in eval mode: for a while, in a run that says where a net fails, and in its answers to many rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.errors import RemovalRefused
from training.measure.answers import batches


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


def net_answers(net: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Answers of a net in eval mode; [rows, ...] -> [rows, ...]."""
    with torch.inference_mode():
        return np.concatenate([net(torch.from_numpy(batch)).numpy() for batch in batches(inputs)])


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


def first_argument(given: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """What a layer reads: its first argument, by its place or by its name."""
    first: Tensor = (*given, *named.values())[0]
    return first


def _watch(module: nn.Module, name: str, entered: list[str]) -> Iterator[Any]:
    def leave(*_: object) -> None:
        entered.pop()

    yield module.register_forward_pre_hook(lambda *_: entered.append(name))
    yield module.register_forward_hook(leave)
