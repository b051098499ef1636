"""The batch-invariance self-test: does a row's answer depend on the rows beside it?"""

import numpy as np

from app.contract.tensors import DataType, InputSpec, Signature
from app.errors import ExecutionFailed
from app.protocol.messages import Array, Tensors
from app.runtime.session import Session

ROWS = 4
TOLERANCE = 1e-5
_OF_SMALL_ANSWERS = 1e-3
"""Of their scale. 1e-5 as it is would let a detector pass that finds nothing in made-up rows, whatever it does."""
# Sizes tried for the free dimensions that are not the batch: some graphs want one step, others a whole window.
_FREE_SIZES = (8, 1, 32)


def samples(signature: Signature) -> list[dict[str, Array]]:
    """Made-up inputs of four rows, one set for each size that free dimensions are tried with.

    Rows differ in scale, so that a graph that takes one scale over the whole batch (dynamic int8) shows itself.
    """
    generator = np.random.default_rng(0)
    sizes = _FREE_SIZES if any(-1 in spec.shape[1:] for spec in signature.inputs) else _FREE_SIZES[:1]
    return [{spec.name: _rows(spec, size, generator) for spec in signature.inputs} for size in sizes]


def is_batch_invariant(session: Session, inputs: Tensors) -> bool:
    """Whether the rows of `inputs` get the same answers together and alone, within `tolerance`.

    Fewer than two rows prove nothing.
    """
    counts = {len(array) if array.ndim else 0 for array in inputs.values()}
    rows = counts.pop()
    if counts or rows < 2:
        return False
    try:
        together = session.run(inputs)
        alone = [session.run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(rows)]
    except ExecutionFailed:
        return False
    return all(
        array.ndim > 0 and len(array) == rows and _same(array, [single[name] for single in alone])
        for name, array in together.items()
    )


def needs_equal_rows(session: Session, inputs: Tensors) -> bool:
    """Whether the first dimensions of all inputs are the same: the graph says so, or it cannot run with one row less of
    any one input. Two encoders side by side can: they take as many texts and as many images as one likes."""
    if session.rows_have_one_name:
        return True
    return not any(_runs(session, {**inputs, name: array[:-1]}) for name, array in inputs.items())


def _runs(session: Session, inputs: Tensors) -> bool:
    try:
        session.run(inputs)
    except ExecutionFailed:
        return False
    return True


def tolerance(answers: Array) -> float:
    """How far two runs' answers may be apart: 1e-5, more in proportion where their scale is above 1, and no more than a
    thousandth of the scale where it is small."""
    scale = float(np.abs(answers[np.isfinite(answers)]).max(initial=0.0))
    return min(TOLERANCE * max(1.0, scale), _OF_SMALL_ANSWERS * scale)


def _same(together: Array, alone: list[Array]) -> bool:
    if any(single.shape != (1, *together.shape[1:]) for single in alone):
        return False
    joined = np.concatenate(alone)
    if together.dtype.kind == "f":
        return np.allclose(together, joined, rtol=0, atol=tolerance(joined), equal_nan=True)
    return np.array_equal(together, joined)


def _rows(spec: InputSpec, free: int, generator: np.random.Generator) -> Array:
    shape = [ROWS, *(free if dim == -1 else dim for dim in spec.shape[1:])]
    scale = np.geomspace(0.25, 2.0, ROWS).reshape([ROWS] + [1] * (len(shape) - 1))
    if spec.datatype is DataType.BYTES:
        return np.full(shape, "a", dtype=object)
    if spec.datatype in (DataType.FP16, DataType.FP32, DataType.FP64):
        return (generator.standard_normal(shape) * scale).astype(spec.datatype.numpy)
    if spec.datatype is DataType.BF16:  # the upper half of a float32
        numbers = (generator.standard_normal(shape) * scale).astype("<f4").view("<u4")
        return (numbers >> 16).astype("<u2").view(spec.datatype.numpy)
    return generator.integers(0, 2, shape).astype(spec.datatype.numpy)  # 0 and 1 are safe as indices and as flags
