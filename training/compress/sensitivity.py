"""Quantisation within a bound: nodes go back to float, those that int8 harms most first, until the answers will do."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from training.compress.quantize import WEIGHTED, Preset, Quantizer
from training.compress.ranges import BATCH, Ranges
from training.errors import QuantisationRefused
from training.measure.host import missing

MOST_BLOCKS = 48
"""Graphs that are made to rank the blocks of one; in a deeper graph a block holds several weighted nodes."""

MOST_ROWS = 128
"""Calibration rows whose answers are compared: enough to rank, where a judge decides."""

Judge = Callable[[Path], float]
"""How good the graph in a file is; more is better."""


@dataclass(frozen=True)
class Block:
    """A weighted node and the nodes behind it that can be quantised; together they are int8 or float.

    `damage` is what int8 in this block alone does to the answers: the norm of their change as a share of their own.
    """

    nodes: tuple[str, ...]
    damage: float


@dataclass(frozen=True)
class Quantised:
    """A quantised graph that its judge accepts: its score, the ranges that it was quantised by, the nodes left in
    float, and the blocks by damage, worst first (empty where nothing had to go back)."""

    path: Path
    score: float
    ranges: Ranges
    kept_float: tuple[str, ...]
    blocks: tuple[Block, ...]


def quantize_within(
    path: Path, preset: Preset, calibration: NDArray[Any], judge: Judge, least: float, destination: Path
) -> Quantised:
    """Writes the quantised graph with the fewest blocks in float that scores at least `least`, worst blocks first.

    It is the fewest along that one order, not among all sets. Raises QuantisationRefused, and leaves no file, where
    the preset wants another CPU, the float graph itself scores less, or nothing is left to quantise.
    """
    if flags := missing(preset.requires):
        raise QuantisationRefused(f"{preset.name}: expected a CPU with {', '.join(flags)}, or its score is wrong")
    quantizer = Quantizer.calibrated(path, preset, calibration)
    score = judge(quantizer.write(destination))
    if score >= least:
        return Quantised(destination, score, quantizer.ranges, (), ())
    destination.unlink()
    if not (exact := judge(path)) >= least:
        raise QuantisationRefused(f"float graph: expected a score of at least {least:g}, got {exact:g}")
    ranked = rank(path, quantizer, calibration[:MOST_ROWS])
    kept: list[str] = []
    for block in ranked[:-1]:
        kept += block.nodes
        score = judge(quantizer.write(destination, kept))
        if score >= least:
            return Quantised(destination, score, quantizer.ranges, tuple(kept), ranked)
        destination.unlink()
    raise QuantisationRefused(
        f"{preset.name}: expected a score of at least {least:g}, got {score:g} with 1 of {len(ranked)} blocks in int8"
    )


def rank(path: Path, quantizer: Quantizer, rows: NDArray[Any]) -> tuple[Block, ...]:
    """Every block with the damage that int8 does in it alone, worst first."""
    expected = _rounded_answers(path, rows)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for nodes in blocks(quantizer.nodes):
            others = quantizer.nodes.keys() - set(nodes)
            alone = quantizer.write(Path(folder, "block.onnx"), others)
            change = np.linalg.norm(_rounded_answers(alone, rows) - expected)
            found.append(Block(nodes, float(change / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))))
    return tuple(sorted(found, key=lambda block: -block.damage))


def blocks(nodes: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """The nodes (name -> operator, in the graph's order), cut before weighted ones into at most MOST_BLOCKS blocks."""
    starts = [place for place, kind in enumerate(nodes.values()) if kind in WEIGHTED]
    weighted = -(-len(starts) // MOST_BLOCKS)
    # What stands before the first weighted node goes with it.
    cuts = [0, *starts[weighted::weighted], len(nodes)]
    names = tuple(nodes)
    for start, end in pairwise(cuts):
        yield names[start:end]


def _rounded_answers(path: Path, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Answers of a graph whose int8 steps are computed as the standard has them, rounded floats.

    Nothing is fused, so that the ranking does not depend on what the integers of this CPU can hold.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches]).astype(np.float64)
