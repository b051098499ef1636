"""Reading Prometheus' text format."""

from prometheus_client.parser import text_string_to_metric_families


def total(exposition: str, name: str) -> float:
    """The sum of a metric's samples of this name, whatever their labels."""
    families = text_string_to_metric_families(exposition)
    return float(sum(sample.value for family in families for sample in family.samples if sample.name == name))


def value(exposition: str, name: str, **labels: str) -> float:
    """A sample's value; 0 where it is not there yet."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0
