"""Checkpoints: what is written can be read into the recipe's net, and is the same to the byte."""

import json
from pathlib import Path

import torch
from torch import nn

from app.contract.manifest import digest
from training import checkpoint
from training.recipes.digits import DIGITS


def test_it_reads_back_into_the_net(net: nn.Module, tmp_path: Path) -> None:
    checkpoint.save(net, DIGITS.config, tmp_path)
    again = checkpoint.load(DIGITS.net(), tmp_path)
    assert not again.training
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in net.state_dict().items())
    assert json.loads((tmp_path / "checkpoint.json").read_text(encoding="utf-8"))["config"] == DIGITS.config


def test_the_same_weights_are_the_same_bytes(net: nn.Module, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        checkpoint.save(net, DIGITS.config, tmp_path / name)
    first, second = (tmp_path / name / "checkpoint.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert checkpoint.sha256(net) == digest(first).sha256
