"""The histogram against prometheus-client's own: the same observations give the same exposition."""

import numpy as np
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


@pytest.mark.parametrize("values", [[], [0.05], [0.1, 0.100001, 1.0, 5.0, 5.1, 0.0, 0.1], [9.0] * 300], ids=len)
def test_a_block_counts_as_its_observations_one_by_one(values: list[float]) -> None:
    block, singly = Series(BOUNDS), Series(BOUNDS)
    for series in (block, singly):
        series.observe(0.5)
    block.observe_all(np.array(values))
    for value in values:
        singly.observe(value)
    assert (block.counts, block.count) == (singly.counts, singly.count)
    assert block.total == pytest.approx(singly.total)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Histogram("seconds", "", (), BOUNDS, registry)
    with pytest.raises(ValueError, match="seconds"):
        Histogram("seconds", "", (), BOUNDS, registry)
