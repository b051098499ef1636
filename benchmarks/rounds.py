"""Rounds: rivals take turns, so that a machine that slows down slows all of them, and medians are compared."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleaved(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """A B C A B C ...: what each contender measured, in order of the rounds."""
    measured: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            measured[name].append(measure())
    return measured


def median(measured: Sequence[T], figure: Callable[[T], float]) -> float:
    return statistics.median(figure(each) for each in measured)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios within each round; 0 where a rival had nothing to show."""
    return statistics.median(a / b if b else 0.0 for a, b in zip(ours, theirs, strict=True))
