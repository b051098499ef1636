"""Execution providers, strictly: the one that a deployment asks for, or none."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from app.errors import LoadFailed

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_WHEELS = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a session runs."""

    provider: Literal["cpu", "cuda"] = "cpu"
    device: int = 0
    allow_fallback: bool = False
    memory_mb: int | None = None
    """Of the device, that a session's arena may grow to."""

    @property
    def asked(self) -> str:
        """ONNX Runtime's name of the provider asked for."""
        return CUDA if self.provider == "cuda" else CPU

    def providers(self, available: list[str]) -> list[Any]:
        """ONNX Runtime's `providers` argument, of those that the installed wheel has.

        The CPU provider stays behind CUDA for the few operators, mostly on shapes, that have no CUDA kernel. TF32 is
        off: with its 10 bits of mantissa answers leave the tolerance of a golden sample. Raises LoadFailed as `check`
        does.
        """
        if self.check(available) != CUDA:
            return [CPU]
        options = {"device_id": self.device, "use_tf32": 0}
        if self.memory_mb is not None:
            options["gpu_mem_limit"] = self.memory_mb << 20
        return [(CUDA, options), CPU]

    def check(self, enabled: list[str]) -> str:
        """The provider in use, of those that are enabled.

        ONNX Runtime logs a line and hands back a CPU session where CUDA cannot be had. Raises LoadFailed then,
        unless the deployment allows the fallback.
        """
        if self.asked in enabled:
            return self.asked
        if self.allow_fallback:
            return CPU
        raise LoadFailed(
            f"asked for {self.asked}, got {CPU}: CUDA, its libraries or the GPU cannot be used here "
            "(set allow_fallback to serve on the CPU)"
        )


def check_installation() -> None:
    """Raises LoadFailed unless exactly one ONNX Runtime wheel is installed: two overwrite each other's files."""
    found = [name for name in _WHEELS if _installed(name)]
    if not found:
        raise LoadFailed("no ONNX Runtime is installed: pip install 'bonsai-serve[cpu]' or 'bonsai-serve[gpu]'")
    if len(found) > 1:
        raise LoadFailed(
            "both onnxruntime and onnxruntime-gpu are installed, and each overwrote files of the other: "
            "pip uninstall both, then install one of 'bonsai-serve[cpu]' and 'bonsai-serve[gpu]'"
        )


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
