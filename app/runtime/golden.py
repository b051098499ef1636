"""The golden sample: rows with the answers that the model gave when it was published."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.contract.manifest import Tolerance
from app.contract.tensors import Signature
from app.errors import LoadFailed
from app.protocol.messages import Array, Tensors
from app.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs and the outputs that belong to them, by name."""

    inputs: Tensors
    outputs: Tensors

    @classmethod
    def read(cls, path: Path, signature: Signature) -> "Golden":
        """golden.npz: an array `inputs/<name>` for every input and `outputs/<name>` for every output.

        Raises LoadFailed where it cannot be read or an array is missing.
        """
        try:
            # Opened here, because np.load leaves its file open where the content is broken.
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                golden = cls(
                    inputs={spec.name: _read(archive, f"inputs/{spec.name}") for spec in signature.inputs},
                    outputs={spec.name: _read(archive, f"outputs/{spec.name}") for spec in signature.outputs},
                )
        except OSError as error:
            raise LoadFailed(f"{path.name}: expected the golden sample, got: {error.strerror}") from None
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise LoadFailed(f"{path.name}: expected the golden sample, got: {error}") from None
        if not all(array.size for array in golden.outputs.values()):
            raise LoadFailed(f"{path.name}: expected the golden sample, got: no rows")
        return golden

    def replay(self, session: Session, tolerance: Tolerance) -> None:
        """Runs the sample. Raises LoadFailed where an answer lies outside the tolerance on this host."""
        answers = session.run(self.inputs)
        for name, expected in self.outputs.items():
            if not _close(answers[name], expected, tolerance):
                raise LoadFailed(f"golden sample: output '{name}' {_distance(answers[name], expected)} on this host")


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    """An array of an .npz, which is a zip of .npy files (numpy.lib.format)."""
    with archive.open(f"{name}.npy") as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _close(got: Array, expected: Array, tolerance: Tolerance) -> bool:
    if got.shape != expected.shape:
        return False
    if got.dtype.kind == "f":
        return np.allclose(got, expected, rtol=tolerance.rtol, atol=tolerance.atol)
    return np.array_equal(got, expected)


def _distance(got: Array, expected: Array) -> str:
    if got.shape != expected.shape:
        return f"has shape {list(got.shape)}, expected {list(expected.shape)}"
    if got.dtype.kind == "f":
        return f"is off by up to {np.abs(got - expected).max():.3g}"
    return f"differs in {np.count_nonzero(got != expected)} values"
