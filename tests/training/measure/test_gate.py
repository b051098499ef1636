"""The gate: intervals against published values, quantised graphs that are what they seem, and reasons that are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from training.errors import ExportRefused
from training.measure.drop import bootstrap, drop, mcnemar
from training.measure.gate import Gate, Results
from training.measure.neighbours import answers_depend_on_neighbours, require_every_batch
from training.measure.parity import LIMIT
from training.measure.served import open_served, runner

Run = Callable[[NDArray[Any]], NDArray[np.float32]]


def pairs(both: int, base_only: int, candidate_only: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Scores of base and candidate with so many rows of each kind."""
    counts = (both, base_only, candidate_only, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def results(scores: NDArray[Any], classes: int = 2) -> Results:
    """Results whose answers are right where the score says so; the true class is 0."""
    answers = np.zeros((len(scores), classes), np.float32)
    answers[np.arange(len(scores)), np.where(scores, 0, 1)] = 1
    return Results(answers, scores)


def test_newcombes_interval_has_the_published_ends() -> None:
    # M. W. Fagerland, S. Lydersen and P. Laake, Statistical Analysis of Contingency Tables (2017), chapter 8, data of
    # Cavo et al. (2012): 59, 6, 16 and 80 patients, difference -0.0621, 95 % from -0.1186 to -0.0046
    lost = drop(*pairs(59, 6, 16, 80))
    assert lost.value == pytest.approx(-6.21, abs=0.005)
    assert lost.ci95 == pytest.approx((-11.86, -0.46), abs=0.005)


def test_two_that_agree_on_every_row_are_not_proven_equal() -> None:
    lost = drop(*pairs(98, 0, 0, 2))
    assert lost.value == 0
    assert lost.ci95 is not None
    assert lost.ci95[0] < -0.5
    assert lost.ci95[1] > 0.5


def test_intervals_cover_the_true_drop_as_often_as_they_say() -> None:
    random, rows, covered = np.random.default_rng(1), 200, 0
    for _ in range(500):
        base = random.random(rows) < 0.95
        candidate = np.where(random.random(rows) < 0.03, False, base)  # true drop: 0.95 * 3 = 2.85 points
        low, high = drop(base, candidate).ci95 or (0, 0)
        covered += low <= 2.85 <= high
    assert covered / 500 >= 0.92


def test_scores_between_get_a_paired_interval() -> None:
    random = np.random.default_rng(2)
    base = random.random(400)
    lost = drop(base, base * 0.9)
    low, high = lost.ci95 or (0, 0)
    assert lost.value == pytest.approx(10 * base.mean())
    assert low < lost.value < high
    assert high - low < 1.5  # the scores themselves spread twenty times as far
    same = bootstrap(base, base)
    assert same == (0, 0)


@pytest.mark.parametrize(
    ("base", "candidate", "message"),
    [
        (np.ones(3), np.ones(4), "of the same rows"),
        (np.ones(0), np.ones(0), "of the same rows"),
        (np.ones(3), np.full(3, 1.5), "from 0 to 1"),
        (np.ones(3), np.full(3, np.nan), "from 0 to 1"),
    ],
)
def test_scores_that_mean_nothing_are_refused(base: NDArray[Any], candidate: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drop(base, candidate)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(*pairs(50, 0, 0, 50)) == 1
    assert mcnemar(*pairs(0, 5, 0, 0)) == pytest.approx(2 / 2**5)
    assert mcnemar(*pairs(9, 8, 2, 9)) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(*pairs(9, 4, 4, 9)) == 1


def test_the_drop_decides_and_its_interval_is_in_the_reason() -> None:
    base, candidate = pairs(960, 20, 5, 15)
    verdict = Gate(max_drop=1.0).judge(results(base), results(candidate))
    assert not verdict.passed
    assert verdict.reasons == (
        f"loses 1.50 points [{verdict.drop.ci95[0]:.2f}, {verdict.drop.ci95[1]:.2f}], allowed are 1",
    )
    assert verdict.agreement is not None
    assert verdict.agreement.value == pytest.approx(0.975)
    assert verdict.mcnemar == pytest.approx(mcnemar(base, candidate))
    allowed = Gate(max_drop=1.6).judge(results(base), results(candidate))
    assert allowed.passed
    assert not allowed.proven
    assert Gate(max_drop=4.0).judge(results(base), results(candidate)).proven


def test_a_class_that_collapses_is_named() -> None:
    classes = np.repeat([0, 1, 2], [500, 460, 40])
    base, candidate = np.ones(1000, bool), np.ones(1000, bool)
    candidate[-20:] = False  # two points of all rows, half of one class
    verdict = Gate(max_drop=3.0).judge(results(base), results(candidate), classes)
    assert verdict.passed
    assert verdict.worst_class is not None
    assert (verdict.worst_class.label, verdict.worst_class.rows, verdict.worst_class.drop.value) == (2, 40, 50.0)
    strict = Gate(max_drop=3.0, max_class_drop=10.0).judge(results(base), results(candidate), classes)
    assert [reason[:23] for reason in strict.reasons] == ["class 2 loses 50.00 poi"]


def test_a_row_of_a_small_class_proves_nothing() -> None:
    classes, base = np.repeat([0, 1], [990, 10]), np.ones(1000, bool)
    candidate = base.copy()
    candidate[-1] = False  # ten points of that class
    assert Gate(max_drop=1.0, max_class_drop=2.0).judge(results(base), results(candidate), classes).passed


def test_a_small_class_does_not_hide_a_large_one_that_collapses() -> None:
    """Half of four rows are more points than 300 of 1000, and prove nothing."""
    base, candidate = np.ones(1004, bool), np.r_[[False] * 2, [True] * 2, [False] * 300, [True] * 700]
    classes = np.r_[[0] * 4, [1] * 1000]
    verdict = Gate(max_drop=100, max_class_drop=10).judge(results(base), results(candidate), classes)
    assert [reason.split(" points")[0] for reason in verdict.reasons] == ["class 1 loses 30.00"]
    assert verdict.worst_class is not None
    assert verdict.worst_class.label == 0


def test_a_drop_of_just_what_is_allowed_is_allowed() -> None:
    base, candidate = np.ones(200, bool), np.r_[[False] * 7, [True] * 193]
    assert Gate(max_drop=3.5).judge(results(base), results(candidate)).passed


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_answers_that_are_no_numbers_fail_however_right_they_score(broken: float) -> None:
    base = results(np.ones(50, bool))
    answers = base.answers.copy()
    answers[7, 1] = broken
    verdict = Gate(max_drop=100.0, max_difference=LIMIT).judge(base, Results(answers, base.scores))
    assert verdict.reasons[0] == "some answers are no finite numbers"
    assert len(verdict.reasons) == 2


def test_a_step_that_may_change_nothing_is_held_to_parity() -> None:
    base = results(np.ones(50, bool))
    moved = Results(base.answers + np.float32(1e-4), base.scores)
    gate = Gate(max_drop=0.0, max_difference=LIMIT)
    assert gate.judge(base, Results(base.answers + np.float32(1e-6), base.scores)).passed
    assert gate.judge(base, moved).reasons == ("answers differ by 1.0e-04, allowed is 1e-05",)
    assert Gate(max_drop=0.0).judge(base, moved).passed


WIDTH, CLASSES = 32, 10


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((64, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x [N, 32] -> y [N, 10], with one hidden layer."""
    random = np.random.default_rng(3)
    weights = {
        "w1": random.standard_normal((WIDTH, 64)) / 6,
        "b1": random.standard_normal(64),
        "w2": random.standard_normal((64, CLASSES)) / 8,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Add", ["h", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("graphs") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._batches = iter([{"x": rows}])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def test_a_float_graph_is_independent(mlp: Path, rows: NDArray[np.float32]) -> None:
    assert answers_depend_on_neighbours(runner(open_served(mlp)), rows) <= LIMIT


def test_a_static_int8_graph_is_independent(mlp: Path, rows: NDArray[np.float32]) -> None:
    quantised = mlp.with_name("static.onnx")
    quantize_static(
        mlp,
        quantised,
        Calibration(rows),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    run = runner(open_served(quantised))
    assert 1e-3 < np.abs(run(rows) - runner(open_served(mlp))(rows)).max() < 0.5  # it is quantised
    assert answers_depend_on_neighbours(run, rows) <= LIMIT


def test_a_dynamic_int8_graph_is_found(mlp: Path, rows: NDArray[np.float32]) -> None:
    quantised = mlp.with_name("dynamic.onnx")
    quantize_dynamic(mlp, quantised, weight_type=QuantType.QInt8, reduce_range=True)
    assert answers_depend_on_neighbours(runner(open_served(quantised)), rows) > 100 * LIMIT


def test_a_row_that_infects_its_neighbours_is_found_by_extremes_alone() -> None:
    def overflowing(inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Right until a value in the batch is larger than any real one."""
        return inputs + (np.nan if np.abs(inputs).max() > 5 else 0)  # type: ignore[no-any-return]

    rows = np.random.default_rng(1).uniform(-2, 2, (20, 4)).astype(np.float32)
    assert answers_depend_on_neighbours(overflowing, rows) == np.inf


def test_neighbours_of_indices_are_indices_of_the_same_table() -> None:
    seen: set[int] = set()

    def lookup(inputs: NDArray[Any]) -> NDArray[np.float32]:
        seen.update(inputs.ravel().tolist())
        return inputs.astype(np.float32)

    assert answers_depend_on_neighbours(lookup, np.array([[3, 900], [17, 4]])) == 0
    assert seen == {3, 4, 17, 900}


def test_every_batch_gives_as_many_rows_as_it_gets(mlp: Path, rows: NDArray[np.float32]) -> None:
    require_every_batch(runner(open_served(mlp)), rows[:5], most=16)


def flat(inputs: NDArray[Any]) -> NDArray[np.float32]:
    """As a Reshape with a constant inside: two rows at a time."""
    return inputs.reshape(-1, 2 * inputs.shape[1])


def mean(inputs: NDArray[Any]) -> NDArray[np.float32]:
    return inputs.mean(axis=0, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("run", "batch"), [(flat, 1), (mean, 2)])
def test_a_batch_that_is_constant_inside_is_refused(run: Run, batch: int, rows: NDArray[np.float32]) -> None:
    with pytest.raises(ExportRefused, match=f"batch {batch}: expected answers"):
        require_every_batch(run, rows, most=16)


def test_the_largest_batch_is_run_too(rows: NDArray[np.float32]) -> None:
    with pytest.raises(ExportRefused, match="batch 100: expected answers for as many rows"):
        require_every_batch(lambda inputs: inputs[:64], rows, most=100)
