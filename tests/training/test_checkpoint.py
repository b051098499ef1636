"""Checkpoints: what is written can be read into the recipe's net, and is the same to the byte."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from training import checkpoint
from training.recipes.digits import DIGITS


def test_it_reads_back_into_the_net(net: nn.Module, tmp_path: Path) -> None:
    checkpoint.save(net, DIGITS.config, tmp_path / "net.safetensors")
    again = DIGITS.net()
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in net.state_dict().items())
    assert json.loads((tmp_path / "net.json").read_text(encoding="utf-8")) == DIGITS.config


def test_the_same_weights_are_the_same_bytes(net: nn.Module, tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoint.save(net, DIGITS.config, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
