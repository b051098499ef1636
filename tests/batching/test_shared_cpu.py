"""Who may have all of the CPU: nobody beside another's run, or beside an event loop that is busy."""

import pytest

from app.batching.shared_cpu import SharedCpu


class Clocks:
    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = 3.0
        self.cpu = SharedCpu(lambda: self.now, lambda: self.loop)

    def passes(self, seconds: float, *, on_the_loop: float) -> None:
        self.now += seconds
        self.loop += on_the_loop


def test_it_is_free_where_nothing_has_happened_yet() -> None:
    assert Clocks().cpu.is_free()


def test_it_is_not_free_while_any_run_is_under_way() -> None:
    cpu = Clocks().cpu
    cpu.begin()
    cpu.begin()
    assert not cpu.is_free()
    cpu.end()
    assert not cpu.is_free()
    cpu.end()
    assert cpu.is_free()


@pytest.mark.parametrize(("share", "free"), [(0.0, True), (0.4, True), (0.6, False), (1.0, False)])
def test_it_is_not_free_where_the_loop_was_busy_for_half_of_the_time(share: float, free: bool) -> None:
    clocks = Clocks()
    clocks.cpu.is_free()
    clocks.passes(0.01, on_the_loop=0.01 * share)
    assert clocks.cpu.is_free() == free


def test_a_loop_that_was_busy_before_it_was_last_asked_does_not_count_for_ever() -> None:
    clocks = Clocks()
    clocks.cpu.is_free()
    clocks.passes(1, on_the_loop=1)
    assert not clocks.cpu.is_free()
    clocks.passes(0.01, on_the_loop=0.001)
    assert clocks.cpu.is_free()
