"""What every drawing shares: its colours, its fonts, and the ways to SVG and PNG."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

INK, MUTED, FAINT, ACCENT = "#1f2328", "#68717b", "#cfd6dd", "#0b6bb0"
COLOURS = {INK: "--ink", MUTED: "--muted", FAINT: "--faint", ACCENT: "--accent"}
"""In a page they are CSS variables, so that a drawing turns dark with the page around it."""

# Pixels know no CSS: these two can be seen on white and on black.
PIXEL_GRAY, PIXEL_ACCENT = "#7d8792", "#2585cc"

WIDTH = 6.4
"""Inches, of 72 points each."""
DPI = 160
"""Of a PNG, and of measuring text: hinting makes the same word a tenth wider at one size than at another."""

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and in the reader's own font
    "font.size": 8.5,
    "text.parse_math": False,  # a layer's name may hold a dollar sign
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
}


@contextmanager
def style() -> Iterator[None]:
    """Everything is drawn, and saved, inside of this."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name may be in any script; the reader's own font has the letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the common width; height in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # measures text; the figure keeps it as its canvas
    return figure


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element. The same figure gives the same bytes; `name` keeps its ids apart from others'."""
    buffer = io.StringIO()
    with style(), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r' id="[A-Za-z0-9.]+_\d+"', "", svg
    )  # figure_1, axes_1: the same in every figure, and never referred to
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def to_png(figure: Figure, path: Path) -> None:
    """The figure as a picture on white, sharp on a dense screen."""
    with style():
        figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})


def short(name: str) -> str:
    """At most 26 characters; a name's both ends tell most."""
    return name if len(name) <= 26 else f"{name[:10]}…{name[-15:]}"


def shaded(strength: NDArray[np.float64], colour: str) -> NDArray[np.float64]:
    """A colour, opaque at strength 1 and gone at 0; [...] -> RGBA [..., 4]."""
    rgb = np.broadcast_to(to_rgb(colour), (*strength.shape, 3))
    return np.concatenate([rgb, strength[..., None]], axis=-1)


def mosaic(tiles: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """Tiles side by side, a clear line between them; RGBA [tiles, height, width, 4] -> [height, width, 4]."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    # The gap is a share of a tile, so a tile of few pixels is first made of more.
    zoom = -(-24 // max(height, width))
    gap = zoom * max(height, width) // 6
    down, across = zoom * height + gap, zoom * width + gap
    canvas = np.zeros((rows * down - gap, columns * across - gap, 4))
    for place, tile in enumerate(tiles):
        top, left = place // columns * down, place % columns * across
        canvas[top : top + down - gap, left : left + across - gap] = tile.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return canvas


Point = tuple[float, float]


def place_labels(axes: Axes, labels: list[tuple[float, float, str]], marks: list[Point], steps: list[Point]) -> None:
    """Writes each label (x, y, text) beside its point where it covers no mark, no label before it, and no step line.

    One that has no room is left out; the earlier in the list, the more room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    spots, corners = _pixels(axes, marks), _pixels(axes, steps)
    taken = [_box(spot, spot, MARK) for spot in spots] + [
        _box(*ends, LINE) for ends in zip(*_lines(corners), strict=True)
    ]
    inside = axes.get_window_extent()
    for x, y, text in labels:
        for across, down, horizontal, vertical in PLACES:
            note = axes.annotate(
                text, (x, y), (across, down), textcoords="offset points", ha=horizontal, va=vertical, fontsize=7.5
            )
            box = note.get_window_extent()
            if box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1 and not box.count_overlaps(taken):
                taken.append(box.padded(MARK / 2))
                break
            note.remove()


def _pixels(axes: Axes, points: list[Point]) -> NDArray[np.float64]:
    return np.asarray(axes.transData.transform(np.reshape(points, (-1, 2))))


def _lines(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of every straight piece of a step line that keeps its height until the next corner."""
    bends = np.column_stack([corners[1:, 0], corners[:-1, 1]])
    return np.concatenate([corners[:-1], bends]), np.concatenate([bends, corners[1:]])


def _box(start: NDArray[np.float64], end: NDArray[np.float64], clearance: float) -> Bbox:
    return Bbox([np.minimum(start, end) - clearance, np.maximum(start, end) + clearance])


MARK, LINE = 10.0, 3.0
"""Pixels that a label keeps from the middle of a mark and of a line."""

PLACES = tuple(
    (across * reach, down * reach, horizontal, vertical)
    for reach in (7, 12, 20)
    for across, down, horizontal, vertical in (
        (1, 0, "left", "center"),
        (-1, 0, "right", "center"),
        (0.7, 0.7, "left", "bottom"),
        (-0.7, 0.7, "right", "bottom"),
        (0.7, -0.7, "left", "top"),
        (-0.7, -0.7, "right", "top"),
        (0, 1, "center", "bottom"),
        (0, -1, "center", "top"),
    )
)
