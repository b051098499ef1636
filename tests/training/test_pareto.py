"""The choice among candidates: what holds for any of them, and single cases with their reasons."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.manifest import Metric
from training.compiler import as_in_race_of
from training.errors import NoCandidate
from training.measure.bench import Speed, high, low
from training.measure.gate import Verdict
from training.pareto import Candidate, Terms, choose, front

BASE = 0.95


def candidate(
    name: str,
    *,
    lost: float = 0.0,
    speedup: tuple[float, float, float] = (1.0, 1.0, 1.0),
    size: int = 1000,
    memory_mb: float = 10.0,
    requires: tuple[str, ...] = (),
    reasons: tuple[str, ...] = (),
) -> Candidate:
    """`speedup`: lower end, median, upper end, at batch 1 and 8."""
    ratio = Metric(value=speedup[1], ci95=(speedup[0], speedup[2]))
    drop = Metric(value=lost, ci95=(lost - 0.5, lost + 0.5))
    return Candidate(
        name=name,
        file=f"{name}.onnx",
        precision="fp32",
        widths="100 %",
        accuracy=Metric(value=BASE - lost / 100),
        speed={1: Speed(10 / speedup[1], 12 / speedup[1], ratio), 8: Speed(80 / speedup[1], 90 / speedup[1], ratio)},
        bytes=size,
        memory_mb=memory_mb,
        batchable=True,
        requires=requires,
        verdict=Verdict(reasons=reasons, drop=drop, proven=False, difference=0.0),
    )


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Few different values, so that many are equal in something."""
    made = []
    for number in range(draw(st.integers(1, 8))):
        low, value, high = sorted(
            draw(st.lists(st.sampled_from([0.5, 1.0, 1.1, 1.5, 2.0, 4.0]), min_size=3, max_size=3))
        )
        made.append(
            candidate(
                f"c{number}",
                lost=draw(st.sampled_from([-0.5, 0.0, 0.25, 1.0, 2.0])),
                speedup=(low, value, high),
                size=draw(st.sampled_from([250, 500, 1000])),
                memory_mb=draw(st.sampled_from([5.0, 10.0, 20.0])),
                reasons=draw(st.sampled_from([(), (), (), ("some answers are no finite numbers",)])),
            )
        )
    return made


terms = st.builds(
    Terms,
    max_drop=st.sampled_from([0.0, 0.25, 1.0, 5.0]),
    max_ms=st.sampled_from([None, 30.0, 100.0]),
    max_mb=st.sampled_from([None, 5.0, 15.0]),
)


@given(candidates())
def test_nobody_on_the_front_is_dominated_and_all_others_are(some: list[Candidate]) -> None:
    def beats(one: Candidate, other: Candidate) -> bool:
        mine, theirs = (
            (of.accuracy.value, *(-speed.p50_ms for speed in of.speed.values()), -of.bytes, -of.memory_mb)
            for of in (one, other)
        )
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))

    kept = front(some)
    assert kept
    assert not any(beats(other, one) for one in kept for other in some)
    assert all(any(beats(other, one) for other in kept) for one in some if one not in kept)


@given(candidates(), terms)
def test_a_choice_meets_the_terms_and_gives_a_reason_for_every_other(some: list[Candidate], asked: Terms) -> None:
    try:
        choice = choose(some, asked)
    except NoCandidate as error:
        for one in some:
            assert asked.reasons_against(one)
            assert f"{one.name}: " in str(error)
        return
    chosen = choice.chosen
    assert chosen.verdict.passed
    assert chosen.drop.value <= asked.max_drop
    assert asked.max_ms is None or chosen.speed[8].p99_ms <= asked.max_ms
    assert asked.max_mb is None or chosen.memory_mb <= asked.max_mb
    assert set(choice.rejected) == {one.name for one in some} - {chosen.name}
    assert all(reasons and all(reasons) for reasons in choice.rejected.values())


@given(candidates(), terms)
def test_nobody_who_passes_is_surely_faster_than_the_choice(some: list[Candidate], asked: Terms) -> None:
    try:
        chosen = choose(some, asked).chosen
    except NoCandidate:
        return
    passing = [one for one in some if not asked.reasons_against(one)]
    assert all(low(one.speed[8].speedup) <= high(chosen.speed[8].speedup) for one in passing)


@given(candidates(), terms, st.sampled_from([0.25, 1.0, 5.0]))
def test_whoever_may_lose_more_gets_no_slower_network(some: list[Candidate], asked: Terms, more: float) -> None:
    try:
        before = choose(some, asked).chosen
    except NoCandidate:
        return
    after = choose(some, asked.model_copy(update={"max_drop": asked.max_drop + more})).chosen
    assert after == before or high(after.speed[8].speedup) > high(before.speed[8].speedup)
    assert after.accuracy.value <= before.accuracy.value


def test_of_those_as_fast_the_most_accurate_then_the_smallest() -> None:
    fast = candidate("fast", lost=0.8, speedup=(2.9, 3.0, 3.1))
    close = candidate("close", lost=0.2, speedup=(2.7, 2.85, 3.0))
    small = candidate("small", lost=0.2, speedup=(2.6, 2.8, 2.95), size=500)
    slow = candidate("slow", speedup=(1.9, 2.0, 2.1))
    choice = choose([fast, close, small, slow], Terms(max_drop=1.0))
    assert choice.chosen is small
    assert choice.rejected == {
        "fast": ("not surely faster than small, and less accurate",),
        "close": ("not surely faster than small, as accurate, and not smaller",),
        "slow": ("slower: 2.00 x [1.90, 2.10], small 2.80 x [2.60, 2.95]",),
    }


def test_of_those_as_fast_and_as_accurate_the_one_that_asks_least_of_a_cpu() -> None:
    tiled = candidate("amx", speedup=(1.98, 2.0, 2.02), size=900, requires=("amx_int8", "avx512_vnni"))
    full = candidate("vnni", speedup=(1.97, 2.02, 2.05), size=900, requires=("avx512_vnni",))
    anywhere = candidate("portable", speedup=(1.98, 2.0, 2.02))
    choice = choose([tiled, full, anywhere], Terms(max_drop=1.0))
    assert choice.chosen is anywhere
    assert choice.rejected["amx"] == ("not surely faster than portable, as accurate, and asks more of a CPU",)
    assert choose([tiled, full], Terms(max_drop=1.0)).chosen is full


def test_the_batch_size_asked_for_decides() -> None:
    one = candidate("one", speedup=(3.0, 3.0, 3.0))
    eight = candidate("eight", speedup=(2.0, 2.0, 2.0))
    eight.speed[8] = Speed(10.0, 12.0, Metric(value=8.0))  # type: ignore[index]
    assert choose([one, eight], Terms(max_drop=1.0, batch=1)).chosen is one
    assert choose([one, eight], Terms(max_drop=1.0)).chosen is eight


def test_where_none_passes_each_is_named_with_its_reasons() -> None:
    lossy = candidate("lossy", lost=2.0, reasons=("loses 2.00 points [1.50, 2.50], allowed are 1",))
    large = candidate("large", memory_mb=20.0)
    with pytest.raises(NoCandidate) as caught:
        choose([lossy, large], Terms(max_drop=1.0, max_ms=50.0, max_mb=15.0))
    assert str(caught.value) == (
        "no candidate meets the terms: "
        "lossy: loses 2.00 points [1.50, 2.50], allowed are 1, p99 of batch 8 is 90.00 ms, allowed are 50; "
        "large: p99 of batch 8 is 90.00 ms, allowed are 50, takes 20.0 MB, allowed are 15"
    )
    with pytest.raises(NoCandidate, match="there is none"):
        choose([], Terms(max_drop=1.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max_drop": -1},
        {"max_drop": 101},
        {"max_drop": 1, "max_ms": 0},
        {"max_drop": 1, "max_mb": -5},
        {"max_drp": 1},
    ],
)
def test_terms_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Terms.model_validate(wrong)


def test_terms_say_themselves_as_a_command_does() -> None:
    assert Terms(max_drop=1).options == " --max-drop 1"
    whole = Terms(max_drop=0.5, max_class_drop=3, max_ms=2.25, max_mb=64)
    assert whole.options == " --max-drop 0.5 --max-class-drop 3 --max-ms 2.25 --max-mb 64"
    assert (whole.gate.max_drop, whole.gate.max_class_drop) == (0.5, 3)


def test_a_baseline_takes_the_times_of_the_race_that_the_table_shows() -> None:
    before, again = (candidate("original", speedup=(1.0, 1.0, 1.0)) for _ in range(2))
    again = replace(again, speed={batch: replace(one, p50_ms=2 * one.p50_ms) for batch, one in again.speed.items()})
    found = as_in_race_of(before, again, candidate("from scratch", speedup=(2.0, 2.0, 2.0)))
    assert {batch: (one.p50_ms, one.p99_ms) for batch, one in found.items()} == {1: (2.5, 3.0), 8: (20.0, 22.5)}
    assert found[8].speedup.value == 2.0
