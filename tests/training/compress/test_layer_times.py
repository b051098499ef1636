"""Layer timings: every kind of layer runs, a time is taken once, and lines are drawn where they should."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from training.compress import layer_times
from training.compress.layer_costs import LayerShape, layers
from training.compress.layer_times import LayerTimes, interpolated, knots, runner

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 8, 8)),
    (nn.Conv2d(8, 8, 3, padding="same", groups=8), (8, 5, 5)),
    (nn.Conv1d(4, 6, 5, dilation=2), (4, 20)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 3, 3)),
    (nn.Linear(5, 7), (5,)),
]


@pytest.mark.parametrize(("layer", "row"), LAYERS, ids=lambda value: type(value).__name__)
def test_a_layer_runs_in_the_shape_that_it_has_in_the_net(layer: nn.Module, row: tuple[int, ...]) -> None:
    ((_, shape),) = layers(nn.Sequential(layer), torch.zeros(1, *row))
    made: Any = runner(shape, 2)()
    assert made[0].shape == layer(torch.zeros(2, *row)).shape
    assert made[0].min() == 0 < made[0].max(), "the ReLU is part of it"


def test_a_dense_layer_over_positions_runs_over_all() -> None:
    made: Any = runner(LayerShape(operator="Gemm", inputs=5, outputs=7, positions=4), 2)()
    assert made[0].shape == (8, 7)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> LayerTimes:
    """Timings that take a moment."""
    monkeypatch.setattr(layer_times, "ROUNDS", (2, 3))
    return LayerTimes()


SMALL = LayerShape(operator="Gemm", inputs=64, outputs=64, positions=64)


def test_a_time_is_taken_once(times: LayerTimes, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = times(SMALL)
    assert taken == (times.milliseconds(SMALL, 1) + times.milliseconds(SMALL, 8) / 8) / 2
    assert taken > 0
    convolution = layer_times.REFERENCE
    both = taken, times(convolution)

    def not_again(*_: object) -> None:
        raise AssertionError("timed again")

    monkeypatch.setattr(layer_times, "runner", not_again)
    assert (times(SMALL), times(convolution)) == both
    with pytest.raises(AssertionError, match="timed again"):
        times(SMALL.resized(32, 64))


@given(some.integers(1, 5000), some.sampled_from([1, 8, 16]))
def test_knots_lie_about_a_width(width: int, grid: int) -> None:
    about = knots(width, grid)
    assert sum(share for _, share in about) == pytest.approx(1)
    assert sum(knot * share for knot, share in about) == pytest.approx(width)
    assert all(knots(knot, grid) == [(knot, 1.0)] for knot, _ in about)
    assert all(abs(knot - width) <= width / 2 for knot, _ in about)


def test_few_widths_are_measured() -> None:
    measured: set[tuple[int, int]] = set()

    def bilinear(shape: LayerShape) -> float:
        measured.add((shape.inputs, shape.outputs))
        return 3 + 2 * shape.inputs + shape.outputs + 0.5 * shape.inputs * shape.outputs

    drawn = interpolated(bilinear, 16)
    for inputs in (3, *range(16, 513, 16)):
        for outputs in range(16, 513, 16):
            shape = SMALL.resized(inputs, outputs)
            assert drawn(shape) == pytest.approx(3 + 2 * inputs + outputs + 0.5 * inputs * outputs)
    assert len(measured) == 11 * 10


def test_a_depthwise_convolution_is_measured_as_it_is() -> None:
    seen: list[LayerShape] = []

    def measure(shape: LayerShape) -> float:
        seen.append(shape)
        return 1.0

    depthwise = LayerShape(operator="Conv", inputs=112, outputs=112, size=(4, 4), kernel=(1, 1), blocks=112)
    assert interpolated(measure, 16)(depthwise) == 1
    assert seen == [depthwise]
