"""IO binding: inputs and outputs in buffers that are bound to the session once, for every number of rows.

On a GPU rows are padded to a few sizes, because each new shape makes cuDNN search for its algorithms again, and the
buffers stay on the device. On a CPU it spares small graphs what takes longer than their run.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from app.contract.tensors import Signature
from app.errors import ExecutionFailed
from app.protocol.messages import DTYPES, Array, Halt, Inputs

ROW_BUCKETS = (1, 2, 4, 8, 16, 32)
EVERY_SIZE = range(1, 129)


def can_be_bound(signature: Signature) -> bool:
    """Whether every shape is known but for the rows, and every element has a size."""
    specs = (*signature.inputs, *signature.outputs)
    return all(spec.shape[:1] == (-1,) and -1 not in spec.shape[1:] and spec.datatype != "BYTES" for spec in specs)


class BoundSession:
    """Runs a session through buffers. Each thread has its own."""

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, sizes: Sequence[int], device: str, index: int = 0
    ) -> None:
        """`sizes`: numbers of rows that are run, rising; a batch is padded to the next. More rows than the last are not
        taken. `device` and its `index` as ONNX Runtime names them: `cpu`, `cuda`."""
        self._session = session
        self._signature = signature
        self._sizes = sizes
        self._device = (device, index)
        self._mine = threading.local()

    def run(self, inputs: Inputs, _: Halt | None = None) -> dict[str, Array]:
        """All outputs by name. Blocking. Raises ExecutionFailed."""
        rows = len(inputs[self._signature.inputs[0].name])
        size = self._sizes[bisect_left(self._sizes, rows)]
        buffers = self._buffers(size)
        try:
            return buffers.run(inputs, rows)
        except Exception as error:  # the graph raised; its message may name nodes and files, so it goes to the log only
            raise ExecutionFailed("the model failed on this input") from error

    def _buffers(self, size: int) -> "_Buffers":
        try:
            mine: dict[int, _Buffers] = self._mine.by_size
        except AttributeError:
            mine = self._mine.by_size = {}
        buffers = mine.get(size)
        if buffers is None:
            buffers = mine[size] = _Buffers(self._session, self._signature, size, self._device)
        return buffers


class _Buffers:
    """The bound buffers of one number of rows."""

    def __init__(self, session: Any, signature: Signature, size: int, device: tuple[str, int]) -> None:
        self._session = session
        self._size = size
        self._is_remote = device[0] != "cpu"
        self._binding = session.io_binding()
        self._inputs: dict[str, tuple[Array, Any]] = {}
        self._outputs: dict[str, Any] = {}
        for spec in signature.inputs:
            host = np.zeros((size, *spec.shape[1:]), DTYPES[spec.datatype])
            value = ort.OrtValue.ortvalue_from_numpy(host, *device)
            self._binding.bind_ortvalue_input(spec.name, value)
            self._inputs[spec.name] = (host, value)
        for output in signature.outputs:
            host = np.zeros((size, *output.shape[1:]), DTYPES[output.datatype])
            value = ort.OrtValue.ortvalue_from_numpy(host, *device)
            self._binding.bind_ortvalue_output(output.name, value)
            self._outputs[output.name] = value if self._is_remote else host

    def run(self, inputs: Inputs, rows: int) -> dict[str, Array]:
        for name, (host, value) in self._inputs.items():
            host[:rows] = inputs[name]
            if rows < self._size:
                host[rows:] = 0
            if self._is_remote:
                value.update_inplace(host)
        self._session.run_with_iobinding(self._binding)
        return {
            name: value.numpy()[:rows] if self._is_remote else value[:rows].copy()
            for name, value in self._outputs.items()
        }
