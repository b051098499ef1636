"""Requests of different lengths share runs, and each is answered as if it had come alone."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from app.contract.deployment import Deployment, Limits
from app.contract.tensors import InputSpec
from app.errors import BonsaiError
from app.protocol.messages import Array, Share, Tensors
from app.repository.model import Model
from app.repository.store import VersionFolder
from app.runtime.profile import Profile
from tests import graphs
from tests.repository.shelf import PATIENCE, Shelf, submit_inputs

LENGTHS = range(1, 41)
IDS = InputSpec(name="ids", datatype="INT64", shape=(-1, -1), pad_value=0)
NUMBERS = np.random.default_rng(0)


def ids(length: int, rows: int = 1) -> Array:
    return NUMBERS.integers(1, 100, (rows, length))


def unmasked(path: Path) -> Path:
    return graphs.pooled(path, masked=False)


def publish(shelf: Shelf, make: Any = graphs.pooled, **changes: Any) -> Path:
    return shelf.publish("m", 1, make, **{"sample": graphs.POOLED, "inputs": (IDS,), **changes})


def play(shelf: Shelf, folder: Path, scenario: Callable[[Model], Coroutine[None, None, None]], **limits: int) -> None:
    """Plays a scenario with a version whose batches are as large as the limits allow, whatever they cost here."""
    loaded = replace(shelf.load(folder), profile=Profile(1, 1, ()))

    async def run() -> None:
        deployment = Deployment(limits=Limits(**limits))
        version = VersionFolder("m", 1, folder, ())
        model = Model(version, loaded, deployment, shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        await scenario(model)
        await asyncio.wait_for(model.close(), PATIENCE)

    asyncio.run(run())


async def ask(model: Model, *requests: Tensors) -> list[Tensors]:
    """The outputs of requests that are submitted in one turn."""
    answers = [submit_inputs(model, inputs)[0] for inputs in requests]
    outcomes = await asyncio.wait_for(asyncio.gather(*answers), PATIENCE)
    shares = [outcome for outcome in outcomes if isinstance(outcome, Share)]
    assert len(shares) == len(outcomes), outcomes
    return [share.arrays() for share in shares]


def direct(folder: Path, inputs: Tensors) -> Tensors:
    """What plain ONNX Runtime answers."""
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return dict(zip((node.name for node in session.get_outputs()), session.run(None, dict(inputs)), strict=True))


def assert_same(got: Tensors, expected: Tensors) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].shape == array.shape, name
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5, err_msg=name)


def value(shelf: Shelf, name: str) -> float:
    return shelf.sample(f"bonsai_{name}", model="m", version="1") or 0.0


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("make", [graphs.pooled, unmasked], ids=["padded", "not padded"])
def test_every_length_is_answered_alone_and_beside_others_as_plain_onnx_runtime_does(
    shelf: Shelf, make: Any, rows: int
) -> None:
    folder = publish(shelf, make)
    requests: list[Tensors] = [{"ids": ids(length, rows)} for length in (*LENGTHS, *reversed(LENGTHS))]
    expected = [direct(folder, inputs) for inputs in requests]

    async def scenario(model: Model) -> None:
        for inputs, outputs in zip(requests[:40], expected, strict=False):
            assert_same((await ask(model, inputs))[0], outputs)
        alone = value(shelf, "batch_rows_count")
        for got, outputs in zip(await ask(model, *requests), expected, strict=True):
            assert_same(got, outputs)
        runs = value(shelf, "batch_rows_count") - alone
        assert runs == 40 if make is unmasked else runs < 40  # fewer runs than lengths: different ones shared

    play(shelf, folder, scenario)


def test_padding_is_counted_and_stays_within_bounds(shelf: Shelf) -> None:
    folder = publish(shelf)

    async def scenario(model: Model) -> None:
        await ask(model, *({"ids": ids(length)} for length in LENGTHS))
        real, padded = value(shelf, "real_elements_total"), value(shelf, "padded_elements_total")
        assert real == sum(LENGTHS)
        assert real < padded < 1.2 * real
        assert value(shelf, "padding_waste_ratio_count") == value(shelf, "batch_rows_count")

    play(shelf, folder, scenario)


@pytest.mark.parametrize(("size", "runs"), [(1, 8), (10, 8), (20, 4), (79, 2), (80, 1)])
def test_a_run_has_no_more_rows_times_length_than_the_limit(shelf: Shelf, size: int, runs: int) -> None:
    folder = publish(shelf)

    async def scenario(model: Model) -> None:
        await ask(model, *({"ids": ids(10)} for _ in range(8)))
        assert value(shelf, "batch_rows_count") == runs

    play(shelf, folder, scenario, max_padded_size=size)


def test_a_request_larger_than_a_batch_is_split_and_keeps_its_length(shelf: Shelf) -> None:
    folder = publish(shelf)
    requests: list[Tensors] = [{"ids": ids(10, rows=9)}, {"ids": ids(9, rows=2)}]

    async def scenario(model: Model) -> None:
        answers = await ask(model, *requests)
        for got, inputs in zip(answers, requests, strict=True):
            assert_same(got, direct(folder, inputs))

    play(shelf, folder, scenario, max_batch_rows=4)


def test_a_length_of_0_is_answered_beside_others(shelf: Shelf) -> None:
    folder = publish(shelf)
    requests: list[Tensors] = [{"ids": ids(length)} for length in (0, 1, 0)]

    async def scenario(model: Model) -> None:
        for sent in (requests[:1], requests):
            for got, inputs in zip(await ask(model, *sent), sent, strict=True):
                assert_same(got, direct(folder, inputs))

    play(shelf, folder, scenario)


# Which models are padded: declared, and proven with the golden sample.


def two_inputs(path: Path) -> Path:
    """a [N, T], b [N, S] -> y [N, T] and z [N, S], copies: nothing says that T is S."""
    nodes = [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])]
    inputs, outputs = (
        [graphs.tensor(first, ["N", "T"]), graphs.tensor(second, ["N", "S"])]
        for first, second in (("a", "b"), ("y", "z"))
    )
    return graphs.save(path, nodes, inputs, outputs)


def images(path: Path) -> Path:
    return graphs.identity(path, TensorProto.FLOAT, ("N", "H", "W"))


def float_spec(name: str, *shape: int, **changes: Any) -> InputSpec:
    return InputSpec(name=name, datatype="FP32", shape=shape, **changes)


PAIR = (float_spec("a", -1, -1, pad_value=0), float_spec("b", -1, -1, pad_value=0))
UNPADDED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing declared": (graphs.pooled, {"inputs": (IDS.model_copy(update={"pad_value": None}),)}, ""),
    "its answers change": (unmasked, {}, "padding changes this graph's answers"),
    "another pad value": (
        graphs.pooled,
        {"inputs": (IDS.model_copy(update={"pad_value": 1}),)},
        "padding changes this graph's answers",
    ),
    "a sample of one length": (graphs.pooled, {"sample": {"ids": ids(1, rows=8)}}, "no length that could be cut"),
    "more than the length is free": (
        images,
        {"sample": None, "inputs": (float_spec("x", -1, -1, -1, pad_value=0),)},
        "",
    ),
    "an input of free length without a pad value": (
        two_inputs,
        {"sample": None, "inputs": (PAIR[0], float_spec("b", -1, -1))},
        "",
    ),
}


@pytest.mark.parametrize(("make", "changes", "said"), UNPADDED.values(), ids=UNPADDED)
def test_what_is_not_declared_or_not_proven_is_not_padded(
    shelf: Shelf, make: Any, changes: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    proven = shelf.load(publish(shelf, make, **changes)).proven
    assert proven.batchable
    assert proven.padding is None
    assert said in caplog.text


def test_what_is_declared_and_proven_is_padded(shelf: Shelf) -> None:
    padding = shelf.load(publish(shelf)).proven.padding
    assert padding is not None
    assert (padding.values, padding.outputs) == ({"ids": 0}, {"t"})


def test_inputs_whose_lengths_do_not_agree_are_answered_whole(shelf: Shelf) -> None:
    folder = publish(shelf, two_inputs, sample=None, inputs=PAIR)
    requests: list[Tensors] = [
        {"a": np.ones((1, first), np.float32), "b": np.ones((1, second), np.float32)}
        for first, second in ((5, 3), (4, 4), (3, 5))
    ]

    async def scenario(model: Model) -> None:
        for sent in (requests[:1], requests):
            for got, inputs in zip(await ask(model, *sent), sent, strict=True):
                assert_same(got, {"y": inputs["a"], "z": inputs["b"]})

    play(shelf, folder, scenario)


def test_a_request_that_fails_beside_others_of_other_lengths_fails_alone(shelf: Shelf) -> None:
    folder = publish(shelf)
    requests: list[Tensors] = [{"ids": ids(length)} for length in (9, 9, 10, 10)]
    requests[1] = {"ids": np.full((1, 9), 1000)}  # beyond the table

    async def scenario(model: Model) -> None:
        answers = [submit_inputs(model, inputs)[0] for inputs in requests]
        outcomes = await asyncio.wait_for(asyncio.gather(*answers), PATIENCE)
        assert isinstance(outcomes[1], BonsaiError)
        for index in (0, 2, 3):
            outcome = outcomes[index]
            assert isinstance(outcome, Share)
            assert_same(outcome.arrays(), direct(folder, requests[index]))

    play(shelf, folder, scenario)
