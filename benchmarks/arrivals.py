"""Open-loop load: requests arrive when they arrive, however long the answers to earlier ones take."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.clients import Answer, Connection

MOST_CONNECTIONS = 4096
FRESH_SECONDS = 2.0
"""A connection that has been idle for longer may be closed by the server at any moment."""
TIMER_SECONDS = 0.002
PATIENCE_SECONDS = 60.0
"""How long the last answers may take."""


@dataclass(slots=True)
class Arrival:
    """One request. Instants are monotonic seconds."""

    scheduled: float
    sent: float = 0.0
    answered: float = 0.0
    answer: Answer | None = None
    """None where the connection broke."""

    @property
    def latency(self) -> float:
        """From the instant at which the request should have been sent, so that a slow generator hides nothing."""
        return self.answered - self.scheduled


def poisson(port: int, request: bytes, rate: float, seconds: float, seed: int) -> list[Arrival]:
    """Arrivals of a Poisson process, in order, all answered."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
    return asyncio.run(_Generator(port, request).run(np.cumsum(gaps).tolist()))


async def _until(instant: float) -> None:
    """A sleep is only as exact as the loop's timer, so the last bit is waited for awake: the generator has a core of
    its own."""
    await asyncio.sleep(instant - time.monotonic() - TIMER_SECONDS)
    while time.monotonic() < instant:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0)


class _Generator:
    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._idle: list[tuple[float, Connection]] = []
        """The most recently used last, with the instant from which it is idle."""
        self._connections = 0
        self._waiting = 0
        self._all_answered = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self, offsets: list[float]) -> list[Arrival]:
        began = time.monotonic()
        arrivals = [Arrival(began + offset) for offset in offsets]
        self._waiting = len(arrivals)
        for arrival in arrivals:
            await _until(arrival.scheduled)
            self._dispatch(arrival)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._all_answered.wait()
        for _, connection in self._idle:
            connection.close()
        return arrivals

    def _dispatch(self, arrival: Arrival) -> None:
        """Sends at once over an idle connection, or over a new one as soon as that is there."""
        while self._idle:
            since, connection = self._idle.pop()
            if connection.open and time.monotonic() - since < FRESH_SECONDS:
                self._send(connection, arrival)
                return
            connection.close()
            self._connections -= 1
        if self._connections == MOST_CONNECTIONS:
            raise RuntimeError(f"{MOST_CONNECTIONS} connections wait for answers: the server does not keep up at all")
        self._connections += 1
        connecting = asyncio.create_task(self._connect(arrival))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)

    async def _connect(self, arrival: Arrival) -> None:
        try:
            connection = await Connection.connect(self._port)
        except OSError:
            self._finish(arrival, None)
        else:
            self._send(connection, arrival)

    def _send(self, connection: Connection, arrival: Arrival) -> None:
        def answered(answer: Answer | None) -> None:
            if answer is None:
                self._connections -= 1
            else:
                self._idle.append((time.monotonic(), connection))
            self._finish(arrival, answer)

        arrival.sent = time.monotonic()
        connection.send(self._request, answered)

    def _finish(self, arrival: Arrival, answer: Answer | None) -> None:
        arrival.answered = time.monotonic()
        arrival.answer = answer
        self._waiting -= 1
        if self._waiting == 0:
            self._all_answered.set()
