"""The lineage says where a version comes from and nothing about the machine."""

from training.lineage import lineage


def test_it_keeps_the_order_of_the_steps() -> None:
    steps = {"data": "1" * 64, "trained": "2" * 64, "fp32": "0" * 64}
    assert [(link.step, link.sha256) for link in lineage("make", {}, steps).chain] == list(steps.items())


def test_it_names_versions_seeds_and_command() -> None:
    found = lineage("bonsai-train run digits --epochs 3", {"split": 20}, {})
    assert {"bonsai", "python", "torch", "onnx", "onnxruntime", "numpy", "torch-pruning"} <= set(found.versions)
    assert all(found.versions.values())
    assert (found.seeds, found.command) == ({"split": 20}, "bonsai-train run digits --epochs 3")
