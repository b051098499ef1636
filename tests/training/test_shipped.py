"""The versions that the repository ships of recipes whose data it does not: their files, and the figures they claim."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from app.contract.manifest import Manifest
from tests.training.rebuilding import require_published_packages, require_rebuilt_to_the_byte
from training import recipes
from training.data.dataset import Split
from training.errors import DataMissing
from training.measure.accuracy import proportion
from training.measure.answers import graph_answers, open_graph
from training.measure.host import missing
from training.recipes.recipe import Recipe
from training.report import Report

MODELS = Path(__file__).parent.parent.parent / "models"


@dataclass(frozen=True)
class Bars:
    """What a version has to reach: test accuracy of its original, points lost, times as fast at some batch size."""

    original: float
    drop: float
    speedups: dict[str, float]
    options: str = ""
    """What its command said beyond the drop."""


BARS = {
    "cifar10": Bars(0.9, 1.0, {"batch_1": 6.0, "batch_8": 6.0, "torch_eager_batch_1": 12.0}, " --amp bf16"),
    "sms": Bars(0.97, 0.5, {"batch_1": 1.8, "batch_8": 1.8}),
}


@dataclass(frozen=True, eq=False)
class Shipped:
    recipe: Recipe
    folder: Path
    manifest: Manifest


@pytest.fixture(scope="module", params=BARS)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    folder = MODELS / request.param / "1"
    return Shipped(recipes.find(request.param), folder, Manifest.read(folder))


def test_every_file_is_the_one_that_was_published(shipped: Shipped) -> None:
    shipped.manifest.verify(shipped.folder)
    assert {entry.name for entry in shipped.folder.iterdir()} == {"manifest.json", *shipped.manifest.files}


def test_it_was_trained_by_the_recipe_as_it_is_now(shipped: Shipped) -> None:
    manifest, recipe = shipped.manifest, shipped.recipe
    assert (manifest.name, manifest.inputs, manifest.outputs) == (recipe.name, (recipe.input,), (recipe.output,))
    bars = BARS[recipe.name]
    command = f"{recipe.command} --max-drop {bars.drop:g}{bars.options}"
    assert (manifest.lineage.command, manifest.lineage.seeds) == (command, asdict(recipe.seeds))


def test_its_golden_rows_pass(shipped: Shipped) -> None:
    recipe = shipped.recipe
    here = [variant for variant in shipped.manifest.variants if not missing(variant.requires)]
    assert here[-1].file == "model.onnx"
    for variant in here:
        with np.load(shipped.folder / shipped.manifest.golden) as golden:
            got = graph_answers(open_graph(shipped.folder / variant.file), golden[f"inputs/{recipe.input.name}"])
            expected = golden[f"outputs/{recipe.output.name}"]
            np.testing.assert_allclose(got, expected, rtol=variant.tolerance.rtol, atol=variant.tolerance.atol)


def test_it_claims_what_was_asked_of_it_with_the_baselines_beside_it(shipped: Shipped) -> None:
    claimed, bars = shipped.manifest.compression, BARS[shipped.recipe.name]
    accuracy = shipped.manifest.metrics["test_accuracy"]
    assert accuracy.baseline is not None and accuracy.baseline >= bars.original
    assert claimed.drop is not None and claimed.drop.ci95 is not None and claimed.drop.value <= bars.drop
    assert {name: claimed.speedup[name].value >= least for name, least in bars.speedups.items()} == dict.fromkeys(
        bars.speedups, True
    )
    entries = Report.read(shipped.folder).entries
    assert [entry.name for entry in entries if entry.role == "baseline"] == ["random units fp32", "from scratch fp32"]


def rows(recipe: Recipe) -> Split:
    try:
        return recipe.load()
    except DataMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
def test_its_accuracy_is_the_published_one(shipped: Shipped) -> None:
    recipe, test = shipped.recipe, rows(shipped.recipe).test
    published = shipped.manifest.variants[0]
    if flags := missing(published.requires):
        pytest.skip(f"{published.file} is for CPUs with {', '.join(flags)}")
    answers = graph_answers(open_graph(shipped.folder / published.file), test.inputs)
    # On another CPU than that of the figure a row between two classes may be rounded to the other one.
    on_the_edge = 2 / len(test)
    accuracy = proportion(recipe.correct(answers, test.targets)).value
    assert accuracy == pytest.approx(shipped.manifest.metrics["test_accuracy"].value, abs=on_the_edge)


@pytest.mark.slow
def test_its_graphs_are_rebuilt_to_the_byte(shipped: Shipped) -> None:
    require_published_packages(shipped.manifest)
    subject = shipped.recipe.subject(rows(shipped.recipe), shipped.recipe.seeds.training)
    require_rebuilt_to_the_byte(shipped.folder, shipped.manifest, subject)
