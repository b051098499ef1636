"""The histogram against prometheus-client's own: the same observations give the same exposition."""

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.telemetry.histogram import Histogram, Series

BOUNDS = (0.1, 1.0, 5.0)
OBSERVATIONS = [("a", 0.05), ("a", 0.1), ("a", 0.100001), ("b", 7.0), ("b", 5.0), ("b", 0.0)]


@pytest.mark.parametrize("observations", [[], OBSERVATIONS[:1], OBSERVATIONS])
def test_its_exposition_is_that_of_prometheus_client(observations: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "How long.", ("model",), BOUNDS, ours)
    reference = prometheus_client.Histogram("seconds", "How long.", ("model",), buckets=BOUNDS, registry=theirs)
    for model, value in observations:
        histogram.labels(model).observe(value)
        reference.labels(model).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_what_was_counted_elsewhere_adds_to_what_was_observed() -> None:
    series = Series((0.1, 1.0))
    series.observe(0.5)
    series.take_in([2, 1, 3], 20.0)
    assert (series.counts, series.count, series.total) == ([2, 2, 3], 7, 20.5)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Histogram("seconds", "", (), BOUNDS, registry)
    with pytest.raises(ValueError, match="seconds"):
        Histogram("seconds", "", (), BOUNDS, registry)
