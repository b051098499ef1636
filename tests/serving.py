"""A real server process, and clients for it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

PATIENCE_SECONDS = 30.0


@dataclass
class Server:
    """A `bonsai serve` process. `logs` grows as it writes."""

    process: subprocess.Popen[str]
    url: str = ""
    logs: list[dict[str, Any]] = field(default_factory=list)

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and gives the exit code."""
        self.process.send_signal(sent)
        return self.process.wait(PATIENCE_SECONDS)

    def wait_until_ready(self) -> None:
        self.wait_until("/readyz")

    def wait_until(self, path: str) -> None:
        """Until this path answers 200."""
        wait_for(lambda: httpx.get(f"{self.url}{path}").status_code == 200, f"{path} to be 200")

    def predict(self, inputs: Any, **members: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/predict", json={"inputs": inputs, **members})


def wait_for(condition: Any, what: str) -> None:
    """Polls until the condition holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")
        time.sleep(0.02)


SERVE = ("-m", "app", "serve")


@contextmanager
def starting(
    models: Path, *options: str, python: str = sys.executable, command: Sequence[str] = SERVE, **environment: str
) -> Iterator[Server]:
    """A server that listens; its models may still be loading. `command` is what Python runs."""
    settings = {"BONSAI_MODELS": str(models), "BONSAI_PORT": "0", "BONSAI_POLL_SECONDS": "0.1"}
    settings |= {"BONSAI_LOG_FORMAT": "json", **environment}
    argv = [python, "-P", *command, *options]
    with subprocess.Popen(argv, env=os.environ | settings, stderr=subprocess.PIPE, text=True) as process:
        server = Server(process)
        urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_logs, args=(server, urls))
        reader.start()
        try:
            server.url = urls.get(timeout=PATIENCE_SECONDS)
            if not server.url:
                raise AssertionError(f"the server did not start: {server.logs}")
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            reader.join()


@contextmanager
def serving(
    models: Path, *options: str, python: str = sys.executable, command: Sequence[str] = SERVE, **environment: str
) -> Iterator[Server]:
    """A server that is ready."""
    with starting(models, *options, python=python, command=command, **environment) as server:
        server.wait_until_ready()
        yield server


def _read_logs(server: Server, urls: "queue.SimpleQueue[str]") -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        try:
            record = json.loads(line)
        except ValueError:
            record = {"message": line.rstrip()}
        server.logs.append(record)
        if record["message"] == "listening":
            urls.put(record["url"])
    urls.put("")
