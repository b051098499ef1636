"""The stages of a compile: each reads folders and fills one, and is not taken again while nothing has changed."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import checkpoint, course, golden, trainer
from training.compress import (
    cut,
    export,
    fuse,
    groups,
    heads,
    importance,
    layer_costs,
    layer_times,
    lossless,
    prepare,
    profile,
    prune,
    recover,
    widths,
)
from training.compress.evaluating import net_answers
from training.course import Course
from training.data.dataset import array_sha256
from training.device import CPU, Device
from training.errors import PruneRefused, RemovalRefused
from training.facts import read_facts, refuse, write_facts
from training.measure import parity
from training.measure.answers import graph_answers, open_graph
from training.measure.machine import this_machine
from training.plan import Plan
from training.ranks import ALONE, Ranks
from training.steps import Step, Steps
from training.subject import Subject

STATE = "training.safetensors"
COST_BATCH = 8
"""Rows for which layers are timed: of a small layer's time for one row, most is its start."""
COSTS: dict[str, Callable[[Plan], layer_costs.Measure]] = {
    "ms": lambda plan: layer_times.interpolated(layer_times.LayerTimes((COST_BATCH,)), plan.grid),
    "macs": lambda plan: layer_costs.macs_of,
}


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every stage has at hand."""

    subject: Subject
    plan: Plan
    steps: Steps
    on_epoch: Callable[[], None]
    stop: Event
    device: Device = CPU
    ranks: Ranks = ALONE

    @property
    def learning(self) -> dict[str, Any]:
        """What a training depends on beside its course's length, as JSON can hold it."""
        return {**self.subject.config, "device": self.device.options, "ranks": self.ranks.count}

    @property
    def sources(self) -> list[ModuleType]:
        """The code that a training depends on."""
        return [course, trainer, *self.subject.sources]

    def load(self, folder: Path) -> nn.Module:
        """The net that a stage has left, in eval mode."""
        return checkpoint.load(self.subject.net, folder)

    def save(self, net: nn.Module, folder: Path, facts: dict[str, Any]) -> None:
        """Leaves a net, and what was found out on the way to it."""
        checkpoint.save(net, self.subject.config, folder)
        write_facts(folder, facts)

    def learn(self, net: nn.Module, course: Course, folder: Path) -> nn.Module:
        """Trains a net in place; a training that was stopped goes on."""
        state = folder / STATE
        learnt = trainer.train(net, self.subject.feed, course, self.on_epoch, state, self.stop, self.device, self.ranks)
        state.unlink(missing_ok=True)
        return learnt

    @property
    def example(self) -> Tensor:
        """Two rows, because a size of 1 may be taken for a constant."""
        return torch.from_numpy(self.subject.calibration.inputs[:2])


def given(shop: Workshop) -> Path:
    """A net that came trained, on disk."""
    config = {"sha256": checkpoint.sha256(shop.subject.net), **shop.subject.config}
    step = Step("given", config, [checkpoint, widths, *shop.subject.sources])
    return shop.steps.take(step, lambda folder: shop.save(shop.subject.net, folder, {}))


def learnt(shop: Workshop) -> Path:
    """A net that came untrained, after its course."""
    epochs = shop.subject.course.epochs

    def make(folder: Path) -> None:
        shop.save(shop.learn(deepcopy(shop.subject.net), shop.subject.course, folder), folder, {})

    return shop.steps.take(Step("trained", shop.learning, shop.sources, [], epochs), make)


def cleaned(shop: Workshop, source: Path) -> Path:
    """The net without the units that do nothing, the same answers proven; beside it what its units do."""
    subject = shop.subject

    def make(folder: Path) -> None:
        net = shop.load(source)
        activity = profile.profile(net, subject.calibration.inputs)
        clean = lossless.remove_dead(net, subject.calibration.inputs, subject.validation.inputs)
        facts = {
            "dead": clean.dead,
            "unread": clean.unread,
            "constant": clean.constant,
            "denormals": clean.denormals,
            "undone": clean.undone,
            "activity": activity.as_json(),
        }
        shop.save(clean.net, folder, facts)

    config = {"calibration": subject.calibration.sha256, "validation": subject.validation.sha256, **subject.config}
    sources = [lossless, profile, groups, cut, *subject.sources]
    return shop.steps.take(Step("lossless", config, sources, [source]), make)


def narrowed(shop: Workshop, source: Path, level: float) -> Path:
    """The net, cut to be `level` times cheaper by the time that its layers take; it has not learnt again yet.

    A refusal where its units cannot be ranked, its floors do not allow that, or it does not run at such widths; see
    `facts.refusal`.
    """
    plan = shop.plan

    def make(folder: Path) -> None:
        net = shop.load(source)
        found = heads.prunable(net, shop.example)
        cost = layer_costs.net_cost(net, shop.example, found, COSTS[plan.cost](plan))
        limits = prune.Limits(grid=plan.grid, floor=plan.floor, least=plan.least)
        try:
            scores = scored(shop, net, found, plan.importance)
            smaller = prune.prune(net, shop.example, found, scores, cost, cost({}) / level, limits)
        except (PruneRefused, RemovalRefused) as refused:
            refuse(folder, refused)
        else:
            shop.save(smaller.net, folder, {"widths": smaller.widths, "removed": smaller.removed})

    config = {**plan.cut_config, "level": level, "calibration": shop.subject.calibration.sha256}
    if plan.cost == "ms":
        config["machine"] = asdict(this_machine())
    sources = [prune, importance, layer_costs, layer_times, groups, heads, cut, *shop.subject.sources]
    return shop.steps.take(Step(f"narrowed-{level:g}x", config, sources, [source]), make)


def narrowed_like(shop: Workshop, source: Path, like: Path, criterion: str) -> Path:
    """The net with as many units of each group as the cut net `like` has: those that a criterion keeps."""

    def make(folder: Path) -> None:
        net = shop.load(source)
        found = heads.prunable(net, shop.example)
        kept: dict[str, int] = read_facts(like)["widths"]
        units = prune.least_important(found, scored(shop, net, found, criterion), kept)
        shop.save(groups.cut(net, found, units), folder, {"widths": kept})

    subject = shop.subject
    config = {"importance": criterion, "seed": subject.course.seed, "calibration": subject.calibration.sha256}
    sources = [prune, importance, groups, heads, cut, *subject.sources]
    return shop.steps.take(Step(f"narrowed-{criterion}", config, sources, [source, like]), make)


def recovered(shop: Workshop, source: Path, whole: Path) -> Path:
    """A cut net after it has learnt again, its learning rate from the start; `whole` is the net that it was."""
    plan = shop.plan

    def make(folder: Path) -> None:
        teacher = teaching(shop, whole) if plan.distillation else None
        again = recover.recovery(shop.subject.course, plan.recovery_epochs, plan.recovery_rate, teacher)
        shop.save(shop.learn(shop.load(source), again, folder), folder, {})

    config = {**plan.recovery_config, **shop.learning}
    step = Step("recovered", config, [recover, *shop.sources], [source, whole], plan.recovery_epochs)
    return shop.steps.take(step, make)


def teaching(shop: Workshop, whole: Path) -> recover.Teacher:
    """The net as it was before the cut, on the device that its pupil learns on."""
    net = shop.load(whole)
    shop.device.place_net(net)
    return recover.Teacher(net, recover.DISTANCES[shop.plan.distance], shop.plan.distillation)


def scored(shop: Workshop, net: nn.Module, found: Any, criterion: str) -> importance.Scores:
    """What each unit is worth by a criterion, read from the calibration rows."""
    subject = shop.subject
    return importance.IMPORTANCES[criterion](net, found, subject.calibration, subject.course.loss, subject.course.seed)


def from_scratch(shop: Workshop, like: Path) -> Path:
    """A baseline: a net of the same widths with new weights, after the course that the whole net had.

    "Scratch-E" of Z. Liu et al., Rethinking the Value of Network Pruning, arXiv:1810.05270, section 3. A refusal where
    the weights of a net that came trained cannot be drawn anew.
    """
    learning = shop.subject.course

    def make(folder: Path) -> None:
        try:
            net = untrained(shop, like)
        except RemovalRefused as refused:
            refuse(folder, refused)
        else:
            shop.save(shop.learn(net, learning, folder), folder, {})

    step = Step("scratch", shop.learning, [widths, checkpoint, *shop.sources], [like], learning.epochs)
    return shop.steps.take(step, make)


def untrained(shop: Workshop, like: Path) -> nn.Module:
    """A net that has learnt nothing, of the widths of the one saved in `like`."""
    if shop.subject.new_net is not None:
        return checkpoint.resized(shop.subject.new_net(), like)
    return renewed(shop.load(like), shop.subject.course.seed)


def renewed(net: nn.Module, seed: int) -> nn.Module:
    """A copy of the net with weights as a new one has them.

    Raises RemovalRefused where a module has weights of its own and no `reset_parameters`: they would stay as they were
    learnt.
    """
    copy = deepcopy(net)
    with trainer.reproducible(seed):
        for name, module in copy.named_modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            elif any(True for _ in module.parameters(recurse=False)):
                raise RemovalRefused(f"{name or 'the net'}: expected reset_parameters(), to draw its weights anew")
    return copy


def exported(shop: Workshop, source: Path) -> Path:
    """The net folded and as ONNX, the same answers proven."""
    subject = shop.subject

    def make(folder: Path) -> None:
        net = shop.load(source)
        fused = fuse.fuse(net, proof(shop))
        path = export.export(fused.net, subject.input, subject.output, folder)
        parity.require_parity(partial(net_answers, net), partial(graph_answers, open_graph(path)), proof(shop))
        golden.write(subject.samples, net_answers(net, subject.samples), subject.input, subject.output, folder)
        write_facts(folder, {"batch_norms": fused.batch_norms, "left": fused.left})

    config = {
        "input": subject.input.model_dump(mode="json"),
        "output": subject.output.model_dump(mode="json"),
        "samples": array_sha256(subject.samples, proof(shop)),
    }
    sources = [fuse, export, lossless, prepare, parity, golden, *subject.sources]
    return shop.steps.take(Step("onnx", config, sources, [source]), make)


def proof(shop: Workshop) -> NDArray[Any]:
    """Held-out rows for a proof of equal answers: enough to reach every kernel, few enough to be quick."""
    rows: NDArray[Any] = shop.subject.validation.inputs[: max(parity.BATCHES)]
    return np.ascontiguousarray(rows)
