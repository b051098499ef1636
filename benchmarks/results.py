"""Reports: tables, targets and a plot, written as Markdown and printed."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.load import Load

OURS, ECHO, NAIVE, OTHER = "#1b7837", "#7f7f7f", "#d6604d", "#4393c3"
"""Colours of the contenders, the same in every plot."""
DPI = 110


class Report:
    """What one benchmark found. `finish` ends the script with 1 if a measurement had faults."""

    def __init__(self, name: str, title: str, about: str, description: Sequence[str]) -> None:
        self._name = name
        self._parts = [f"# {title}", about, "\n".join(f"- {line}" for line in description)]
        self._targets: list[tuple[str, str, str]] = []
        self._faults: list[str] = []
        self._figure: Figure | None = None

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._parts.append(f"## {title}\n\n{table(header, rows)}")

    def text(self, paragraph: str) -> None:
        self._parts.append(paragraph)

    def target(self, text: str, got: str, holds: bool) -> None:
        """A figure that was set out to be reached."""
        self._targets.append((text, got, "pass" if holds else "FAIL"))

    def fault(self, text: str) -> None:
        """Something that makes the measurement void, such as a request that failed."""
        self._faults.append(text)

    def loads(self, where: str, loads: Sequence[Load]) -> None:
        """Faults, if these measurements had any."""
        refused, broken = sum(load.refused for load in loads), sum(load.broken for load in loads)
        if refused or broken:
            self.fault(f"{where}: {refused} answers were no 2xx, {broken} connections or waits failed")

    def plot(self, figure: Figure) -> None:
        self._figure = figure

    def finish(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self._figure is not None:
            self._figure.savefig(folder / f"{self._name}.png", dpi=DPI)
            self._parts.insert(3, f"![{self._name}]({self._name}.png)")
        if self._targets:
            # A server that refuses is quick: with faults, no figure shows that a target was reached.
            verdicts = [(*target[:2], "void" if self._faults else target[2]) for target in self._targets]
            self._parts.append(f"## Targets\n\n{table(('target', 'got', ''), verdicts)}")
        if self._faults:
            self._parts.append("## FAULTS\n\n" + "\n".join(f"- {fault}" for fault in self._faults))
        document = "\n\n".join(self._parts) + "\n"
        (folder / f"{self._name}.md").write_text(document, encoding="utf-8")
        print(document)
        if self._faults:
            raise SystemExit(1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text; the first is words, the others figures."""
    widths = [max(3, *(len(row[column]) for row in (header, *rows))) for column in range(len(header))]
    rule = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join([_line(header, widths), "| " + " | ".join(rule) + " |", *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def number(value: float) -> str:
    """Three digits or more, thousands apart: 12 345, 67.8, 1.23."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", " ")


def clients(count: int) -> str:
    return f"{count} connection{'s' * (count > 1)}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def times(value: float) -> str:
    return f"{value:.2f} x"


def percent(value: float) -> str:
    return f"{value * 100:.1f} %"
