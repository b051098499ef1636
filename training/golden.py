"""golden.npz: a few rows and their right answers, by which a server proves itself before it serves."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.contract.tensors import InputSpec, OutputSpec
from training.measure.answers import net_answers

FILENAME = "golden.npz"


def write(net: nn.Module, inputs: NDArray[Any], input: InputSpec, output: OutputSpec, folder: Path) -> None:
    """Writes the rows and the net's answers to them, as "inputs/<name>" and "outputs/<name>".

    The answers are PyTorch's, of the net before it is folded: made by the runtime they would hold its faults, and made
    after the fold those of the fold. The file is the same to the byte each time, for NumPy stamps it with a fixed date.
    """
    write_answers(inputs, net_answers(net, inputs), input, output, folder)


def write_answers(
    inputs: NDArray[Any], answers: NDArray[np.float32], input: InputSpec, output: OutputSpec, folder: Path
) -> None:
    """As `write`, with answers that are there already."""
    arrays = {f"inputs/{input.name}": inputs, f"outputs/{output.name}": answers}
    np.savez(folder / FILENAME, allow_pickle=False, **arrays)
