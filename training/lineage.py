"""Lineage: where a published version comes from, each step by the digest of what it produced."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version

import app
from app.contract.manifest import Lineage, Link
from training.recipes.recipe import Recipe

PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxscript", "scikit-learn", "torch")


def lineage(recipe: Recipe, steps: Mapping[str, str]) -> Lineage:
    """The lineage of a run; `steps` gives each step's sha256, in the order in which they were taken."""
    return Lineage(
        chain=tuple(Link(step=step, sha256=sha256) for step, sha256 in steps.items()),
        versions={
            "bonsai": app.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        seeds=asdict(recipe.seeds),
        command=command(recipe),
    )


def command(recipe: Recipe) -> str:
    """The command that repeats the run: what decides its result, and no path of the machine that ran it."""
    return f"bonsai-train run {recipe.name} --epochs {recipe.epochs} --folds {recipe.folds} --repeats {recipe.repeats}"
