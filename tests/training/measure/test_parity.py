"""Parity finds a graph that is not the net."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn

from training import checkpoint
from training.compress.evaluating import net_answers
from training.data.dataset import Split
from training.errors import ParityBroken
from training.measure.answers import graph_answers, open_graph
from training.measure.parity import Answers, require_parity, require_same_answers
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


def answering(folder: Path) -> Answers:
    return partial(graph_answers, open_graph(folder / "model.onnx"))


def test_rounding_passes_and_more_does_not() -> None:
    require_same_answers(ones(2, 3) * 30, ones(2, 3) * 30 * (1 + 3e-6), "graph")
    with pytest.raises(ParityBroken, match=r"graph: expected a difference of at most 1e-05, got 2\.\de-05"):
        require_same_answers(ones(2, 3) * 30, ones(2, 3) * 30 * (1 + 2.5e-5), "graph")


def test_one_answer_of_many_is_enough() -> None:
    got = ones(100, 10)
    got[57, 3] += 1e-3
    with pytest.raises(ParityBroken):
        require_same_answers(ones(100, 10), got, "graph")


def test_nan_is_a_difference() -> None:
    with pytest.raises(ParityBroken):
        require_same_answers(ones(2, 3), ones(2, 3) * np.nan, "graph")


def test_a_shape_that_would_broadcast_is_a_difference() -> None:
    with pytest.raises(ParityBroken, match=r"shape \[2, 3\], got \[1, 3\]"):
        require_same_answers(ones(2, 3), ones(1, 3), "graph")


def test_a_published_graph_passes_and_one_with_a_moved_bias_does_not(
    published: Path, quick: Recipe, split: Split, tmp_path: Path
) -> None:
    net = checkpoint.load(DIGITS.net(), published)
    require_parity(partial(net_answers, net), answering(published), split.test.inputs)

    model = onnx.load(published / "model.onnx")
    bias = next(weight for weight in model.graph.initializer if list(weight.dims) == [10])
    moved = numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ParityBroken, match="graph at batch 1:"):
        require_parity(partial(net_answers, net), answering(tmp_path), split.test.inputs)


def test_a_graph_that_is_right_for_one_row_alone_is_found(tmp_path: Path) -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

    minus_the_batch_mean = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 4] x) => (float[batch, 4] y) <int64[1] rows = {0}>
        { mean = ReduceMean (x, rows)  y = Sub (x, mean) }"""
    )
    onnx.save(minus_the_batch_mean, tmp_path / "model.onnx")
    inputs = np.random.default_rng(1).random((20, 4), dtype=np.float32)
    with pytest.raises(ParityBroken, match="graph at batch 2:"):
        require_parity(partial(net_answers, Zero()), answering(tmp_path), inputs)
