"""IO binding: inputs and outputs in buffers that are bound to the session once, for every number of rows.

On a GPU rows are padded to a few sizes, because each new shape makes cuDNN search for its algorithms again, and the
buffers stay on the device. On a CPU it spares small graphs what takes longer than their run.

The host's side of a copy to the device is ordinary memory. Pinned memory would be copied faster, but ONNX Runtime's
Python API lends it only in versions above the oldest that is supported here, and only through registered provider
libraries; that waits for a GPU to measure it on.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from app.contract.tensors import Signature
from app.errors import ExecutionFailed
from app.protocol.messages import DTYPES, Array, Halt, Inputs

EVERY_SIZE = range(1, 129)
Plain = Callable[[Inputs, Halt | None], dict[str, Array]]


def row_buckets(most_rows: int) -> tuple[int, ...]:
    """1, 2, 4, ... rows, and at last the most."""
    return (*(2**power for power in range(most_rows.bit_length()) if 2**power < most_rows), most_rows)


def can_be_bound(signature: Signature) -> bool:
    """Whether every shape is known but for the rows, NumPy knows the elements, and a node writes every output: of an
    output that is an input itself, ONNX Runtime leaves the bound buffer as it is."""
    specs = (*signature.inputs, *signature.outputs)
    return len({spec.name for spec in specs}) == len(specs) and all(
        spec.shape[:1] == (-1,) and -1 not in spec.shape[1:] and spec.datatype not in ("BYTES", "BF16")
        for spec in specs
    )


class BoundSession:
    """Runs a session through buffers. `run` may be called from several threads at once: each run under way has buffers
    of its own, which the next one takes over."""

    def __init__(
        self,
        session: ort.InferenceSession,
        signature: Signature,
        sizes: Sequence[int],
        device: tuple[str, int],
        plain: Plain,
    ) -> None:
        """`sizes`: numbers of rows that are run, rising; a batch is padded to the next with zeros. More rows than the
        last go to `plain`, the ordinary run. `device` and its index as ONNX Runtime names them: `cpu`, `cuda`."""
        self._plain = plain
        self._rows_of = signature.inputs[0].name
        self._row_bytes = sum(DTYPES[spec.datatype].itemsize * math.prod(spec.shape[1:]) for spec in signature.outputs)
        self._most_rows = sizes[-1]
        kind = _Buffers if device[0] == "cpu" else _DeviceBuffers
        stacks = {size: _Stack(partial(kind, session, signature, size, device)) for size in sizes}
        self._stacks = [stacks[sizes[bisect_left(sizes, rows)]] for rows in range(sizes[-1] + 1)]
        """By the number of rows."""

    def close(self) -> None:
        """Lets go of the session and of the buffers. What comes later is left to the ordinary run."""
        self._most_rows = -1
        self._stacks = []

    def limit(self, most_bytes: int) -> None:
        """From now on outputs may have so many bytes: what has more is left to the ordinary run, which says so."""
        self._most_rows = min(len(self._stacks) - 1, most_bytes // max(1, self._row_bytes))

    def run(self, inputs: Inputs, halt: Halt | None = None) -> dict[str, Array]:
        """All outputs by name, for the rows that came. Blocking. Raises ExecutionFailed.

        A run through buffers cannot be halted: on a device its kernels are all queued before anybody could ask, on the
        event loop's thread nobody can.
        """
        rows = len(inputs[self._rows_of])
        if rows > self._most_rows:
            return self._plain(inputs, halt)
        stack = self._stacks[rows]
        try:
            buffers = stack.take()
            try:
                return buffers.run(inputs, rows)
            finally:
                stack.idle.append(buffers)
        except Exception as error:  # the graph raised; its message may name nodes and files, so it goes to the log only
            raise ExecutionFailed("the model failed on this input") from error


class _Stack:
    """The buffers of one size that no run uses."""

    def __init__(self, make: "Callable[[], _Buffers]") -> None:
        self.idle: list[_Buffers] = []
        self._make = make

    def take(self) -> "_Buffers":
        try:
            return self.idle.pop()
        except IndexError:  # asked for rather than looked at before: another thread may take the last one
            return self._make()


class _Buffers:
    """The bound buffers of one number of rows, on the CPU."""

    def __init__(self, session: Any, signature: Signature, size: int, device: tuple[str, int]) -> None:
        self._session = session
        self._size = size
        self._binding = session.io_binding()
        self._inputs: list[tuple[str, Array, Any]] = []
        self._outputs: list[tuple[str, Array, Any]] = []
        for specs, bound, bind in (
            (signature.inputs, self._inputs, self._binding.bind_ortvalue_input),
            (signature.outputs, self._outputs, self._binding.bind_ortvalue_output),
        ):
            for spec in specs:
                host = np.zeros((size, *spec.shape[1:]), DTYPES[spec.datatype])
                value = ort.OrtValue.ortvalue_from_numpy(host, *device)
                bind(spec.name, value)
                bound.append((spec.name, host, value))

    def run(self, inputs: Inputs, rows: int) -> dict[str, Array]:
        for name, host, _ in self._inputs:
            host[:rows] = inputs[name]
            if rows < self._size:
                host[rows:] = 0
        self._session.run_with_iobinding(self._binding)
        return {name: host[:rows].copy() for name, host, _ in self._outputs}


class _DeviceBuffers(_Buffers):
    """The same on a device: rows are copied there before a run, and back after it."""

    def run(self, inputs: Inputs, rows: int) -> dict[str, Array]:
        for name, host, value in self._inputs:
            host[:rows] = inputs[name]
            host[rows:] = 0
            value.update_inplace(host)
        self._session.run_with_iobinding(self._binding)
        return {name: value.numpy()[:rows] for name, _, value in self._outputs}
