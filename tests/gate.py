"""A session whose runs end when a test says so."""

import asyncio
import threading

import numpy as np

from app.protocol.messages import Halt, Inputs, Tensors

PATIENCE = 10


class Gate:
    """A session whose runs stop until the test opens it, or until they are asked to halt."""

    provider = "none"
    is_open_ended = False

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Semaphore(0)
        self.halted = threading.Event()
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0
        """The most runs that were under way at once."""

    def run(self, inputs: Inputs, halt: Halt | None = None) -> Tensors:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        self.reached.release()
        if halt is not None:
            halt.by(self.halt)
        assert self.opened.wait(PATIENCE)
        with self._lock:
            self._running -= 1
        return {"y": np.asarray(inputs["x"])}

    def limit(self, most_seconds: float, most_bytes: int) -> None:
        """Runs of a gate have no bounds."""

    def close(self) -> None:
        """A gate holds nothing; its runs have ended."""
        assert not self._running

    def halt(self) -> None:
        self.halted.set()
        self.opened.set()

    async def wait_until_reached(self, runs: int = 1) -> None:
        for _ in range(runs):
            assert await asyncio.to_thread(self.reached.acquire, timeout=PATIENCE)
