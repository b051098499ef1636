"""Version folders with a manifest, made from a graph."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from app.contract.manifest import FILENAME, Lineage, Manifest, Tolerance, Variant, digest
from app.protocol.messages import Array
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import Placement
from app.runtime.session import Session


def publish(folder: Path, graph: Path, cache: Path, sample: dict[str, Array] | None = None, **changes: Any) -> Manifest:
    """Writes `folder` (…/<name>/<version>) around a graph: golden sample, digests, manifest.

    `sample` are the golden inputs, made up unless given; `changes` replaces fields of the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.read_bytes())
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    signature = Session.load(Graph.open(graph), Placement(), 1, GraphCache(cache)).signature
    random = np.random.default_rng(1)
    inputs = sample or {
        spec.name: random.random([8 if dim == -1 else dim for dim in spec.shape]).astype(spec.datatype.numpy)
        for spec in signature.inputs
    }
    outputs = dict(zip((spec.name for spec in signature.outputs), session.run(None, inputs), strict=True))
    arrays = {f"inputs/{name}": array for name, array in inputs.items()}
    arrays |= {f"outputs/{name}": array for name, array in outputs.items()}
    np.savez(folder / "golden.npz", **arrays)
    fields: dict[str, Any] = {
        "name": folder.parent.name,
        "version": int(folder.name),
        "task": "test",
        "description": "made by a test",
        "created": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        "files": {name: digest(folder / name) for name in ("model.onnx", "golden.npz")},
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "variants": (
            Variant(file="model.onnx", precision="fp32", tolerance=Tolerance(rtol=1e-4, atol=1e-5), batchable=True),
        ),
        "golden": "golden.npz",
        "lineage": Lineage(chain=(), versions={}, seeds={}, command="a test"),
    }
    manifest = Manifest(**{**fields, **changes})
    manifest.write(folder)
    assert (folder / FILENAME).is_file()
    return manifest
