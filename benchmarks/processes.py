"""Server processes: started on given cores, waited for, and never left behind."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 180.0
STOP_SECONDS = 40.0
SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.05
QUIET_SECONDS = 0.1
QUIET_SHARE = 0.2
"""Of a core: a process that uses less does nothing to speak of."""
LOG_TAIL = 4000
"""Characters of a server's log that are shown when it does not start."""


@dataclass(frozen=True)
class Server:
    """A server that answers on 127.0.0.1."""

    name: str
    port: int
    pid: int

    @property
    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"{self.name}: the process has ended")
        return int(found[1]) * 1024

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Waits until the process has worked off what clients left behind when they went away."""
        deadline = time.monotonic() + SETTLE_SECONDS
        busy = True
        while busy:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is still busy after {SETTLE_SECONDS:.0f} s without requests")
            before = self.cpu_seconds
            time.sleep(QUIET_SECONDS)
            busy = self.cpu_seconds - before > QUIET_SHARE * QUIET_SECONDS


@contextlib.contextmanager
def serving(
    name: str,
    command: Sequence[str],
    port: int,
    cores: str,
    environment: dict[str, str],
    ready: Sequence[str] = ("/",),
) -> Iterator[Server]:
    """Runs a server on these cores while the block runs, which begins once every path of `ready` answers 200."""
    # The kernel ends the server if this process is killed and cannot do it.
    pinned = [tool("setpriv"), "--pdeathsig", "TERM", tool("taskset"), "--cpu-list", cores, *command]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"} | environment
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            pinned, env=environment, cwd=tempfile.gettempdir(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            for path in ready:
                _wait_for(name, process, port, path)
            yield Server(name, port, process.pid)
        except ServerNotStarted:
            log.seek(0)
            print(log.read().decode(errors="replace")[-LOG_TAIL:])
            raise
        finally:
            _stop(process)


class ServerNotStarted(Exception):
    """A server ended, or was not ready in time."""


def _wait_for(name: str, process: subprocess.Popen[bytes], port: int, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while status(port, path) != 200:
        if process.poll() is not None:
            raise ServerNotStarted(f"{name} ended with {process.returncode} before {path} answered 200")
        if time.monotonic() > deadline:
            raise ServerNotStarted(f"{name} did not answer 200 to {path} within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def status(port: int, path: str) -> int | None:
    """The status of a GET; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):  # not there yet
        return None
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def tool(name: str) -> str:
    """The path of a program that has to be installed."""
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is not installed")
    return path
