"""How many rows the next batch may have."""

import math
from collections.abc import Collection, Hashable, Sequence

from app.batching.batch import Batch, Entry
from app.batching.cost import Costs
from app.batching.padding import Bucket
from app.contract.deployment import Limits


def most_rows(key: Hashable, limits: Limits) -> int:
    """Rows that a run of this key may have at all."""
    if isinstance(key, Bucket):
        return max(1, min(limits.max_batch_rows, limits.max_padded_size // max(1, key.length)))
    return limits.max_batch_rows


def share(waiting: int, running: Collection[Batch], instances: int) -> int:
    """Rows that a free instance takes, of all that wait.

    They are shared between the free ones. And none takes more than its part of all there is: clients that are answered
    together ask again together, so runs of seven rows and of one would remain what they are, though two of four take
    less time.
    """
    free = instances - sum([batch.slots for batch in running])
    rows = waiting + sum([batch.rows for batch in running])
    return min(math.ceil(waiting / free), math.ceil(rows / instances))


class Room:
    """The bounds of one batch that is being formed."""

    __slots__ = ("_costs", "_limits", "_now", "_share")

    def __init__(self, costs: Costs, limits: Limits, share: int, now: float) -> None:
        """`share`: rows that are this instance's, however many more would pay."""
        self._costs = costs
        self._limits = limits
        self._share = share
        self._now = now

    def rows(self, key: Hashable, earliest: float) -> int:
        """As far as batching pays, and no more than can be run by the earliest deadline."""
        table = self._costs.of(key)
        best = min(table.best_rows(most_rows(key, self._limits)), self._share)
        return best if earliest == math.inf else table.rows_within(earliest - self._now, best)

    def holds(self, key: Hashable, rows: int, earliest: float) -> bool:
        """Whether so many rows may be a batch that ends before the earliest deadline."""
        if rows > self.rows(key, math.inf):
            return False
        return earliest == math.inf or self._now + self._costs.of(key).high(rows) < earliest

    def is_cut(self, entries: Sequence[Entry]) -> bool:
        """Whether one of their deadlines has made the batch of these smaller than it would have been."""
        key = entries[0].key
        earliest = min([entry.deadline for entry in entries if entry.deadline is not None], default=math.inf)
        return self.rows(key, earliest) < self.rows(key, math.inf)
