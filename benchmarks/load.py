"""Closed-loop load: wrk with prepared requests.

wrk corrects its percentiles for coordinated omission: an answer that took more than twice the mean interval also counts
as the requests that it held up.
"""

import json
import resource
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Server, tool

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw. Times are in seconds."""

    answers: int
    seconds: float
    """From the first request to the last answer. A run of a slow model may be cut off at the end of the measurement;
    up to here, all work was answered."""
    p50: float
    p99: float
    refused: int
    """Answers with 4xx or 5xx."""
    broken: int
    """Connections that failed, and answers that took longer than wrk waits."""
    cpu_seconds: float
    """What wrk itself used."""

    @property
    def rate(self) -> float:
        """Good answers a second: a refusal is quick, and worth nothing."""
        return (self.answers - self.refused) / self.seconds if self.seconds > 0 else 0.0

    @property
    def cores(self) -> float:
        """Cores that wrk kept busy. Near 1, it was wrk that was measured."""
        return self.cpu_seconds / self.seconds if self.seconds > 0 else 0.0

    @property
    def faults(self) -> int:
        return self.refused + self.broken


def write_requests(path: Path, requests: Iterable[bytes]) -> Path:
    """Whole HTTP requests in the form that load.lua reads."""
    path.write_bytes(b"".join(b"%d\n%b" % (len(request), request) for request in requests))
    return path


def closed_loop(server: Server, requests: Path, connections: int, seconds: int, cores: str) -> Load:
    """Keeps every connection busy: the next request is sent when the answer has come. Then lets the server settle."""
    command = [tool("taskset"), "--cpu-list", cores, tool("wrk"), "--threads", "1", "--script", str(SCRIPT)]
    command += ["--connections", str(connections), "--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s"]
    before = _children_cpu_seconds()
    ended = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}/", str(requests)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=seconds + 2 * TIMEOUT_SECONDS,
    )
    cpu_seconds = _children_cpu_seconds() - before
    server.settle()
    load = Load(**json.loads(ended.stdout.splitlines()[-1]), cpu_seconds=cpu_seconds)
    if load.faults:
        print(f"FAULT: {server.name} with {connections} clients: {load.refused} refused, {load.broken} broken")
    return load


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
