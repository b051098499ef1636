"""What fewer channels and int8 are worth in time: a residual network against its own full size in ONNX Runtime.

Run: python -m benchmarks.compile [--quick] [--help]

A network of ResNet-18's shape on images of 224 x 224, with all of its channels, 75, 50 and 25 % of them, each in fp32
and in int8 (static, QDQ, uint8 activations and int8 weights with a scale for each channel). Weights are random: this is
about time alone, what is lost in accuracy is another matter. Widths are multiples of 16, the block that ONNX Runtime's
kernels work in. PyTorch runs the full size in eager mode beside them.

All run on one thread, in one process, with batches of 1 and 8, each once in every round and in an order of chance. A
ratio is the median over the rounds of the ratios within a round, with its 95 % interval (training/measure/bench.py).
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.tensors import DataType, InputSpec, OutputSpec
from benchmarks import machine
from benchmarks.nets import IMAGE
from benchmarks.options import ROOT
from benchmarks.results import ECHO, NAIVE, OURS, Report, milliseconds, times
from training.compress.evaluating import net_answers
from training.compress.export import export
from training.compress.quantize import Preset, find, quantize
from training.measure.bench import LEAST_ROUNDS, Times, race
from training.measure.host import missing
from training.measure.machine import this_machine
from training.measure.served import open_served, runner

SHARES = (100, 75, 50, 25)
"""Percent of the channels."""
CHANNELS = (64, 128, 256, 512)
GRID = 16
BATCHES = (1, 8)
ROUNDS = 40
TARGETS = {"50 % int8": 8.0, "25 % int8": 13.0}
"""How many times as fast as the full size in fp32; set out with a CPU in mind that has VNNI."""
BASE, EAGER = "100 % fp32", "PyTorch eager"
INPUT = InputSpec(name="image", datatype=DataType.FP32, shape=(-1, *IMAGE))
OUTPUT = OutputSpec(name="logits", datatype=DataType.FP32, shape=(-1, 1000))

Run = Callable[[NDArray[Any]], NDArray[np.float32]]


class Block(nn.Module):
    """Two convolutions and a way around them, batch normalisation folded."""

    def __init__(self, channels: int, to: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, to, 3, stride, padding=1)
        self.second = nn.Conv2d(to, to, 3, padding=1)
        is_same = channels == to and stride == 1
        self.around = nn.Identity() if is_same else nn.Conv2d(channels, to, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.around(x))


def resnet(percent: int) -> nn.Module:
    """image [N, 3, 224, 224] -> logits [N, 1000], with so much of ResNet-18's channels, rounded to GRID."""
    torch.manual_seed(0)
    widths = [max(GRID, round(channels * percent / 100 / GRID) * GRID) for channels in CHANNELS]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 7, 2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    channels = widths[0]
    for number, to in enumerate(widths):
        layers += [Block(channels, to, 1 if number == 0 else 2), Block(to, to, 1)]
        channels = to
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)).eval()


def preset() -> Preset:
    """The best static one that is right on this CPU."""
    return next(preset for preset in map(find, ("amx", "vnni", "portable")) if not missing(preset.requires))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds whose median counts, {ROUNDS} by default")
    options.add_argument("--quick", action="store_const", const=LEAST_ROUNDS, dest="rounds", help="as few as can be")
    options.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the report")
    given = options.parse_args()
    torch.set_num_threads(1)
    images = np.random.default_rng(0).standard_normal((max(BATCHES), *IMAGE)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(Path(folder), images)
        measured = {batch: measure(runs, images[:batch], given.rounds) for batch in BATCHES}
    write(measured, given.rounds, given.results)


def contenders(folder: Path, images: NDArray[np.float32]) -> dict[str, Run]:
    """What is measured, by name; the first is the base of all ratios."""
    runs: dict[str, Run] = {}
    for percent in SHARES:
        home = folder / str(percent)
        home.mkdir()
        path = export(resnet(percent), INPUT, OUTPUT, home)
        integers = quantize(path, preset(), images, home / "model.int8.onnx")
        for precision, graph in (("fp32", path), ("int8", integers)):
            runs[f"{percent} % {precision}"] = runner(open_served(graph))
    runs[EAGER] = partial(net_answers, resnet(100))
    return runs


def measure(runs: Mapping[str, Run], images: NDArray[np.float32], rounds: int) -> Times:
    return race({name: partial(run, images) for name, run in runs.items()}, rounds)


def write(measured: Mapping[int, Times], rounds: int, folder: Path) -> None:
    report = Report(
        "compile",
        "What fewer channels and int8 are worth",
        "Times as fast as the full size in fp32, all in ONNX Runtime on one thread. See `benchmarks/compile.py`.",
        [
            *machine.description(f"one thread each, nobody pinned; {rounds} rounds"),
            f"PyTorch {torch.__version__}; CPU flags that decide: {', '.join(this_machine().flags) or 'none known'}",
            f"int8 by the preset {preset().name!r}, see docs/training.md",
        ],
    )
    for batch, found in measured.items():
        header = ["network", "times as fast", "95 %", "p50, ms", "p99, ms"]
        report.table(f"batch {batch}", header, [row(found, name) for name in found.seconds])
        for name, least in TARGETS.items():
            got = found.ratio(BASE, name).value
            report.target(f"batch {batch}, {name}: >= {least:g} x", times(got), got >= least)
    report.plot(draw(measured))
    report.finish(folder)


def row(found: Times, name: str) -> list[str]:
    speed = found.speed(BASE, name)
    low, high = speed.speedup.ci95 or (speed.speedup.value, speed.speedup.value)
    interval = f"{low:.2f} to {high:.2f}"
    return [name, times(speed.speedup.value), interval, *map(milliseconds, (speed.p50_ms / 1e3, speed.p99_ms / 1e3))]


def draw(measured: Mapping[int, Times]) -> Figure:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (batch, found) in zip(figure.subplots(1, len(measured), sharey=True), measured.items(), strict=True):
        for offset, (precision, colour) in enumerate((("fp32", NAIVE), ("int8", OURS))):
            ratios = [found.ratio(BASE, f"{percent} % {precision}") for percent in SHARES]
            ends = [ratio.ci95 or (ratio.value, ratio.value) for ratio in ratios]
            reach = [[ratio.value - low for ratio, (low, _) in zip(ratios, ends, strict=True)]]
            reach += [[high - ratio.value for ratio, (_, high) in zip(ratios, ends, strict=True)]]
            places = [place + 0.35 * offset for place in range(len(SHARES))]
            values = [ratio.value for ratio in ratios]
            axes.bar(places, values, 0.35, yerr=reach, capsize=3, label=precision, color=colour)
        axes.axhline(found.ratio(BASE, EAGER).value, color=ECHO, linestyle=":", label=f"{EAGER}, full size")
        axes.set_xticks([place + 0.175 for place in range(len(SHARES))], [f"{percent} %" for percent in SHARES])
        axes.set_title(f"batch {batch}")
        axes.set_xlabel("channels that are left")
    figure.axes[0].set_ylabel("times as fast as the full size in fp32")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    main()
