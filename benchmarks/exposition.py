"""What Bonsai counts: its /metrics, before and after."""

import urllib.request
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import Server

Counts = dict[str, float]
"""Value by sample name, summed over labels."""


def read(server: Server) -> Counts:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    counts: Counts = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "le" not in sample.labels:  # a bucket is no total
                counts[sample.name] += sample.value
    return dict(counts)


def rise(before: Counts, after: Counts, name: str) -> float | None:
    """How much a sample rose; None where the server has no such metric.

    A series is there from its first observation, so one that is missing before was at nought.
    """
    return after[name] - before.get(name, 0.0) if name in after else None
