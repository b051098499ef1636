"""Prometheus metrics, in a registry of the application's own. docs/metrics.md lists them; a test holds both equal."""

from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call] # one more series a counter, which no board reads

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The metrics of one model version, labels bound once."""

    batch_rows: Histogram
    queue_rows: Gauge


class Metrics:
    """Every metric of the server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        version = ("model", "version")
        self.requests = Counter(
            "bonsai_requests", "Inference requests answered.", ("model", "version", "code"), registry=self.registry
        )
        self.phases = Histogram(
            "bonsai_phase_seconds",
            "Time of a request in each phase.",
            ("model", "version", "phase"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "bonsai_request_seconds",
            "Time of a request from its arrival to its encoded answer.",
            version,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "bonsai_requests_in_flight", "Inference requests that wait or run.", registry=self.registry
        )
        self.batch_rows = Histogram(
            "bonsai_batch_rows", "Rows of a run.", version, buckets=ROWS, registry=self.registry
        )
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

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
