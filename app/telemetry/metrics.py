"""Prometheus metrics, in a registry of the application's own. docs/metrics.md lists them; a test holds both equal."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.telemetry.answers import RequestMetrics
from app.telemetry.histogram import Histogram
from app.telemetry.load import Load, LoadMetrics
from app.telemetry.states import StateMetrics
from app.telemetry.tally import Tally
from app.telemetry.triton import TritonNames

disable_created_metrics()  # type: ignore[no-untyped-call] # one more series a counter, which no board reads

ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75)
VERSION = ("model", "version")
REASONS = ("idle", "full", "delay", "deadline")


class ModelMetrics:
    """What the batcher of one model version moves, labels bound once."""

    def __init__(self, metrics: "Metrics", model: str, version: int) -> None:
        self._metrics = metrics
        self._labels = labels = (model, str(version))
        self._batches = {reason: metrics.batches.count(*labels, reason) for reason in REASONS}
        self._rejected: dict[str, Counter] = {}
        """To look a counter up by its labels takes as long as all else that a refusal costs here."""
        self.batch_rows = metrics.batch_rows.labels(*labels)
        self._waste = metrics.padding_waste.labels(*labels)
        self._real = metrics.real_size.labels(*labels)
        self._padded = metrics.padded_size.labels(*labels)
        self._misses = metrics.deadline_misses.labels(*labels)
        self._discarded = metrics.discarded.count(*labels)

    def watch(self, load: Callable[[], Load]) -> None:
        """`load` is called at every scrape, until `forget`."""
        self._metrics.loads_now.watch(self, self._labels, load)

    def forget(self) -> None:
        """The model has gone. One that has taken its place has figures of its own."""
        self._metrics.loads_now.forget(self)

    def dispatched(self, reason: str) -> None:
        """A batch was formed because an instance was idle, it was full, its delay or a deadline ended."""
        self._batches[reason].value += 1

    def rejected(self, reason: str) -> None:
        """A request was refused: queue_full, or deadline."""
        counter = self._rejected.get(reason)
        if counter is None:
            counter = self._rejected[reason] = self._metrics.rejected.labels(*self._labels, reason)
        counter.inc()

    def cancelled(self, stage: str) -> None:
        """A client went away: its request waited (queue), was in a run with others (batch) or alone (run)."""
        self._metrics.cancelled.count(*self._labels, stage).value += 1

    def missed(self) -> None:
        """A deadline passed before the answer was there."""
        self._misses.inc()

    def discarded(self, entries: int) -> None:
        """Requests that were run, and nobody waited for the answer any more."""
        self._discarded.value += entries

    def padded(self, real: int, padded: int) -> None:
        """A run of padded inputs: rows times length as they came, and as they ran."""
        self._real.inc(real)
        self._padded.inc(padded)
        self._waste.observe(1 - real / padded if padded else 0.0)


class Metrics:
    """Every metric of the server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = RequestMetrics(registry)
        self.loads_now = LoadMetrics(registry)
        self.batch_rows = Histogram("bonsai_batch_rows", "Rows of a run.", VERSION, ROWS, registry)
        self.batches = Tally(
            "bonsai_batches", "Batches formed, by what ended the wait.", (*VERSION, "reason"), registry
        )
        self.padding_waste = Histogram(
            "bonsai_padding_waste_ratio", "Part of a run that was padding.", VERSION, SHARES, registry
        )
        self.real_size = Counter(
            "bonsai_real_elements", "Rows times length of padded inputs, as they came.", VERSION, registry=registry
        )
        self.padded_size = Counter(
            "bonsai_padded_elements", "Rows times length of padded inputs, as they ran.", VERSION, registry=registry
        )
        self.rejected = Counter(
            "bonsai_rejected", "Requests refused because of load.", (*VERSION, "reason"), registry=registry
        )
        self.cancelled = Tally("bonsai_cancelled", "Requests whose client went away.", (*VERSION, "stage"), registry)
        self.discarded = Tally(
            "bonsai_discarded_answers",
            "Requests that were run although their client left or their deadline passed meanwhile.",
            VERSION,
            registry,
        )
        self.deadline_misses = Counter(
            "bonsai_deadline_misses", "Requests whose deadline passed unanswered.", VERSION, registry=registry
        )
        self.model_ready = Gauge(
            "bonsai_model_ready", "1 while the version answers requests.", (*VERSION, "provider"), registry=registry
        )
        self.states = StateMetrics(registry)
        self.loads = Counter(
            "bonsai_model_loads", "Attempts to load a version.", (*VERSION, "result"), registry=registry
        )
        TritonNames(self.requests, self.cancelled, self.batch_rows, self.loads_now, registry)

    def of(self, model: str, version: int) -> ModelMetrics:
        return ModelMetrics(self, model, version)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
