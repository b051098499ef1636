"""A flood: arrivals that do not wait for answers, and what came of them."""

from dataclasses import dataclass

import numpy as np

from benchmarks import exposition
from benchmarks.arrivals import Arrival, poisson
from benchmarks.processes import Server


@dataclass(frozen=True)
class Flood:
    """What came of one run of arrivals, and what the server counted meanwhile."""

    deadline: float
    arrivals: list[Arrival]
    rows_run: float
    discarded: float
    """Rows whose deadline passed while they ran, by the server's own count."""
    misses: float
    """Deadlines that passed, by the server's own count."""

    @property
    def seconds(self) -> float:
        """From the first arrival to the last answer."""
        return max(arrival.answered for arrival in self.arrivals) - self.arrivals[0].scheduled

    @property
    def accepted(self) -> list[float]:
        """Latencies of the answers 200."""
        return [arrival.latency for arrival in self.arrivals if _status(arrival) == 200]

    @property
    def goodput(self) -> float:
        return sum(latency <= self.deadline for latency in self.accepted) / self.seconds

    @property
    def late(self) -> int:
        return sum(latency > self.deadline for latency in self.accepted)

    @property
    def p99(self) -> float:
        return float(np.percentile(self.accepted, 99)) if self.accepted else 0.0

    @property
    def p50(self) -> float:
        return float(np.median(self.accepted)) if self.accepted else 0.0

    @property
    def lag(self) -> float:
        """How late the generator itself was, p99."""
        return float(np.percentile([arrival.sent - arrival.scheduled for arrival in self.arrivals], 99))

    @property
    def run_expired(self) -> float:
        """Rows that began to run although their deadline had passed: neither answered nor overtaken while they ran."""
        return self.rows_run - len(self.accepted) - self.discarded

    @property
    def without_retry_after(self) -> int:
        """Rejections that do not say when to come back."""
        rejected = [arrival.answer for arrival in self.arrivals if _status(arrival) == 503]
        return sum(answer is not None and b"retry-after" not in answer.headers for answer in rejected)

    def count(self, status: int) -> int:
        return sum(_status(arrival) == status for arrival in self.arrivals)

    @property
    def others(self) -> int:
        """Neither answered nor refused as they should be: errors and broken connections."""
        return len(self.arrivals) - sum(self.count(status) for status in (200, 503, 504))


def _status(arrival: Arrival) -> int | None:
    return arrival.answer.status if arrival.answer is not None else None


def flood(server: Server, request: bytes, deadline: float, rate: float, seconds: float, seed: int) -> Flood:
    """Poisson arrivals of one request, until the server has settled."""
    before = exposition.read(server)
    arrivals = poisson(server.port, request, rate, seconds, seed)
    server.settle()
    after = exposition.read(server)
    return Flood(
        deadline=deadline,
        arrivals=arrivals,
        rows_run=exposition.rise(before, after, "bonsai_batch_rows_sum") or 0.0,
        discarded=exposition.rise(before, after, "bonsai_discarded_answers_total") or 0.0,
        misses=exposition.rise(before, after, "bonsai_deadline_misses_total") or 0.0,
    )
