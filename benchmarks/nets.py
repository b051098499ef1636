"""The networks that are measured: real architectures, random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.graph import Graph

IMAGE = (3, 224, 224)
STACK_INPUTS = 4
TABLE = np.array([10, 20, 30, 40], np.float32)


def mlp(path: Path, widths: Sequence[int] = (4, 16, 3)) -> Path:
    """x [N, first width] -> y [N, last width], with ReLU between the layers; by default the size of a network for
    iris."""
    graph = Graph()
    x = graph.linear(graph.input("x", "FP32", ["N", widths[0]]), *widths[:2])
    for width, to in pairwise(widths[1:]):
        x = graph.linear(graph.node("Relu", x), width, to)
    return graph.save(path, x, "y", ["N", widths[-1]])


def resnet18(path: Path) -> Path:
    """image [N, 3, 224, 224] -> logits [N, 1000]: ResNet-18 with its batch normalisation folded."""
    graph = Graph()
    x = graph.node("Relu", graph.convolution(graph.input("image", "FP32", ["N", *IMAGE]), 3, 64, size=7, stride=2))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for to in (64, 128, 256, 512):
        for stride in (1 if to == 64 else 2, 1):
            x = _residual_block(graph, x, channels, to, stride)
            channels = to
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    return graph.save(path, graph.linear(pooled, 512, 1000), "logits", ["N", 1000])


def _residual_block(graph: Graph, x: str, channels: int, to: int, stride: int) -> str:
    inner = graph.node("Relu", graph.convolution(x, channels, to, size=3, stride=stride))
    # A small gain keeps the values from growing from block to block, as training would.
    inner = graph.convolution(inner, to, to, size=3, gain=0.3)
    shortcut = x if stride == 1 and channels == to else graph.convolution(x, channels, to, size=1, stride=stride)
    return graph.node("Relu", graph.node("Add", inner, shortcut))


@dataclass(frozen=True)
class EncoderSize:
    """The dimensions of a transformer encoder. `length` is a number, or a name where it is free."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    length: int | str


def encoder(path: Path, size: EncoderSize) -> Path:
    """input_ids, attention_mask [N, L] int64 -> embedding [N, hidden], the mean over the positions that the mask
    keeps. What the mask leaves out changes nothing, so a text may be padded."""
    graph = Graph()
    ids = graph.input("input_ids", "INT64", ["N", size.length])
    mask = graph.node("Cast", graph.input("attention_mask", "INT64", ["N", size.length]), to=1)
    x = _embedding(graph, ids, size)
    away = graph.node("Mul", graph.node("Sub", mask, graph.number(1)), graph.number(1e9))
    bias = graph.node("Unsqueeze", away, graph.integers(1, 2))
    for _ in range(size.layers):
        attended = graph.node("Add", x, _attention(graph, x, bias, size))
        x = graph.layer_norm(attended, size.hidden)
        inner = graph.node("Gelu", graph.linear(x, size.hidden, size.feed_forward))
        x = graph.layer_norm(graph.node("Add", x, graph.linear(inner, size.feed_forward, size.hidden)), size.hidden)
    return graph.save(path, _mean(graph, x, mask), "embedding", ["N", size.hidden])


def _embedding(graph: Graph, ids: str, size: EncoderSize) -> str:
    words = graph.node("Gather", graph.weight(size.vocabulary, size.hidden, scale=1.0), ids)
    length = graph.node("Shape", ids, start=1, end=2)
    table = graph.weight(size.positions, size.hidden, scale=1.0)
    positions = graph.node("Slice", table, graph.integers(0), length, graph.integers(0))
    return graph.layer_norm(graph.node("Add", words, positions), size.hidden)


def _attention(graph: Graph, x: str, bias: str, size: EncoderSize) -> str:
    width = size.hidden // size.heads
    split = graph.integers(0, 0, size.heads, width)
    query, key, value = (
        graph.node("Reshape", graph.linear(x, size.hidden, size.hidden), split) for _ in ("query", "key", "value")
    )
    query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
    key = graph.node("Transpose", key, perm=[0, 2, 3, 1])
    value = graph.node("Transpose", value, perm=[0, 2, 1, 3])
    scores = graph.node("Mul", graph.node("MatMul", query, key), graph.number(width**-0.5))
    weights = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
    heads = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", heads, graph.integers(0, 0, size.hidden))
    return graph.linear(joined, size.hidden, size.hidden)


def _mean(graph: Graph, x: str, mask: str) -> str:
    kept = graph.node("Mul", x, graph.node("Unsqueeze", mask, graph.integers(2)))
    total = graph.node("ReduceSum", kept, graph.integers(1), keepdims=0)
    count = graph.node("ReduceSum", mask, graph.integers(1), keepdims=1)
    return graph.node("Div", total, graph.node("Max", count, graph.number(1)))


def convolution_stack(path: Path, convolutions: int) -> Path:
    """x [N, 4] -> y [N, 32]: spreads four numbers over an image and folds it again and again.

    Each row has its own image, so that the cost grows with the rows: batching makes nothing cheaper. A request is
    small all the same, so the time goes into the model and not into its body.
    """
    channels, side = 32, 48
    graph = Graph()
    image = graph.linear(graph.input("x", "FP32", ["N", STACK_INPUTS]), STACK_INPUTS, channels * side * side)
    x = graph.node("Reshape", image, graph.integers(-1, channels, side, side))
    for _ in range(convolutions):
        x = graph.node("Relu", graph.convolution(x, channels, channels, size=3))
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    return graph.save(path, pooled, "y", ["N", channels])


def lookup(path: Path) -> Path:
    """x [N, 4] -> y [N, 4]: each value is an index into TABLE; one that is not in the table makes the graph raise."""
    graph = Graph()
    indices = graph.node("Cast", graph.input("x", "FP32", ["N", 4]), to=7)
    return graph.save(path, graph.node("Gather", graph.constant(TABLE), indices), "y", ["N", 4])
