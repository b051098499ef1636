"""Good answers are counted in blocks: at any moment the figures are those of one observation after the other."""

import numpy as np
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.telemetry.answers import BLOCK, PHASES, POINTS, SECONDS, RequestMetrics
from tests.metrics import value

LABELS = ("model", "version")


def passed(random: np.random.Generator) -> list[float]:
    """A request that passed every point a while after the one before; some on the edge of a bucket."""
    steps = random.choice([0.0, 1e-5, 2**-12, 0.0005, 0.001, 0.3, 20.0], len(POINTS) - 1)
    points: list[float] = (1024.0 + np.cumsum([0.0, *steps])).tolist()
    return points


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_its_exposition_is_that_of_prometheus_client(count: int) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics, random = RequestMetrics(ours), np.random.default_rng(0)
    total = prometheus_client.Histogram("t", "", LABELS, buckets=SECONDS, registry=theirs)
    phases = prometheus_client.Histogram("p", "", (*LABELS, "phase"), buckets=SECONDS, registry=theirs)
    for number in range(count):
        points, version = passed(random), 1 + number % 2
        metrics.answered("m", version, points)
        total.labels("m", str(version)).observe(points[-1] - points[0])
        for phase, first, second in zip(PHASES, points, points[1:], strict=False):
            phases.labels("m", str(version), phase).observe(second - first)
    assert lines(ours, "bonsai_request_seconds") == lines(theirs, "t")
    assert lines(ours, "bonsai_phase_seconds") == lines(theirs, "p")


def lines(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """The samples of a family, by what follows its name; sums within what adding up in another order may change."""
    text = generate_latest(registry).decode()
    found = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
    return {key.removeprefix(name): pytest.approx(float(number)) for key, number in found}


def test_a_scrape_in_between_changes_nothing() -> None:
    often, once = CollectorRegistry(), CollectorRegistry()
    for registry in (often, once):
        metrics, random = RequestMetrics(registry), np.random.default_rng(0)
        for _ in range(600):
            metrics.answered("m", 1, passed(random))
            if registry is often:
                generate_latest(registry)
    assert lines(often, "bonsai_") == lines(once, "bonsai_")


def test_failures_count_by_model_version_and_code() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    for version, code in (("1", "invalid_input"), ("1", "invalid_input"), ("2", "invalid_input"), ("1", "internal")):
        metrics.failed("m", version, code, 0.5)
    metrics.failed("", "", "not_found", 0.5)
    text = generate_latest(registry).decode()
    assert value(text, "bonsai_requests_total", model="m", version="1", code="invalid_input") == 2
    assert value(text, "bonsai_requests_total", model="m", version="2", code="invalid_input") == 1
    assert value(text, "bonsai_requests_total", model="m", version="1", code="internal") == 1
    assert value(text, "bonsai_requests_total", model="", version="", code="not_found") == 1
    assert value(text, "bonsai_request_seconds_count", model="m", version="1") == 0
