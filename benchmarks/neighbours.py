"""Good and bad clients side by side."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks import exposition, nets, wire
from benchmarks.clients import Answer, Connection
from benchmarks.processes import Server

SLOW_ROWS = 32
"""Rows of the request that keeps the model busy while others hang up."""
GRACE_SECONDS = 0.05

BROKEN_JSON = wire.post("/predict", b'{"inputs": [[0, 1, 2,')
WRONG_SHAPE = wire.predict({"inputs": [[0, 1, 2]]})
RAISING = wire.predict({"inputs": [[0, 1, 2, 99]]})
BAD: dict[str, tuple[bytes, ...]] = {"nonsense": (BROKEN_JSON, WRONG_SHAPE), "raising": (RAISING,)}
"""What each bad client sends, in turn."""
BAD_STATUS = {"nonsense": 400, "raising": 500}


@dataclass
class Tally:
    """What the clients of one run got."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Of right answers to good clients."""
    failures: Counter[str] = field(default_factory=Counter)
    """Good requests that failed, by what came instead."""
    neighbours: dict[str, Counter[int]] = field(default_factory=dict)
    """Statuses that the bad clients got."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        return float(np.percentile(self.latencies, 99))


def neighbourhood(server: Server, good: int, bad: Iterable[str], seconds: float) -> Tally:
    """Good clients, beside the named bad ones, in closed loops for so long."""
    return asyncio.run(_neighbourhood(server.port, good, bad, seconds))


async def _neighbourhood(port: int, good: int, bad: Iterable[str], seconds: float) -> Tally:
    tally = Tally(seconds)
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as clients:
        for number in range(good):
            clients.create_task(_good_client(port, number, end, tally))
        for name in bad:
            tally.neighbours[name] = Counter()
            clients.create_task(_bad_client(port, BAD[name], end, tally.neighbours[name]))
    return tally


async def _good_client(port: int, number: int, end: float, tally: Tally) -> None:
    """Each client has a row of its own, so that an answer meant for another one shows."""
    row = [(number // 4**digit) % 4 for digit in range(4)]
    right = nets.TABLE[row].tolist()
    request = wire.predict({"inputs": [row]})
    connection = await Connection.connect(port)
    while (began := time.monotonic()) < end:
        try:
            answer = await connection.ask(request)
        except ConnectionError:
            tally.failures["a broken connection"] += 1
            connection = await Connection.connect(port)
            continue
        if answer.status != 200:
            tally.failures[f"status {answer.status}"] += 1
        elif _outputs(answer) != [right]:
            tally.failures["a wrong answer"] += 1
        else:
            tally.latencies.append(time.monotonic() - began)
    connection.close()


def _outputs(answer: Answer) -> object:
    return json.loads(answer.body)["outputs"]["y"]


async def _bad_client(port: int, requests: tuple[bytes, ...], end: float, statuses: Counter[int]) -> None:
    connection = await Connection.connect(port)
    for request in itertools.cycle(requests):
        if time.monotonic() >= end:
            break
        statuses[(await connection.ask(request)).status] += 1
    connection.close()


@dataclass(frozen=True)
class HangUps:
    """Clients that went away while a run was under way."""

    clients: int
    rows_run: float
    """For them, after they had gone."""


def hang_ups(server: Server, clients: int) -> HangUps:
    """Keeps the model busy with one request, and lets others be sent and hung up meanwhile."""
    return asyncio.run(_hang_ups(server, clients))


async def _hang_ups(server: Server, clients: int) -> HangUps:
    before = exposition.read(server)
    slow = await Connection.connect(server.port)
    answer = asyncio.ensure_future(slow.ask(wire.predict({"inputs": [[0.1, 0.2, 0.3, 0.4]] * SLOW_ROWS})))
    await asyncio.sleep(GRACE_SECONDS)
    leaving = [await Connection.connect(server.port) for _ in range(clients)]
    for connection in leaving:
        connection.send(wire.predict({"inputs": [[0.4, 0.3, 0.2, 0.1]]}), lambda _: None)
    await asyncio.sleep(0)
    for connection in leaving:
        connection.close()
    if answer.done():
        raise RuntimeError("the slow run ended before the others had hung up: it is too quick here")
    if (await answer).status != 200:
        raise RuntimeError("the slow request failed")
    slow.close()
    await asyncio.to_thread(server.settle)
    rows = exposition.rise(before, exposition.read(server), "bonsai_batch_rows_sum")
    return HangUps(clients, (rows or 0.0) - SLOW_ROWS)
