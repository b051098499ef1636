"""A whole run, from the data to a published version."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import training.measure.cross_validation
import training.run
from app.contract.manifest import Manifest, digest
from tests.training.conftest import nothing
from training.course import Course, RowFeed
from training.data.dataset import Dataset, Split
from training.errors import FoldRefused
from training.measure.answers import graph_answers, open_graph
from training.recipes.recipe import Recipe
from training.run import run
from training.trainer import train


def run_folder(version: Path) -> Path:
    (folder,) = (version.parents[2] / "runs" / "digits").iterdir()
    return folder


def test_the_version_is_whole_and_describes_itself(published: Path, split: Split, quick: Recipe) -> None:
    manifest = Manifest.read(published)
    manifest.verify(published)
    assert {entry.name for entry in published.iterdir()} == {"manifest.json", "model.onnx", "golden.npz"}
    assert (manifest.name, manifest.version, published.name) == ("digits", 1, "1")
    assert manifest.compression.fused == {"BatchNormalization": 3}
    right = quick.correct(graph_answers(open_graph(published / "model.onnx"), split.test.inputs), split.test.targets)
    assert manifest.metrics["test_accuracy"].value == right.mean()
    assert all(metric.ci95 is not None for metric in manifest.metrics.values())


def test_the_chain_leads_from_the_data_to_the_graph(published: Path, split: Split) -> None:
    manifest, folder = Manifest.read(published), run_folder(published)
    assert {link.step: link.sha256 for link in manifest.lineage.chain} == {
        "data": split.sha256,
        "checkpoint": digest(folder / "checkpoint.safetensors").sha256,
        "fused": digest(folder / "fused.safetensors").sha256,
        "onnx": manifest.files["model.onnx"].sha256,
    }


def test_the_golden_sample_passes_on_the_runtime(published: Path) -> None:
    manifest = Manifest.read(published)
    with np.load(published / manifest.golden) as golden:
        got = graph_answers(open_graph(published / "model.onnx"), golden["inputs/image"])
        tolerance = manifest.variants[0].tolerance
        np.testing.assert_allclose(got, golden["outputs/logits"], rtol=tolerance.rtol, atol=tolerance.atol)


def test_nothing_in_the_manifest_names_a_path(published: Path) -> None:
    text = (published / "manifest.json").read_text(encoding="utf-8")
    assert str(published.parents[2]) not in text
    assert "/" not in Manifest.read(published).lineage.command


def test_a_second_run_gives_the_same_files(published: Path, quick: Recipe, tmp_path: Path) -> None:
    epochs: list[int] = []
    again = run(quick, tmp_path / "models", tmp_path / "runs", lambda: epochs.append(1))
    first, second = Manifest.read(published), Manifest.read(again)
    assert second.files == first.files
    assert second.lineage == first.lineage
    assert second.metrics == first.metrics
    assert len(epochs) == quick.epochs_in_all


def test_no_test_row_is_learnt_from(
    quick: Recipe, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt_from: list[Dataset] = []

    def spied(net: nn.Module, feed: RowFeed, course: Course, on_epoch: Callable[[], None]) -> nn.Module:
        learnt_from.append(feed.rows)
        return train(net, feed, course, on_epoch)

    for module in (training.run, training.measure.cross_validation):
        monkeypatch.setattr(module, "train", spied)
    run(replace(quick, epochs=1), tmp_path / "models", tmp_path / "runs", nothing)
    test = {row.tobytes() for row in split.test.inputs}
    assert [len(rows) for rows in learnt_from] == [1257, 718, 719]
    assert not any(row.tobytes() in test for rows in learnt_from for row in rows.inputs)


def test_a_gate_that_is_not_passed_publishes_nothing(quick: Recipe, tmp_path: Path) -> None:
    class NormFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)
            self.dense = nn.Linear(64, 10)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.dense(self.norm(image.unsqueeze(1)).flatten(1))
            return logits

    with pytest.raises(FoldRefused):
        run(replace(quick, net=NormFirst, epochs=1), tmp_path / "models", tmp_path / "runs", nothing)
    assert not (tmp_path / "models").exists()
