"""Recover: a net that has lost units learns again, from the targets and from the net that it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.course import Course, Loss

Distance = Callable[[Tensor, Tensor], Tensor]
"""(outputs, the teacher's outputs) -> how far they lie apart, one number; the mean over the rows."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A net whose answers another learns from: how a distance is taken, and its share in the loss, 0 to 1."""

    net: nn.Module
    distance: Distance
    weight: float = 0.5


def recovery(
    course: Course, epochs: int, peak_learning_rate: float | None = None, teacher: Teacher | None = None
) -> Course:
    """The course again, for so many epochs, its learning rate from the start (at its own peak unless one is given).

    A restarted rate recovers more than fine-tuning at the last one (A. Renda et al., arXiv:2003.02389). With a
    teacher the loss is (1 - weight) * the course's own + weight * the distance to the teacher's outputs.
    """
    loss = course.loss if teacher is None else distilled(course.loss, teacher)
    peak = course.peak_learning_rate if peak_learning_rate is None else peak_learning_rate
    return replace(course, loss=loss, epochs=epochs, peak_learning_rate=peak)


def distilled(loss: Loss, teacher: Teacher) -> Loss:
    """The loss with a teacher, who answers to just what the net was asked, also where the loss varies its inputs.

    A frozen copy in eval mode teaches, so that the net given is left alone, and may itself be trained on.
    """
    frozen = deepcopy(teacher.net).eval().requires_grad_(False)

    def with_teacher(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with calls(net) as asked:
            own = loss(net, inputs, targets)
        with torch.no_grad():
            expected = [frozen(question) for question, _ in asked]
        apart = [teacher.distance(answer, right) for (_, answer), right in zip(asked, expected, strict=True)]
        return (1 - teacher.weight) * own + teacher.weight * torch.stack(apart).mean()

    return with_teacher


def soft_targets(temperature: float = 4.0) -> Distance:
    """For logits, classes on the last axis: the divergence of the two softmaxes at a temperature, times its square.

    G. Hinton et al., arXiv:1503.02531: the gradient is that of cross-entropy with the teacher's soft targets, and the
    square keeps its size at any temperature.
    """
    return partial(_divergence, temperature=temperature)


def squared_error(outputs: Tensor, expected: Tensor) -> Tensor:
    """For any other output: the mean squared difference."""
    return functional.mse_loss(outputs, expected)


def _divergence(outputs: Tensor, expected: Tensor, temperature: float) -> Tensor:
    learnt = functional.log_softmax(outputs / temperature, -1).flatten(0, -2)
    taught = functional.log_softmax(expected / temperature, -1).flatten(0, -2)
    return temperature**2 * functional.kl_div(learnt, taught, reduction="batchmean", log_target=True)


DISTANCES: dict[str, Distance] = {"soft targets": soft_targets(), "squared error": squared_error}
"""How far a pupil is from its teacher, by name."""


@contextmanager
def calls(net: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yields a list, to which every call of the net inside adds its (input, output)."""
    asked: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, read: tuple[Tensor, ...], answer: Tensor) -> None:
        asked.append((read[0], answer))

    hook = net.register_forward_hook(note)
    try:
        yield asked
    finally:
        hook.remove()
