"""One run of a recipe, from its data to a published version."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from app.contract.manifest import Compression, Manifest, Metric, Variant, digest
from training import checkpoint, golden
from training.compress.export import FILENAME as GRAPH
from training.compress.export import export
from training.compress.fuse import Fused, fuse
from training.data.dataset import Split
from training.lineage import lineage
from training.measure.accuracy import proportion
from training.measure.answers import graph_answers, open_graph
from training.measure.cross_validation import cross_validate
from training.measure.parity import require_parity
from training.publish import publish
from training.recipes.recipe import Recipe
from training.trainer import train

CHECKPOINT = "checkpoint.safetensors"
FUSED = "fused.safetensors"


def run(recipe: Recipe, models: Path, runs: Path, on_epoch: Callable[[], None]) -> Path:
    """Trains, cross-validates, fuses, exports, verifies and publishes; returns the version's folder.

    What leads to the version stays in runs/<recipe>/<time>/. `on_epoch` is called `recipe.epochs_in_all` times.
    Raises a TrainingError where a gate is not passed; nothing is published then.
    """
    folder = new_folder(runs / recipe.name)
    split = recipe.load()

    seed = recipe.seeds.training
    net = train(recipe.new_net(seed), recipe.feed(split.train), recipe.course(seed), on_epoch)
    checkpoint.save(net, recipe.config, folder / CHECKPOINT)
    golden.write(net, split.test, recipe.input, recipe.output, folder)

    fused = fuse(net, split.validation.inputs)
    checkpoint.save(fused.net, recipe.config, folder / FUSED)

    graph = open_graph(export(fused.net, recipe.input, recipe.output, folder))
    require_parity(net, graph, split.test.inputs)

    metrics = {
        "test_accuracy": proportion(recipe.correct(graph_answers(graph, split.test.inputs), split.test.targets)),
        "cv_accuracy": cross_validate(recipe, split.development, on_epoch),
    }
    return publish(describe(recipe, split, fused, metrics, folder), folder, models)


def new_folder(runs: Path) -> Path:
    """A new folder named by the time."""
    folder = runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder.mkdir(parents=True)
    return folder


def describe(recipe: Recipe, split: Split, fused: Fused, metrics: dict[str, Metric], folder: Path) -> Manifest:
    """The manifest of what lies in a run's folder. Its version is 1 until it is published."""
    steps = {
        "data": split.sha256,
        "checkpoint": digest(folder / CHECKPOINT).sha256,
        "fused": digest(folder / FUSED).sha256,
        "onnx": digest(folder / GRAPH).sha256,
    }
    return Manifest(
        name=recipe.name,
        version=1,
        task=recipe.task,
        description=recipe.description,
        created=datetime.now(UTC),
        files={name: digest(folder / name) for name in (GRAPH, golden.FILENAME)},
        inputs=(recipe.input,),
        outputs=(recipe.output,),
        variants=(Variant(file=GRAPH, precision="fp32", tolerance=recipe.tolerance, batchable=True),),
        golden=golden.FILENAME,
        metrics=metrics,
        compression=Compression(fused={"BatchNormalization": fused.batch_norms}),
        lineage=lineage(recipe, steps),
    )
