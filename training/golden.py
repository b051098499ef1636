"""golden.npz: a few rows and their right answers, by which a server proves itself before it serves."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.tensors import InputSpec, OutputSpec

FILENAME = "golden.npz"


def write(
    inputs: NDArray[Any], answers: NDArray[np.float32], input: InputSpec, output: OutputSpec, folder: Path
) -> None:
    """Writes rows and the right answers to them, as "inputs/<name>" and "outputs/<name>".

    The answers are those of the network as it came, before it is folded: made by the runtime that serves they would
    hold its faults, and made after the fold those of the fold. The file is the same to the byte each time, for NumPy
    stamps it with a fixed date.
    """
    arrays = {f"inputs/{input.name}": inputs, f"outputs/{output.name}": answers}
    np.savez(folder / FILENAME, allow_pickle=False, **arrays)
