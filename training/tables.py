"""What a person reads on the terminal once a version is published."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.contract.manifest import Manifest, Metric
from training.report import Entry, Report


def show(folder: Path) -> None:
    """Prints the figures of a published version, each with its interval, and every candidate with what became of it."""
    manifest = Manifest.read(folder)
    console = Console()
    console.print(figures(manifest))
    console.print(candidates(Report.read(folder)))
    console.print(f"published {folder}", markup=False, highlight=False, soft_wrap=True)


def figures(manifest: Manifest) -> Table:
    """The metrics of the manifest."""
    table = Table("figure", "value", "95 % interval", "original", title=f"{manifest.name} version {manifest.version}")
    for name, metric in manifest.metrics.items():
        table.add_row(name, f"{metric.value:.4f}", interval(metric, 4), _or_none(metric.baseline, 4))
    for name, metric in manifest.compression.speedup.items():
        table.add_row(f"speedup {name}", f"{metric.value:.2f}", interval(metric, 2), "")
    if manifest.compression.drop is not None:
        drop = manifest.compression.drop
        table.add_row("drop, points", f"{drop.value:.2f}", interval(drop, 2), "")
    return table


def candidates(report: Report) -> Table:
    """What was measured of each form on the validation rows."""
    batches = report.batches
    times = [f"ms at {batch}" for batch in batches]
    table = Table("form", "accuracy", "drop, points", *times, "MB", "outcome", title="forms")
    for entry in report.entries:
        table.add_row(
            entry.name,
            _or_none(None if entry.accuracy is None else entry.accuracy.value, 4),
            _or_none(None if entry.drop is None else entry.drop.value, 2),
            *(_or_none(None if timing is None else timing.p50_ms, 3) for timing in map(entry.timing, batches)),
            _or_none(None if entry.file_bytes is None else entry.file_bytes / 1e6, 2),
            outcome(entry),
        )
    return table


def outcome(entry: Entry) -> str:
    """One phrase about what became of a form."""
    if entry.role != "candidate":
        return entry.role
    return "chosen" if entry.chosen else "; ".join(reason.partition(":")[0] for reason in entry.reasons)


def interval(metric: Metric, digits: int) -> str:
    if metric.ci95 is None:
        return "none"
    return " to ".join(f"{end:.{digits}f}" for end in metric.ci95)


def _or_none(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
