"""The version: what was decided, as the folder to be published: graphs, golden sample, report. No torch here."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from app.contract.manifest import Compression, Lineage, Manifest, Metric, Tolerance, Variant, digest
from training import golden
from training.application import Application
from training.compress.graph import FILENAME as GRAPH
from training.compress.ranges import FILENAME as RANGES
from training.decision import Decision
from training.facts import read_facts
from training.forms import FLOAT, Form
from training.lineage import lineage
from training.measure.answers import graph_answers, open_graph
from training.measure.coverage import INT8, coverage
from training.outcome import facts
from training.pareto import Terms
from training.plots import draw
from training.report import write_report

QUANTISED = "model.int8.onnx"
INTEGER = "int8-"
MARGIN = 2.0
"""Times the largest difference seen between a quantised graph and the net, so that another CPU's rounding passes."""


def new_folder(run: Path) -> Path:
    """An empty folder in a run's for the files that are published."""
    folder = run / "version"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def assemble_graph(application: Application, decision: Decision, terms: Terms, command: str, folder: Path) -> Manifest:
    """Fills the folder with the files of a version of a graph that came without its net, and gives their manifest; its
    version is 1 for now."""
    variants = graphs(application, decision, folder)
    steps = {"data": application.sha256, "given": sha256(decision.original.path)}
    line = lineage(command, application.seeds, steps | digests(variants, folder))
    compression = Compression(
        fused={"BatchNormalization": read_facts(decision.float_form.folder)["batch_norms"]},
        **quantisation(decision),
        speedup=speedup(decision),
        drop=decision.test.drop,
    )
    page = facts(application, decision, (), terms, line)
    write_report(page, draw(page), folder)
    return manifest(application, decision, variants, {}, compression, line, folder)


def graphs(application: Application, decision: Decision, folder: Path) -> tuple[Variant, ...]:
    """Copies the golden sample and the graphs: the chosen one with its ranges, then the float one that any CPU runs."""
    float_form = decision.float_form
    copy(float_form.folder / golden.FILENAME, folder)
    copy(float_form.path, folder)
    variants = [variant(GRAPH, FLOAT, decision, float_form, application.tolerance)]
    if decision.chosen != float_form:
        shutil.copyfile(decision.chosen.path, folder / QUANTISED)
        copy(decision.chosen.folder / RANGES, folder)
        tolerance = rounding(application, float_form, decision.chosen)
        precision = f"{INTEGER}{decision.chosen.precision}"
        variants.insert(0, variant(QUANTISED, precision, decision, decision.chosen, tolerance))
    return tuple(variants)


def digests(variants: tuple[Variant, ...], folder: Path) -> dict[str, str]:
    """The last steps of a lineage: each graph, by its numbers."""
    return {variant.precision: sha256(folder / variant.file) for variant in variants}


def variant(file: str, precision: str, decision: Decision, form: Form, tolerance: Tolerance) -> Variant:
    (found,) = (candidate for candidate in decision.measured if candidate.name == form.name)
    return Variant(
        file=file, precision=precision, requires=found.requires, tolerance=tolerance, batchable=found.batchable
    )


def rounding(application: Application, float_form: Form, integer_form: Form) -> Tolerance:
    """How far a quantised graph's answers lie from the float ones on the golden rows, with a margin."""
    float_answers, answers = (
        graph_answers(open_graph(form.path), application.samples) for form in (float_form, integer_form)
    )
    return Tolerance(rtol=0.0, atol=MARGIN * float(np.abs(answers - float_answers).max()))


def quantisation(decision: Decision) -> dict[str, Any]:
    """The compression's entries on int8: nodes by operator that run on integers here, and those that stayed float."""
    if decision.chosen.precision == FLOAT:
        return {}
    ops = coverage(decision.chosen.path).ops
    kept = read_facts(decision.chosen.folder)["kept_float"]
    return {"quantised": {kind: ops[kind] for kind in sorted(INT8 & ops.keys())}, "kept_float": tuple(kept)}


def speedup(decision: Decision) -> dict[str, Metric]:
    """By batch size, how many times as fast as the original in ONNX Runtime, one thread each."""
    return {f"batch_{batch}": speed.speedup for batch, speed in decision.choice.chosen.speed.items()}


def manifest(
    application: Application,
    decision: Decision,
    variants: tuple[Variant, ...],
    metrics: dict[str, Metric],
    compression: Compression,
    line: Lineage,
    folder: Path,
) -> Manifest:
    """The manifest of what lies in the folder."""
    base = decision.original_accuracy.value
    measured = {"test_accuracy": decision.accuracy.model_copy(update={"baseline": base})}
    if decision.test.agreement is not None:
        measured["test_agreement"] = decision.test.agreement
    return Manifest(
        name=application.name,
        version=1,
        task=application.task,
        description=application.description,
        created=datetime.now(UTC),
        files={path.name: digest(path) for path in sorted(folder.iterdir())},
        inputs=(application.input,),
        outputs=(application.output,),
        variants=variants,
        golden=golden.FILENAME,
        metrics=measured | metrics,
        compression=compression,
        lineage=line,
    )


def copy(path: Path, folder: Path) -> None:
    shutil.copyfile(path, folder / path.name)


def sha256(path: Path) -> str:
    return digest(path).sha256
