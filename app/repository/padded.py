"""Which models may be padded: declared by the manifest, and proven at load."""

import logging

import numpy as np

from app.batching.padding import AXIS, Padding
from app.contract.tensors import Signature, TensorSpec
from app.errors import ExecutionFailed
from app.protocol.messages import Array, Tensors
from app.runtime.invariance import tolerance
from app.runtime.session import Session

logger = logging.getLogger("bonsai.repository")


def prove_padding(session: Session, signature: Signature, sample: Tensors) -> Padding | None:
    """How the model's inputs may be padded; None where no input declares a pad value, where more than the length is
    free, or where padding changes the answers."""
    padding = _declared(signature)
    if padding is None:
        return None
    length = padding.length(sample)
    if length is None or length < 2:
        logger.warning("pad values are not used: the golden sample has no length that could be cut")
        return None
    if not _leaves_answers(session, padding, sample, length):
        logger.warning("pad values are not used: padding changes this graph's answers")
        return None
    return padding


def _declared(signature: Signature) -> Padding | None:
    values = {spec.name: spec.pad_value for spec in signature.inputs if spec.pad_value is not None}
    lengthy = [spec for spec in signature.inputs if _has_free_length(spec)]
    if not values or {spec.name for spec in lengthy} != values.keys():
        return None
    specs: tuple[TensorSpec, ...] = (*signature.inputs, *signature.outputs)
    if any(-1 in spec.shape[AXIS + 1 :] for spec in specs):
        return None
    return Padding(values, frozenset(spec.name for spec in signature.outputs if _has_free_length(spec)))


def _has_free_length(spec: TensorSpec) -> bool:
    return len(spec.shape) > AXIS and spec.shape[AXIS] == -1


def _leaves_answers(session: Session, padding: Padding, sample: Tensors, length: int) -> bool:
    """Whether the sample cut to half its length gets the same answers alone, and padded beside the whole sample."""
    half = length // 2
    short = {name: array[:, :half] if name in padding.values else array for name, array in sample.items()}
    try:
        alone = session.run(short)
        together = session.run(padding.join([short, sample], length))
    except ExecutionFailed:
        return False
    return all(_same(array, together[name], half if name in padding.outputs else None) for name, array in alone.items())


def _same(alone: Array, together: Array, length: int | None) -> bool:
    cut = together[: len(alone)] if length is None else together[: len(alone), :length]
    if cut.shape != alone.shape:
        return False
    if alone.dtype.kind != "f":
        return np.array_equal(alone, cut)
    return np.allclose(alone, cut, rtol=0, atol=tolerance(alone), equal_nan=True)
