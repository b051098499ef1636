"""A report made of invented facts, and one of a real small net: `python -m tests.training.example_report <folder>`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.manifest import Lineage, Link, Metric
from training.measure.responses import respond
from training.pareto import Terms
from training.plots import draw
from training.report import (
    Activity,
    Entry,
    Fate,
    Fusion,
    Layer,
    Machine,
    Report,
    Timing,
    WorstClass,
    states,
    write_report,
)

# name, role, precision, accuracy, ms at batch 8 (the original: 4), file in MB, passed, on the front
ENTRIES = (
    ("original", "original", "fp32", 0.984, 4.0, 0.75, True, False),
    ("lossless", "candidate", "fp32", 0.984, 3.6, 0.66, True, True),
    ("pruned 25 %", "candidate", "fp32", 0.983, 2.4, 0.44, True, False),
    ("pruned 50 %", "candidate", "fp32", 0.982, 1.15, 0.21, True, False),
    ("pruned 75 %", "candidate", "fp32", 0.962, 0.42, 0.07, False, False),
    ("lossless, int8", "candidate", "int8 portable", 0.984, 1.3, 0.18, True, True),
    ("pruned 25 %, int8", "candidate", "int8 portable", 0.983, 0.8, 0.12, True, True),
    ("pruned 50 %, int8", "candidate", "int8 portable", 0.981, 0.5, 0.07, True, True),
    ("pruned 75 %, int8", "candidate", "int8 portable", 0.951, 0.31, 0.03, False, False),
    ("dynamic", "candidate", "int8 dynamic", 0.983, 3.9, 0.2, False, False),
    ("collapsed", "candidate", "int8 vnni", 0.104, 0.6, 0.07, False, False),
    ("random units, 50 %", "baseline", "fp32", 0.974, 1.14, 0.21, True, False),
    ("from scratch, 50 %", "baseline", "fp32", 0.979, 1.16, 0.21, True, False),
)
CHOSEN = "pruned 50 %, int8"


def entry(
    name: str, role: str, precision: str, accuracy: float, ms: float, megabytes: float, passed: bool, on_front: bool
) -> Entry:
    drop = 100 * (0.984 - accuracy)
    return Entry.model_validate(
        {
            "name": name,
            "role": role,
            "precision": precision,
            "accuracy": Metric(value=accuracy, ci95=(accuracy - 0.006, min(1.0, accuracy + 0.005)), baseline=0.984),
            "drop": None if role == "original" else Metric(value=drop, ci95=(drop - 0.3, drop + 0.4)),
            "agreement": None if role == "original" else accuracy,
            "worst_class": None if role == "original" else WorstClass(label="8", drop=2.1 * drop),
            "timings": tuple(timing(batch, ms * share, 4.0 / ms) for batch, share in ((1, 0.2), (8, 1.0))),
            "file_bytes": int(1e6 * megabytes),
            "memory_bytes": int(3e6 * megabytes),
            "batchable": precision != "int8 dynamic",
            "passed": passed,
            "reasons": () if passed else (f"accuracy: a drop of {drop:.1f} points, where 0.5 are allowed",),
            "on_front": on_front,
            "chosen": name == CHOSEN,
        }
    )


def timing(batch: int, ms: float, speedup: float) -> Timing:
    ratio = Metric(value=speedup, ci95=(0.96 * speedup, 1.05 * speedup), baseline=1.0)
    return Timing(batch=batch, p50_ms=ms, p99_ms=1.4 * ms, speedup=ratio)


def layer(name: str, kind: str, units: int, seed: int) -> Layer:
    """A layer of which some units never fire, some rarely; the first are cut losslessly, some others are pruned."""
    chance = np.random.default_rng(seed)
    zero_rate = np.clip(chance.beta(1.2, 0.8, units) * 1.1, 0, 1).round(4)
    return activity_layer(name, kind, zero_rate, chance.gamma(1, 1, units), chance.gamma(1, 1, units))


def activity_layer(
    name: str, kind: str, zero_rate: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> Layer:
    """Every unit that never fires is cut losslessly, and of the others every third."""
    fates: list[Fate] = [
        "lossless" if zeros == 1 else "pruned" if place % 3 == 0 else "kept" for place, zeros in enumerate(zero_rate)
    ]
    activity = Activity(
        zero_rate=tuple(zero_rate.tolist()),
        mean=tuple(mean.tolist()),
        variance=tuple(variance.tolist()),
        maximum=tuple((mean + 3 * variance).tolist()),
        state=states(zero_rate.tolist(), variance.tolist()),
        fate=tuple(fates),
    )
    return Layer(
        name=name,
        kind=kind,
        units=len(fates),
        after_lossless=len(fates) - fates.count("lossless"),
        after_pruning=fates.count("kept"),
        activity=activity,
    )


def example(layers: tuple[Layer, ...] | None = None) -> Report:
    """A report of invented facts about a digits net."""
    made = (("features.0", "Conv2d", 32), ("features.3", "Conv2d", 64), ("features.7", "Conv2d", 64))
    return Report(
        model="digits",
        task="image-classification",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        machine=Machine(cpu="An invented CPU at 2.50 GHz", flags=("avx2", "avx512f", "avx512_vnni"), threads=1),
        layers=layers
        or (*(layer(*facts, seed) for seed, facts in enumerate(made)), layer("classifier.0", "Linear", 128, 9)),
        fusion=Fusion(
            exported={"Conv": 3, "Relu": 4, "MaxPool": 1, "Gemm": 2, "Div": 1, "Unsqueeze": 1, "Flatten": 1},
            runs={"FusedConv": 3, "FusedGemm": 1, "Gemm": 1, "MaxPool": 1, "Mul": 1, "ReorderOutput": 1},
            fused={"BatchNormalization": 3},
            int8_share=0.8,
        ),
        entries=tuple(entry(*facts) for facts in ENTRIES),
        terms=Terms(max_drop=0.5, max_mb=1.0),
        lineage=Lineage(
            chain=tuple(Link(step=step, sha256=f"{place:064x}") for place, step in enumerate(("data", "onnx"), 1)),
            versions={"bonsai": "0.1.0", "torch": "2.13.0"},
            seeds={"training": 21},
            command="bonsai-train compile digits --max-drop 0.5",
        ),
    )


def measured_layers(net: nn.Module, rows: NDArray[np.float32]) -> tuple[Layer, ...]:
    """The layers of a DigitsNet with what their ReLUs really give for these rows."""
    return tuple(
        activity_layer(name, type(net.get_submodule(name)).__name__, *statistics(net, relu, rows))
        for name, relu in (
            ("features.0", "features.2"),
            ("features.3", "features.5"),
            ("features.7", "features.9"),
            ("classifier.0", "classifier.1"),
        )
    )


def statistics(net: nn.Module, module: str, rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Zero rate, mean and variance of each unit of a module's output."""
    seen: list[Tensor] = []
    keep: Callable[..., None] = lambda _module, _inputs, answer: seen.append(answer)  # noqa: E731
    with net.get_submodule(module).register_forward_hook(keep), torch.inference_mode():
        net(torch.from_numpy(rows))
    values = seen[0].transpose(0, 1).flatten(1).double().numpy()
    return (values == 0).mean(axis=1), values.mean(axis=1), values.var(axis=1)


if __name__ == "__main__":
    from tests.training.conftest import trained
    from training.compress.fuse import fold
    from training.recipes.digits import DIGITS

    split = DIGITS.load()
    taught = trained(replace(DIGITS, epochs=3), split.train, 1)
    facts = example(measured_layers(taught, split.validation.inputs))
    write_report(facts, draw(facts, respond(fold(taught).net, split.validation.inputs[0])), Path(sys.argv[1]))
