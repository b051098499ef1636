"""What a run costs: seconds by shape key and rows, measured at warm-up and refined by every run."""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence

QUANTILE = 0.95
"""A deadline is held by what a run takes at worst, within reason; a mean would miss it every other time."""
STEP = 0.05
DOWN = 1 - STEP / 2
"""What becomes of a quantile that is known to be too large."""
GAIN = 0.02
"""A larger batch has to be this much better: a smaller one answers sooner."""
CHOICE_RUNS = 64
"""Runs after which the best size is chosen anew."""
FIRST_RUNS = 16
LEARN_SECONDS = 0.001
"""Run time for each run that is learned from: small ones come by the thousand, and learning would take as long."""
MOST_SKIPPED = 32
LARGEST_KEYS = 256
"""Shape keys with a table of their own; clients choose shapes, so that there may be any number."""

APART = 1.25
"""A size that was not measured is told from the largest or the smallest where it is this many times as large or small:
clients choose sizes too, and a run in between says enough."""

Measured = Sequence[tuple[int, float]]
"""Rows, in rising order, and the seconds of a run of so many."""


class CostTable:
    """Seconds of runs of one shape, by rows: what is usual, and what 19 in 20 do not exceed."""

    def __init__(self, measured: Measured = (), complete: bool = True) -> None:
        """`complete`: sizes were measured as far as they may go. Where time ran out before, the largest that was
        measured is as far as anybody knows that batching pays."""
        self._is_complete = complete
        self._sizes = [rows for rows, _ in measured]
        self._usual = [seconds for _, seconds in measured]
        self._high = list(self._usual)
        self._is_measured = bool(measured)
        self._seen = 0
        self.skips = 0
        """Runs that need not be learned from."""
        self._best: dict[int, int] = {}
        """The best size by its limit, as long as it holds."""

    def scaled(self, rows: int, seconds: float) -> "CostTable":
        """A table of the same form in which a run of so many rows takes so many seconds."""
        known = self.usual(rows)
        if not known:
            return CostTable()
        factor = seconds / known
        scaled = [(size, usual * factor) for size, usual in zip(self._sizes, self._usual, strict=True)]
        return CostTable(scaled, self._is_complete)

    def observe(self, rows: int, seconds: float) -> None:
        """Learns from a run."""
        self._refine(rows, seconds)
        if self._seen >= FIRST_RUNS:
            self.skips = int(min(MOST_SKIPPED, LEARN_SECONDS / max(seconds, 1e-9)))

    def cap(self, rows: int, seconds: float) -> None:
        """Learns that a run of so many rows takes no longer than so. A quantile that says more comes down a step, for
        all sizes."""
        if self.usual(rows) > seconds:
            self._usual = [usual * DOWN for usual in self._usual]
        if self.high(rows) > seconds:
            self._high = [max(usual, high * DOWN) for usual, high in zip(self._usual, self._high, strict=True)]

    def _refine(self, rows: int, seconds: float) -> None:
        """Refines the sizes around `rows`, and half as much all others: what slows one size down slows down all, and a
        size that is not run any more must not be remembered by its worst day.

        Both quantiles go a step towards what was seen (stochastic approximation): an outlier moves them no further
        than any other run.
        """
        above = bisect_left(self._sizes, rows)
        if not self._sizes or rows >= APART * self._sizes[-1] or APART * rows <= self._sizes[0]:
            self._sizes.insert(above, rows)
            self._usual.insert(above, seconds)
            self._high.insert(above, seconds)
            self._best.clear()
            return
        self._seen += 1
        if self._seen % CHOICE_RUNS == 0:
            self._best.clear()
        if self._seen < FIRST_RUNS and seconds < self.usual(rows):
            self._scale(seconds / self.usual(rows))
            return
        usual = STEP * (0.5 if seconds > _at(rows, self._sizes, self._usual) else -0.5)
        high = STEP * (QUANTILE if seconds > _at(rows, self._sizes, self._high) else QUANTILE - 1)
        below = bisect_right(self._sizes, rows) - 1
        for index in range(len(self._sizes)):
            share = 1.0 if below <= index <= above else 0.5
            self._usual[index] *= (1 + usual) ** share
            self._high[index] = max(self._usual[index], self._high[index] * (1 + high) ** share)

    def _scale(self, factor: float) -> None:
        """The first runs of a shape only say how its sample compares; the first of all may have fetched memory."""
        self._usual = [seconds * factor for seconds in self._usual]
        self._high = [seconds * factor for seconds in self._high]

    def usual(self, rows: int) -> float:
        """Seconds that a run of so many rows takes; 0.0 where nothing is known."""
        return _at(rows, self._sizes, self._usual)

    def high(self, rows: int) -> float:
        """Seconds that 19 of 20 runs of so many rows do not exceed; 0.0 where nothing is known."""
        return _at(rows, self._sizes, self._high)

    def best_rows(self, limit: int) -> int:
        """The rows, at most `limit`, up to which batching pays: the smallest size with about the best rows per second.

        The limit where nothing was measured, and where the largest size that could be is the best.
        """
        best = self._best.get(limit)
        if best is None:
            best = self._best[limit] = self._best_rows(limit)
        return best

    def rows_within(self, seconds: float, limit: int) -> int:
        """The most rows, at most `limit`, that a run finishes in so many seconds; `limit` where not even one does."""
        if self.high(limit) <= seconds or self.high(1) > seconds:
            return limit
        quick, slow = 1, limit
        while slow - quick > 1:
            middle = (quick + slow) // 2
            quick, slow = (middle, slow) if self.high(middle) <= seconds else (quick, middle)
        return quick

    def _best_rows(self, limit: int) -> int:
        sizes = [size for size in self._sizes if size <= limit]
        pace = [(size / max(usual, 1e-9), size) for size, usual in zip(sizes, self._usual, strict=False)]
        if not self._is_measured or not pace:
            return limit
        enough = max(pace)[0] / (1 + GAIN)
        best = next(size for rows_a_second, size in pace if rows_a_second >= enough)
        return limit if self._is_complete and best == pace[-1][1] else best


class Costs:
    """The tables of a model, one for each shape key. A shape that has not been run yet costs what the model's own
    sample did."""

    def __init__(self, measured: Measured = (), complete: bool = True) -> None:
        """`measured`: what the warm-up's runs took; `complete` where time was enough for all of them."""
        self._sample = CostTable(measured, complete)
        self._tables: dict[Hashable, CostTable] = {}

    def of(self, key: Hashable) -> CostTable:
        return self._tables.get(key, self._sample)

    def observe(self, key: Hashable, rows: int, seconds: float) -> None:
        """Learns from a run; of short ones, from one in so many."""
        table = self._tables.get(key)
        if table is not None and table.skips:
            table.skips -= 1
        else:
            self._learn(key, rows, seconds)

    def cap(self, key: Hashable, rows: int, seconds: float) -> None:
        """Learns that a run takes no longer than so."""
        table = self._tables.get(key)
        if table is not None:
            table.cap(rows, seconds)
        elif self._sample.usual(rows) > seconds:
            self._learn(key, rows, seconds)

    def _learn(self, key: Hashable, rows: int, seconds: float) -> None:
        """The table that was learned from least recently is the first, and the one to go."""
        table = self._tables.pop(key, None)
        if table is not None:
            table.observe(rows, seconds)
        else:
            table = self._sample.scaled(rows, seconds)
            if len(self._tables) == LARGEST_KEYS:
                del self._tables[next(iter(self._tables))]
        self._tables[key] = table


def _at(rows: int, sizes: list[int], seconds: list[float]) -> float:
    if not sizes:
        return 0.0
    above = bisect_left(sizes, rows)
    if above == len(sizes):
        return seconds[-1] * rows / sizes[-1]
    if above == 0 or sizes[above] == rows:
        return seconds[above]
    share = (rows - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
    return seconds[above - 1] + share * (seconds[above] - seconds[above - 1])
