"""What good answers move: counted in blocks, because each request would move seven histograms."""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.telemetry.histogram import Series, buckets

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
POINTS = ("received", "read", "decoded", "started", "joined", "computed", "encoded")
PHASES = ("read", "decode", "queue", "batch", "compute", "encode")
"""What lies between one point and the next."""
BLOCK = 256
"""Requests that are counted together: some 0.1 ms of work, too little to be seen in another request's time."""

_EDGES = np.array(SECONDS)
_SERIES = 1 + len(PHASES)
_COUNTS = (_SERIES, len(SECONDS) + 1)
_FIRSTS = (len(SECONDS) + 1) * np.arange(_SERIES)
"""Where each series' counts begin when they stand in a row."""


class Answers:
    """The good answers of one model version."""

    def __init__(self) -> None:
        self.total = Series(SECONDS)
        self.phases = {phase: Series(SECONDS) for phase in PHASES}
        self.latest = 0.0
        """When the latest of these requests came."""
        self._series = (self.total, *self.phases.values())
        self._fresh = array("d")
        """The points of requests that are not counted yet, one request after the other."""
        self._counts = np.zeros(_COUNTS, np.int64)
        self._seconds = np.zeros(_SERIES)
        """What has been counted and is not in the series yet."""

    def add(self, points: Iterable[float]) -> None:
        """Some more, as `RequestMetrics.answered` has them."""
        self._fresh.extend(points)
        if len(self._fresh) >= BLOCK * len(POINTS):
            self._count()

    def fold(self) -> None:
        """Brings the series up to date."""
        if self._fresh:
            self._count()
        for series, counts, seconds in zip(self._series, self._counts.tolist(), self._seconds.tolist(), strict=True):
            series.take_in(counts, seconds)
        self._counts[:], self._seconds[:] = 0, 0

    def _count(self) -> None:
        points = np.frombuffer(self._fresh).reshape(-1, len(POINTS))
        self._fresh = array("d")
        self.latest = max(self.latest, float(points[:, 0].max()))
        seconds = np.empty_like(points)
        np.subtract(points[:, -1], points[:, 0], out=seconds[:, 0])
        np.subtract(points[:, 1:], points[:, :-1], out=seconds[:, 1:])
        found = _EDGES.searchsorted(seconds) + _FIRSTS
        self._counts += np.bincount(found.ravel(), minlength=self._counts.size).reshape(_COUNTS)
        self._seconds += seconds.sum(axis=0)


class RequestMetrics(Collector):
    """Requests by outcome, and what the good ones took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers: dict[tuple[str, int], Answers] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._failed_seconds: dict[tuple[str, str], float] = {}
        registry.register(self)

    def answered(self, model: str, version: int, points: Iterable[float]) -> None:
        """Good answers of a model version: for one after the other, when its request passed each of POINTS, in seconds
        of one clock."""
        answers = self._answers.get((model, version))
        if answers is None:
            answers = self._answers[model, version] = Answers()
        answers.add(points)

    def failed(self, model: str, version: str, code: str, seconds: float) -> None:
        """A request that got an error after so long; model and version are empty where they are not known."""
        labels = (model, version, code)
        self._failures[labels] = self._failures.get(labels, 0) + 1
        self._failed_seconds[model, version] = self._failed_seconds.get((model, version), 0.0) + seconds

    def answers_of(self, model: str, version: int) -> Answers:
        """The good answers of one model version, up to date; none where it has given none."""
        answers = self._answers.get((model, version))
        if answers is None:
            return Answers()
        answers.fold()
        return answers

    def failures_of(self, model: str, version: int) -> tuple[int, float]:
        """How many requests to one model version failed, and what they took together, in seconds."""
        mine = (model, str(version))
        count = sum(count for labels, count in self._failures.items() if labels[:2] == mine)
        return count, self._failed_seconds.get(mine, 0.0)

    def answers(self) -> Iterator[tuple[tuple[str, str], Answers]]:
        """Every model version with its good answers, up to date."""
        for (model, version), answers in self._answers.items():
            answers.fold()
            yield (model, str(version)), answers

    def failures(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        """Model, version and error code of the requests that failed, and how many did."""
        return self._failures.items()

    def describe(self) -> Iterator[Metric]:
        return iter(_families())

    def collect(self) -> Iterator[Metric]:
        requests, seconds, phases = families = _families()
        for labels, answers in self.answers():
            requests.add_metric((*labels, "ok"), answers.total.count)
            seconds.add_metric(labels, list(buckets(answers.total)), answers.total.total)
            for phase, series in answers.phases.items():
                phases.add_metric((*labels, phase), list(buckets(series)), series.total)
        for failed, count in self.failures():
            requests.add_metric(failed, count)
        yield from families


def _families() -> tuple[CounterMetricFamily, HistogramMetricFamily, HistogramMetricFamily]:
    version = ("model", "version")
    return (
        CounterMetricFamily("bonsai_requests", "Inference requests answered.", labels=(*version, "code")),
        HistogramMetricFamily(
            "bonsai_request_seconds", "Time of a request from its arrival to its encoded answer.", labels=version
        ),
        HistogramMetricFamily("bonsai_phase_seconds", "Time of a request in each phase.", labels=(*version, "phase")),
    )
