"""More than can be done: full queues, deadlines that pass, and a stop while the queue is full."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import graphs
from tests.http.carriers import Carrier
from tests.http.wire import Wire, infer
from tests.serving import serving, wait_for

ROW = [0.5] * 512
QUEUE = 8


@pytest.fixture
def overloaded(models: Path) -> Iterator[Carrier]:
    """slow: one row a run of some tens of milliseconds, and room for a few that wait."""
    graphs.slow(models / "slow" / "1" / "model.onnx", repeats=2000)
    limits = f"[defaults]\ninstances = 1\n[defaults.limits]\nmax_batch_rows = 1\nmax_queue_rows = {QUEUE}\n"
    (models / "deployments.toml").write_text(limits)
    with serving(models) as server:
        yield Carrier(server)


def test_a_full_queue_answers_503_with_retry_after(overloaded: Carrier) -> None:
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(overloaded.server.predict, [[ROW]] * 32))
    rejected = [answer for answer in answers if answer.status_code == 503]
    assert rejected
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in rejected)
    assert httpx.get(f"{overloaded.url}/v2/health/live").status_code == 200


def test_what_a_full_queue_has_taken_in_is_answered_after_sigterm(
    overloaded: Carrier, connect: Callable[..., Wire]
) -> None:
    wires = [connect(overloaded).send(infer(n, "slow", ROW)) for n in range(3 * QUEUE)]
    wait_for(lambda: overloaded.in_flight() >= QUEUE, "a full queue")
    overloaded.server.process.send_signal(signal.SIGTERM)
    replies = [wire.reply() for wire in wires]
    counts = Counter(reply.status for reply in replies)
    assert counts.keys() <= {200, 503}
    assert counts[200] >= QUEUE
    for n, reply in enumerate(replies):
        if reply.status == 200:
            assert reply.json()["id"] == str(n)
        else:
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.error
    assert overloaded.server.process.wait(30) == 0


def test_deadlines_pass_while_requests_wait_and_run_and_the_rest_is_answered(
    overloaded: Carrier, connect: Callable[..., Wire]
) -> None:
    """One of 0 is none, one of 1 us has passed on arrival: both, and 2^63, are in tests/hostile."""
    running = connect(overloaded).send(infer("running", "slow", ROW, X_Request_Timeout_Ms="5"))
    waiting = [connect(overloaded).send(infer(n, "slow", ROW, X_Request_Timeout_Ms="6")) for n in range(4)]
    patient = [connect(overloaded).send(infer(n, "slow", ROW)) for n in range(3)]
    assert running.reply().status == 504
    assert {wire.reply().status for wire in waiting} <= {503, 504}
    assert [wire.reply().status for wire in patient] == [200] * 3
    wait_for(lambda: overloaded.in_flight() == 0, "nothing to be left")


def test_one_bad_client_harms_nobody_else(models: Path) -> None:
    graphs.refuses_negative(models / "table" / "1" / "model.onnx")
    good, bad = [[0, 1, 2, 3]], [[0, 1, 2, 99]]
    with serving(models) as server, ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.predict, [good] * 15 + [bad] + [good] * 15 + [bad]))
        assert [answer.status_code for answer in answers] == ([200] * 15 + [500]) * 2
        assert all(answer.json()["outputs"]["y"] == [[10, 20, 30, 40]] for answer in answers if answer.is_success)
        assert "Gather" not in answers[15].text


def test_a_model_whose_rows_depend_on_each_other_gives_everybody_their_own_answer(models: Path) -> None:
    graphs.mean_over_rows(models / "mean" / "1" / "model.onnx")
    with serving(models) as server, ThreadPoolExecutor(16) as clients:
        rows = [[n, 2 * n, 3 * n, 4 * n] for n in range(64)]
        answers = list(clients.map(lambda row: server.predict([row]), rows))
    assert [answer.json()["outputs"]["y"] for answer in answers] == [[[0.0] * 4]] * 64
