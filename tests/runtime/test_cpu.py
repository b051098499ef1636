"""What this process may use of the CPU: cgroup quotas, affinity, flags."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.runtime import cpu

V1_SLICE = {"cpu/slice/cpu.cfs_quota_us": "300000", "cpu/slice/cpu.cfs_period_us": "100000"}
V1_ROOT = {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}

TREES = {
    "v2": ("0::/job", {"job/cpu.max": "150000 100000\n"}, [1.5]),
    "v2, another period": ("0::/job", {"job/cpu.max": "10000 20000\n"}, [0.5]),
    "v2 without a limit": ("0::/job", {"job/cpu.max": "max 100000\n"}, []),
    "v2, nested": (
        "0::/user/job",
        {"user/job/cpu.max": "400000 100000", "user/cpu.max": "200000 100000"},
        [4.0, 2.0],
    ),
    "v2, limited above only": (
        "0::/user/job",
        {"user/job/cpu.max": "max 100000", "user/cpu.max": "200000 100000"},
        [2.0],
    ),
    "v2 in a container, whose path is not in its view": ("0::/docker/0123", {"cpu.max": "250000 100000"}, [2.5]),
    "v2, a path that leads out of the namespace": ("0::/../../job", {"cpu.max": "250000 100000"}, [2.5]),
    "v2, a file above the root": ("0::/job", {"job/cpu.max": "max 100000", "../cpu.max": "10000 100000"}, []),
    "v2, a name with a colon": ("0::/a:b", {"a:b/cpu.max": "250000 100000"}, [2.5]),
    "v2 at the root, which has no file": ("0::/", {}, []),
    "v2, an empty file": ("0::/job", {"job/cpu.max": ""}, []),
    "v1": ("4:cpu,cpuacct:/slice", V1_SLICE, [3.0]),
    "v1, other controllers first": ("9:memory:/x\n1:name=systemd:/y\n2:cpuacct,cpu:/slice", V1_SLICE, [3.0]),
    "v1, nested": ("4:cpu:/slice", V1_SLICE | V1_ROOT, [3.0, 4.0]),
    "v1 without a limit": (
        "4:cpu:/slice",
        {"cpu/slice/cpu.cfs_quota_us": "-1", "cpu/slice/cpu.cfs_period_us": "100000"},
        [],
    ),
    "v1 in a container, whose path is not in its view": ("4:cpu:/docker/0123", V1_ROOT, [4.0]),
    "v1, the CPU set only": ("3:cpuset:/slice", V1_SLICE, []),
    "both": ("4:cpu:/slice\n0::/job", V1_SLICE | {"job/cpu.max": "200000 100000"}, [3.0, 2.0]),
    "no cgroup at all": ("", {}, []),
}


@pytest.mark.parametrize(("membership", "files", "expected"), TREES.values(), ids=TREES)
def test_quotas_are_read_from_the_cgroup_and_every_one_above(
    tmp_path: Path, membership: str, files: dict[str, str], expected: list[float]
) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert list(cpu.quotas(root, tmp_path / "membership")) == expected


def test_without_a_membership_file_there_is_no_quota(tmp_path: Path) -> None:
    assert list(cpu.quotas(tmp_path, tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("allowed", "quotas", "expected"),
    [(4, [], 4), (4, [2.0], 2), (4, [2.5], 2), (4, [3.0, 1.0], 1), (4, [0.2], 1), (2, [8.0], 2), (1, [], 1)],
)
def test_the_budget_is_the_smaller_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, allowed: int, quotas: list[float], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    monkeypatch.setattr(cpu, "quotas", lambda *_: iter(quotas))
    assert cpu.budget() == expected


def test_a_process_that_may_run_on_one_core_has_a_budget_of_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from app.runtime import cpu; print(cpu.budget())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux only")
def test_flags_are_those_of_proc_cpuinfo() -> None:
    listed = next(
        line.partition(":")[2].split()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("flags", "Features"))
    )
    assert cpu.flags() == set(listed) != set()


@pytest.mark.parametrize(
    ("quota", "mine", "ours", "share"),
    [
        pytest.param([], 10.0, 10.0, 0.0, id="alone"),
        pytest.param([], 10.0, 14.0, 0.4, id="other threads of this process compute too"),
        pytest.param([], 7.0, 7.0, 0.3, id="kept from the CPU"),
        pytest.param([], 7.0, 12.0, 0.5, id="both"),
        pytest.param([4.0], 7.0, 7.0, 0.3, id="kept from the CPU within a wide quota"),
        pytest.param([0.5], 5.0, 5.0, 0.0, id="alone within half a CPU"),
        pytest.param([0.5], 7.0, 7.0, 0.0, id="alone within half a CPU, before the quota is used up"),
        pytest.param([0.5], 4.0, 5.0, 0.2, id="others of this process take of half a CPU"),
        pytest.param([0.5], 2.0, 2.0, 0.6, id="others take of half a CPU"),
    ],
)
def test_what_of_the_cpu_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch, quota: list[float], mine: float, ours: float, share: float
) -> None:
    monkeypatch.setattr(cpu, "quotas", lambda *_: iter(quota))
    clocks = {"perf_counter": iter((100.0, 110.0)), "thread_time": iter((1.0, 1.0 + mine))}
    clocks["process_time"] = iter((50.0, 50.0 + ours))
    clock = SimpleNamespace(**{name: partial(next, times) for name, times in clocks.items()})
    monkeypatch.setattr(cpu, "time", clock)
    assert cpu.Elsewhere().share() == pytest.approx(share)
