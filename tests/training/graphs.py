"""Small ONNX graphs, made without PyTorch."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

CHANNELS = 16
RESIDUAL = """<ir_version: 10, opset_import: ["" : 20]>
graph (uint8[batch, 8, 8, 4] image) => (float[batch, 10] logits) <float mean = {120.0}, float deviation = {64.0}> {
  [turn] turned = Transpose <perm = [0, 3, 1, 2]> (image)
  [cast] floats = Cast <to = 1> (turned)
  [sub] centred = Sub (floats, mean)
  [div] pixels = Div (centred, deviation)
  [conv1] c1 = Conv <pads = [1, 1, 1, 1]> (pixels, w1, b1)
  [relu1] r1 = Relu (c1)
  [conv2] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
  [relu2] r2 = Relu (c2)
  [add] sum = Add (r1, r2)
  [conv3] c3 = Conv <pads = [1, 1, 1, 1]> (sum, w3, b3)
  [relu3] r3 = Relu (c3)
  [pool] pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r3)
  [mean] means = GlobalAveragePool (pooled)
  [flat] flat = Flatten (means)
  [dense] logits = Gemm <transB = 1> (flat, w4, b4)
}"""


def residual(colours: int = 4, channels: int = CHANNELS) -> ModelProto:
    """Three convolutions, the second beside a straight way, and a dense layer; pictures of bytes go in.

    Those of fewer than four colours have a first convolution that int8 leaves alone.
    """
    model = parser.parse_model(RESIDUAL)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = colours
    chance = np.random.default_rng(1)
    shapes = {
        "1": (channels, colours, 3, 3),
        "2": (channels, channels, 3, 3),
        "3": (channels, channels, 3, 3),
        "4": (10, channels),
    }
    for number, shape in shapes.items():
        weight = chance.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        bias = chance.normal(0, 0.1, shape[0]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, f"w{number}"))
        model.graph.initializer.append(numpy_helper.from_array(bias, f"b{number}"))
    return model


def images(rows: int, seed: int = 2, colours: int = 4) -> NDArray[np.uint8]:
    """Pictures for `residual`: uint8 [rows, 8, 8, colours]."""
    return np.random.default_rng(seed).integers(0, 256, (rows, 8, 8, colours), dtype=np.uint8)


def written(model: ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path
