"""A net on disk: its weights as safetensors, its layers' widths as JSON, nothing that runs code when it is read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from training.compress.widths import resize, widths

FILENAME = "checkpoint.safetensors"
DESCRIPTION = "checkpoint.json"


def save(net: nn.Module, config: Mapping[str, Any], folder: Path) -> None:
    """Writes the weights and buffers, and beside them the widths and what the net was made with."""
    safetensors.save_file(_weights(net), folder / FILENAME)
    # Not in the weights' own header: that one is a hash map, and its order changes the digest.
    description = {"widths": widths(net), "config": dict(config)}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(like: nn.Module, folder: Path) -> nn.Module:
    """The net that was saved, in eval mode; `like` is a net of its class, as it was before anything was cut."""
    net = resized(like, folder)
    net.load_state_dict(safetensors.load_file(folder / FILENAME))
    return net.eval()


def resized(net: nn.Module, folder: Path) -> nn.Module:
    """A copy of the net with the widths of the one that was saved, and of its own weights those that fit in."""
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return resize(net, description["widths"])


def sha256(net: nn.Module) -> str:
    """Digest of the file that `save` would write the weights to."""
    return hashlib.sha256(safetensors.save(_weights(net))).hexdigest()


def _weights(net: nn.Module) -> dict[str, Tensor]:
    # A weight that several layers share stands there once for each, as in the net's state.
    return {name: weight.clone(memory_format=torch.contiguous_format) for name, weight in net.state_dict().items()}
