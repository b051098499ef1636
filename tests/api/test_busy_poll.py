"""Busy polling, on a loop and a clock of the test's: when the loop stays awake, and for how long."""

from collections.abc import Callable

import pytest

from app.api.busy_poll import AT_ONCE_SECONDS, BusyPoll

LOOK_SECONDS = AT_ONCE_SECONDS / 20


class Loop:
    """Every turn takes LOOK_SECONDS; it sleeps where nothing is to be called."""

    def __init__(self) -> None:
        self.now = 100.0
        self.turns = 0
        self._soon: list[Callable[[], None]] = []
        self.poll = BusyPoll(self._soon.append, lambda: self.now)

    def request(self, after: float) -> None:
        """Comes so many seconds after the last answer, and is answered at once."""
        arrives = self.now + after
        while self._soon and self.now < arrives:
            self.turn()
        self.now = max(self.now, arrives)
        self.poll.answered(self.now)

    def turn(self) -> None:
        self.now += LOOK_SECONDS
        self.turns += 1
        called, self._soon[:] = self._soon[:], []
        for callback in called:
            callback()

    def idle(self) -> int:
        """Turns until it sleeps."""
        before = self.turns
        while self._soon:
            self.turn()
        return self.turns - before


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_first_request_lets_the_loop_sleep(loop: Loop) -> None:
    loop.request(after=1)
    assert loop.idle() == 0


@pytest.mark.parametrize("gap", [AT_ONCE_SECONDS, 2 * AT_ONCE_SECONDS, 1.0])
def test_requests_that_take_their_time_never_keep_it_awake(loop: Loop, gap: float) -> None:
    for _ in range(50):
        loop.request(gap)
        assert loop.idle() == 0


def test_it_is_awake_when_a_request_that_follows_at_once_comes(loop: Loop) -> None:
    for _ in range(50):
        loop.request(AT_ONCE_SECONDS / 2)
    assert loop.turns >= 48 * 10


def test_it_sleeps_soon_after_the_last_of_them_and_the_next_burst_begins_anew(loop: Loop) -> None:
    for _ in range(3):
        loop.request(AT_ONCE_SECONDS / 2)
        loop.request(AT_ONCE_SECONDS / 2)
        assert 19 <= loop.idle() <= 21
        loop.request(after=1)
        assert loop.idle() == 0


def test_however_many_requests_there_are_it_looks_once_a_turn(loop: Loop) -> None:
    for _ in range(10):
        loop.request(after=0)
    assert 19 <= loop.idle() <= 21
