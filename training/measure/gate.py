"""The gate: what a candidate may lose of the network it was made from, and whether this one lost more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import Metric
from training.measure.accuracy import proportion
from training.measure.drop import Scores, drop, mcnemar
from training.measure.parity import difference

ROUNDING = 1e-9
"""Points by which a drop, a difference of means, may be off."""


@dataclass(frozen=True)
class Results:
    """What one form of a network made of the rows it is judged by: answers [rows, ...], and scores [rows] in [0, 1]."""

    answers: NDArray[Any]
    scores: Scores


@dataclass(frozen=True)
class ClassDrop:
    """The drop among the rows of one class."""

    label: int
    rows: int
    drop: Metric


@dataclass(frozen=True)
class Verdict:
    """Why a candidate fails, if it does, and the figures that say so.

    `drop`: percentage points. `proven`: not only the drop but its whole interval lies within what was allowed.
    `mcnemar`: p of the hypothesis that nothing was lost or won, where rows are right or wrong. `agreement`: share of
    rows with the original's class. `difference`: of the answers as numbers, by parity's measure. `worst_class`: the one
    that loses the most points; of equal ones the one with the most rows.
    """

    reasons: tuple[str, ...]
    drop: Metric
    proven: bool
    difference: float
    mcnemar: float | None = None
    agreement: Metric | None = None
    worst_class: ClassDrop | None = None

    @property
    def passed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How much may be lost: `max_drop` points in all, `max_class_drop` points in any class, `max_difference` of the
    answers themselves (such as parity's LIMIT, for steps that must change nothing).

    The drop itself decides, not its interval. A test for non-inferiority would ask that the interval's upper end be
    within `max_drop`, which few candidates can reach on a few hundred rows, the original beside itself among them;
    so `proven` says whether it is, and the interval is in every reason. A class has far fewer rows, and one of them
    is worth points; there the candidate fails where the interval's lower end is above `max_class_drop`.
    """

    max_drop: float
    max_class_drop: float | None = None
    max_difference: float | None = None

    def judge(self, base: Results, candidate: Results, classes: NDArray[np.integer[Any]] | None = None) -> Verdict:
        """Holds a candidate against the original on the same rows; `classes` [rows] are the true ones, if there are."""
        lost = drop(base.scores, candidate.scores)
        distance = difference(base.answers, candidate.answers)
        by_class = () if classes is None else class_drops(base.scores, candidate.scores, classes)
        finite = bool(np.isfinite(candidate.answers).all())
        return Verdict(
            reasons=tuple(self._reasons(lost, by_class, distance, finite)),
            drop=lost,
            proven=lost.ci95 is not None and lost.ci95[1] <= self.max_drop,
            difference=distance,
            mcnemar=_mcnemar(base.scores, candidate.scores),
            agreement=agreement(base.answers, candidate.answers),
            worst_class=max(by_class, key=lambda one: (one.drop.value, one.rows), default=None),
        )

    def _reasons(self, lost: Metric, by_class: Sequence[ClassDrop], distance: float, finite: bool) -> Iterator[str]:
        if not finite:
            yield "some answers are no finite numbers"
        yield from too_large_drop(lost, self.max_drop)
        for one in by_class:
            assert one.drop.ci95 is not None
            if self.max_class_drop is not None and one.drop.ci95[0] > self.max_class_drop:
                yield f"class {one.label} loses {points(one.drop)}, allowed are {self.max_class_drop:g}"
        if self.max_difference is not None and not distance <= self.max_difference:  # NaN is a difference
            yield f"answers differ by {distance:.1e}, allowed is {self.max_difference:.0e}"


def too_large_drop(lost: Metric, most: float) -> Iterator[str]:
    """The reason, where more points are lost than allowed."""
    if lost.value > most + ROUNDING:
        yield f"loses {points(lost)}, allowed are {most:g}"


def points(lost: Metric) -> str:
    """A drop in words: 1.20 points [0.35, 2.41]."""
    low, high = lost.ci95 or (lost.value, lost.value)
    return f"{lost.value:.2f} points [{low:.2f}, {high:.2f}]"


def agreement(base: NDArray[Any], candidate: NDArray[Any]) -> Metric | None:
    """Share of rows whose highest answer is at the same place; None for answers that are no list of classes."""
    if base.ndim != 2 or base.shape[1] < 2:
        return None
    return proportion(base.argmax(axis=1) == candidate.argmax(axis=1))


def class_drops(base: Scores, candidate: Scores, classes: NDArray[np.integer[Any]]) -> tuple[ClassDrop, ...]:
    """The drop of every class, in order of their numbers."""
    return tuple(
        ClassDrop(int(label), int(of_it.sum()), drop(base[of_it], candidate[of_it]))
        for label in np.unique(classes)
        for of_it in (classes == label,)
    )


def _mcnemar(base: Scores, candidate: Scores) -> float | None:
    if not np.isin(np.concatenate([base, candidate]), (0, 1)).all():
        return None
    return mcnemar(base.astype(bool), candidate.astype(bool))
