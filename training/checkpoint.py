"""A net's weights on disk: safetensors beside JSON, nothing that runs code when it is read."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def save(net: nn.Module, config: dict[str, Any], path: Path) -> None:
    """Writes the weights and buffers to `path` (.safetensors) and what they were made with to its .json neighbour."""
    # The config does not go into the file's own header: that one is a hash map, and its order changes the digest.
    save_file(net.state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
