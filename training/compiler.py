"""Compile: a trained network becomes the best version under the user's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from training import stages
from training.decision import Decision, decide
from training.facts import read_facts, refusal
from training.forms import FLOAT, Bench, Form, Notice, integers, known_accuracy, measured, sound
from training.measure.bench import Speed
from training.pareto import Candidate, Terms
from training.stages import Workshop

UNCUT = "1x"


@dataclass(frozen=True)
class Cut:
    """A net cut to a level: the folder of the cut alone (None where nothing was cut), and that of the net to use."""

    level: str
    narrowed: Path | None
    net: Path


@dataclass(frozen=True)
class Compiled:
    """The folders of the steps that lead to the chosen form, the decision, and the baselines beside it."""

    origin: Path
    clean: Path
    cut: Cut
    decision: Decision
    baselines: tuple[Candidate, ...]
    """Nets of the chosen one's widths that were made another way: did the way matter?"""


def compile_net(shop: Workshop, origin: Path, terms: Terms, notice: Notice) -> Compiled:
    """Makes every candidate of a net, measures them, and decides. `origin` is the folder of the net as trained.

    Raises NoCandidate where none meets the terms.
    """
    clean = stages.cleaned(shop, origin)
    if undone := read_facts(clean)["undone"]:
        notice(f"lossless: undone, {undone}")
    cuts = {cut.level: cut for cut in made(shop, clean, notice)}
    bench = Bench(application=shop.subject, steps=shop.steps, gate=terms.gate, race_seconds=shop.plan.race_seconds)
    original = Form("original", FLOAT, stages.exported(shop, origin))
    if left := read_facts(original.folder)["left"]:
        notice(f"fuse: {left} BatchNorms stand behind no layer of their own, and are left to the runtime")
    floats = [Form(cut.level, FLOAT, stages.exported(shop, cut.net)) for cut in cuts.values()]
    least = known_accuracy(bench, original) - terms.max_drop / 100
    forms = floats + [form for one in floats for form in integers(bench, one, shop.plan.presets, least, notice)]
    decision = decide(bench, original, sound(forms, shop.subject.validation.inputs, notice), terms)
    cut = cuts[decision.chosen.level]
    others = other_ways(shop, clean, cut, notice)
    return Compiled(origin, clean, cut, decision, baselines(bench, decision, others))


def made(shop: Workshop, clean: Path, notice: Notice) -> list[Cut]:
    """The net uncut, and cut to each level that its floors allow."""
    cuts = [Cut(UNCUT, None, clean)]
    for level in shop.plan.levels:
        narrowed = stages.narrowed(shop, clean, level)
        if refused := refusal(narrowed):
            notice(f"{level:g}x: {refused}")
        else:
            cuts.append(Cut(f"{level:g}x", narrowed, stages.recovered(shop, narrowed, clean)))
    return cuts


def other_ways(shop: Workshop, clean: Path, cut: Cut, notice: Notice) -> dict[str, Path]:
    """Nets of the same widths: as many units drawn by chance with the same recovery, and one trained from scratch.

    None for an uncut net.
    """
    if cut.narrowed is None:
        return {}
    chance = stages.narrowed_like(shop, clean, cut.narrowed, "random")
    nets = {"random units": stages.recovered(shop, chance, clean)}
    scratch = stages.from_scratch(shop, cut.net)
    if refused := refusal(scratch):
        notice(f"from scratch: {refused}")
    else:
        nets["from scratch"] = scratch
    return {name: stages.exported(shop, net) for name, net in nets.items()}


def baselines(bench: Bench, decision: Decision, graphs: Mapping[str, Path]) -> tuple[Candidate, ...]:
    """The baselines' graphs, measured as the candidates were, in a race of their own with the original."""
    if not graphs:
        return ()
    forms = [decision.original, *(Form(name, FLOAT, folder) for name, folder in graphs.items())]
    again, *found = measured(bench, forms)
    return tuple(replace(one, speed=as_in_race_of(decision.measured[0], again, one)) for one in found)


def as_in_race_of(before: Candidate, again: Candidate, one: Candidate) -> dict[int, Speed]:
    """The speeds of `one` with its milliseconds as they would have been in another race, in which the original took
    `before` and not `again`: a machine is not equally quick at all times, and one table holds them all."""

    def moved(batch: int, speed: Speed) -> Speed:
        pace = before.speed[batch].p50_ms / again.speed[batch].p50_ms
        return replace(speed, p50_ms=pace * speed.p50_ms, p99_ms=pace * speed.p99_ms)

    return {batch: moved(batch, speed) for batch, speed in one.speed.items()}
