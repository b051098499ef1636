"""report.json and report.html: what was taken out of a network, what that cost and gained, and why this version won."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import AfterValidator, Field, model_validator

from app.contract.manifest import Lineage, Metric
from app.contract.tensors import Frozen
from training.pareto import Terms

JSON = "report.json"
HTML = "report.html"
NEAR_DEAD = 0.99
"""From this zero rate on a unit counts as near dead."""

State = Literal["live", "near-dead", "dead", "constant"]
Fate = Literal["kept", "lossless", "pruned"]
"""Whether a unit is still there, and if not, which step took it out."""
Short = Annotated[float, AfterValidator(lambda value: float(f"{value:.4g}"))]
"""Four digits: a large net has a hundred thousand units."""
Share = Annotated[float, Field(ge=0, le=1)]


class Activity(Frozen):
    """What a layer's units did on the calibration set; entry i of every column is unit i."""

    zero_rate: tuple[Short, ...]
    """Share of rows and positions at which the unit was exactly zero."""
    mean: tuple[Short, ...]
    variance: tuple[Short, ...]
    maximum: tuple[Short, ...]
    state: tuple[State, ...]
    fate: tuple[Fate, ...]

    @model_validator(mode="after")
    def _one_entry_a_unit(self) -> Self:
        lengths = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"activity: expected columns of one length, got {lengths}")
        return self


class Layer(Frozen):
    """A layer, and how many units it had from step to step."""

    name: str
    kind: str
    units: int = Field(ge=1)
    after_lossless: int = Field(ge=0)
    after_pruning: int = Field(ge=0)
    activity: Activity | None = None

    @model_validator(mode="after")
    def _activity_has_every_unit(self) -> Self:
        if self.activity is not None and len(self.activity.state) != self.units:
            raise ValueError(f"{self.name}: expected {self.units} units in activity, got {len(self.activity.state)}")
        return self


class Fusion(Frozen):
    """Nodes by operator: in the graph as exported, and in the one that ONNX Runtime made of it and runs."""

    exported: dict[str, int]
    runs: dict[str, int]
    fused: dict[str, int] = {}
    """What was folded before the export, such as {"BatchNormalization": 20}."""
    int8_share: Share | None = None
    """Share of the convolutions and matrix products that run in int8."""


class WorstClass(Frozen):
    """The class that lost most, in percentage points."""

    label: str
    drop: float


class Timing(Frozen):
    """Milliseconds for one batch of so many rows, and how many times faster than the original."""

    batch: int = Field(ge=1)
    p50_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    speedup: Metric | None = None


class Entry(Frozen):
    """One line of the table of candidates: what was measured of it, and what became of it.

    A baseline answers whether the choice of units was worth anything: as many units cut at random, or a net of the
    same widths trained from scratch. What could not be measured is None.
    """

    name: str
    role: Literal["original", "candidate", "baseline"]
    precision: str
    accuracy: Metric | None
    """A share of 1."""
    drop: Metric | None = None
    """Percentage points below the original, on the same rows."""
    agreement: Share | None = None
    """Share of rows whose answer is the original's."""
    worst_class: WorstClass | None = None
    timings: tuple[Timing, ...] = ()
    file_bytes: int | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, ge=0)
    batchable: bool = True
    passed: bool
    reasons: tuple[str, ...] = ()
    """Why it did not pass, or was not chosen."""
    on_front: bool = False
    chosen: bool = False

    def timing(self, batch: int) -> Timing | None:
        return next((timing for timing in self.timings if timing.batch == batch), None)


class Machine(Frozen):
    """What the times were measured on."""

    cpu: str
    flags: tuple[str, ...]
    """Of /proc/cpuinfo, those that decide which kernels run."""
    threads: int = Field(ge=1)


class Report(Frozen):
    """Everything that report.html shows, except for the pictures."""

    schema_version: Literal[1] = 1
    model: str
    task: str
    created: datetime | None = None
    machine: Machine
    layers: tuple[Layer, ...]
    undone: str | None = None
    """Why the lossless step was undone; None where it was not."""
    fusion: Fusion
    entries: tuple[Entry, ...]
    terms: Terms
    lineage: Lineage

    @model_validator(mode="after")
    def _at_most_one_each(self) -> Self:
        for title, found in (("original", self._originals), ("chosen", self._chosen)):
            if len(found) > 1:
                raise ValueError(f"entries: expected at most one {title}, got {[entry.name for entry in found]}")
        return self

    @property
    def _originals(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.role == "original"]

    @property
    def _chosen(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.chosen]

    @property
    def original(self) -> Entry | None:
        return next(iter(self._originals), None)

    @property
    def chosen(self) -> Entry | None:
        return next(iter(self._chosen), None)

    @property
    def batches(self) -> tuple[int, ...]:
        """Every batch size that something was timed at."""
        return tuple(sorted({timing.batch for entry in self.entries for timing in entry.timings}))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The report of a version folder."""
        return cls.model_validate_json((folder / JSON).read_bytes())


@dataclass(frozen=True)
class Picture:
    """A drawing: its title, the drawing itself, and the sentence beneath that says what one sees."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The drawings of a report; None where there is nothing to draw."""

    pareto: Picture | None = None
    widths: Picture | None = None
    activity: Picture | None = None
    fusion: Picture | None = None
    filters: Picture | None = None
    maps: Picture | None = None


def states(zero_rate: Sequence[float], variance: Sequence[float]) -> tuple[State, ...]:
    """What each unit counts as: dead if it never fired, constant if it never changed, near dead if it rarely fires."""
    return tuple(_state(zeros, spread) for zeros, spread in zip(zero_rate, variance, strict=True))


def _state(zero_rate: float, variance: float) -> State:
    if zero_rate == 1:
        return "dead"
    if variance == 0:
        return "constant"
    return "near-dead" if zero_rate >= NEAR_DEAD else "live"


def write_report(report: Report, pictures: Pictures, folder: Path) -> None:
    """Writes report.json and report.html into a folder; the same facts give the same bytes.

    The page is whole in itself: it loads nothing and runs no script.
    """
    (folder / JSON).write_text(report.model_dump_json() + "\n", encoding="utf-8")
    (folder / HTML).write_text(render(report, pictures), encoding="utf-8")


def render(report: Report, pictures: Pictures) -> str:
    """The page. Everything that is not a drawing of ours is escaped."""
    environment = Environment(
        loader=PackageLoader("training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, megabytes=megabytes, interval=interval)
    return environment.get_template("report.html.j2").render(report=report, pictures=pictures)


def number(value: float) -> str:
    """Three digits, as a person writes them: 1,234 and 0.0312, never 1e+03 or 0.500."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def megabytes(count: int) -> str:
    """Millions of bytes."""
    return f"{number(count / 1e6)} MB"


def interval(metric: Metric, scale: float = 1, digits: int = 2) -> str:
    """The 95 % confidence interval, such as "1.65 to 1.78"; "" where there is none."""
    return " to ".join(f"{scale * end:.{digits}f}" for end in metric.ci95 or ())
