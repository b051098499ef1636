"""Lineage: where a published version comes from, each step by the digest of what it produced."""

import platform
from collections.abc import Mapping
from importlib.metadata import version

import app
from app.contract.manifest import Lineage, Link

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxscript", "scikit-learn", "torch", "torch-pruning")


def lineage(command: str, seeds: Mapping[str, int], steps: Mapping[str, str]) -> Lineage:
    """The lineage of a run.

    `command` is what repeats it, without a path of the machine that ran it; `steps` gives each step's sha256, in the
    order in which they were taken.
    """
    return Lineage(
        chain=tuple(Link(step=step, sha256=sha256) for step, sha256 in steps.items()),
        versions={
            "bonsai": app.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        seeds=dict(seeds),
        command=command,
    )
