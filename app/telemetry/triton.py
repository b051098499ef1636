"""The same figures by the names that Triton Inference Server gives them, so that existing boards work.

See "Metrics" in Triton's user guide. Durations are sums in microseconds. They are counters there too, but their names
lack the ending that the text format wants of a counter, so their type is left open.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import UnknownMetricFamily
from prometheus_client.registry import Collector

from app.telemetry.answers import Answers, RequestMetrics
from app.telemetry.histogram import Histogram
from app.telemetry.load import LoadMetrics
from app.telemetry.tally import Tally

LABELS = ("model", "version")
REASONS = {
    "overloaded": "REJECTED",
    "not_ready": "REJECTED",
    "draining": "REJECTED",
    "deadline_exceeded": "REJECTED",
    "execution_failed": "BACKEND",
}
"""Triton's reason for an error code; for every other one OTHER. Who has gone gets no error, and counts as CANCELED."""

_DURATIONS: dict[str, tuple[str, Callable[[Answers], float]]] = {
    "nv_inference_request_duration_us": ("Time of requests, whole.", lambda answers: answers.total.total),
    "nv_inference_queue_duration_us": ("Time in the queue.", lambda answers: answers.phases["queue"].total),
    "nv_inference_compute_input_duration_us": (
        "Time in which batches were put together.",
        lambda answers: answers.phases["batch"].total,
    ),
    "nv_inference_compute_infer_duration_us": ("Time of runs.", lambda answers: answers.phases["compute"].total),
    "nv_inference_compute_output_duration_us": (
        "Time in which answers were written.",
        lambda answers: answers.phases["encode"].total,
    ),
}


class TritonNames(Collector):
    """Reads the other metrics at a scrape; nothing is counted twice."""

    def __init__(
        self,
        requests: RequestMetrics,
        cancelled: Tally,
        batch_rows: Histogram,
        load: LoadMetrics,
        registry: CollectorRegistry,
    ) -> None:
        self._requests = requests
        self._cancelled = cancelled
        self._batch_rows = batch_rows
        self._load = load
        registry.register(self)

    def describe(self) -> Iterator[UnknownMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[UnknownMetricFamily]:
        yield from self._collect_requests()
        yield from self._collect_runs()
        pending = UnknownMetricFamily(
            "nv_inference_pending_request_count", "Requests that wait for a run.", labels=LABELS
        )
        for labels, load in self._load.now().items():
            pending.add_metric(labels, load.pending)
        yield pending

    def _collect_requests(self) -> Iterator[UnknownMetricFamily]:
        success = UnknownMetricFamily("nv_inference_request_success", "Requests that were answered.", labels=LABELS)
        durations = {name: UnknownMetricFamily(name, text, labels=LABELS) for name, (text, _) in _DURATIONS.items()}
        for labels, answers in self._requests.answers():
            success.add_metric(labels, answers.total.count)
            for name, (_, seconds) in _DURATIONS.items():
                durations[name].add_metric(labels, seconds(answers) * 1e6)
        yield from (success, *durations.values())
        counts: Counter[tuple[str, str, str]] = Counter()
        for (model, version, code), count in self._requests.failures():
            counts[model, version, REASONS.get(code, "OTHER")] += count
        for (model, version, _), count in self._cancelled.counts():
            counts[model, version, "CANCELED"] += count
        failure = UnknownMetricFamily(
            "nv_inference_request_failure", "Requests that failed.", labels=(*LABELS, "reason")
        )
        for labels_, count in counts.items():
            failure.add_metric(labels_, count)
        yield failure

    def _collect_runs(self) -> Iterator[UnknownMetricFamily]:
        rows = UnknownMetricFamily("nv_inference_count", "Rows that were run.", labels=LABELS)
        runs = UnknownMetricFamily("nv_inference_exec_count", "Runs.", labels=LABELS)
        for labels, series in self._batch_rows.series.items():
            rows.add_metric(labels, series.total)
            runs.add_metric(labels, series.count)
        yield from (rows, runs)
