"""A manifest to change and to break."""

import datetime
import json
from pathlib import Path
from typing import Any

from app.contract.manifest import FILENAME, FileDigest, Lineage, Link, Manifest, Metric, Tolerance, Variant
from app.contract.tensors import DataType, InputSpec, OutputSpec

SHA = "0123456789abcdef" * 4


def manifest(**changes: Any) -> Manifest:
    """A valid manifest that fills every part; `changes` replaces fields."""
    fields: dict[str, Any] = {
        "name": "flowers",
        "version": 3,
        "task": "classify",
        "description": "Blüten",
        "created": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "files": {name: FileDigest(sha256=SHA, bytes=7) for name in ("model.onnx", "golden.npz")},
        "inputs": (InputSpec(name="image", datatype=DataType.FP32, shape=(-1, 4), medium="image", pad_value=0.5),),
        "outputs": (
            OutputSpec(
                name="logits", datatype=DataType.FP32, shape=(-1, 2), labels=("rose", "Tulpe"), activation="softmax"
            ),
        ),
        "variants": (
            Variant(
                file="model.onnx",
                precision="fp32",
                requires=("avx2",),
                tolerance=Tolerance(rtol=1e-4, atol=1e-5),
                batchable=True,
            ),
        ),
        "golden": "golden.npz",
        "metrics": {"accuracy": Metric(value=0.9, ci95=(0.8, 0.95), baseline=0.91)},
        "lineage": Lineage(
            chain=(Link(step="data", sha256=SHA),), versions={"torch": "2"}, seeds={"all": 1}, command="x"
        ),
    }
    return Manifest(**{**fields, **changes})


def document(folder: Path) -> dict[str, Any]:
    """What a written manifest.json holds, as plain JSON."""
    manifest().write(folder)
    content: dict[str, Any] = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
    return content


def replaced(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with one value put in, at a path such as `variants/0/file`."""
    at: Any = content
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    for part in parents:
        at = at[part]
    at[last] = value
    return content
