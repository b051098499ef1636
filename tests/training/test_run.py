"""A whole run, from the data to a published version."""

from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contract.manifest import Manifest, digest
from tests.training.conftest import a_run
from training import checkpoint
from training.data.dataset import Split
from training.errors import ExportRefused, Interrupted, NoCandidate, RebuildDiffers
from training.measure.answers import graph_answers, open_graph
from training.pareto import Terms
from training.ranks import Ranks
from training.rebuild import rebuild
from training.recipes.recipe import Recipe
from training.report import Report
from training.run import Run, run_recipe, whole_command
from training.steps import Step

FILES = {"manifest.json", "model.onnx", "golden.npz", "checkpoint.safetensors", "checkpoint.json"}
INTEGERS = {"model.int8.onnx", "ranges.json"}
REPORT = {"report.html", "report.json"}


def run_folder(version: Path) -> Path:
    (folder,) = (version.parents[2] / "runs" / "digits").iterdir()
    return folder


def test_the_version_is_whole_and_describes_itself(published: Path, split: Split, quick: Recipe) -> None:
    manifest = Manifest.read(published)
    manifest.verify(published)
    assert {entry.name for entry in published.iterdir()} - INTEGERS == FILES | REPORT
    assert (manifest.name, manifest.version, published.name) == ("digits", 1, "1")
    assert manifest.compression.fused == {"BatchNormalization": 3}
    chosen = manifest.variants[0].file
    right = quick.correct(graph_answers(open_graph(published / chosen), split.test.inputs), split.test.targets)
    assert manifest.metrics["test_accuracy"].value == right.mean()
    assert all(metric.ci95 is not None for metric in manifest.metrics.values())
    assert {"test_accuracy", "cv_accuracy", "cv_drop"} <= manifest.metrics.keys()
    is_cut = not Report.read(published).chosen.name.startswith("1x")  # type: ignore[union-attr]
    assert ("cv_scratch_drop" in manifest.metrics) == is_cut
    assert ("ranges.json" in manifest.files) == (manifest.variants[0].precision != "fp32")
    assert {"batch_1", "batch_8", "torch_eager_batch_1"} == manifest.compression.speedup.keys()
    assert manifest.variants[-1].file == "model.onnx"


def test_the_command_says_how_many_ranks_learnt(tmp_path: Path) -> None:
    """A net with a BatchNorm is not the same on another number of them."""
    run, command = a_run(tmp_path), "bonsai-train run digits --epochs 12"
    assert whole_command(command, run) == f"{command} --max-drop 50"
    among = replace(run, ranks=Ranks(0, 2))
    assert whole_command(command, among) == (
        "torchrun --nproc-per-node 2 -m training.cli run digits --epochs 12 --max-drop 50"
    )


def test_the_chain_leads_from_the_data_to_the_graph(published: Path) -> None:
    manifest = Manifest.read(published)
    chain = {link.step: link.sha256 for link in manifest.lineage.chain}
    assert list(chain)[:4] == ["data", "trained", "lossless", "pruned"]
    assert chain["pruned"] == manifest.files["checkpoint.safetensors"].sha256
    assert chain["fp32"] == manifest.files["model.onnx"].sha256


def test_every_variant_passes_the_golden_sample_on_the_runtime(published: Path) -> None:
    manifest = Manifest.read(published)
    with np.load(published / manifest.golden) as golden:
        for variant in manifest.variants:
            got = graph_answers(open_graph(published / variant.file), golden["inputs/image"])
            np.testing.assert_allclose(
                got, golden["outputs/logits"], rtol=variant.tolerance.rtol, atol=variant.tolerance.atol
            )


def test_nothing_that_is_published_names_a_path_of_the_machine(published: Path) -> None:
    roots = [str(published.parents[2]), str(Path(torch.__file__).parents[1]), "/site-packages/"]
    for path in published.iterdir():
        content = path.read_bytes()
        assert not [root for root in roots if root.encode() in content], path.name
    assert "/" not in Manifest.read(published).lineage.command


def test_the_report_holds_every_candidate_and_both_baselines(published: Path) -> None:
    report = Report.read(published)
    roles = [entry.role for entry in report.entries]
    assert roles[0] == "original"
    names = {entry.name: entry for entry in report.entries}
    assert {"1x fp32", "2x fp32"} <= names.keys()
    assert sum(entry.chosen for entry in report.entries) == 1
    if not report.chosen.name.startswith("1x"):  # type: ignore[union-attr]
        assert roles[-2:] == ["baseline", "baseline"]
    assert all(len(entry.timings) == 2 for entry in report.entries)
    widths = {layer.name: (layer.units, layer.after_lossless, layer.after_pruning) for layer in report.layers}
    assert set(widths) == {"features.0", "features.3", "features.7", "classifier.0"}
    assert all(before >= clean >= after > 0 for before, clean, after in widths.values())
    assert (published / "report.html").read_text(encoding="utf-8").count("<svg") >= 5


def test_a_version_is_rebuilt_from_its_checkpoint(published: Path, quick: Recipe, split: Split, tmp_path: Path) -> None:
    subject = quick.subject(split, quick.seeds.training)
    found = rebuild(published, subject)
    manifest = Manifest.read(published)
    assert found == {variant.file: manifest.files[variant.file].sha256 for variant in manifest.variants}

    other = tmp_path / "1"
    other.mkdir()
    for path in published.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    net = checkpoint.load(subject.net, other)
    next(net.parameters()).data[0] += 1.0
    checkpoint.save(net, {}, other)
    files = manifest.files | {name: digest(other / name) for name in ("checkpoint.safetensors", "checkpoint.json")}
    manifest.model_copy(update={"files": files}).write(other)
    with pytest.raises(RebuildDiffers, match="it was published with bonsai"):
        rebuild(other, subject)


def test_a_finished_run_is_not_done_again(published: Path, quick: Recipe) -> None:
    steps: list[Step] = []
    root = published.parents[2]
    again = Run(models=root / "again", folder=run_folder(published), terms=Terms(max_drop=50.0), on_step=steps.append)
    folder = run_recipe(quick, again)
    assert folder is not None
    assert steps == []
    first, second = Manifest.read(published), Manifest.read(folder)
    names = FILES - {"manifest.json"}
    assert {name: second.files[name] for name in names} == {name: first.files[name] for name in names}
    assert second.metrics == first.metrics


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_and_ends_at_the_same_net(quick: Recipe, tmp_path: Path, published: Path) -> None:
    stop, epochs = Event(), 0
    steps: list[str] = []

    def after_the_third_epoch() -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 3:  # the first of the recovery
            stop.set()

    plan = replace(quick.plan, recovery_epochs=2, presets=())
    recipe = replace(quick, plan=plan, folds=None)
    run = replace(a_run(tmp_path), on_epoch=after_the_third_epoch, stop=stop)
    with pytest.raises(Interrupted):
        run_recipe(recipe, run)
    assert not (tmp_path / "models").exists()

    resumed = replace(a_run(tmp_path), folder=run.folder, on_step=lambda step: steps.append(step.name))
    folder = run_recipe(recipe, resumed)
    straight = run_recipe(recipe, replace(a_run(tmp_path), folder=tmp_path / "straight"))
    assert folder is not None
    assert straight is not None
    assert steps[0] == "recovered"
    checkpoints = {Manifest.read(version).files["checkpoint.safetensors"].sha256 for version in (folder, straight)}
    assert len(checkpoints) == 1 or "1x" in Report.read(folder).chosen.name  # type: ignore[union-attr]


@pytest.mark.slow
def test_no_test_row_is_learnt_from(quick: Recipe, split: Split, tmp_path: Path) -> None:
    test = {row.tobytes() for row in split.test.inputs}
    learnt: set[bytes] = set()

    def spied(images: Tensor, generator: torch.Generator) -> Tensor:
        learnt.update(row.numpy().tobytes() for row in images)
        return images

    plan = replace(quick.plan, presets=())
    run_recipe(replace(quick, augment=spied, epochs=1, plan=plan), a_run(tmp_path))
    assert len(learnt) == len(split.train) + len(split.validation)
    assert not learnt & test


def test_a_gate_that_is_not_passed_publishes_nothing(quick: Recipe, tmp_path: Path) -> None:
    eleven = quick.output.model_copy(update={"shape": (-1, 11), "labels": None})
    with pytest.raises(ExportRefused, match="logits: expected"):
        run_recipe(replace(quick, output=eleven, epochs=1), a_run(tmp_path))
    assert not (tmp_path / "models").exists()


def test_terms_that_nothing_meets_publish_nothing(quick: Recipe, tmp_path: Path, published: Path) -> None:
    terms = Terms(max_drop=50.0, max_ms=1e-6)
    run = Run(models=tmp_path / "models", folder=run_folder(published), terms=terms)
    with pytest.raises(NoCandidate, match="1x fp32: p99 of batch 8 is"):
        run_recipe(quick, run)
    assert not (tmp_path / "models").exists()
