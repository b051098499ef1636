"""How much memory models may take: their weights and what their runs make, all of them together.

ONNX Runtime has an arena for each session, and no bound of it on a CPU. Here all sessions share one arena that has
(docs/decisions/0010-bounded-runs.md).
"""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort

from app.runtime import cgroup

SHARE = 0.75
"""Of the memory that there is; the rest is for requests, answers and the system."""
SHARED_ARENA = "session.use_env_allocators"
LARGE_BLOCK = 4 << 20
"""Bytes. As large a block is mapped by itself, and goes back to the system when it is freed."""
SPARE = 16 << 20
"""Bytes that lie free at the end of a heap and are kept for the next requests: to be given a page by the system anew
takes longer than to fill it."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_bound: int | None = None


def available(cgroups: Path = cgroup.CGROUPS, membership: Path = cgroup.MEMBERSHIP) -> int:
    """Bytes that this process can have: the machine's, or the smallest limit of its cgroups."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(cgroups, membership)])


def bound(megabytes: int | None = None) -> int:
    """Bounds the arena of all sessions from now on, once in the life of a process, and says how many bytes it has.

    Later calls change nothing: ONNX Runtime's environment has one arena for good.
    """
    global _bound
    if _bound is None:
        _bound = int(available() * SHARE) if megabytes is None else megabytes << 20
        info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": _bound}))
    return _bound


def return_large_blocks() -> None:
    """Has the C library give large blocks back to the system and keep SPARE of the rest: bodies, arrays, answers.

    By itself glibc raises the size from which on it gives back with each such block that is freed, to 32 MB in the end,
    and keeps what is smaller; once one of both numbers is set, neither moves any more (mallopt(3), M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD). Other C libraries have no such rule to switch off.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, SPARE)


def _limits(cgroups: Path, membership: Path) -> Iterator[int]:
    for version, folder in cgroup.folders("memory", cgroups, membership):
        try:
            text = (folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # not "max"
            yield int(text)
