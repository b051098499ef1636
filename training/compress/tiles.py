"""AMX tiles: int8 convolutions that the runtime computes as products of matrices.

ONNX Runtime multiplies int8 matrices in AMX tiles. Convolutions get a kernel of their own, which knows no tiles, as
long as the zero point of their weights is 0; with any other they are unfolded into columns and multiplied. Weights of a
static preset end at -127, so one less with a zero point of -1 are the same numbers and make the same sums.
"""

from collections.abc import Collection
from math import prod

from onnx import ModelProto, numpy_helper

from training.errors import QuantisationRefused

LEAST_PRODUCTS = 768
"""Products in an output's sum, from which on the tiles save more than the columns cost: 3 x 3 over 96 channels do it,
over 64 they do not (docs/decisions/0012-compile.md)."""


def large(model: ModelProto) -> frozenset[str]:
    """The names of the convolutions in a float graph that sum up LEAST_PRODUCTS or more.

    Raises QuantisationRefused where there are none, so that tiles have nothing to gain.
    """
    products = {weight.name: prod(weight.dims[1:]) for weight in model.graph.initializer}
    found = frozenset(
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and products.get(node.input[1], 0) >= LEAST_PRODUCTS
    )
    if not found:
        raise QuantisationRefused(f"tiles: expected a convolution of at least {LEAST_PRODUCTS} products, got none")
    return found


def tile(model: ModelProto, convolutions: Collection[str]) -> None:
    """Has the runtime multiply matrices in the convolutions of these names, those of them that are quantised."""
    makers = {name: node for node in model.graph.node for name in node.output}
    lowered = set()
    for node in model.graph.node:
        if node.name in convolutions and (maker := makers.get(node.input[1])):
            weight, _, zero_point = maker.input
            lowered |= {weight, zero_point}
    for tensor in model.graph.initializer:
        if tensor.name in lowered:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - 1, tensor.name))
