"""Labels and scores, against the formulas written out in plain Python."""

import math
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import OutputSpec
from app.protocol.messages import Array, Outputs, Share
from app.protocol.predictions import DEFAULT_TOP_K, predictions

LABELS = ("rose", "tulip", "lily", "daisy")
ROWS = [[0.1, 2.0, -3.0, 0.7], [5.0, 5.5, 5.25, -40.0], [0.0, 0.0, 0.0, 0.0]]


def output(activation: str | None = None) -> OutputSpec:
    return OutputSpec(name="y", datatype="FP32", shape=(-1, 4), labels=LABELS, activation=activation)


def alone(**outputs: Array) -> Share:
    """A run that belongs to one request."""
    return Share(Outputs(outputs))


def predicted(rows: Any, activation: str | None = None, top_k: int | None = 4) -> list[dict[str, Any]]:
    array = np.array(rows, np.float32)
    return predictions(output(activation), alone(y=array), top_k)


def by_label(prediction: dict[str, Any]) -> list[float]:
    """The scores in the order of the labels."""
    scores = {entry["label"]: entry["score"] for entry in prediction["top"]}
    return [scores[label] for label in LABELS]


def softmax(row: list[float]) -> list[float]:
    return [math.exp(value) / sum(map(math.exp, row)) for value in row]


def sigmoid(row: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-value)) for value in row]


@pytest.mark.parametrize(
    ("activation", "formula"),
    [("softmax", softmax), ("sigmoid", sigmoid), (None, list)],
    ids=["softmax", "sigmoid", "none"],
)
def test_scores_are_the_activation_of_the_output(activation: str | None, formula: Any) -> None:
    for row, prediction in zip(ROWS, predicted(ROWS, activation), strict=True):
        assert by_label(prediction) == pytest.approx(formula(row), abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None], ids=str)
def test_the_best_label_comes_first_and_stands_on_top(activation: str | None) -> None:
    first = predicted(ROWS, activation)[0]
    assert [entry["label"] for entry in first["top"]] == ["tulip", "daisy", "rose", "lily"]
    assert (first["label"], first["score"]) == (first["top"][0]["label"], first["top"][0]["score"])


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    labels = tuple(f"label {number}" for number in range(1000))
    spec = OutputSpec(name="y", datatype="FP32", shape=(-1, 1000), labels=labels)
    found = predictions(spec, alone(y=np.tile(np.array([1, 2], np.float32), (1, 500))), 1000)
    assert [entry["label"] for entry in found[0]["top"]] == [*labels[1::2], *labels[::2]]


@pytest.mark.parametrize(("top_k", "count"), [(None, DEFAULT_TOP_K), (1, 1), (4, 4), (5, 4), (10**9, 4)])
def test_top_k_is_the_number_of_labels_at_most_all(top_k: int | None, count: int) -> None:
    assert [len(prediction["top"]) for prediction in predicted(ROWS, None, top_k)] == [count] * 3


@pytest.mark.parametrize(
    ("activation", "row", "scores"),
    [
        ("softmax", [1e30, 0.0, -1e30, 1.0], [1.0, 0.0, 0.0, 0.0]),
        ("softmax", [1000.0, 1000.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]),
        ("softmax", [-1000.0, -1000.0, -1000.0, -1000.0], [0.25] * 4),
        ("sigmoid", [1e30, -1e30, 0.0, 1000.0], [1.0, 0.0, 0.5, 1.0]),
        (None, [1e30, -1e30, 0.0, 1.0], [float(np.float32(1e30)), float(np.float32(-1e30)), 0.0, 1.0]),
    ],
)
def test_large_values_do_not_overflow(activation: str | None, row: list[float], scores: list[float]) -> None:
    assert by_label(predicted([row], activation)[0]) == pytest.approx(scores)


def test_no_rows_give_no_predictions() -> None:
    for activation in ("softmax", "sigmoid", None):
        assert predicted(np.empty((0, 4)), activation) == []


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (0, 3), (2, 2)])
def test_of_a_shared_run_a_request_gets_the_predictions_of_its_own_rows(start: int, stop: int) -> None:
    run = Outputs({"y": np.array(ROWS, np.float32)})
    for top_k in (4, 1):  # two requests of one run may differ in it
        found = predictions(output("softmax"), Share(run, start, stop), top_k)
        assert found == predicted(ROWS, "softmax", top_k)[start:stop]


def test_an_infinity_in_one_request_leaves_its_batch_mates_their_predictions() -> None:
    run = Outputs({"y": np.array([ROWS[0], [math.inf, 0, 0, math.nan], ROWS[1]], np.float32)})
    for start, row in ((0, ROWS[0]), (2, ROWS[1])):
        found = predictions(output("softmax"), Share(run, start, start + 1), 4)
        assert found == predicted([row], "softmax")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_an_output_of_another_number_type_has_scores_too(dtype: str) -> None:
    found = predictions(output("softmax"), alone(y=np.array([[0, 1, 2, 3]], dtype)), 4)
    assert by_label(found[0]) == pytest.approx(softmax([0, 1, 2, 3]), abs=1e-6)
