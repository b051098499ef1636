"""How long ONNX Runtime takes over one layer, in milliseconds of one thread on this machine."""

from collections.abc import Callable, Iterator
from statistics import fmean, median
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from training.compress.layer_costs import LayerShape, Measure

OPSET = 20
IR_VERSION = 10
SECONDS = 0.03
ROUNDS = (5, 200)
"""A layer is run for SECONDS, at least and at most this often."""

REFERENCE = LayerShape(
    operator="Conv",
    inputs=64,
    outputs=64,
    size=(16, 16),
    kernel=(3, 3),
    strides=(1, 1),
    pads=(1, 1, 1, 1),
    dilations=(1, 1),
)
Run = Callable[[], object]


class LayerTimes:
    """Milliseconds a row of a convolution or dense layer with its ReLU: the mean over some batch sizes.

    A layer is timed when it is first asked for. Its runs take turns with those of a reference layer, and the median of
    their ratios is what counts, so that times that were taken in a busy and in a quiet minute can be compared. It is
    told in milliseconds by the shortest time of the reference. The time of a graph that does nothing is taken off,
    for a whole net has only one start.
    """

    def __init__(self, batches: tuple[int, ...] = (1, 8)) -> None:
        self._batches = batches
        self._known: dict[tuple[LayerShape, int], float] = {}
        self._reference = runner(REFERENCE, 1)
        self._reference_ms = min(timed(self._reference) for _ in range(ROUNDS[1]))
        self._start = median(ratios(nothing(), self._reference))

    def __call__(self, shape: LayerShape) -> float:
        """A `Measure`."""
        return fmean(self.milliseconds(shape, batch) / batch for batch in self._batches)

    def milliseconds(self, shape: LayerShape, batch: int) -> float:
        """Time of a batch; takes some hundredths of a second where it is not known yet."""
        key = shape, batch
        if key not in self._known:
            ratio = median(ratios(runner(shape, batch), self._reference))
            self._known[key] = max(0.0, ratio - self._start) * self._reference_ms
        return self._known[key]


def interpolated(measure: Measure, grid: int) -> Measure:
    """Measures few widths, and draws straight lines between them.

    Measured are 1, 2, 3, 4, 6, 8, 12, 16, 24... times `grid`, and every width that is no multiple of it. Between
    multiples of the block of channels that ONNX Runtime computes in, time is nearly bilinear in inputs and outputs.
    """

    def drawn(shape: LayerShape) -> float:
        if shape.blocks > 1:  # its two widths hang together
            return measure(shape)
        return sum(
            of_inputs * of_outputs * measure(shape.resized(inputs, outputs))
            for inputs, of_inputs in knots(shape.inputs, grid)
            for outputs, of_outputs in knots(shape.outputs, grid)
        )

    return drawn


def knots(width: int, grid: int) -> list[tuple[int, float]]:
    """The measured widths about this one, each with its share in it; the shares sum to 1."""
    blocks, rest = divmod(width, grid)
    power = 1 << max(0, blocks.bit_length() - 1)
    step = max(1, power // 2)
    low = blocks - (blocks - power) % step
    if rest or blocks == low:
        return [(width, 1.0)]
    share = (blocks - low) / step
    return [(low * grid, 1 - share), ((low + step) * grid, share)]


def ratios(run: Run, reference: Run) -> Iterator[float]:
    """Times of one in times of the other, taken in turns."""
    run()
    spent, rounds = 0.0, 0
    least, most = ROUNDS
    while rounds < least or (rounds < most and spent < SECONDS):
        reference()  # once unmeasured: the other has taken its place in the caches
        by, taken = timed(reference), timed(run)
        yield taken / by
        spent, rounds = spent + (by + taken) / 1000, rounds + 1


def timed(run: Run) -> float:
    """Milliseconds that this thread spends on one run."""
    # Time on the processor, for on a busy machine a long run waits for its turn more often than a short one.
    start = thread_time()
    run()
    return (thread_time() - start) * 1000


def runner(shape: LayerShape, batch: int) -> Run:
    """A layer with its ReLU, as ONNX Runtime runs it inside a net."""
    chance = np.random.default_rng(0)
    attributes: dict[str, Any] = {"transB": 1}
    read: tuple[int, ...] = (batch * shape.positions, shape.inputs)
    weights: tuple[int, ...] = (shape.outputs, shape.inputs)
    if shape.operator != "Gemm":
        names = {"strides": shape.strides, "pads": shape.pads, "dilations": shape.dilations, "group": shape.blocks}
        attributes, read = dict(names), (batch, shape.inputs, *shape.size)
        sides = (shape.inputs, shape.outputs) if shape.operator == "ConvTranspose" else (shape.outputs, shape.inputs)
        weights = (sides[0], sides[1] // shape.blocks, *shape.kernel)
    constants = {
        "w": chance.standard_normal(weights, np.float32),
        "b": chance.standard_normal(shape.outputs, np.float32),
    }
    nodes = [
        helper.make_node(shape.operator, ["x", "w", "b"], ["made"], **attributes),
        helper.make_node("Relu", ["made"], ["y"]),
    ]
    return _opened(nodes, constants, chance.standard_normal(read, np.float32))


def nothing() -> Run:
    """A graph with next to nothing to do: what a start costs."""
    return _opened([helper.make_node("Relu", ["x"], ["y"])], {}, np.zeros((1, 1), np.float32))


def _opened(nodes: list[Any], constants: dict[str, NDArray[np.float32]], read: NDArray[np.float32]) -> Run:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, read.shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * read.ndim)
    weights = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "layer", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": read})
