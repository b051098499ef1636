"""What holds for every schedule: requests, completions, cancels, deadlines and changed limits in any order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.cost import Measured
from tests.batching.schedule import EARLY, KEYS, Schedule, Step, check
from tests.batching.world import STEADY

KNEE = ((1, 1.0), (4, 1.5), (8, 8.0))

submission = st.tuples(
    st.just("submit"),
    st.integers(1, 20),
    st.sampled_from(KEYS),
    st.sampled_from([None, None, 0, 1, 3, 8, 100]),
    st.sampled_from("xyz"),
    st.integers(1, 3),
    st.just(False),
    st.sampled_from([0, 0, 2]),
)
harmless = submission | st.tuples(st.just("turn")) | st.tuples(st.just("complete"), st.integers(0, 5))
moving = (
    submission
    | st.tuples(st.just("turn"))
    | st.tuples(st.just("complete"), st.integers(0, 5))
    | st.tuples(st.just("wait"), st.sampled_from([0.25, 1.0, 5.0]))
    | st.tuples(st.just("cancel"), st.integers(0, 9))
)
limits = st.tuples(st.just("limit"), st.integers(1, 12)) | st.tuples(st.just("resize"), st.integers(1, 4))
failing = submission.map(lambda step: (*step[:6], True, *step[7:]))

worlds = st.fixed_dictionaries(
    {
        "instances": st.integers(1, 3),
        "max_batch_rows": st.integers(1, 12),
        "costs": st.sampled_from([(), STEADY, KNEE]),
    },
    optional={"wide_costs": st.just(STEADY), "early": st.sampled_from([1e-9, EARLY])},
)


def play(steps: list[Step], options: dict[str, Any]) -> Schedule:
    schedule = Schedule(**options).play(steps)
    check(schedule)
    return schedule


@settings(max_examples=150, deadline=None)
@given(st.lists(moving, max_size=50), worlds)
def test_every_schedule_keeps_the_promises(steps: list[Step], options: dict[str, Any]) -> None:
    play(steps, options)


@settings(max_examples=150, deadline=None)
@given(st.lists(moving | failing, max_size=50), worlds)
def test_every_schedule_keeps_the_promises_where_runs_fail(steps: list[Step], options: dict[str, Any]) -> None:
    play(steps, options)


@settings(max_examples=100, deadline=None)
@given(st.lists(moving | failing | limits, max_size=50), worlds)
def test_every_schedule_keeps_the_promises_where_limits_change(steps: list[Step], options: dict[str, Any]) -> None:
    play(steps, options)


class Delayed(Schedule):
    """An instance may idle until the delay ends."""

    def _check_busy(self) -> None: ...


@settings(max_examples=100, deadline=None)
@given(st.lists(moving | failing | limits, max_size=50), worlds)
def test_every_schedule_keeps_the_promises_with_a_delay(steps: list[Step], options: dict[str, Any]) -> None:
    check(Delayed(**{**options, "max_queue_delay_ms": 500.0}).play(steps))


@settings(max_examples=100, deadline=None)
@given(st.lists(moving | failing, max_size=50), st.integers(1, 12))
def test_every_schedule_keeps_the_promises_on_an_inline_model(steps: list[Step], max_batch_rows: int) -> None:
    play(steps, {"inline": True, "max_batch_rows": max_batch_rows})


def alike(step: Step) -> Step:
    return (*step[:2], (), *step[3:]) if step[0] == "submit" else step


@settings(max_examples=150, deadline=None)
@given(
    st.lists(moving | failing | st.tuples(st.just("limit"), st.integers(1, 12)), max_size=50),
    st.integers(1, 12),
    st.sampled_from([(), STEADY, KNEE]),
)
def test_every_schedule_keeps_the_promises_by_the_short_way(steps: list[Step], rows: int, costs: Measured) -> None:
    play([alike(step) for step in steps], {"express": True, "max_batch_rows": rows, "costs": costs})


@settings(max_examples=100, deadline=None)
@given(st.lists(harmless, max_size=50), worlds)
def test_where_nothing_goes_wrong_everybody_gets_an_answer(steps: list[Step], options: dict[str, Any]) -> None:
    patient = [(*step[:3], None, *step[4:]) if step[0] == "submit" else step for step in steps]
    world = play(patient, {**options, "max_batch_rows": 8}).world
    assert all(ticket.answered_right for ticket in world.tickets if not _was_displaced(ticket))


def _was_displaced(ticket: Any) -> bool:
    return getattr(ticket.outcome, "reason", None) == "queue_full"


fates = st.lists(st.sampled_from(["well", "well", "bad", "cancel", "late"]), min_size=1, max_size=16)


@settings(max_examples=200, deadline=None)
@given(fates, st.integers(1, 3), st.integers(0, 12))
def test_only_culprits_fail_whoever_leaves_meanwhile(names: list[str], instances: int, leaves_after: int) -> None:
    schedule = Schedule(instances=1, max_batch_rows=16)
    schedule.submit(key=None)
    schedule.turn()
    for name in names:
        schedule.submit(within=5 if name == "late" else None, bad=name == "bad")
    schedule.resize(instances)
    for _ in range(leaves_after):
        schedule.complete(0)
    schedule.wait(10)
    for number, name in enumerate(names):
        if name == "cancel":
            schedule.cancel(len(names) - 1 - number)
    schedule.play([])
    check(schedule)
    for ticket, name in zip(schedule.world.tickets[1:], names, strict=True):
        if name in ("well", "bad"):
            assert ticket.answered_right if name == "well" else ticket.error


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_the_search_for_culprits_takes_few_runs(bad: list[bool]) -> None:
    schedule = Schedule(max_batch_rows=64, max_queue_rows=64, instances=1)
    for is_bad in bad:
        schedule.submit(bad=is_bad)
    schedule.play([])
    check(schedule)
    assert len(schedule.world.runs) <= 1 + 2 * sum(bad) * len(bad).bit_length()
