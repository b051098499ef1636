"""The state of every version in the repository, read at a scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

VersionState = tuple[str, str, str]
"""Model, version, and the name of its state."""


class StateMetrics(Collector):
    """A gauge of the versions that there are, with or without a model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._read: Callable[[], Iterable[VersionState]] = tuple
        registry.register(self)

    def watch(self, read: Callable[[], Iterable[VersionState]]) -> None:
        """`read` is called at every scrape."""
        self._read = read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield _family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = _family()
        for labels in self._read():
            family.add_metric(labels, 1)
        yield family


def _family() -> GaugeMetricFamily:
    text = "1 for the state that the version is in: loading, ready, failed or unloaded."
    return GaugeMetricFamily("bonsai_model_state", text, labels=("model", "version", "state"))
