"""The drawing that decides: accuracy against time, candidate by candidate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from training.canvas import ACCENT, FAINT, INK, MUTED, new_figure, place_labels, short, style, to_svg
from training.report import Entry, Picture, Report

BATCH = 8


def pareto_picture(report: Report) -> Picture | None:
    batch = plot_batch(report)
    if batch is None:
        return None
    return Picture(
        title="Accuracy against time",
        svg=to_svg(pareto_plot(report), "pareto"),
        caption=f"Left is faster and up is more accurate: on the line lie the candidates that no other beats in both, "
        f"at batches of {batch}; whiskers are 95 % intervals.",
    )


def plot_batch(report: Report) -> int | None:
    """The batch size that the plot is about: 8, or the largest that was timed."""
    return BATCH if BATCH in report.batches else max(report.batches, default=None)


def pareto_plot(report: Report) -> Figure:
    """Accuracy in percent against milliseconds a batch; the front as a step line, baselines hollow."""
    batch = plot_batch(report) or BATCH
    with style():
        figure = new_figure(4.2)
        axes = figure.add_subplot()
        shown = [spot for entry in report.entries if (spot := _spot(entry, batch))]
        floor = _floor([y for _, _, y in shown], report)
        for entry, x, y in shown:
            _mark(axes, entry, x, y, floor)
        front = sorted((x, y) for entry, x, y in shown if entry.on_front)
        axes.plot(*np.reshape(front, (-1, 2)).T, color=ACCENT, drawstyle="steps-post", zorder=2, label="front")
        _pareto_axes(axes, batch, [x for _, x, _ in shown], floor)
        spots = [(entry, x, max(y, floor)) for entry, x, y in shown]
        place_labels(
            axes,
            [(x, y, short(entry.name)) for entry, x, y in sorted(spots, key=lambda spot: _rank(spot[0]))],
            [(x, y) for _, x, y in spots],
            front,
        )
        return figure


def _spot(entry: Entry, batch: int) -> tuple[Entry, float, float] | None:
    timing = entry.timing(batch)
    return (entry, timing.p50_ms, 100 * entry.accuracy.value) if timing and entry.accuracy else None


def _floor(percents: Sequence[float], report: Report) -> float:
    """The lowest accuracy that still has its own height: one net that collapsed must not flatten all others."""
    reference = 100 * report.original.accuracy.value if report.original and report.original.accuracy else max(percents)
    near = [y for y in percents if y >= reference - 10]
    return min(near) - 0.15 * max(max(near) - min(near), 1.0)


def _mark(axes: Axes, entry: Entry, x: float, y: float, floor: float) -> None:
    kind = next(name for name, applies in _KINDS.items() if applies(entry))
    look = _LOOKS[kind]
    if y < floor:
        axes.plot(x, floor, **{**look, "marker": "v"}, linestyle="none", label="below the scale", clip_on=False)
        return
    if entry.accuracy is not None and entry.accuracy.ci95 is not None:
        low, high = (100 * end for end in entry.accuracy.ci95)
        axes.plot([x, x], [max(low, floor), high], color=FAINT, linewidth=1.2, zorder=1)
    axes.plot(x, y, **look, linestyle="none", label=kind, zorder=4 if entry.chosen else 3)


_KINDS: dict[str, Callable[[Entry], bool]] = {
    "chosen": lambda entry: entry.chosen,
    "original": lambda entry: entry.role == "original",
    "baseline": lambda entry: entry.role == "baseline",
    "passed every gate": lambda entry: entry.passed,
    "stopped at a gate": lambda entry: True,
}
_LOOKS: dict[str, dict[str, Any]] = {
    "chosen": {"marker": "o", "markersize": 9, "color": ACCENT},
    "original": {"marker": "s", "markersize": 6, "color": INK},
    "baseline": {"marker": "o", "markersize": 5.5, "markerfacecolor": "none", "markeredgecolor": MUTED},
    "passed every gate": {"marker": "o", "markersize": 5.5, "color": MUTED},
    "stopped at a gate": {"marker": "x", "markersize": 5, "color": MUTED},
}


def _rank(entry: Entry) -> tuple[bool, ...]:
    """Who gets the room for a label first."""
    return (not entry.chosen, entry.role != "original", not entry.on_front, entry.role != "baseline")


def _pareto_axes(axes: Axes, batch: int, times: Sequence[float], floor: float) -> None:
    if times and max(times) > 4 * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.margins(0.09, 0.08)
    axes.set_ylim(bottom=floor)
    axes.grid(axis="y")
    axes.set_xlabel(f"time for a batch of {batch} rows, median (ms)")
    axes.set_ylabel("accuracy (%)")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [name for name in ("front", *_LOOKS, "below the scale") if name in handles]
    axes.figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=4)
