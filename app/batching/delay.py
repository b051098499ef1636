"""A deployment's max_queue_delay: how long a free instance waits for company."""

from collections.abc import Callable

from app.batching.alarm import Alarm
from app.batching.runs import Scheduler

TIMER_SECONDS = 0.001
"""How much too early an event loop's timer may ring."""


class Delay:
    """The delay of what waits. It begins with the first request, and once over it stays so until nothing waits: what
    has collected during a run is not delayed again."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float], over: Callable[[], None]) -> None:
        """`over` is called when the time is; not where it ends before that."""
        self.until = 0.0
        """When it is over, or was; 0.0 where nothing is delayed."""
        self.reason = "idle"
        """What ended the wait of what it delayed, as the metric of batches has it."""
        self._clock = clock
        self._alarm = Alarm(scheduler, over)

    @property
    def is_on(self) -> bool:
        return self.until - TIMER_SECONDS > self._clock()

    def begin(self, seconds: float) -> None:
        """Nothing changes where it has begun already."""
        if not self.until:
            self.until = self._clock() + seconds
            self.reason = "delay"
            self._alarm.set(self.until)

    def end(self, reason: str) -> None:
        """It is over now."""
        self.until = self._clock()
        self.reason = reason
        self._alarm.stop()

    def reset(self) -> None:
        """Nothing that waits is delayed."""
        self.until = 0.0
        self.reason = "idle"
        self._alarm.stop()
