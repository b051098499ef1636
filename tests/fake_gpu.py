"""A GPU that is none: a fake of what ONNX Runtime's Python package has for CUDA.

Answers come from a real session on the CPU. What is fake is the device: its memory is arrays that only copies reach,
and what is run there is noted. It says nothing of how CUDA itself behaves.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from app.protocol.messages import Array
from app.runtime.providers import CPU, CUDA

REAL = ort.InferenceSession
REAL_VALUE = ort.OrtValue


@dataclass
class FakeGpu:
    """What was done on it, in order."""

    providers: list[Any] = field(default_factory=list)
    """As the last session was asked for."""
    bound: list[dict[str, Array]] = field(default_factory=list)
    """What the inputs of each run through buffers held on the device."""
    plain: list[Any] = field(default_factory=list)
    """The options of each ordinary run."""
    values: list["FakeValue"] = field(default_factory=list)
    """Every buffer on the device."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes this machine look as if it had it."""
        monkeypatch.setattr(ort, "InferenceSession", self.open)
        monkeypatch.setattr(ort, "OrtValue", SimpleNamespace(ortvalue_from_numpy=self.value))
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)

    def open(self, path: Path, options: ort.SessionOptions, providers: list[Any]) -> Any:
        self.providers = providers
        return REAL(path, options, providers) if providers == [CPU] else FakeSession(self, path, options)

    def value(self, host: Array, *device: Any) -> Any:
        if device[0] == "cpu":
            return REAL_VALUE.ortvalue_from_numpy(host, *device)
        value = FakeValue(host.copy(), device)
        self.values.append(value)
        return value

    @property
    def bound_rows(self) -> list[int]:
        return [len(inputs["x"]) for inputs in self.bound]


@dataclass
class FakeValue:
    """A buffer on the device: the host sees copies of it."""

    array: Array
    device: tuple[str, int]

    def update_inplace(self, host: Array) -> None:
        assert (host.shape, host.dtype) == (self.array.shape, self.array.dtype)
        self.array[...] = host

    def numpy(self) -> Array:
        return self.array.copy()


class FakeBinding:
    def __init__(self) -> None:
        self.inputs: dict[str, FakeValue] = {}
        self.outputs: dict[str, FakeValue] = {}

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        self.outputs[name] = value


class FakeSession:
    """Stands in for onnxruntime.InferenceSession on a machine with a GPU."""

    def __init__(self, gpu: FakeGpu, path: Path, options: ort.SessionOptions) -> None:
        self._gpu = gpu
        self._real = REAL(path, options, [CPU])
        self.get_inputs, self.get_outputs = self._real.get_inputs, self._real.get_outputs

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def run(self, names: list[str], inputs: dict[str, Array], options: Any = None) -> list[Array]:
        self._gpu.plain.append(options)
        if options is not None and options.terminate:
            raise RuntimeError("terminated")
        return list(self._real.run(names, inputs))

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        inputs = {name: value.numpy() for name, value in binding.inputs.items()}
        self._gpu.bound.append(inputs)
        outputs = self._real.run(list(binding.outputs), inputs)
        for value, array in zip(binding.outputs.values(), outputs, strict=True):
            value.update_inplace(np.asarray(array))
