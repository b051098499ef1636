"""Odd graphs, served as they are: every answer is that of plain ONNX Runtime, alone and beside others."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import DataType
from app.repository.check import check
from app.runtime.graph_cache import GraphCache
from tests.thirdparty.conftest import World
from tests.thirdparty.doors import DOORS, Door
from tests.thirdparty.oddities import ALONE, SERVED
from tests.thirdparty.plain import Plain, assert_same
from tests.thirdparty.refused import REFUSED

CLIENTS, REQUESTS = 12, 3


def open_doors(plain: Plain) -> list[Door]:
    """All of them, but that the standard protocol has no FP16 in JSON."""
    halves = any(node.type == "tensor(float16)" for node in (*plain.inputs, *plain.outputs))
    return [door for name, door in DOORS.items() if not (halves and name == "infer in JSON")]


@pytest.mark.parametrize("model", SERVED)
def test_alone_it_answers_as_plain_onnx_runtime_does(odd: World, model: str) -> None:
    plain, target, random = odd.plain(model), odd.target(model), np.random.default_rng(0)
    for door in open_doors(plain):
        for rows in (1, 2, 5):
            inputs = plain.made_up(rows, random)
            assert_same(door(target, inputs), plain.run(inputs))


def ask_at_once(odd: World, model: str) -> int:
    """Many clients with rows of their own, each answered as by plain ONNX Runtime; gives the runs that it took."""
    plain, target, before = odd.plain(model), odd.target(model), odd.runs(model)
    doors = open_doors(plain)

    def ask(number: int) -> None:
        random = np.random.default_rng(number)
        for request in range(REQUESTS):
            inputs = plain.made_up(int(random.integers(1, 8)), random)
            assert_same(doors[(number + request) % len(doors)](target, inputs), plain.run(inputs))

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(CLIENTS)))
    return odd.runs(model) - before


@pytest.mark.parametrize("model", sorted(ALONE))
def test_what_has_no_rows_is_run_alone_whoever_else_asks(odd: World, model: str) -> None:
    assert ask_at_once(odd, model) == CLIENTS * REQUESTS


def test_rows_that_share_runs_are_answered_as_plain_onnx_runtime_does(odd: World) -> None:
    """Whether sharing pays is measured for each model; where requests wait for each other, some of them do share."""
    batched = [model for model in SERVED if model not in ALONE]
    runs = sum(ask_at_once(odd, model) for model in batched)
    assert runs < CLIENTS * REQUESTS * len(batched) or not odd.waits


def described(nodes: list[Any]) -> list[dict[str, Any]]:
    """ONNX Runtime's description of inputs or outputs, as the protocol's metadata has it."""
    return [
        {
            "name": node.name,
            "datatype": DataType.from_onnx(node.type).value,
            "shape": [dim if isinstance(dim, int) else -1 for dim in node.shape],
        }
        for node in nodes
    ]


@pytest.mark.parametrize("model", SERVED)
def test_it_is_described_as_its_graph_says(odd: World, model: str) -> None:
    plain = odd.plain(model)
    metadata = odd.client.get(f"/v2/models/{model}").json()
    config = odd.client.get(f"/v2/models/{model}/config").json()
    assert (metadata["inputs"], metadata["outputs"]) == (described(plain.inputs), described(plain.outputs))
    assert ("dynamic_batching" in config) == (model not in ALONE)
    without_rows = 0 if config["max_batch_size"] == 0 else 1
    for kind in ("input", "output"):
        expected = [(spec["name"], spec["shape"][without_rows:]) for spec in metadata[f"{kind}s"]]
        assert [(spec["name"], spec["dims"]) for spec in config[kind]] == expected


@pytest.mark.parametrize("model", ["default-input", "weights-as-inputs"])
def test_a_default_is_not_overridden(odd: World, model: str) -> None:
    """The server does not ask for it, and refuses it by name rather than ignore it."""
    inputs = {"x": [[1, 2, 3, 4]], "b": [0, 0, 0, 0]}
    answer = odd.client.post("/predict", json={"model": model, "inputs": inputs})
    assert (answer.status_code, answer.json()) == (400, {"error": "inputs: expected only x, got b"})


def test_the_check_finds_what_the_server_finds(odd: World) -> None:
    cache = GraphCache(odd.state / "graphs")
    for model in SERVED:
        (found,) = check(odd.models / model, cache)
        assert found.ok, found.text
    for model, (_, said) in REFUSED.items():
        (found,) = check(odd.models / model, cache)
        assert not found.ok
        assert said in found.text
