"""ONNX files of the user's own: fused, quantised, gated and published without the network that they came from.

No torch here.
"""

import hashlib
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from app.contract.tensors import InputSpec, Signature
from training import golden, version
from training.application import SAMPLES, TOLERANCE, Application, require_name
from training.compress import graph, prepare
from training.compress.graph import FILENAME
from training.data.dataset import Dataset, array_sha256, stratified
from training.decision import decide
from training.errors import SubjectRefused
from training.facts import write_facts
from training.forms import FLOAT, MOST_ROWS, Bench, Form, integers, known_accuracy, sound
from training.job import Job
from training.measure.accuracy import top1
from training.measure.answers import graph_answers, open_graph
from training.measure.neighbours import require_every_batch
from training.measure.served import open_served, runner
from training.plan import Plan
from training.publish import publish
from training.steps import Step

SEED = 0
PARTS = {"validation": 0.3, "test": 0.3}
"""Shares of the rows; the rest is for calibration."""


def compile_graph(path: Path, rows: Path, name: str, plan: Plan, job: Job) -> Path:
    """Publishes the best form of a float .onnx file with one input and one output; returns the version's folder.

    `rows` is an .npz with `inputs` [rows, ...] and `targets` int64 [rows], the places of the right answers. Raises a
    TrainingError where no form passes; nothing is published then.
    """
    application = application_of(path, read_rows(rows), name)
    bench = Bench(application=application, steps=job.steps(), gate=job.terms.gate, race_seconds=plan.race_seconds)
    original = Form("original", FLOAT, as_given(bench, path))
    prepared = Form("1x", FLOAT, folded(bench, original))
    least = known_accuracy(bench, original) - job.terms.max_drop / 100
    forms = [prepared, *integers(bench, prepared, plan.presets, least, job.notice)]
    decision = decide(bench, original, sound(forms, application.validation.inputs, job.notice), job.terms)
    command = f"bonsai-train compile {path.name} --rows {rows.name} --name {name}{job.terms.options}"
    folder = version.new_folder(job.folder)
    return publish(version.assemble_graph(application, decision, job.terms, command, folder), folder, job.models)


def read_rows(path: Path) -> Dataset:
    """The rows of an .npz. Raises SubjectRefused where an array is missing or does not fit the other."""
    try:
        with path.open("rb") as file:  # NumPy leaves one that it has opened itself open where it fails
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, NpzFile):
                raise SubjectRefused(f"{path.name}: expected an .npz with inputs and targets, got a single array")
            if missing := sorted({"inputs", "targets"} - set(arrays.files)):
                raise SubjectRefused(f"{path.name}: expected {missing[0]}, got {', '.join(arrays.files) or 'none'}")
            inputs, targets = arrays["inputs"], arrays["targets"]
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise SubjectRefused(f"{path.name}: expected an .npz file, got: {error}") from None
    if not inputs.ndim:
        raise SubjectRefused(f"{path.name}: expected inputs [rows, ...], got a single number")
    if targets.dtype.kind not in "iu":
        raise SubjectRefused(f"{path.name}: expected targets that are integers, got {targets.dtype}")
    dataset = Dataset(inputs, targets.astype(np.int64))
    if dataset.targets.ndim != 1 or len(dataset.inputs) != len(dataset):
        raise SubjectRefused(
            f"{path.name}: expected {len(dataset.inputs)} targets, one a row, got {list(dataset.targets.shape)}"
        )
    return dataset


def application_of(path: Path, rows: Dataset, name: str) -> Application:
    """What a graph is for, by its own signature.

    Raises SubjectRefused for several inputs or outputs, for one that takes no batch of such rows, and for rows that are
    too few to be divided; ExportRefused for a batch that is free by name only.
    """
    require_name(name)
    session = open_served(path)
    signature: Signature = session.signature
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        raise SubjectRefused(
            f"{path.name}: expected one input and output, got {len(signature.inputs)} and {len(signature.outputs)}"
        )
    require_fit(path, signature.inputs[0], rows.inputs)
    require_every_batch(runner(session), rows.inputs, MOST_ROWS)
    try:
        split = stratified(rows, seed=SEED, **PARTS)
    except ValueError as error:  # a class, or a part, with too few of them
        raise SubjectRefused(f"rows: expected enough of each class to divide them in three, got: {error}") from None
    return Application(
        name=name,
        task="own",
        description=path.name,
        input=signature.inputs[0],
        output=signature.outputs[0],
        tolerance=TOLERANCE,
        calibration=split.train,
        validation=split.validation,
        test=split.test,
        samples=split.train.inputs[:SAMPLES],
        correct=top1,
        seeds={"split": SEED},
    )


def require_fit(path: Path, input: InputSpec, rows: NDArray[Any]) -> None:
    """Raises SubjectRefused unless the graph's input takes these rows, any number of them at once."""
    if input.shape[:1] != (-1,):
        raise SubjectRefused(
            f"{path.name}: expected a free first axis, for the batch, got {input.name} of shape {list(input.shape)}; "
            f"export it with a dynamic batch"
        )
    if rows.dtype != input.datatype.numpy or not input.matches(rows.shape):
        raise SubjectRefused(
            f"rows: expected inputs of {input.datatype.numpy} {list(input.shape)}, got {rows.dtype} {list(rows.shape)}"
        )


def as_given(bench: Bench, path: Path) -> Path:
    """The file as it came, checked."""
    model = graph.load(path)
    whole = model.SerializeToString(deterministic=True)  # with the weights that lie in other files

    def make(folder: Path) -> None:
        graph.save(model, folder / FILENAME)

    return bench.steps.take(Step("given", {"sha256": hashlib.sha256(whole).hexdigest()}, [graph]), make)


def folded(bench: Bench, original: Form) -> Path:
    """The graph as it is published in float; its golden answers are the original's."""
    application = bench.application

    def make(folder: Path) -> None:
        prepare.prepare(original.path, folder / FILENAME)
        answers = graph_answers(open_graph(original.path), application.samples)
        golden.write(application.samples, answers, application.input, application.output, folder)
        before, after = (graph.batch_norms(graph.load(path)) for path in (original.path, folder / FILENAME))
        write_facts(folder, {"batch_norms": before - after})

    config = {"samples": array_sha256(application.samples)}
    return bench.steps.take(Step("onnx", config, [prepare, graph, golden], [original.folder]), make)
