"""The digits model that the repository ships: its files, and the figures that it claims."""

from pathlib import Path

import numpy as np
import pytest

from app.contract.manifest import Manifest
from training.data.dataset import Split
from training.measure.accuracy import proportion
from training.measure.answers import graph_answers, open_graph
from training.recipes.digits import DIGITS

FOLDER = Path(__file__).parent.parent.parent / "models" / "digits" / "1"


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
    assert manifest.lineage.command == (
        f"bonsai-train run digits --epochs {DIGITS.epochs} --folds {DIGITS.folds} --repeats {DIGITS.repeats}"
    )


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
