"""Speeds on a clock of the tests' own, where the true ratio is known."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.errors import TrainingError
from training.measure.bench import LEAST_ROUNDS, Times, measure_speed, median, race, rounds_in
from training.measure.machine import DECISIVE, this_machine
from training.measure.memory import resident_mb
from training.measure.served import open_served


class VirtualTime:
    """A clock that only moves when a contender is called, by its cost times the noise and the drift of the machine."""

    def __init__(self, seed: int, noise: float = 0.0, drift: float = 0.0) -> None:
        self.now = 0.0
        self.called: list[str] = []
        self._random = np.random.default_rng(seed)
        self._noise = noise
        self._drift = drift

    def contender(self, name: str, cost: float) -> Callable[[], None]:
        def call() -> None:
            self.called.append(name)
            self.now += cost * (1 + self._drift * self.now) * self._random.lognormal(0.0, self._noise)

        return call

    def race(self, costs: dict[str, float], rounds: int, seed: int = 0) -> Times:
        contenders = {name: self.contender(name, cost) for name, cost in costs.items()}
        return race(contenders, rounds, seed=seed, clock=lambda: self.now)


def contains(interval: tuple[float, float] | None, value: float) -> bool:
    assert interval is not None
    return interval[0] <= value <= interval[1]


def test_ratios_and_percentiles_are_recovered() -> None:
    times = VirtualTime(1).race({"base": 0.006, "twice": 0.003}, rounds=8)
    ratio = times.ratio("base", "twice")
    assert ratio.value == pytest.approx(2)
    assert ratio.ci95 == pytest.approx((2, 2))
    assert times.milliseconds("base", 50) == pytest.approx(6)
    assert times.speed("base", "twice").p99_ms == pytest.approx(3)
    assert times.winner() == "twice"


def test_a_machine_that_slows_down_tenfold_changes_no_ratio() -> None:
    times = VirtualTime(1, noise=0.01, drift=1.0).race({"base": 0.004, "other": 0.002}, rounds=200)
    assert times.seconds["base"][-1].mean() > 10 * times.seconds["base"][0].mean()
    assert times.ratio("base", "other").value == pytest.approx(2, rel=0.02)


def test_intervals_cover_the_true_ratio_as_often_as_they_say() -> None:
    intervals = [
        VirtualTime(seed, noise=0.2).race({"base": 0.003, "other": 0.002}, rounds=15).ratio("base", "other").ci95
        for seed in range(300)
    ]
    covered = sum(contains(interval, 1.5) for interval in intervals)
    assert 0.93 <= covered / 300 <= 1.0  # by the binomial distribution 96.5 % for 15 rounds
    assert np.mean([interval[1] - interval[0] for interval in intervals if interval is not None]) < 0.8


def test_of_equals_none_wins() -> None:
    winners = [VirtualTime(seed, noise=0.1).race({"a": 0.002, "b": 0.002}, 20).winner() for seed in range(100)]
    assert sum(winner is not None for winner in winners) <= 10


def test_two_equals_ahead_of_a_third_are_no_winners() -> None:
    times = VirtualTime(3, noise=0.1).race({"slow": 0.004, "a": 0.002, "b": 0.002}, rounds=20)
    assert times.winner() is None
    assert times.ratio("slow", "a").value == pytest.approx(2, rel=0.2)


def test_a_round_calls_the_quick_often_and_in_an_order_of_chance() -> None:
    time = VirtualTime(1)
    times = time.race({"quick": 0.00013, "slow": 0.005}, rounds=20, seed=7)
    assert times.seconds["quick"].shape == (20, 8)
    assert times.seconds["slow"].shape == (20, 1)
    turns = [name for name, _ in groupby(time.called[8:])]  # before them, one call and three timed ones of each
    assert {("quick", "slow"), ("slow", "quick")} <= set(pairwise(turns))
    assert len(turns) < 2 * 20, "who was last in a round was first in the next now and then"
    again = VirtualTime(1)
    again.race({"quick": 0.00013, "slow": 0.005}, rounds=20, seed=7)
    assert again.called == time.called


def test_what_a_contender_leaves_behind_has_gone_before_the_next_is_timed() -> None:
    """A machine on which all is slower by half after a call, until as much time has gone by as that call took."""
    now = 0.0
    slow_until: dict[str, float] = {}

    def contender(name: str, cost: float) -> Callable[[], None]:
        def call() -> None:
            nonlocal now
            is_slow = any(now < until for other, until in slow_until.items() if other != name)
            now += cost * (1.5 if is_slow else 1.0)
            slow_until[name] = now + cost

        return call

    costs = {"large": 0.030, "middle": 0.008, "small": 0.002}
    contenders = {name: contender(name, cost) for name, cost in costs.items()}
    times = race(contenders, rounds=20, clock=lambda: now)
    assert times.ratio("large", "small").value == pytest.approx(15)
    assert times.ratio("middle", "small").ci95 == pytest.approx((4, 4))


def test_nothing_is_collected_in_a_race() -> None:
    was_on = []
    race({"a": lambda: was_on.append(gc.isenabled())}, LEAST_ROUNDS)
    assert not any(was_on[-LEAST_ROUNDS:])
    assert gc.isenabled()


def test_rounds_fill_the_time_given() -> None:
    time = VirtualTime(1)
    contenders = {"a": time.contender("a", 0.01), "b": time.contender("b", 0.03)}
    assert rounds_in(12.0, contenders, lambda: time.now) == 100  # each is called about twice more than it is timed
    assert rounds_in(0.0, contenders, lambda: time.now) == LEAST_ROUNDS


def test_the_interval_of_a_median_by_hand() -> None:
    # ranks 2 and 9 of 10: (1 + 10) / 2^10 lies outside on either side, with rank 3 it would be (1 + 10 + 45) / 2^10
    assert median(np.arange(10.0)).ci95 == (1.0, 8.0)
    assert median(np.arange(20.0)).ci95 == (5.0, 14.0)
    assert median(np.arange(6.0)).ci95 == (0.0, 5.0)
    with pytest.raises(ValueError, match="at least 6 values, got 5"):
        median(np.arange(5.0))


def product(path: Path, width: int, products: int = 1) -> Path:
    """x [N, width] times square matrices, one after the other."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((width, width)).astype(np.float32) / width, f"w{number}")
        for number in range(products)
    ]
    nodes = [helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]) for number in range(products)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in ("x0", f"x{products}")]
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_graphs_are_raced_as_they_are_served(tmp_path: Path) -> None:
    graphs = {
        "large": product(tmp_path / "large.onnx", 256, products=12),
        "small": product(tmp_path / "small.onnx", 256),
    }
    found = measure_speed(graphs, np.ones((3, 256), np.float32), batches=(1, 8), seconds=0.05)
    assert {name: set(speeds) for name, speeds in found.items()} == {"large": {1, 8}, "small": {1, 8}}
    for batch in (1, 8):
        assert found["large"][batch].speedup.ci95 == (1.0, 1.0)
        assert 0 < found["small"][batch].p50_ms <= found["small"][batch].p99_ms


def test_a_graph_that_the_server_would_not_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"{}")
    with pytest.raises(Exception, match="expected an ONNX graph, got JSON") as caught:
        open_served(tmp_path / "model.onnx")
    assert not isinstance(caught.value, TrainingError)


def test_memory_has_the_weights_in_it(tmp_path: Path) -> None:
    rows = np.ones((8, 2048), np.float32)
    little = resident_mb(product(tmp_path / "a.onnx", 2048), rows)
    much = resident_mb(product(tmp_path / "b.onnx", 2048, products=3), rows)
    assert 16 <= little <= 96  # 2048 x 2048 numbers of 4 bytes; they may be packed anew, and read twice
    assert 32 <= much - little <= 128


def test_memory_is_measured_without_torch() -> None:
    code = "import json, sys, training.measure.memory; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    assert not {"torch", "onnx", "scipy"} & set(json.loads(output))


def test_the_machine_says_which_kernels_it_has() -> None:
    machine = this_machine()
    assert machine.cpu
    assert set(machine.flags) <= set(DECISIVE)
