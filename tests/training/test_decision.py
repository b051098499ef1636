"""The decision: who takes part in it, that the test rows have the last word, and what a version says of its CPU."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser
from torch import nn

from app.contract.manifest import Compression, Lineage, Manifest, Metric
from app.contract.tensors import DataType, InputSpec, OutputSpec
from tests.training.conftest import a_run
from tests.training.graphs import written
from training import compiler, forms, golden, own_graph, run, stages, version
from training import decision as decision_module
from training.application import TOLERANCE, Application
from training.compiler import UNCUT, Compiled, Cut, compile_net
from training.compress import ranges
from training.data.dataset import Dataset
from training.decision import Decision, decide
from training.errors import NoCandidate
from training.facts import write_facts
from training.forms import FLOAT, Bench, Form, candidate, results, sound
from training.job import Job
from training.measure.accuracy import top1
from training.pareto import Candidate, Choice, Terms
from training.plan import Plan
from training.recipes.recipe import Recipe
from training.run import Run, run_recipe
from training.steps import Steps
from training.subject import Subject

SAME = "y = Relu (x)"
WITHOUT_THE_LAST_CLASS = "y = Mul (x, first)"
IN_PAIRS = "flat = Reshape (x, pairs)  y = Reshape (flat, rows)"
TERMS = Terms(max_drop=1.0)


def rows(*classes: int) -> Dataset:
    """Twenty rows of each class, with a one at its place."""
    targets = np.repeat(np.array(classes), 20)
    return Dataset(np.eye(4, dtype=np.float32)[targets], targets)


def form(root: Path, level: str, precision: str, operators: str) -> Form:
    """A form that answers with its input, but for what the operators do to that."""
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 4] x) => (float[batch, 4] y)
        <float[4] first = {{1.0, 1.0, 1.0, 0.0}}, int64[2] pairs = {{-1, 8}}, int64[2] rows = {{-1, 4}}>
        {{ {operators} }}"""
    )
    found = Form(level, precision, root / f"{level} {precision}")
    found.folder.mkdir()
    written(model, found.path)
    return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(forms, "resident_mb", lambda path, rows: 1.0)  # it starts a process for each form
    application = Application(
        name="toy",
        task="test",
        description="made by a test",
        input=InputSpec(name="x", datatype=DataType.FP32, shape=(-1, 4)),
        output=OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, 4)),
        tolerance=TOLERANCE,
        calibration=rows(0, 1, 2),
        validation=rows(0, 1, 2),
        test=rows(0, 1, 2, 3),
        samples=rows(0, 1, 2).inputs[:16],
        correct=top1,
        seeds={},
    )
    steps = Steps(tmp_path / "run", lambda step: None)
    return Bench(application=application, steps=steps, gate=TERMS.gate, race_seconds=0.0)


@pytest.fixture
def decision(bench: Bench, tmp_path: Path) -> Decision:
    """One in which the form is chosen that runs on CPUs with VNNI alone, whatever this CPU has."""
    original, floats, integers = (
        form(tmp_path, level, precision, SAME)
        for level, precision in (("original", FLOAT), (UNCUT, FLOAT), (UNCUT, "vnni"))
    )
    application = bench.application
    golden.write(application.samples, application.samples, application.input, application.output, floats.folder)
    ranges.write({}, integers.folder)
    base = results(application, original.path, application.validation)
    measured = tuple(candidate(bench, one, base, {}) for one in (original, floats, integers))
    return Decision(
        original=original,
        forms={one.name: one for one in (floats, integers)},
        measured=measured,
        choice=Choice(measured[2], {}),
        test=measured[2].verdict,
        accuracy=measured[2].accuracy,
        original_accuracy=measured[0].accuracy,
    )


def test_a_form_that_loses_too_much_on_the_test_rows_is_not_published(bench: Bench, tmp_path: Path) -> None:
    original, lossy = form(tmp_path, "original", FLOAT, SAME), form(tmp_path, "2x", FLOAT, WITHOUT_THE_LAST_CLASS)
    refusal = r"2x fp32, chosen by the validation rows, on the test rows: loses 25\.00 points \[.*\], allowed are 1$"
    with pytest.raises(NoCandidate, match=refusal):
        decide(bench, original, [lossy], TERMS)
    easier = replace(bench.application, test=bench.application.validation)
    assert decide(replace(bench, application=easier), original, [lossy], TERMS).chosen == lossy


def test_a_quantised_form_is_not_published_with_a_float_one_that_fails(bench: Bench, tmp_path: Path) -> None:
    """The float form is served where a CPU cannot run the other, so it has to pass as well: here, then on test rows."""
    original, whole = form(tmp_path, "original", FLOAT, SAME), form(tmp_path, "2x", "portable", SAME)
    lossy = form(tmp_path, "2x", FLOAT, WITHOUT_THE_LAST_CLASS)
    all_classes = replace(bench, application=replace(bench.application, validation=bench.application.test))
    with pytest.raises(NoCandidate, match=r"2x portable: its float form loses 25\.00 points"):
        decide(all_classes, original, [lossy, whole], TERMS)

    uncut = form(tmp_path, UNCUT, FLOAT, SAME)
    decision = decide(all_classes, original, [lossy, whole, uncut], TERMS)
    assert decision.chosen == uncut
    assert decision.measured[2].verdict.reasons == decision.choice.rejected["2x portable"]


def test_the_float_form_of_the_chosen_one_has_to_pass_on_the_test_rows(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, whole = form(tmp_path, "original", FLOAT, SAME), form(tmp_path, "2x", "portable", SAME)
    lossy = form(tmp_path, "2x", FLOAT, WITHOUT_THE_LAST_CLASS)

    def choose_the_quantised_one(candidates: Sequence[Candidate], terms: Terms) -> Choice:
        return Choice(candidates[1], {candidates[0].name: ("a test wants the other",)})

    monkeypatch.setattr(decision_module, "choose", choose_the_quantised_one)
    with pytest.raises(NoCandidate, match=r"2x fp32, chosen by the validation rows, on the test rows: loses 25\.00"):
        decide(bench, original, [lossy, whole], TERMS)


def test_a_form_that_fails_a_batch_is_told_and_takes_no_part(bench: Bench, tmp_path: Path) -> None:
    told: list[str] = []
    whole, in_pairs = form(tmp_path, UNCUT, FLOAT, SAME), form(tmp_path, "2x", FLOAT, IN_PAIRS)
    assert sound([whole, in_pairs], bench.application.validation.inputs, told.append) == [whole]
    (sentence,) = told
    assert sentence.startswith("2x fp32: batch 1: expected answers, got ")


def count(bench: Bench, original: Form, forms: list[Form], terms: Terms) -> None:
    """A decision that says no more than how many forms it was shown."""
    raise NoCandidate(f"{len(forms)} forms take part")


def test_a_graph_takes_no_part_before_it_has_taken_every_batch(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    whole, in_pairs = form(tmp_path, "given", FLOAT, SAME), form(tmp_path, UNCUT, FLOAT, IN_PAIRS)
    given = rows(0, 1, 2, 3)
    np.savez(tmp_path / "rows.npz", inputs=given.inputs, targets=given.targets)
    job = Job(models=tmp_path / "models", folder=tmp_path / "run", terms=TERMS, notice=told.append)
    monkeypatch.setattr(own_graph, "folded", lambda bench, original: in_pairs.folder)
    monkeypatch.setattr(own_graph, "decide", count)
    with pytest.raises(NoCandidate, match="0 forms take part"):
        own_graph.compile_graph(whole.path, tmp_path / "rows.npz", "whole", Plan(presets=()), job)
    assert [sentence.partition(", got")[0] for sentence in told] == ["1x fp32: batch 1: expected answers"]


def test_the_graph_of_a_net_takes_no_part_before_it_has_taken_every_batch(
    bench: Bench, quick: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    in_pairs = form(tmp_path, UNCUT, FLOAT, IN_PAIRS)
    write_facts(in_pairs.folder, {"left": 0})
    learning: Any = {"feed": quick.feed(rows(0)), "course": quick.course(seed=0), "config": {}}
    subject = Subject(**vars(bench.application), net=nn.Linear(4, 4).eval(), **learning)
    shop = a_run(tmp_path).workshop(subject, Plan(levels=(), presets=()))
    monkeypatch.setattr(stages, "exported", lambda shop, source: in_pairs.folder)
    monkeypatch.setattr(compiler, "decide", count)
    with pytest.raises(NoCandidate, match="0 forms take part"):
        compile_net(shop, stages.given(shop), TERMS, told.append)
    assert [sentence.partition(", got")[0] for sentence in told] == ["1x fp32: batch 1: expected answers"]


def test_a_version_says_what_its_preset_requires_of_the_cpu(bench: Bench, decision: Decision, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    variants = version.graphs(bench.application, decision, folder)
    line = Lineage(chain=(), versions={}, seeds={}, command="a test")
    version.manifest(bench.application, decision, variants, {}, Compression(), line, folder).write(folder)
    requires = {variant.file: variant.requires for variant in Manifest.read(folder).variants}
    assert requires == {"model.int8.onnx": ("avx512_vnni",), "model.onnx": ()}


def test_a_way_that_loses_too_much_in_the_cross_validation_leads_to_no_version(
    quick: Recipe, decision: Decision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: Any = {"cv_drop": Metric(value=2.0, ci95=(1.5, 2.5))}
    compiled = Compiled(tmp_path, tmp_path, Cut(UNCUT, None, tmp_path), decision, ())
    monkeypatch.setattr(stages, "learnt", lambda shop: tmp_path)
    monkeypatch.setattr(run, "compile_net", lambda *_: compiled)
    monkeypatch.setattr(run, "cross_validate", lambda *_: lost)
    monkeypatch.setattr(run, "publish_net", lambda *_: tmp_path / "1")
    strict, mild = (
        Run(models=tmp_path / "models", folder=tmp_path / "run", terms=Terms(max_drop=most)) for most in (1.9, 2.0)
    )
    refusal = r"1x vnni, in the cross-validation: loses 2\.00 points \[1\.50, 2\.50\], allowed are 1\.9$"
    with pytest.raises(NoCandidate, match=refusal):
        run_recipe(quick, strict)
    assert run_recipe(quick, mild) == tmp_path / "1"
