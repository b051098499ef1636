"""The drawings of a report: what was cut, what was fused, and what the layers respond to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from training.canvas import (
    ACCENT,
    FAINT,
    MUTED,
    PIXEL_ACCENT,
    PIXEL_GRAY,
    mosaic,
    new_figure,
    shaded,
    short,
    style,
    to_svg,
)
from training.pareto_plot import pareto_picture
from training.report import Activity, Fusion, Layer, Picture, Pictures, Report

if TYPE_CHECKING:  # it comes with PyTorch, which a report on a graph does without
    from training.measure.responses import Responses

MAPS = 8
"""Channels that are shown of each layer: those that respond most."""


def draw(report: Report, responses: "Responses | None" = None) -> Pictures:
    """Every drawing that there is something to draw for."""
    return Pictures(
        pareto=pareto_picture(report),
        widths=widths_picture(report.layers),
        activity=activity_picture(report.layers),
        fusion=fusion_picture(report.fusion),
        filters=filters_picture(responses) if responses else None,
        maps=maps_picture(responses) if responses else None,
    )


def widths_picture(layers: Sequence[Layer]) -> Picture | None:
    if not layers:
        return None
    before, after = sum(layer.units for layer in layers), sum(layer.after_pruning for layer in layers)
    return Picture(
        title="Width of every layer, before and after",
        svg=to_svg(widths_plot(layers), "widths"),
        caption=f"Of {before:,} units {after:,} are left: the faint bar is what was trained, the gray what was left "
        "without the units that do nothing, the blue what is served.",
    )


def widths_plot(layers: Sequence[Layer]) -> Figure:
    """Units of each layer as three bars over each other: trained, without the dead, pruned."""
    with style():
        figure, axes = _lines(len(layers))
        places = range(len(layers))
        axes.barh(places, [layer.units for layer in layers], 0.66, color=FAINT)
        axes.barh(places, [layer.after_lossless for layer in layers], 0.66, color=MUTED)
        axes.barh(places, [layer.after_pruning for layer in layers], 0.66, color=ACCENT)
        for place, layer in enumerate(layers):
            axes.annotate(
                _change(layer), (layer.units, place), (4, 0), textcoords="offset points", va="center", color=MUTED
            )
        axes.set_yticks(places, [short(layer.name) for layer in layers])
        axes.margins(x=0.12)
        axes.set_xlabel("units (channels or neurons)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return figure


def activity_picture(layers: Sequence[Layer]) -> Picture | None:
    profiled = [(layer, layer.activity) for layer in layers if layer.activity is not None]
    if not profiled:
        return None
    units = sum(layer.units for layer, _ in profiled)
    silent = sum(activity.state.count("dead") for _, activity in profiled)
    return Picture(
        title="How often every unit fires",
        svg=to_svg(activity_plot(layers), "activity"),
        caption="One strip a layer, one column a unit: the fainter the column, the more often the unit is zero, and "
        f"blue beneath it says that it was cut; {silent:,} of {units:,} units never fired at all.",
    )


def activity_plot(layers: Sequence[Layer]) -> Figure:
    """A strip per layer, its units sorted by how often they are zero; those that were cut are underlined."""
    with style():
        profiled = [(layer, layer.activity) for layer in layers if layer.activity is not None]
        figure, axes = _lines(len(profiled))
        for place, (layer, activity) in enumerate(profiled):
            axes.imshow(
                _strip(activity), extent=(0, 100, place + 0.38, place - 0.34), aspect="auto", interpolation="none"
            )
            axes.annotate(
                _change(layer), (100, place), (4, 0), textcoords="offset points", va="center", color=MUTED,
                annotation_clip=False,
            )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(len(profiled) - 0.5, -0.5)  # imshow has set limits of its own
        axes.set_yticks(range(len(profiled)), [short(layer.name) for layer, _ in profiled])
        axes.set_xlabel("units of the layer, from always on to never on (%)")
        return figure


def _strip(activity: Activity) -> NDArray[np.float64]:
    """RGBA [8, units, 4]: six lines of activity, a clear one, and one of what was cut."""
    zero_rate = np.asarray(activity.zero_rate)
    order = np.argsort(zero_rate, kind="stable")
    # A unit that never fires keeps a tenth, so that the strip has an end.
    fires = shaded(0.1 + 0.9 * (1 - zero_rate[order]), PIXEL_GRAY)
    cut = shaded((np.asarray(activity.fate)[order] != "kept").astype(float), PIXEL_ACCENT)
    return np.stack([*[fires] * 6, np.zeros_like(cut), cut])


def fusion_picture(fusion: Fusion) -> Picture | None:
    if not fusion.exported or not fusion.runs:
        return None
    return Picture(
        title="What ONNX Runtime makes of the graph",
        svg=to_svg(fusion_plot(fusion), "fusion"),
        caption=f"{sum(fusion.exported.values())} operations were exported, on the left; ONNX Runtime joins them into "
        f"the {sum(fusion.runs.values())} that it runs, on the right.",
    )


def fusion_plot(fusion: Fusion) -> Figure:
    """Nodes of each operator: as exported, and as run."""
    with style():
        figure = new_figure(0.8 + 0.24 * max(len(fusion.exported), len(fusion.runs)))
        most = max(*fusion.exported.values(), *fusion.runs.values())
        sides = (("exported", fusion.exported, MUTED), ("run", fusion.runs, ACCENT))
        for axes, (title, nodes, colour) in zip(figure.subplots(1, 2), sides, strict=True):
            _clear(axes)
            ordered = sorted(nodes.items(), key=lambda item: (-item[1], item[0]))
            bars = axes.barh(range(len(ordered)), [count for _, count in ordered], 0.66, color=colour)
            axes.bar_label(bars, padding=3, color=MUTED)
            axes.set_yticks(range(len(ordered)), [short(name) for name, _ in ordered])
            axes.set_ylim(max(len(fusion.exported), len(fusion.runs)) - 0.5, -0.5)
            axes.set_xlim(0, 1.15 * most)
            axes.set_title(f"{title}: {sum(nodes.values())} nodes", loc="left", fontsize=9)
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
        return figure


def filters_picture(responses: "Responses") -> Picture | None:
    if responses.filters is None:
        return None
    count, height, width, colours = responses.filters.shape
    gray = "white raises the answer and black lowers it" if colours == 1 else "in the colours that they look for"
    return Picture(
        title=f"The {count} filters of the first layer",
        svg=to_svg(filters_plot(responses.filters), "filters"),
        caption=f"Each square is one filter of {height} by {width} pixels, {gray}.",
    )


def filters_plot(filters: NDArray[np.float64]) -> Figure:
    """The filters as small pictures, 16 a line; [filters, height, width, 1 or 3], 0 to 1."""
    with style():
        columns = min(16, len(filters))
        rgb = np.broadcast_to(filters, (*filters.shape[:3], 3))
        return _image(mosaic(np.concatenate([rgb, np.ones((*rgb.shape[:3], 1))], axis=-1), columns))


def _image(pixels: NDArray[np.float64]) -> Figure:
    height, width, _ = pixels.shape
    figure = new_figure(max(0.5, 6.2 * height / width))
    axes = figure.add_subplot()
    axes.imshow(pixels, interpolation="none")
    axes.set_anchor("W")
    axes.axis("off")
    return figure


def maps_picture(responses: "Responses") -> Picture | None:
    if not responses.maps:
        return None
    return Picture(
        title="One input, seen deeper and deeper",
        svg=to_svg(maps_plot(responses), "maps"),
        caption="Top left is the input; each line shows where in it the strongest channels of a layer respond, from "
        "edges through shapes to parts.",
    )


def maps_plot(responses: "Responses") -> Figure:
    """The sample, and beneath it a line for each layer: its channels of strongest response."""
    with style():
        figure = new_figure(0.85 * (len(responses.maps) + 1))
        grid = figure.subplots(len(responses.maps) + 1, 1)
        grid[0].imshow(_picture(responses.sample), interpolation="none")
        _title(grid[0], "input", responses.sample.shape[:2])
        for axes, (layer, channels) in zip(grid[1:], responses.maps.items(), strict=True):
            strongest = np.argsort(-channels.mean(axis=(1, 2)), kind="stable")[:MAPS]
            axes.imshow(mosaic(shaded(channels[strongest], PIXEL_ACCENT), MAPS), interpolation="none")
            _title(axes, layer, channels.shape[1:])
        return figure


def _picture(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    return shaded(sample[..., 0], PIXEL_GRAY) if sample.shape[-1] == 1 else sample


def _title(axes: Axes, name: str, shape: tuple[int, ...]) -> None:
    axes.set_anchor("W")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_ylabel(f"{short(name)}\n{shape[0]} x {shape[1]}", rotation=0, ha="right", va="center", color=MUTED)


def _lines(count: int) -> tuple[Figure, Axes]:
    """Axes with one line for each of so many things, from the top downwards."""
    figure = new_figure(0.7 + count * (0.24 if count <= 40 else 0.15))
    axes = figure.add_subplot()
    axes.set_ylim(count - 0.5, -0.5)
    _clear(axes)
    return figure, axes


def _clear(axes: Axes) -> None:
    """No line and no ticks beside the names."""
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _change(layer: Layer) -> str:
    return f"{layer.units}" if layer.after_pruning == layer.units else f"{layer.units} → {layer.after_pruning}"
