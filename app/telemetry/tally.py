"""A counter that is cheap to write, on the event loop's thread alone."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Count:
    """One labelled series."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Tally(Collector):
    """prometheus-client's Counter without its lock. A series is shown once it has moved."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self.name = name
        self.label_names = labels
        self._text = text
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def count(self, *values: str) -> Count:
        """The series of these label values."""
        return self._counts.setdefault(values, Count())

    def counts(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Label values and count of every series that has moved."""
        return ((values, count.value) for values, count in self._counts.items() if count.value)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self.name, self._text, labels=self.label_names)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self._text, labels=self.label_names)
        for values, count in self.counts():
            family.add_metric(values, count)
        yield family
