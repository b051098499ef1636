"""Model folders as the server reads them."""

import datetime
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.contract.manifest import Lineage, Manifest, Tolerance, Variant, digest
from app.contract.tensors import InputSpec, OutputSpec
from benchmarks.wire import Tensors


def place(graph: Path, models: Path, name: str) -> Path:
    """A graph without a manifest, as models/<name>/model.onnx."""
    (models / name).mkdir(parents=True)
    return Path(shutil.copy(graph, models / name / "model.onnx"))


def publish(
    graph: Path,
    models: Path,
    name: str,
    inputs: tuple[InputSpec, ...],
    outputs: tuple[OutputSpec, ...],
    sample: Tensors,
) -> Manifest:
    """A graph with a manifest and the answers to `sample`, as models/<name>/1."""
    folder = models / name / "1"
    folder.mkdir(parents=True)
    shutil.copy(graph, folder / "model.onnx")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in outputs]
    golden = {f"inputs/{key}": array for key, array in sample.items()}
    answers = session.run(names, dict(sample))
    golden |= {f"outputs/{key}": array for key, array in zip(names, answers, strict=True)}
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    tolerance = Tolerance(rtol=1e-4, atol=1e-5)
    manifest = Manifest(
        name=name,
        version=1,
        task="benchmark",
        description="random weights, made by a benchmark",
        created=datetime.datetime.now(datetime.UTC),
        files={file: digest(folder / file) for file in ("model.onnx", "golden.npz")},
        inputs=inputs,
        outputs=outputs,
        variants=(Variant(file="model.onnx", precision="fp32", tolerance=tolerance, batchable=True),),
        golden="golden.npz",
        lineage=Lineage(chain=(), versions={}, seeds={}, command="a benchmark"),
    )
    manifest.write(folder)
    return manifest
