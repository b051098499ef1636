"""The lineage says where a version comes from and nothing about the machine."""

from dataclasses import replace

from training.lineage import lineage
from training.recipes.digits import DIGITS


def test_it_keeps_the_order_of_the_steps() -> None:
    steps = {"data": "1" * 64, "checkpoint": "2" * 64, "onnx": "0" * 64}
    assert [(link.step, link.sha256) for link in lineage(DIGITS, steps).chain] == list(steps.items())


def test_it_names_versions_seeds_and_command() -> None:
    found = lineage(replace(DIGITS, epochs=3), {})
    assert {"bonsai", "python", "torch", "onnx", "onnxruntime", "numpy", "scikit-learn"} <= set(found.versions)
    assert all(found.versions.values())
    assert found.seeds == {"split": 20, "training": 21, "cross_validation": 22}
    assert found.command == "bonsai-train run digits --epochs 3 --folds 5 --repeats 2"
