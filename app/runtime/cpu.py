"""What this process may use of the CPU. ONNX Runtime by itself reads neither the cgroup nor the affinity."""

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.runtime import cgroup

_CPUINFO = Path("/proc/cpuinfo")
NICENESS = 5
"""Of threads that run models, beside the event loop's: a third of its share, where both want one CPU all the time."""


def budget() -> int:
    """Threads that can run at once: the smaller of the affinity mask and the cgroup quota, at least 1."""
    return max(1, int(min(len(os.sched_getaffinity(0)), _quota())))


def _quota() -> float:
    """The CPU quota that binds this process, in cores."""
    return min(quotas(cgroup.CGROUPS, cgroup.MEMBERSHIP), default=math.inf)


def quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """CPU quotas in cores, of this process's cgroup and of every one above it, v1 and v2.

    See the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cfs_quota_us).
    """
    for version, folder in cgroup.folders("cpu", cgroups, membership):
        quota = _quota_v2(folder) if version == 2 else _quota_v1(folder)
        if quota is not None:
            yield quota


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None


@functools.cache
def flags() -> frozenset[str]:
    """The CPU's features as /proc/cpuinfo names them (`avx2`, `avx512_vnni`); empty where it cannot be read."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def give_way() -> None:
    """Lets this thread, and those that it starts, go after the event loop's where both want the same CPU: a run takes
    milliseconds, what the loop does in between takes microseconds and feeds the next one. Where the system does not let
    it, both go on as equals."""
    niceness = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


class Elsewhere:
    """Where the CPU goes while this thread computes without a pause: to other threads of this process, or to whoever
    keeps this one from a CPU. What a quota keeps it from goes nowhere."""

    def __init__(self) -> None:
        self._part = min(1.0, _quota())
        self._began = _clocks()

    def share(self) -> float:
        """Of what one thread may have of a CPU, since the beginning: the larger of both."""
        wall, mine, ours = (now - began for now, began in zip(_clocks(), self._began, strict=True))
        most = self._part * wall
        return max(most - mine, ours - mine) / most


def _clocks() -> tuple[float, float, float]:
    """Seconds that have passed, and those of the CPU that this thread and this process have had."""
    return time.perf_counter(), time.thread_time(), time.process_time()
