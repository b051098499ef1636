"""Intervals, held against published values and against arithmetic by hand."""

import numpy as np
import pytest

from training.errors import SubjectRefused
from training.measure.accuracy import cross_validated, cross_validated_drop, proportion, top1


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval(right: int, rows: int, low: float, high: float) -> None:
    metric = proportion(np.arange(rows) < right)
    assert metric.value == pytest.approx(right / rows)
    assert metric.ci95 == pytest.approx((low, high), abs=5e-5)


def test_all_right_is_not_certainty() -> None:
    metric = proportion(np.ones(360, dtype=bool))
    assert metric.ci95 is not None
    assert metric.value == 1.0
    # z^2 / (rows + z^2) is what the formula comes to here
    assert metric.ci95 == pytest.approx((1 - 3.8415 / 363.8415, 1.0), abs=1e-6)


def test_cross_validated_interval_by_hand() -> None:
    # variance 0.002 / 3, times 1/4 + 1/3, root 0.019720; t(0.975, 3) = 3.182446
    metric = cross_validated([0.90, 0.92, 0.94, 0.96], held_out_to_trained=1 / 3)
    assert metric.value == pytest.approx(0.93)
    assert metric.ci95 == pytest.approx((0.93 - 0.062759, 0.93 + 0.062759), abs=1e-6)


def test_an_interval_ends_at_one() -> None:
    assert cross_validated([0.9, 1.0, 1.0, 1.0], held_out_to_trained=1 / 3).ci95 == pytest.approx(
        (0.8535, 1.0), abs=1e-3
    )


def test_the_interval_of_a_drop_may_lie_on_both_sides_of_zero() -> None:
    # the figures of the first test, moved down by 0.93 and given in points
    metric = cross_validated_drop([-3.0, -1.0, 1.0, 3.0], held_out_to_trained=1 / 3)
    assert metric.value == pytest.approx(0)
    assert metric.ci95 == pytest.approx((-6.2759, 6.2759), abs=1e-4)


def test_top1_is_the_highest_logit() -> None:
    logits = np.array([[0.1, 0.9], [2.0, -1.0], [-3.0, -2.0]], dtype=np.float32)
    assert top1(logits, np.array([1, 1, 1])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("shape", "targets", "complaint"),
    [
        ((2, 1), [0, 0], r"answers: expected \[rows, classes\] with 2 classes or more, got \[2, 1\]"),
        ((2,), [0, 0], r"answers: .*, got \[2\]"),
        ((2, 3, 4), [0, 0], r"answers: .*, got \[2, 3, 4\]"),
        ((2, 3), [1, 3], r"targets: expected places from 0 to 2, got some from 1 to 3"),
        ((2, 3), [-1, 0], r"targets: expected places from 0 to 2, got some from -1 to 0"),
    ],
)
def test_top1_says_nothing_of_what_is_no_list_of_classes(
    shape: tuple[int, ...], targets: list[int], complaint: str
) -> None:
    """Otherwise every graph would be as good as any other, and the gate would let all of them through."""
    with pytest.raises(SubjectRefused, match=complaint):
        top1(np.zeros(shape, np.float32), np.array(targets))
