"""The token bucket, on a clock of the test's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.bucket import Bottomless, TokenBucket
from app.errors import RateLimited


def takes(bucket: TokenBucket, *instants: float) -> list[bool]:
    """Whether there was a token, at each instant."""

    def is_taken(now: float) -> bool:
        try:
            bucket.take(now)
        except RateLimited:
            return False
        return True

    return [is_taken(now) for now in instants]


def test_a_burst_and_then_the_rate() -> None:
    assert takes(TokenBucket(2, 3), 10, 10, 10, 10, 10.4, 10.5, 10.5, 11) == [
        True, True, True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_long_silence_gives_no_more_than_the_burst() -> None:
    bucket = TokenBucket(100, 2)
    assert takes(bucket, 0, 1000, 1000, 1000) == [True, True, True, False]


def test_an_instant_before_the_last_one_fills_nothing_and_takes_nothing_back() -> None:
    bucket = TokenBucket(1, 1)
    assert takes(bucket, 10, 5, 10.5, 11) == [True, False, False, True]


def test_who_is_refused_is_told_when_to_come_back() -> None:
    bucket = TokenBucket(0.1, 1)
    bucket.take(0)
    with pytest.raises(
        RateLimited, match=r"^rate: expected at most 0.1 requests a second for this key, got more$"
    ) as e:
        bucket.take(4)
    assert e.value.retry_after == pytest.approx(6)
    bucket.take(10.001)


def test_so_many_tokens_are_taken_together_or_none() -> None:
    bucket = TokenBucket(1, 5)
    assert [bucket.takes(count, 10) for count in (4, 2, 1, 1)] == [True, False, True, False]
    assert [bucket.takes(count, 13) for count in (4, 3)] == [False, True]
    assert Bottomless().takes(10**6, 0)


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_never_more_than_the_burst_and_what_the_rate_gives(rate: float, burst: int, instants: list[float]) -> None:
    taken = sum(takes(TokenBucket(rate, burst), *sorted(instants)))
    assert taken <= burst + rate * (max(instants) - min(instants)) + 1e-6
