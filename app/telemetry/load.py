"""The load of every model version, read at a scrape: what changes with each request is not worth a write each time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Load(NamedTuple):
    """What a model version has to do."""

    queue_rows: int
    """Rows that wait for an instance."""
    pending: int
    """Requests that wait for an instance; a split one counts once for each part."""
    in_flight: int
    """Requests that wait or run."""


class LoadMetrics(Collector):
    """Gauges of the models that are there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.by_model: dict[tuple[str, str], Callable[[], Load]] = {}
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        queue_rows, in_flight = families = _families()
        for labels, read in self.by_model.items():
            load = read()
            queue_rows.add_metric(labels, load.queue_rows)
            in_flight.add_metric(labels, load.in_flight)
        yield from families


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    labels = ("model", "version")
    return (
        GaugeMetricFamily("bonsai_queue_rows", "Rows that wait for an instance.", labels=labels),
        GaugeMetricFamily("bonsai_requests_in_flight", "Inference requests that wait or run.", labels=labels),
    )
