"""int8 convolutions by the runtime's own kernel and as products of matrices: docs/decisions/0012-compile.md.

Run at the repository's root: python -m benchmarks.micro.tiles. It needs a CPU with AMX. Each convolution, its stride 1
and its weights of chance, runs in ONNX Runtime on one thread at one row. Prints how many times as fast the product of
matrices is, with its 95 % interval, and how many products an output sums up.
"""

import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, parser

from training.compress import tiles
from training.compress.quantize import find, quantize
from training.measure.bench import race
from training.measure.machine import this_machine
from training.measure.served import open_served, runner

KERNELS = (3, 1)
SIDES = (4, 7, 14, 28)
CHANNELS = (32, 64, 96, 128, 256, 512)
MOST_PRODUCTS = 500_000_000
"""In one run; larger convolutions are left out."""
ROUNDS = 40


def main() -> None:
    machine = this_machine()
    print(f"{machine.cpu}: {', '.join(machine.flags)}")
    print(f"{'kernel':<8}{'output':<9}{'channels':>8}{'products':>10}{'times as fast':>15}   95 %")
    for kernel, side, channels in product(KERNELS, SIDES, CHANNELS):
        if (kernel * channels * side) ** 2 <= MOST_PRODUCTS:
            show(kernel, side, channels)


def show(kernel: int, side: int, channels: int) -> None:
    image = np.random.default_rng(1).random((1, channels, side, side), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        plain, direct, tiled = (Path(folder, name) for name in ("plain.onnx", "direct.onnx", "tiled.onnx"))
        onnx.save(convolution(kernel, side, channels), plain)
        model = onnx.load(quantize(plain, find("vnni"), image, direct))
        tiles.tile(model, ["conv"])
        onnx.save(model, tiled)
        runs = {path.stem: partial(runner(open_served(path)), image) for path in (direct, tiled)}
    ratio = race(runs, ROUNDS).ratio("direct", "tiled")
    low, high = ratio.ci95 or (ratio.value, ratio.value)
    size = f"{f'{kernel} x {kernel}':<8}{f'{side} x {side}':<9}{channels:>8}{kernel**2 * channels:>10}"
    print(f"{size}{ratio.value:>15.2f}   {low:.2f} to {high:.2f}")


def convolution(kernel: int, side: int, channels: int) -> ModelProto:
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, {channels}, {side}, {side}] x) => (float[batch, {channels}, {side}, {side}] y) {{
          [conv] c = Conv <pads = [{", ".join([str(kernel // 2)] * 4)}]> (x, w)
          [relu] y = Relu (c)
        }}"""
    )
    weights = np.random.default_rng(0).normal(size=(channels, channels, kernel, kernel)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


if __name__ == "__main__":
    main()
