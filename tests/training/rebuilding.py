"""A version of the repository, rebuilt where the packages are those that it was published with."""

from importlib.metadata import version
from pathlib import Path

import pytest

from app.contract.manifest import Manifest
from training.rebuild import rebuild
from training.subject import Subject


def require_published_packages(manifest: Manifest) -> None:
    """Skips where others are installed: they may write other bytes."""
    ours = {package: version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")}
    theirs = {package: manifest.lineage.versions[package].partition("+")[0] for package in ours}
    if {package: found.partition("+")[0] for package, found in ours.items()} != theirs:
        pytest.skip(f"published with {theirs}, here are {ours}")


def require_rebuilt_to_the_byte(folder: Path, manifest: Manifest, subject: Subject) -> None:
    found = rebuild(folder, subject)
    assert found == {variant.file: manifest.files[variant.file].sha256 for variant in manifest.variants}
