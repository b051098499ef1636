"""The SMS recipe: its rows where they are on this machine, and a net that padding leaves alone."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch.export import Dim

from training import recipes, trainer
from training.compress.evaluating import net_answers
from training.compress.fuse import fuse
from training.compress.groups import cut
from training.compress.heads import head_groups
from training.compress.importance import taylor
from training.compress.prune import least_important
from training.data.dataset import Dataset, Split
from training.data.source import FOLDER
from training.data.text import read_texts
from training.recipes.sms import CLASSES, FILE, LENGTH, SMS, SmsNet, load, vary
from training.trainer import train

AVAILABLE = (Path(os.environ.get(FOLDER, "")) / FILE).is_file()
LENGTHS = (1, 2, 3, 4, 5, 8, 31, 160, 161, 512)


@pytest.fixture(scope="module")
def split() -> Split:
    if not AVAILABLE:
        pytest.skip(f"{FOLDER} names no folder with {FILE}")
    return load()


@pytest.fixture(scope="module")
def net() -> SmsNet:
    """A small net of the same build, in eval mode; one layer, as the exporter takes its time for each."""
    torch.manual_seed(3)
    return SmsNet(width=16, heads=4, layers=1).eval()


@pytest.fixture(scope="module")
def graph(net: SmsNet, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    path = tmp_path_factory.mktemp("sms") / "model.onnx"
    example, free = torch.zeros(2, 32, dtype=torch.uint8), ({0: Dim("batch"), 1: Dim("length")},)
    names = {"input_names": ["text"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter uses what PyTorch has deprecated
        torch.onnx.export(
            net, (example,), path, dynamic_shapes=free, dynamo=True, opset_version=20, verbose=False, **names
        )
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def some_texts(rows: int, length: int) -> NDArray[np.uint8]:
    """Made-up texts; every other one is half as long."""
    texts = np.random.default_rng(length).integers(1, 256, (rows, length)).astype(np.uint8)
    texts[1::2, (length + 1) // 2 :] = 0
    return texts


def answers(graph: ort.InferenceSession, texts: NDArray[np.uint8]) -> NDArray[np.float32]:
    (found,) = graph.run(None, {"text": texts})
    return np.asarray(found)


def test_it_goes_by_its_name() -> None:
    assert recipes.find("sms") is SMS


def test_the_parts_share_no_text(split: Split) -> None:
    parts = [{row.tobytes() for row in part.inputs} for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts] == [3617, 517, 1034]
    assert len(set.union(*parts)) == 3617 + 517 + 1034


def test_spam_has_its_share_in_every_part(split: Split) -> None:
    for part in (split.train, split.validation, split.test):
        assert part.targets.mean() == pytest.approx(0.126, abs=0.002)


def test_the_file_holds_what_its_readme_says(split: Split) -> None:
    rows = read_texts(Path(os.environ[FOLDER]) / FILE, CLASSES, LENGTH)
    assert (len(rows), int(rows.targets.sum())) == (5574, 747)
    assert SMS.input.matches(split.test.inputs.shape)
    assert split.test.inputs.dtype == SMS.input.datatype.numpy


def test_texts_lose_their_first_bytes_and_some_of_the_rest() -> None:
    texts = torch.arange(1, 61).to(torch.uint8).repeat(500, 1)
    texts[:, 40:] = 0
    varied = vary(texts, torch.Generator().manual_seed(1))
    assert (varied.shape, varied.dtype) == (texts.shape, torch.uint8)
    ends = (varied != 0).sum(1)
    assert set(ends.tolist()) == set(range(33, 41))
    for row, end in zip(varied, ends.tolist(), strict=True):
        kept = row[:end] != ord(" ")
        assert torch.equal(row[:end][kept], texts[0, 40 - end : 40][kept])
        assert not row[end:].any()
    blanks = (varied == ord(" ")).sum() / ends.sum()
    assert 0.9 / 30 < blanks < 1 / 30 + 1 / 33  # one byte of the text is a blank of its own


def test_the_net_answers_in_the_declared_shape(net: SmsNet) -> None:
    logits = net(torch.from_numpy(some_texts(3, 9)))
    assert SMS.output.matches(tuple(logits.shape))
    assert logits.dtype == torch.float32


def test_the_graph_answers_as_the_net_at_every_length(net: SmsNet, graph: ort.InferenceSession) -> None:
    for length in LENGTHS:
        texts = some_texts(8, length)
        expected = net_answers(net, texts)
        for rows in (1, 2, 3, 8):
            np.testing.assert_allclose(answers(graph, texts[:rows]), expected[:rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize("more", [1, 2, 3, 4, 97])
def test_padding_changes_no_answer(net: SmsNet, graph: ort.InferenceSession, more: int) -> None:
    for length in LENGTHS:
        texts = some_texts(2, length)
        padded = np.pad(texts, ((0, 0), (0, more)))
        np.testing.assert_allclose(net_answers(net, padded), net_answers(net, texts), rtol=0, atol=1e-5)
        np.testing.assert_allclose(answers(graph, padded), answers(graph, texts), rtol=0, atol=1e-5)


def test_an_empty_text_has_an_answer(net: SmsNet, graph: ort.InferenceSession) -> None:
    empty = np.zeros((2, 6), np.uint8)
    assert np.isfinite(answers(graph, empty)).all()
    np.testing.assert_allclose(answers(graph, empty), net_answers(net, empty), rtol=0, atol=1e-5)


def test_the_order_of_words_matters(net: SmsNet) -> None:
    text = some_texts(1, 40)
    turned = np.concatenate((text[:, 20:], text[:, :20]), axis=1)
    assert np.abs(net_answers(net, text) - net_answers(net, turned)).max() > 1e-3


def test_there_is_nothing_to_fuse_and_that_is_fine(net: SmsNet) -> None:
    assert fuse(net, some_texts(4, 20)).batch_norms == 0


def test_it_learns_and_loses_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up texts that are told apart by one byte: a sharp drop of the loss shows that slopes reach every part."""
    monkeypatch.setattr(trainer, "THREADS", 1)  # a net this small only waits for a second one
    texts = some_texts(96, 24) % 64 + 33
    targets = np.arange(96, dtype=np.int64) % 2
    texts[targets == 1, 5:9] = ord("!")
    quick = replace(SMS, net=lambda: SmsNet(width=16, heads=4, layers=2), epochs=12, batch_rows=16)
    rows = Dataset(texts, targets)
    net = train(quick.new_net(1), quick.feed(rows), quick.course(1), lambda: None)
    assert quick.correct(net_answers(net, rows.inputs), rows.targets).mean() > 0.9
    groups = head_groups(net)
    assert [group.name for group in groups] == ["blocks.0.attention.q", "blocks.1.attention.q"]
    scores = taylor(net, groups, rows, quick.course(1).loss, 0)
    smaller = cut(net, groups, least_important(groups, scores, {group.name: 2 for group in groups}))
    assert sum(weight.numel() for weight in smaller.parameters()) < sum(weight.numel() for weight in net.parameters())
    assert net_answers(smaller, rows.inputs).shape == (96, 2)
