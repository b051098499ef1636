"""Raw outputs to what a person reads: labels with scores."""

from collections.abc import Callable
from typing import Any

import numpy as np

from app.contract.tensors import OutputSpec
from app.protocol.messages import Array, Share

DEFAULT_TOP_K = 3


def predictions(spec: OutputSpec, share: Share, top_k: int | None) -> list[dict[str, Any]]:
    """One prediction a row of an output with labels, best label first.

    The output is [rows, labels]; a score is its value after the declared activation. They are made once for a whole
    run.
    """
    count = top_k or DEFAULT_TOP_K
    made = share.outputs.written.get((spec.name, count))
    if made is None:
        made = share.outputs.written[spec.name, count] = _predict(spec, share, count)
    return made[share.start : share.stop]


def _predict(spec: OutputSpec, share: Share, count: int) -> list[dict[str, Any]]:
    labels = spec.labels
    assert labels is not None
    with np.errstate(invalid="ignore"):  # another request's infinity; its own answer says so
        scores = _ACTIVATIONS[spec.activation](share.outputs.arrays[spec.name].astype(np.float64))
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :count]
    ranked = np.take_along_axis(scores, best, axis=-1).round(6)
    return [
        _prediction([labels[index] for index in order], row)
        for order, row in zip(best.tolist(), ranked.tolist(), strict=True)
    ]


def _prediction(labels: list[str], scores: list[float]) -> dict[str, Any]:
    top = [{"label": label, "score": score} for label, score in zip(labels, scores, strict=True)]
    return {**top[0], "top": top}


def softmax(values: Array) -> Array:
    """Along the last axis; shifted by the maximum, so that large logits do not overflow."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), written with tanh, which does not overflow."""
    shares: Array = 0.5 * (1.0 + np.tanh(0.5 * values))
    return shares


_ACTIVATIONS: dict[str | None, Callable[[Array], Array]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    None: lambda values: values,
}
