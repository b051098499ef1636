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

    def plus(self, other: "Load") -> "Load":
        return Load(*(mine + others for mine, others in zip(self, other, strict=True)))


NOTHING = Load(0, 0, 0)


Labels = tuple[str, str]
"""A model and its version."""


class LoadMetrics(Collector):
    """Gauges of the models that are there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._readers: dict[object, tuple[Labels, Callable[[], Load]]] = {}
        registry.register(self)

    def watch(self, owner: object, labels: Labels, read: Callable[[], Load]) -> None:
        """`read` is called at every scrape, until the owner is forgotten or has another watched."""
        self._readers[owner] = labels, read

    def forget(self, owner: object) -> None:
        """The owner has gone. Harmless where it was never there."""
        self._readers.pop(owner, None)

    def now(self) -> dict[Labels, Load]:
        """What each version has to do: where one takes the place of another, both until the other's last answer."""
        loads: dict[Labels, Load] = {}
        for labels, read in self._readers.values():
            loads[labels] = loads.get(labels, NOTHING).plus(read())
        return loads

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        queue_rows, in_flight = families = _families()
        for labels, load in self.now().items():
            queue_rows.add_metric(labels, load.queue_rows)
            in_flight.add_metric(labels, load.in_flight)
        yield from families


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    labels = ("model", "version")
    return (
        GaugeMetricFamily("bonsai_queue_rows", "Rows that wait for an instance.", labels=labels),
        GaugeMetricFamily("bonsai_requests_in_flight", "Inference requests that wait or run.", labels=labels),
    )
