"""Raw outputs to what a person reads: labels with scores."""

from collections.abc import Callable
from typing import Any

import numpy as np

from app.contract.tensors import Signature
from app.protocol.messages import Array, Tensors

DEFAULT_TOP_K = 3


def predictions(signature: Signature, outputs: Tensors, top_k: int | None) -> list[dict[str, Any]] | None:
    """One prediction a row of the first output with labels, best label first; None where no output has any.

    The labelled output is [rows, labels]; a score is its value after the declared activation.
    """
    spec = next((spec for spec in signature.outputs if spec.labels and spec.name in outputs), None)
    if spec is None or spec.labels is None:
        return None
    scores = _ACTIVATIONS[spec.activation](outputs[spec.name].astype(np.float64))
    best = np.argsort(-scores, axis=-1, kind="stable")[:, : top_k or DEFAULT_TOP_K]
    return [_prediction(row, order, spec.labels) for row, order in zip(scores, best, strict=True)]


def _prediction(scores: Array, order: Array, labels: tuple[str, ...]) -> dict[str, Any]:
    top = [{"label": labels[index], "score": round(float(scores[index]), 6)} for index in order]
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
