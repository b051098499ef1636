"""What figures were measured on."""

import platform
from dataclasses import dataclass
from pathlib import Path

from app.runtime import cpu

DECISIVE = (
    *("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""CPU flags that decide which kernels ONNX Runtime takes."""
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """The CPU by name, and those of its flags that are in DECISIVE."""

    cpu: str
    flags: tuple[str, ...]


def this_machine() -> Machine:
    """The machine at hand; without flags where they cannot be read."""
    return Machine(_cpu_name(), tuple(flag for flag in DECISIVE if flag in cpu.flags()))


def _cpu_name() -> str:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
