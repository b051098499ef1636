"""What a candidate lost against the network it was made from, judged row by row on the same rows."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # type: ignore[import-untyped]

from app.contract.manifest import Metric
from training.measure.accuracy import TAIL, proportion

RESAMPLES = 2000
SEED = 0

Scores = NDArray[np.bool_] | NDArray[np.floating[Any]]
"""[rows], each from 0, all wrong, to 1, all right."""


def drop(base: Scores, candidate: Scores) -> Metric:
    """Mean score of base minus that of the candidate, in percentage points, with an interval that knows the pairs.

    Right-or-wrong scores get Newcombe's interval, all others that of a bootstrap. Raises ValueError where the scores
    are not of the same rows, or lie outside [0, 1].
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"expected scores of the same rows, got shapes {list(first.shape)} and {list(second.shape)}")
    both = np.concatenate([first, second])
    if not ((both >= 0) & (both <= 1)).all():
        raise ValueError(f"expected scores from 0 to 1, got {both.min()} to {both.max()}")
    interval = newcombe if np.isin(both, (0, 1)).all() else bootstrap
    low, high = interval(first, second)
    return Metric(value=100 * float((first - second).mean()), ci95=(100 * low, 100 * high))


def newcombe(base: NDArray[np.float64], candidate: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions: Wilson's two intervals, joined by their correlation.

    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17 (1998), 2635-2650, method 10. It keeps a width where no row differs.
    """
    first, second = proportion(base > 0), proportion(candidate > 0)
    assert first.ci95 is not None
    assert second.ci95 is not None
    down, up = first.value - first.ci95[0], first.ci95[1] - first.value
    other_down, other_up = second.value - second.ci95[0], second.ci95[1] - second.value
    phi = _correlation(base > 0, candidate > 0)
    below = sqrt(down**2 - 2 * phi * down * other_up + other_up**2)
    above = sqrt(up**2 - 2 * phi * up * other_down + other_down**2)
    difference = first.value - second.value
    return difference - below, difference + above


def _correlation(base: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> float:
    """Phi, with Newcombe's correction where it is positive: he subtracts rows/2, though not below 0."""
    right, wrong = int((base & candidate).sum()), int((~base & ~candidate).sum())
    lost, won = discordant(base, candidate)
    margins = (right + lost) * (won + wrong) * (right + won) * (lost + wrong)
    if margins == 0:
        return 0.0
    product = right * wrong - lost * won
    return (product if product < 0 else max(0.0, product - len(base) / 2)) / sqrt(margins)


def bootstrap(base: NDArray[np.float64], candidate: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean difference; rows are drawn anew, each with both of its scores.

    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13.
    """
    differences, random = base - candidate, np.random.default_rng(SEED)
    rows = len(differences)
    means = [differences[random.integers(rows, size=rows)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (1 - TAIL, TAIL))
    return float(low), float(high)


def discordant(base: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> tuple[int, int]:
    """Rows that only base has right, and rows that only the candidate has right."""
    return int((base & ~candidate).sum()), int((~base & candidate).sum())


def mcnemar(base: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> float:
    """Two-sided exact p of the hypothesis that both are right equally often.

    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947), 153-157, with the binomial distribution instead of its limit.
    """
    lost, won = discordant(base, candidate)
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))
