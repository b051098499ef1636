"""Lineage: where a published version comes from, each step by the digest of what it produced."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

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
            **dict(installed()),
        },
        seeds=dict(seeds),
        command=command,
    )


def installed() -> Iterator[tuple[str, str]]:
    """Those of PACKAGES that are here, with their versions: a graph is compiled without PyTorch."""
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)
