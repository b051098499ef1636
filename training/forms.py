"""Forms: the graphs that could be published. How they are made of a float graph, and what each is worth."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from app.errors import LoadFailed
from training import pareto
from training.application import Application
from training.compress import graph, quantize, ranges, sensitivity, tiles
from training.compress.graph import FILENAME
from training.data.dataset import Dataset
from training.errors import ExportRefused, QuantisationRefused
from training.facts import read_facts, refusal, refuse, write_facts
from training.measure import bench, drop, gate, memory, neighbours, served
from training.measure.accuracy import proportion
from training.measure.answers import graph_answers, open_graph
from training.measure.bench import Speed, measure_speed
from training.measure.gate import Gate, Results
from training.measure.machine import this_machine
from training.measure.memory import resident_mb
from training.measure.neighbours import answers_depend_on_neighbours, require_every_batch
from training.measure.parity import LIMIT
from training.measure.served import open_served, runner
from training.pareto import Candidate
from training.steps import Step, Steps

FLOAT = "fp32"
BATCHES = (1, 8)
"""Rows at once for which every form is timed."""
MOST_ROWS = 64
"""Rows in the largest batch that every form has to take."""

Notice = Callable[[str], None]
"""Takes a sentence about what was not done, and why."""
CANDIDATES = "candidates.json"
MEASURES = [bench, drop, gate, memory, neighbours, served, pareto]
_CANDIDATES = TypeAdapter(tuple[Candidate, ...])


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is at hand where graphs are made and measured: no net is needed any more."""

    application: Application
    steps: Steps
    gate: Gate
    """What a form may lose."""
    race_seconds: float
    """About how long all forms are raced at each batch size."""


@dataclass(frozen=True)
class Form:
    """One graph: how far its net was cut ("4x"), its numbers ("fp32" or a preset), and the folder that it lies in."""

    level: str
    precision: str
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.level} {self.precision}"

    @property
    def path(self) -> Path:
        return self.folder / FILENAME

    @property
    def requires(self) -> tuple[str, ...]:
        """CPU flags without which its answers are wrong."""
        return () if self.precision == FLOAT else quantize.find(self.precision).requires


def quantised(at: Bench, form: Form, preset: str, least: float) -> Path:
    """The float graph in int8, as far as the accuracy on validation rows stays `least` or more; see `refusal`."""
    application = at.application

    def judge(path: Path) -> float:
        return accuracy(application, path)

    def make(folder: Path) -> None:
        try:
            made = sensitivity.quantize_within(
                form.path, quantize.find(preset), application.calibration.inputs, judge, least, folder / FILENAME
            )
            ranges.write(made.ranges, folder)
            write_facts(folder, {"kept_float": list(made.kept_float)})
        except QuantisationRefused as refused:
            refuse(folder, refused)

    config = {
        "preset": preset,
        "least": least,
        "calibration": application.calibration.sha256,
        "validation": application.validation.sha256,
        "flags": this_machine().flags,
    }
    sources = [quantize, ranges, sensitivity, tiles, graph, *application.sources]
    return at.steps.take(Step(f"quantised-{preset}", config, sources, [form.folder]), make)


def integers(at: Bench, form: Form, presets: tuple[str, ...], least: float, notice: Notice) -> list[Form]:
    """A float form in int8, by each preset that this machine can run and that keeps the answers good enough."""
    forms = []
    for preset in presets:
        folder = quantised(at, form, preset, least)
        if refused := refusal(folder):
            notice(f"{form.level} {preset}: {refused}")
        else:
            forms.append(Form(form.level, preset, folder))
    return forms


def sound(forms: Sequence[Form], rows: NDArray[Any], notice: Notice) -> list[Form]:
    """The forms that the server loads and that take every number of `rows`; why not, `notice` is told of the others."""
    kept = []
    for form in forms:
        try:
            require_every_batch(runner(open_served(form.path)), rows, MOST_ROWS)
        except (LoadFailed, ExportRefused) as refused:
            notice(f"{form.name}: {refused}")
        else:
            kept.append(form)
    return kept


def known_accuracy(at: Bench, form: Form) -> float:
    """As `accuracy`, kept with the run: later steps depend on it to the last bit, also on another machine."""

    def make(folder: Path) -> None:
        write_facts(folder, {"accuracy": accuracy(at.application, form.path)})

    config = {"validation": at.application.validation.sha256}
    folder = at.steps.take(Step("judged", config, at.application.sources, [form.folder]), make)
    known: float = read_facts(folder)["accuracy"]
    return known


def accuracy(application: Application, path: Path) -> float:
    """Share of the validation rows that a graph has right."""
    return float(np.mean(results(application, path, application.validation).scores))


def results(application: Application, path: Path, rows: Dataset) -> Results:
    """What a graph makes of rows, and whether it is right."""
    answers = graph_answers(open_graph(path), rows.inputs)
    return Results(answers, application.correct(answers, rows.targets))


def measured(at: Bench, forms: Sequence[Form]) -> tuple[Candidate, ...]:
    """Every form by the validation rows, and raced on one thread; the first is what all are held against."""
    application = at.application

    def make(folder: Path) -> None:
        rows = application.validation
        speeds = measure_speed({form.name: form.path for form in forms}, rows.inputs, BATCHES, at.race_seconds)
        base = results(application, forms[0].path, rows)
        found = tuple(candidate(at, form, base, speeds[form.name]) for form in forms)
        (folder / CANDIDATES).write_bytes(_CANDIDATES.dump_json(found, indent=2))

    config = {
        "forms": [form.name for form in forms],
        "validation": application.validation.sha256,
        "gate": asdict(at.gate),
        "race_seconds": at.race_seconds,
        "machine": asdict(this_machine()),
    }
    sources = [*MEASURES, *application.sources]
    folder = at.steps.take(Step("measured", config, sources, [form.folder for form in forms]), make)
    return _CANDIDATES.validate_json((folder / CANDIDATES).read_bytes())


def candidate(at: Bench, form: Form, base: Results, speed: dict[int, Speed]) -> Candidate:
    """One form, with everything that is known of it; `base` is what the original makes of the validation rows."""
    rows = at.application.validation
    got = results(at.application, form.path, rows)
    run = runner(open_served(form.path))
    return Candidate(
        name=form.name,
        file=str(form.folder.name),
        precision=form.precision,
        widths=form.level,
        accuracy=proportion(got.scores > 0),
        speed=speed,
        bytes=form.path.stat().st_size,
        memory_mb=resident_mb(form.path, rows.inputs[: max(BATCHES)]),
        batchable=answers_depend_on_neighbours(run, rows.inputs) <= LIMIT,
        requires=form.requires,
        verdict=at.gate.judge(base, got, rows.targets),
    )
