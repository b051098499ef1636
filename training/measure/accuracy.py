"""Accuracy, each figure with its 95 % confidence interval."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean, variance

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

from app.contract.manifest import Metric
from training.errors import SubjectRefused

TAIL = 0.975


def top1(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the highest logit is the target's; logits [rows, classes], targets [rows] -> [rows].

    Raises SubjectRefused where that says nothing: for answers that are no list of classes, where every graph would be
    as good as any other, and for targets that are no place in it.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise SubjectRefused(f"answers: expected [rows, classes] with 2 classes or more, got {list(logits.shape)}")
    classes = logits.shape[1]
    if len(targets) and not (targets.min() >= 0 and targets.max() < classes):
        raise SubjectRefused(
            f"targets: expected places from 0 to {classes - 1}, got some from {targets.min()} to {targets.max()}"
        )
    correct: NDArray[np.bool_] = logits.argmax(axis=1) == targets
    return correct


def proportion(correct: NDArray[np.bool_]) -> Metric:
    """Share of right rows, with Wilson's score interval.

    E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927), 209-212.
    Unlike the normal one it stays inside [0, 1] and keeps a width at 100 %.
    """
    rows = len(correct)
    share = float(correct.mean())
    z = NormalDist().inv_cdf(TAIL)
    centre = share + z**2 / (2 * rows)
    reach = z * sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    low, high = (centre - reach) / (1 + z**2 / rows), (centre + reach) / (1 + z**2 / rows)
    return Metric(value=share, ci95=(max(0.0, low), min(1.0, high)))


def cross_validated(scores: Sequence[float], held_out_to_trained: float) -> Metric:
    """Mean of the folds' scores, each a share of 1, with an interval that ends at 0 and at 1."""
    mean, reach = _corrected(scores, held_out_to_trained)
    return Metric(value=mean, ci95=(max(0.0, mean - reach), min(1.0, mean + reach)))


def cross_validated_drop(drops: Sequence[float], held_out_to_trained: float) -> Metric:
    """Mean of what was lost in each fold, base minus candidate on the same rows, with its interval; any unit."""
    mean, reach = _corrected(drops, held_out_to_trained)
    return Metric(value=mean, ci95=(mean - reach, mean + reach))


def _corrected(values: Sequence[float], held_out_to_trained: float) -> tuple[float, float]:
    """Mean over the folds, and the reach of Student's t interval over the corrected variance.

    The folds share most of their training rows, so their plain variance is too small; it is multiplied by
    1/n + held out/trained instead of by 1/n. C. Nadeau and Y. Bengio, Inference for the Generalization Error, Machine
    Learning 52 (2003), 239-281; for repeated folds R. R. Bouckaert and E. Frank, PAKDD 2004, 3-12.
    """
    mean = fmean(values)
    deviation = sqrt(variance(values, mean) * (1 / len(values) + held_out_to_trained))
    return mean, float(stdtrit(len(values) - 1, TAIL)) * deviation
