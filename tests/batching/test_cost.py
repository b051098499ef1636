"""What runs cost, and what that decides."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.cost import CHOICE_RUNS, LARGEST_KEYS, Costs, CostTable, Measured
from app.errors import DeadlineExceeded
from tests.batching.world import World

KNEE: Measured = ((1, 1.0), (2, 1.2), (4, 3.0), (8, 8.0))
"""Two rows are the best."""
CHEAP: Measured = ((1, 1.0), (8, 4.5))
"""The more the better: 0.5 s, and 0.5 s a row."""

tables = st.lists(st.tuples(st.integers(1, 64), st.floats(0.001, 10)), min_size=1, max_size=6, unique_by=lambda x: x[0])


@settings(max_examples=100, deadline=None)
@given(tables)
def test_where_more_rows_take_longer_so_do_those_in_between(measured: list[tuple[int, float]]) -> None:
    rising = list(zip(sorted(rows for rows, _ in measured), sorted(cost for _, cost in measured), strict=True))
    table = CostTable(rising)
    for seconds in (table.usual, table.high):
        curve = [seconds(rows) for rows in range(1, 130)]
        assert all(small <= large * (1 + 1e-12) for small, large in pairwise(curve))
        assert all(seconds(rows) == cost for rows, cost in rising)


def test_between_two_sizes_it_is_in_between() -> None:
    table = CostTable([(2, 1.0), (4, 3.0)])
    assert [table.usual(rows) for rows in (1, 2, 3, 4, 8)] == [1.0, 1.0, 2.0, 3.0, 6.0]


def test_an_empty_table_knows_nothing() -> None:
    table = CostTable()
    assert (table.usual(5), table.high(5), table.best_rows(32), table.rows_within(1.0, 32)) == (0.0, 0.0, 32, 32)


def test_a_size_that_was_never_measured_is_learnt_from_its_first_run() -> None:
    table = CostTable(CHEAP)
    table.observe(16, 20.0)
    assert table.usual(16) == 20.0
    assert table.usual(8) == 4.5


def test_quantiles_converge_to_what_runs_take_now() -> None:
    table, dice = CostTable([(4, 1.0)]), random.Random(1)
    times = [10 * (1 + dice.random()) for _ in range(4000)]
    for seconds in times:
        table.observe(4, seconds)
    assert table.usual(4) == pytest.approx(15, rel=0.15)
    assert table.high(4) == pytest.approx(19.5, rel=0.1)


def test_of_twenty_runs_one_is_longer_than_the_high_one() -> None:
    table, dice = CostTable([(1, 1.0)]), random.Random(2)
    longer = 0
    for number in range(12_000):
        seconds = dice.lognormvariate(0, 0.5)
        longer += number >= 2000 and seconds > table.high(1)
        table.observe(1, seconds)
    assert longer / 10_000 == pytest.approx(0.05, abs=0.015)


def test_one_outlier_moves_little() -> None:
    table = CostTable([(4, 1.0)])
    table.observe(4, 1000.0)
    assert table.usual(4) < 1.05
    assert table.high(4) < 1.1


def test_a_run_between_two_sizes_refines_both_and_the_others_half_as_much() -> None:
    table = CostTable([(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0)])
    for _ in range(500):
        table.observe(3, 30.0)
    assert table.usual(3) == pytest.approx(30, rel=0.1)
    for rows in (1, 8):
        assert table.usual(rows) == pytest.approx(rows * 10**0.5, rel=0.1)


def test_sizes_that_are_not_run_do_not_drift_away() -> None:
    table, dice = CostTable(CHEAP), random.Random(3)
    for _ in range(30_000):
        table.observe(1, dice.lognormvariate(0, 0.2))
    assert table.usual(8) == pytest.approx(4.5, rel=0.3)
    assert table.high(8) == pytest.approx(4.5, rel=0.5)
    assert table.best_rows(8) == 8


def test_the_first_runs_of_a_shape_do_not_go_by_the_slowest() -> None:
    costs = Costs(CHEAP)
    for seconds in (100.0, 2.0, 2.1, 1.9):
        costs.observe("new", 1, seconds)
    assert costs.of("new").usual(1) == pytest.approx(2, rel=0.1)
    assert costs.of("new").usual(8) == pytest.approx(9, rel=0.1)


def test_the_high_one_is_never_below_the_usual_one() -> None:
    table, dice = CostTable(CHEAP), random.Random(4)
    for _ in range(2000):
        table.observe(dice.choice((1, 3, 8)), table.usual(3) * dice.uniform(0.99, 1.01))
        assert all(table.high(rows) >= table.usual(rows) > 0 for rows in (1, 3, 8, 9))


@pytest.mark.parametrize(
    ("measured", "limit", "best"),
    [
        (KNEE, 8, 2),
        (KNEE, 1, 1),
        (KNEE, 3, 3),  # the largest that was measured is the best: on to the limit
        (CHEAP, 8, 8),
        (CHEAP, 32, 32),
        (((1, 1.0), (8, 8.0)), 8, 1),
        (((1, 1.0), (2, 1.98), (4, 3.99)), 4, 1),  # not enough better to be worth the wait
        (((4, 1.0),), 2, 2),
        ((), 32, 32),
    ],
)
def test_the_best_size_is_the_smallest_with_about_the_best_pace(measured: Measured, limit: int, best: int) -> None:
    assert CostTable(measured).best_rows(limit) == best


def test_what_a_run_takes_at_most_brings_down_what_says_more() -> None:
    table = CostTable([(1, 8.0), (4, 20.0)])
    for _ in range(200):
        table.cap(1, 2.0)
    assert 1.9 < table.usual(1) <= table.high(1) <= 2.0
    assert table.usual(4) == pytest.approx(2.5 * table.usual(1))


def test_what_a_run_takes_at_most_leaves_alone_what_says_less() -> None:
    table, dice = CostTable([(1, 1.0)]), random.Random(3)
    for _ in range(2000):
        table.observe(1, dice.choice([1.0, 1.0, 1.0, 3.0]))
    usual = table.usual(1)
    for _ in range(200):
        table.cap(1, 2.0)
    assert table.usual(1) == usual < 1.5
    assert 1.9 < table.high(1) <= 2.0


def test_the_best_size_is_chosen_anew_as_runs_change() -> None:
    table = CostTable(KNEE)
    assert table.best_rows(8) == 2
    for seconds in (8.0, 2.0):
        for _ in range(10 * CHOICE_RUNS):
            table.observe(8, seconds)
    assert table.best_rows(8) == 8
    assert table.best_rows(4) == 2


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 50), st.integers(1, 40))
def test_the_rows_that_a_time_allows_are_the_most_that_end_within_it(seconds: float, limit: int) -> None:
    table = CostTable(CHEAP)
    within = table.rows_within(seconds, limit)
    fitting = [rows for rows in range(1, limit + 1) if table.high(rows) <= seconds]
    assert within == max(fitting, default=limit)


def test_a_shape_that_has_not_run_costs_what_the_sample_did() -> None:
    assert Costs(CHEAP).of("new").usual(8) == 4.5


def test_the_first_run_of_a_shape_scales_the_sample() -> None:
    costs = Costs(CHEAP)
    costs.observe("slow", 1, 3.0)
    assert costs.of("slow").usual(8) == pytest.approx(13.5)
    assert costs.of("other").usual(8) == 4.5


@pytest.mark.parametrize(("most", "expected"), [(0.25, 0.25), (4.0, 1.0)])
def test_a_shape_that_has_not_run_costs_no_more_than_it_can(most: float, expected: float) -> None:
    costs = Costs(CHEAP)
    costs.cap("k", 1, most)
    assert costs.of("k").usual(1) == expected
    assert costs.of("other").usual(1) == 1.0


def test_what_clients_make_up_does_not_fill_the_memory() -> None:
    costs = Costs(CHEAP)
    for key in range(10 * LARGEST_KEYS):
        costs.observe(key, 1, 1.0)
    assert len({id(costs.of(key)) for key in range(10 * LARGEST_KEYS)}) == LARGEST_KEYS + 1


def test_however_many_shapes_there_have_been_the_next_one_is_learnt() -> None:
    costs = Costs(CHEAP)
    for key in range(2 * LARGEST_KEYS):
        costs.observe("steady", 1, 2.0)
        costs.observe(key, 1, 100.0)
    costs.observe("new", 1, 3.0)
    assert [costs.of(key).usual(1) for key in ("new", "steady", "never run")] == pytest.approx([3.0, 2.0, 1.0], rel=0.1)


@pytest.mark.parametrize("order", ["rising", "falling", "mixed"])
def test_sizes_that_clients_make_up_are_few(order: str) -> None:
    sizes = list(range(1, 4097))
    table = CostTable([(1, 1.0)])
    if order == "mixed":
        random.Random(5).shuffle(sizes)
    for rows in sizes if order != "falling" else reversed(sizes):
        table.observe(rows, float(rows))
    assert len(table._sizes) <= 40
    if order != "falling":  # as requests come; one row less each time drags the smallest down
        assert all(table.usual(rows) == pytest.approx(rows, rel=0.3) for rows in range(16, 4097))


def test_batches_grow_as_far_as_it_pays() -> None:
    world = World(costs=KNEE, takes=lambda run: CostTable(KNEE).usual(len(run.rows)))
    for _ in range(5):
        world.submit()
    world.drain()
    assert world.batches() == [[1, 2], [3, 4], [5]]


def test_a_request_larger_than_pays_is_run_whole() -> None:
    world = World(costs=KNEE)
    tickets = [world.submit(rows) for rows in (5, 1, 1)]
    world.drain()
    assert world.batches() == [[1], [2, 3]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_deadline_makes_the_batch_smaller() -> None:
    world = World(costs=CHEAP)
    world.submit(within=3)
    for _ in range(7):
        world.submit()
    world.turn()
    assert world.batches() == [[1, 2, 3, 4, 5]]  # 0.5 s, and 0.5 s a row
    assert world.value("bonsai_batches_total", reason="deadline") == 1


def test_a_deadline_of_one_that_stays_behind_is_not_what_cut_the_batch() -> None:
    world = World(costs=CHEAP)
    world.submit(within=3, client="b")  # 0.5 s, and 0.5 s a row
    world.submit(5, client="a", level=1)
    world.settle()
    assert world.batches() == [[2]]
    assert world.value("bonsai_batches_total", reason="full") == 1


def test_a_deadline_does_not_join_a_batch_that_is_too_large_for_it() -> None:
    world = World(costs=CHEAP)
    world.submit(within=2.2, client="b")  # 0.5 s, and 0.5 s a row
    world.submit(5, client="a", level=1)
    world.submit(client="c")
    world.settle()
    assert world.batches() == [[2, 3]]


def test_a_deadline_that_not_even_one_row_meets_does_not_slow_down_the_others() -> None:
    world = World(costs=CHEAP)
    hopeless = world.submit(within=0.5)
    for _ in range(7):
        world.submit()
    world.turn()
    assert len(world.runs[0].rows) == 7
    assert isinstance(hopeless.outcome, DeadlineExceeded)


def test_one_that_cannot_be_in_time_does_not_make_the_batch_of_the_others_too_large() -> None:
    """They have their deadlines too: as large a batch as without would end after those."""
    world = World(costs=CHEAP)
    hopeless = world.submit(within=2.5)
    tickets = [world.submit(within=4.5) for _ in range(5)]
    world.now += 2
    world.settle()
    assert isinstance(hopeless.outcome, DeadlineExceeded)
    assert len(world.runs[0].rows) == 4  # 0.5 s, and 0.5 s a row
    world.now += 2.4
    world.complete()
    assert [ticket.answered_right for ticket in tickets[:4]] == [True] * 4


def test_runs_refine_the_costs_of_their_own_shape() -> None:
    world = World(costs=CHEAP, takes=lambda run: 3.0)
    for _ in range(200):
        world.submit(key="slow")
        world.drain()
    assert world.runs_of.costs.of("slow").usual(1) == pytest.approx(3.0, rel=0.1)
    assert world.runs_of.costs.of("k").usual(1) == 1.0
