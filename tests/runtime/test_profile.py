"""The profile of a graph: what is measured, for how long, and which way to run the graph is chosen.

Sessions are fakes whose runs take scripted seconds of a clock that only they move.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.errors import ExecutionFailed
from app.protocol.messages import Tensors
from app.runtime import profile
from app.runtime.profile import INLINE_SECONDS, MEASURE_SECONDS, RUNS, Profile
from app.runtime.session import Session
from tests.collector import no_collector

Cost = Callable[[int], float]
"""Seconds of a run of so many rows."""
SAMPLE: Tensors = {"x": np.arange(8, dtype=np.float32).reshape(4, 2), "n": np.arange(4)}
BATCHES = list(profile.batches(SAMPLE, 32))


class Clock:
    """Each thread has its own time; it begins at that of the test, which waits for its end."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._test = self._mine.seconds = 100.0
        self._test_thread = threading.current_thread()
        self._latest = 100.0
        self._lock = threading.Lock()

    def now(self) -> float:
        if threading.current_thread() is self._test_thread:
            self._test = self._mine.seconds = self._latest
        seconds: float = getattr(self._mine, "seconds", self._test)
        return seconds

    def pass_by(self, seconds: float) -> None:
        now = self._mine.seconds = self.now() + seconds
        with self._lock:
            self._latest = max(self._latest, now)


class Fake:
    """A session whose runs take as long as the script says, and raise beyond so many rows."""

    def __init__(self, clock: Clock, cost: Cost, most_rows: int = 10_000) -> None:
        self.runs: list[int] = []
        self._clock = clock
        self._cost = cost
        self._most_rows = most_rows

    def run(self, inputs: Tensors) -> Tensors:
        rows = len(inputs["x"])
        self.runs.append(rows)
        if rows > self._most_rows:
            raise ExecutionFailed("too many rows")
        self._clock.pass_by(self._cost(rows))
        return {}


class Cramped(Fake):
    """A session that raises in all but so many of the threads that run it beside each other."""

    def __init__(self, clock: Clock, cost: Cost, most_threads: int) -> None:
        super().__init__(clock, cost)
        self._most_threads = most_threads
        self._threads: list[threading.Thread] = []
        self._alone = threading.current_thread()

    def run(self, inputs: Tensors) -> Tensors:
        thread = threading.current_thread()
        if thread is not self._alone and thread not in self._threads:
            self._threads.append(thread)
            if len(self._threads) > self._most_threads:
                raise ExecutionFailed("no memory for one more")
        return super().run(inputs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(profile, "time", SimpleNamespace(perf_counter=clock.now))
    elsewhere(monkeypatch, 0.0)
    return clock


def elsewhere(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Says what part of a CPU goes to other work from now on."""
    monkeypatch.setattr(profile.cpu, "Elsewhere", lambda: SimpleNamespace(share=lambda: share))


def measure(clock: Clock, cost: Cost, instances: int = 1, most_rows: int = 10_000) -> tuple[profile.Measured, Fake]:
    fake: Any = Fake(clock, cost, most_rows)
    return profile.measure(fake, BATCHES, instances), fake


def scripted(costs: Mapping[int, Cost], clock: Clock, most_rows: Mapping[int, int] | None = None) -> Any:
    """What `choose` opens sessions with, by threads."""
    limits = most_rows or {}
    return lambda threads: Fake(clock, costs[threads], limits.get(threads, 10_000))


def sizes(measured: profile.Measured) -> list[int]:
    return [rows for rows, _ in measured]


def pay(milliseconds: float) -> Cost:
    """A run in which more rows always pay: so much each way, and a tenth of a millisecond a row."""
    return lambda rows: (milliseconds + rows / 10) / 1000


# Batches.


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (32, [1, 2, 4, 8, 16, 32]),
        (40, [1, 2, 4, 8, 16, 32, 40]),
    ],
)
def test_batches_double_up_to_the_most_rows(most: int, expected: list[int]) -> None:
    made = list(profile.batches(SAMPLE, most))
    assert [rows for rows, _ in made] == expected
    for rows, inputs in made:
        assert {name: array.shape for name, array in inputs.items()} == {"x": (rows, 2), "n": (rows,)}


def test_a_batch_repeats_the_rows_of_the_sample() -> None:
    _, inputs = list(profile.batches(SAMPLE, 6))[-1]
    assert inputs["n"].tolist() == [0, 1, 2, 3, 0, 1]
    np.testing.assert_array_equal(inputs["x"][4:], SAMPLE["x"][:2])


# Measuring.


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_the_median_of_a_few_runs_of_every_size_is_measured(clock: Clock, instances: int) -> None:
    measured, fake = measure(clock, pay(1), instances)
    assert sizes(measured) == [1, 2, 4, 8, 16, 32]
    assert [seconds for _, seconds in measured] == pytest.approx([pay(1)(rows) for rows in sizes(measured)])
    assert {rows: fake.runs.count(rows) for rows in sizes(measured)} == dict.fromkeys(
        sizes(measured), 1 + instances * RUNS
    )


def test_a_hiccup_of_the_machine_is_no_part_of_a_quick_graph(clock: Clock) -> None:
    """For a millisecond all runs take ten times as long, and that is longer than five of them."""
    hiccup = range(30, 40)
    runs = iter(range(100_000))

    def cost(rows: int) -> float:
        return 1e-4 if next(runs) in hiccup else 1e-5

    measured, _ = measure(clock, cost, 1)
    assert sizes(measured) == [1, 2, 4, 8, 16, 32]
    assert [seconds for _, seconds in measured] == pytest.approx([1e-5] * 6)


def test_a_moment_in_which_the_machine_is_busy_elsewhere_does_not_end_it(clock: Clock) -> None:
    """Runs take ten times as long for twelve milliseconds, in which one size is measured from beginning to end."""
    runs = iter(range(100_000))

    def cost(rows: int) -> float:
        return 1e-4 if 1000 <= next(runs) < 1120 else 1e-5

    measured, _ = measure(clock, cost, 1)
    assert sizes(measured) == [1, 2, 4, 8, 16, 32]
    assert [seconds for _, seconds in measured] == pytest.approx([1e-5] * 6)


def test_the_first_run_and_an_outlier_do_not_count(clock: Clock) -> None:
    seconds = iter([0.2, 0.001, 0.001, 0.1, 0.001, 0.001])
    fake: Any = Fake(clock, lambda _: next(seconds))
    assert profile.measure(fake, BATCHES[:1], 1) == ((1, pytest.approx(0.001)),)


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.2, 1.0, 60.0])
def test_measuring_takes_a_bounded_time(clock: Clock, seconds: float, instances: int) -> None:
    """However slow the graph: when the time is up, it is run twice at most to come to an end."""
    began = clock.now()
    measured, fake = measure(clock, lambda rows: seconds, instances)
    assert clock.now() - began <= MEASURE_SECONDS + 2 * seconds
    assert len(fake.runs) >= 2
    assert measured[0] == (1, pytest.approx(seconds))


def test_a_graph_that_is_slow_beyond_measure_is_measured_with_one_row_only(clock: Clock) -> None:
    measured, fake = measure(clock, lambda rows: 60.0 * rows)
    assert measured == ((1, pytest.approx(60.0)),)
    assert fake.runs == [1, 1]


@pytest.mark.parametrize(
    ("cost", "last"),
    [
        (lambda rows: rows / 1000 if rows <= 4 else rows / 500, 8),
        (lambda rows: rows / 1000, 32),
        (lambda rows: rows * 1.05 / 1000, 32),
        (lambda rows: 0.001 * 2.3**rows, 2),
    ],
    ids=["falls behind 4", "stays", "stays at less", "falls at once"],
)
def test_a_falling_pace_ends_it_early(clock: Clock, cost: Cost, last: int) -> None:
    measured, fake = measure(clock, cost)
    assert sizes(measured)[-1] == max(fake.runs) == last


@pytest.mark.parametrize("most_rows", [0, 1, 5, 31])
def test_a_graph_that_raises_gives_no_costs(clock: Clock, most_rows: int) -> None:
    measured, _ = measure(clock, pay(1), most_rows=most_rows)
    assert measured == ()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("most_threads", [0, 1, 2])
def test_a_graph_that_raises_in_one_of_the_runs_beside_each_other_gives_no_costs(
    clock: Clock, most_threads: int
) -> None:
    fake: Any = Cramped(clock, pay(1), most_threads)
    measured = weakref.ref(fake)
    with no_collector():
        assert profile.measure(fake, BATCHES, 3) == ()
        del fake
        assert measured() is None, "a session that was only measured is held"


# Choosing.


def test_on_one_cpu_there_is_one_instance_with_one_thread(clock: Clock) -> None:
    chosen = profile.choose(scripted({1: pay(1)}, clock), BATCHES, 1)
    assert (chosen.instances, chosen.threads, chosen.wide_threads) == (1, 1, 0)
    assert sizes(chosen.costs) == [1, 2, 4, 8, 16, 32]


def test_a_quick_graph_is_run_inline_and_nothing_else_is_tried(clock: Clock) -> None:
    chosen = profile.choose(scripted({1: lambda rows: rows * INLINE_SECONDS / 40}, clock), BATCHES, 4)
    assert (chosen.instances, chosen.threads) == (1, 1)
    assert chosen.is_inline(32)
    assert not chosen.is_inline(64)


def test_a_graph_whose_largest_batch_was_not_measured_is_not_taken_for_quick(clock: Clock) -> None:
    """More rows stopped to pay at 4; a run of 32 takes longer all the same."""
    chosen = profile.choose(
        scripted(dict.fromkeys((1, 2), lambda rows: rows * INLINE_SECONDS / (20 if rows > 2 else 40)), clock),
        BATCHES,
        2,
    )
    assert sizes(chosen.costs)[-1] == 4
    assert not chosen.is_inline(32)


@pytest.mark.parametrize(
    ("changes", "inline"),
    [
        ({}, True),
        ({"costs": ((1, 0.00001), (32, INLINE_SECONDS))}, False),
        ({"costs": ((1, 0.00001), (16, 0.6 * INLINE_SECONDS))}, False),
        ({"costs": ()}, False),
        ({"instances": 2}, False),
    ],
    ids=[
        "quick",
        "its largest batch is not",
        "nor twice the largest that was measured",
        "nothing is known",
        "several instances",
    ],
)
def test_only_one_instance_that_is_known_to_be_quick_is_inline(changes: dict[str, Any], inline: bool) -> None:
    quick = Profile(1, 1, ((1, 0.00001), (32, 0.9 * INLINE_SECONDS)))
    assert replace(quick, **changes).is_inline(32) is inline


def test_a_graph_that_raises_is_run_on_one_instance(clock: Clock) -> None:
    assert profile.choose(scripted({1: pay(1)}, clock, {1: 5}), BATCHES, 4) == Profile(1, 1, ())


def test_several_narrow_runs_are_chosen_where_they_do_more(clock: Clock) -> None:
    """Threads help nothing here: 4 runs beside each other do 4 times as much."""
    chosen = profile.choose(scripted(dict.fromkeys((1, 2, 4), pay(1)), clock), BATCHES, 4)
    assert (chosen.instances, chosen.threads) == (4, 1)
    assert chosen.wide_threads == 0


def test_one_wide_run_is_chosen_where_that_does_more(clock: Clock) -> None:
    """Threads help beyond their number, as where the cache of several CPUs holds what one does not."""
    costs = {threads: lambda rows, threads=threads: pay(10)(rows) / threads**2 for threads in (1, 2, 4)}
    chosen = profile.choose(scripted(costs, clock), BATCHES, 4)
    assert (chosen.instances, chosen.threads, chosen.wide_threads) == (1, 4, 0)


def test_a_wide_session_is_kept_for_requests_that_come_alone_where_it_is_quicker(clock: Clock) -> None:
    costs = {threads: lambda rows, threads=threads: pay(10)(rows) / threads**0.5 for threads in (1, 2, 4)}
    chosen = profile.choose(scripted(costs, clock), BATCHES, 4)
    assert (chosen.instances, chosen.threads, chosen.wide_threads) == (4, 1, 4)
    assert chosen.wide_costs[0] == (1, pytest.approx(pay(10)(1) / 2))
    assert chosen.costs[0] == (1, pytest.approx(pay(10)(1)))


def test_as_many_instances_as_the_graph_fails_in_are_not_chosen(clock: Clock) -> None:
    """Four narrow runs would do most, but there is no memory for them."""

    def open_session(threads: int) -> Any:
        return Cramped(clock, pay(10), most_threads=0 if threads == 1 else 100)

    chosen = profile.choose(open_session, BATCHES, 4)
    assert chosen.instances == 2
    assert chosen.costs


@pytest.mark.parametrize(("faster", "wide_threads"), [(1.0, 0), (1.02, 0), (1.05, 2)])
def test_less_than_3_percent_quicker_is_not_quicker(clock: Clock, faster: float, wide_threads: int) -> None:
    costs = {1: pay(10), 2: lambda rows: pay(10)(rows) / faster}
    assert profile.choose(scripted(costs, clock), BATCHES, 2).wide_threads == wide_threads


@pytest.mark.parametrize(("faster", "instances"), [(0.98, 2), (1.02, 2), (1.05, 1)])
def test_less_than_3_percent_more_is_not_more(clock: Clock, faster: float, instances: int) -> None:
    """One wide run, more than twice as quick, against two narrow ones, which can have it beside them."""
    costs = {1: pay(10), 2: lambda rows: pay(10)(rows) / (2 * faster)}
    assert profile.choose(scripted(costs, clock), BATCHES, 2).instances == instances


def test_a_graph_that_raises_only_where_it_is_quick_enough_to_get_that_far_is_served_all_the_same(
    clock: Clock,
) -> None:
    """One thread has no time for 32 rows, which the graph cannot take; two threads have."""
    costs = {1: lambda rows: 0.02 * rows, 2: lambda rows: 0.001 * rows}
    chosen = profile.choose(scripted(costs, clock, {1: 16, 2: 16}), BATCHES, 2)
    assert chosen.instances >= 1


@pytest.mark.parametrize(("cpus", "expected"), [(2, {1, 2}), (4, {1, 2, 4}), (8, {1, 2, 8}), (16, {1, 4, 16})])
def test_few_divisions_of_the_cpus_are_tried_and_none_twice_over(clock: Clock, cpus: int, expected: set[int]) -> None:
    opened: list[int] = []

    def open_session(threads: int) -> Session:
        opened.append(threads)
        fake: Any = Fake(clock, pay(1))
        return fake

    profile.choose(open_session, BATCHES, cpus)
    assert opened[0] == 1
    assert {cpus // threads for threads in opened[1:]} == expected
    assert len(opened) == 1 + len(expected)


@pytest.mark.parametrize(("share", "disturbed"), [(0.0, False), (0.1, False), (0.3, True), (1.0, True)])
def test_beside_other_work_the_wide_session_is_kept_whatever_it_takes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, share: float, disturbed: bool
) -> None:
    """Its threads wait for each other, and each of them for the other work."""
    elsewhere(monkeypatch, share)
    chosen = profile.choose(scripted({1: pay(10), 2: pay(15)}, clock), BATCHES, 2)
    assert (chosen.instances, chosen.wide_threads, chosen.disturbed) == (2, 2 if disturbed else 0, disturbed)
    assert bool(chosen.wide_costs) is disturbed


@pytest.mark.parametrize("milliseconds", [0.001, 10])
def test_a_session_that_is_wide_already_has_none_beside_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, milliseconds: float
) -> None:
    elsewhere(monkeypatch, 0.5)
    costs = {1: pay(milliseconds), 2: lambda rows: pay(milliseconds)(rows) / 3}
    chosen = profile.choose(scripted(costs, clock), BATCHES, 2)
    assert (chosen.instances, chosen.wide_threads, chosen.disturbed) == (1, 0, True)


# Keeping.

KEPT = Profile(4, 1, ((1, 0.001), (2, 0.0015)), 4, ((1, 0.0005),))


@pytest.mark.parametrize("chosen", [KEPT, Profile(1, 1, ())], ids=["measured", "of a graph that raises"])
def test_what_was_kept_is_read(tmp_path: Path, chosen: Profile) -> None:
    profile.keep(chosen, tmp_path / "key.2-32.profile.json")
    assert profile.read(tmp_path / "key.2-32.profile.json") == chosen
    assert [path.name for path in tmp_path.iterdir()] == ["key.2-32.profile.json"]


def test_what_was_measured_beside_other_work_is_not_kept(tmp_path: Path) -> None:
    profile.keep(replace(KEPT, disturbed=True), tmp_path / "profile.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"5", b"{}", b'{"costs": [], "wide_costs": []}', b'{"costs": 1}', b"\xff\xfe"],
    ids=repr,
)
def test_what_cannot_be_read_is_no_profile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    assert profile.read(path) is None


def test_a_profile_of_another_version_is_none(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    profile.keep(KEPT, path)
    text = path.read_text()
    for other in (text.replace('"threads"', '"thread"'), text[:-1] + ', "more": 1}', text[: len(text) // 2]):
        path.write_text(other)
        assert profile.read(path) is None


def test_a_missing_profile_and_a_missing_folder_are_none(tmp_path: Path) -> None:
    assert profile.read(tmp_path / "profile.json") is None
    profile.keep(KEPT, tmp_path / "gone" / "profile.json")
    assert profile.read(tmp_path / "gone" / "profile.json") is None
