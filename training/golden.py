"""golden.npz: a few real rows and their right answers, by which a server proves itself before it serves."""

from pathlib import Path

import numpy as np
from torch import nn

from app.contract.tensors import InputSpec, OutputSpec
from training.data.dataset import Dataset
from training.measure.answers import net_answers

FILENAME = "golden.npz"
ROWS = 16


def write(net: nn.Module, rows: Dataset, input: InputSpec, output: OutputSpec, folder: Path) -> None:
    """Writes the first 16 rows and the net's answers, as "inputs/<name>" and "outputs/<name>".

    The answers are PyTorch's, of the net as trained: made by the runtime they would hold its faults, and made after
    the fold those of the fold. The file is the same to the byte each time, for NumPy stamps it with a fixed date.
    """
    inputs = rows.inputs[:ROWS]
    arrays = {f"inputs/{input.name}": inputs, f"outputs/{output.name}": net_answers(net, inputs)}
    np.savez(folder / FILENAME, allow_pickle=False, **arrays)
