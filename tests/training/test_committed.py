"""The digits model that the repository ships: its files, and the figures that it claims."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from app.contract.manifest import Manifest
from tests.training.rebuilding import require_published_packages, require_rebuilt_to_the_byte
from training.data.dataset import Split
from training.measure.accuracy import proportion
from training.measure.answers import graph_answers, open_graph
from training.measure.drop import drop
from training.recipes.digits import DIGITS
from training.report import Report

DIGITS_FOLDER = Path(__file__).parent.parent.parent / "models" / "digits"
FOLDER = DIGITS_FOLDER / "1"
COMPILED = DIGITS_FOLDER / "2"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Manifest.read(FOLDER)


def test_every_file_is_the_one_that_was_published(manifest: Manifest) -> None:
    manifest.verify(FOLDER)
    assert (manifest.name, manifest.version) == ("digits", 1)
    assert {entry.name for entry in FOLDER.iterdir()} == {"manifest.json", *manifest.files}


def test_it_was_trained_by_the_recipe_as_it_is_now(manifest: Manifest, split: Split) -> None:
    assert manifest.lineage.chain[0].sha256 == split.sha256
    assert manifest.inputs == (DIGITS.input,)
    assert manifest.outputs == (DIGITS.output,)
    assert manifest.lineage.seeds == asdict(DIGITS.seeds)


def test_its_accuracy_is_the_published_one(manifest: Manifest, split: Split) -> None:
    answers = graph_answers(open_graph(FOLDER / "model.onnx"), split.test.inputs)
    assert manifest.metrics["test_accuracy"] == proportion(DIGITS.correct(answers, split.test.targets))
    assert manifest.metrics["test_accuracy"].value >= 0.98
    assert manifest.metrics["cv_accuracy"].value >= 0.985


def test_its_golden_rows_are_test_rows_and_pass(manifest: Manifest, split: Split) -> None:
    with np.load(FOLDER / manifest.golden) as golden:
        assert np.array_equal(golden["inputs/image"], split.test.inputs[:16])
        got = graph_answers(open_graph(FOLDER / "model.onnx"), golden["inputs/image"])
        np.testing.assert_allclose(got, golden["outputs/logits"], rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def compiled() -> Manifest:
    return Manifest.read(COMPILED)


def test_the_compiled_version_comes_from_the_net_of_the_first(compiled: Manifest, manifest: Manifest) -> None:
    compiled.verify(COMPILED)
    assert {entry.name for entry in COMPILED.iterdir()} == {"manifest.json", *compiled.files}
    steps = [{link.step: link.sha256 for link in one.lineage.chain} for one in (manifest, compiled)]
    assert steps[1]["trained"] == steps[0]["checkpoint"]
    assert (compiled.lineage.command, compiled.lineage.seeds) == (DIGITS.command, asdict(DIGITS.seeds))


def test_the_compiled_version_is_rebuilt_to_the_byte(compiled: Manifest, split: Split) -> None:
    require_published_packages(compiled)
    require_rebuilt_to_the_byte(COMPILED, compiled, DIGITS.subject(split, DIGITS.seeds.training))


def test_the_figures_of_the_compiled_version_are_the_published_ones(compiled: Manifest, split: Split) -> None:
    rows = split.test
    answers = [graph_answers(open_graph(folder / "model.onnx"), rows.inputs) for folder in (FOLDER, COMPILED)]
    right = [DIGITS.correct(found, rows.targets) for found in answers]
    assert compiled.metrics["test_accuracy"].value == right[1].mean()
    assert compiled.metrics["test_accuracy"].baseline == right[0].mean()
    assert compiled.compression.drop == drop(*right)
    assert compiled.metrics["cv_drop"].value <= 0.5
    assert compiled.compression.speedup["batch_8"].value >= 3
    report = Report.read(COMPILED)
    assert [entry.name for entry in report.entries if entry.role == "baseline"] == [
        "random units fp32",
        "from scratch fp32",
    ]
