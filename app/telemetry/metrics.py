"""Prometheus metrics, in a registry of the application's own. docs/metrics.md lists them; a test holds both equal."""

from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.telemetry.histogram import Histogram, Series

disable_created_metrics()  # type: ignore[no-untyped-call] # one more series a counter, which no board reads

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
PHASES = ("decode", "queue", "compute", "encode")


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The metrics of one model version, labels bound once."""

    batch_rows: Series
    queue_rows: Gauge


class _Answers:
    """What a good answer of one model version moves, labels bound once."""

    def __init__(self, metrics: "Metrics", labels: tuple[str, str]) -> None:
        self.requests = metrics.requests.labels(*labels, "ok")
        self.seconds = metrics.request_seconds.labels(*labels)
        self.phases = [metrics.phases.labels(*labels, phase) for phase in PHASES]


class Metrics:
    """Every metric of the server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers: dict[tuple[str, str], _Answers] = {}
        ProcessCollector(registry=self.registry)
        version = ("model", "version")
        self.requests = Counter(
            "bonsai_requests", "Inference requests answered.", (*version, "code"), registry=self.registry
        )
        self.phases = Histogram(
            "bonsai_phase_seconds", "Time of a request in each phase.", (*version, "phase"), SECONDS, self.registry
        )
        self.request_seconds = Histogram(
            "bonsai_request_seconds",
            "Time of a request from its arrival to its encoded answer.",
            version,
            SECONDS,
            self.registry,
        )
        self.in_flight = Gauge(
            "bonsai_requests_in_flight", "Inference requests that wait or run.", registry=self.registry
        )
        self.batch_rows = Histogram("bonsai_batch_rows", "Rows of a run.", version, ROWS, self.registry)
        self.queue_rows = Gauge("bonsai_queue_rows", "Rows that wait for an instance.", version, registry=self.registry)
        self.model_ready = Gauge(
            "bonsai_model_ready",
            "1 while the version answers requests.",
            (*version, "provider"),
            registry=self.registry,
        )
        self.loads = Counter(
            "bonsai_model_loads", "Attempts to load a version.", (*version, "result"), registry=self.registry
        )

    def of(self, model: str, version: int) -> ModelMetrics:
        labels = (model, str(version))
        return ModelMetrics(batch_rows=self.batch_rows.labels(*labels), queue_rows=self.queue_rows.labels(*labels))

    def answered(self, labels: tuple[str, str], seconds: float, phases: tuple[float, ...]) -> None:
        """A good answer of a model version: how long it took, and each of PHASES."""
        answers = self._answers.get(labels)
        if answers is None:
            answers = self._answers[labels] = _Answers(self, labels)
        answers.requests.inc()
        answers.seconds.observe(seconds)
        for series, phase in zip(answers.phases, phases, strict=True):
            series.observe(phase)

    def failed(self, labels: tuple[str, str], code: str) -> None:
        """A request that got an error; the labels are empty where its model is not known."""
        self.requests.labels(*labels, code).inc()

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
