"""The targets without a fuzzer: valid requests, requests damaged at random, and answers that must not be."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import answers, chunks, inputs
from tests.fuzz.inputs import Asked, Stream
from tests.fuzz.maker import Maker
from tests.fuzz.mutations import Mutator
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import LOOKS, SLOW_SECONDS, Targets
from tests.fuzz.world import Fault, World, world
from tests.http.wire import request

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("fuzz")) as opened:
        yield opened


@pytest.fixture(scope="module")
def targets(opened: World) -> Targets:
    return Targets(opened)


@pytest.fixture(scope="module")
def mutator(targets: Targets) -> Mutator:
    return Mutator(targets.maker, _blindly)


def _blindly(data: bytes, size: int) -> bytes:
    """What libFuzzer does better: a byte here or there is another one."""
    random = Random(data)
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randrange(3)) + data[at + random.randrange(3) :]


def test_every_seed_holds(opened: World, targets: Targets) -> None:
    for seed in seeds(opened.signatures):
        targets.run(seed)


@settings(deadline=None, max_examples=200)
@given(seed=SEEDS)
def test_a_valid_request_is_answered_as_json_and_numpy_have_it(opened: World, targets: Targets, seed: int) -> None:
    """All datatypes and shapes, empty ones too, in both dialects, in JSON, binary and compressed."""
    maker = Maker(opened.signatures, Random(seed))
    asked = maker.oip()
    name = maker.names[asked.model]
    headers = {} if asked.json_length is None else {b"inference-header-content-length": b"%d" % asked.json_length}
    answer = opened.ask(f"/v2/models/{name}/infer", asked.body, headers)[0]
    no_json = name in ("halves", "brains") and b"binary_data_output" not in asked.body
    assert answer.status == (400 if no_json else 200), answer.body
    targets.run(asked.pack())
    targets.run(maker.native().pack())
    targets.run(maker.compressed().pack())


@settings(deadline=None, max_examples=500)
@given(choices=st.lists(SEEDS, min_size=2, max_size=5))
def test_a_damaged_request_gets_a_right_answer_or_an_error(
    opened: World, targets: Targets, mutator: Mutator, choices: list[int]
) -> None:
    data = Maker(opened.signatures, Random(choices[0])).any().pack()
    for choice in choices[1:]:
        data = mutator(data, 20_000, choice)
    targets.run(data)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_input(targets: Targets, data: bytes) -> None:
    targets.run(data)


@settings(max_examples=50)
@given(seed=SEEDS)
def test_an_input_is_unpacked_as_it_was_packed(opened: World, seed: int) -> None:
    made = Maker(opened.signatures, Random(seed)).any()
    assert inputs.unpack(made.pack()) == made


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS)
def test_a_mutation_is_the_same_for_the_same_seed(opened: World, mutator: Mutator, seed: int) -> None:
    data = Maker(opened.signatures, Random(seed)).any().pack()
    assert mutator(data, 5000, seed) == mutator(data, 5000, seed)
    assert len(mutator(data, 50, seed)) <= 50


WRONG = {
    "no HTTP": b"hello\r\n\r\n",
    "a short body": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    "a header twice": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nContent-Length: 0\r\n\r\n",
    "something behind the answer": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx",
}
FAILED = {
    "a fault": (500, b'{"error":"x"}'),
    "another form": (400, b'{"detail":"x"}'),
    "more than an error": (400, b'{"error":"x","at":1}'),
    "no text": (400, b'{"error":["x"]}'),
    "no JSON": (400, b"x"),
    "a path": (404, b'{"error":"no /srv/models/m/model.onnx"}'),
    "an address": (400, b'{"error":"<object at 0x7f00>"}'),
    "two lines": (400, b'{"error":"a\\nb"}'),
    "endless": (400, b'{"error":"%b"}' % (b"x" * 1001)),
}


@pytest.mark.parametrize("stream", WRONG.values(), ids=WRONG)
def test_a_stream_that_is_no_answer_is_a_fault(stream: bytes) -> None:
    with pytest.raises(Fault):
        answers.read_all(stream, b"")


@pytest.mark.parametrize(("status", "body"), FAILED.values(), ids=FAILED)
def test_a_failure_in_another_form_is_a_fault(status: int, body: bytes) -> None:
    good = answers.Received(400, {b"content-type": b"application/json"}, b'{"error":"x"}')
    answers.check(good, b"")
    with pytest.raises(Fault):
        answers.check(answers.Received(status, good.headers, body), b"GET /v2/models/m HTTP/1.1")


@pytest.mark.parametrize("sent", [b"GET /a/b.json HTTP/1.1", b"GET /a%2Fb.json HTTP/1.1", b'{"/a/b.json":1}'])
def test_a_path_of_the_client_s_own_is_no_secret(sent: bytes) -> None:
    told = answers.Received(404, {b"content-type": b"application/json"}, b'{"error":"/a/b.json: no such path"}')
    answers.check(told, sent)
    with pytest.raises(Fault, match="tells of this machine"):
        answers.check(told, b"GET /a HTTP/1.1")


@pytest.mark.parametrize("rows", [1, 3])
def test_a_wrong_output_is_a_fault(targets: Targets, rows: int) -> None:
    model = targets.models[targets.maker.names.index("doubles")]
    x = np.arange(rows, dtype=np.float64)
    model.check({"x": x}, {"y": x})
    for wrong in (x + 1e-9, x[:-1], x.reshape(-1, 1)):
        with pytest.raises(Fault):
            model.check({"x": x}, {"y": wrong})


def test_chunks_are_read_as_the_rfc_has_them() -> None:
    raw = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\na: b\r\n\r\nrest"
    assert chunks.content(raw) == (b"abcd", b"rest")
    assert chunks.content(raw[:-5]) is None
    assert chunks.content(raw.replace(b"3", b"2", 1)) is None


def test_an_answer_that_never_comes_is_a_fault(opened: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.world.PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(opened.parts.inference, "handle", lambda *_: None)
    with pytest.raises(Fault, match="no answer"):
        opened.ask("/predict", b"{}", {})


@pytest.mark.parametrize(("slow", "is_fault"), [(1, False), (LOOKS - 1, False), (LOOKS, True)])
def test_what_is_slow_each_time_is_a_fault(
    slow: int, is_fault: bool, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment in which the machine stood still is none."""
    taken = [SLOW_SECONDS + 1] * slow + [0.0] * (LOOKS - slow)
    clock = itertools.accumulate(step for seconds in taken for step in (0.0, seconds))
    monkeypatch.setattr("tests.fuzz.targets.time.thread_time", lambda: next(clock))
    with pytest.raises(Fault, match="of the processor") if is_fault else contextlib.nullcontext():
        targets.run(Stream(inputs.FRAMING, 0, request()).pack())


def test_a_fault_tells_of_the_file(targets: Targets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.fuzz.targets.SLOW_SECONDS", -1.0)
    kept = tmp_path / "input"
    kept.write_bytes(Stream(inputs.FRAMING, 0, request()).pack())
    with pytest.raises(Fault) as raised:
        targets.run_file(kept)
    assert f"{kept}: b'F" in raised.value.__notes__[0]


def test_what_is_logged_as_a_fault_is_one(opened: World, targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(opened.parts.repository, "acquire", broken)
    for asked in (
        Stream(inputs.CONNECTION, 0, request()),
        Asked(inputs.NATIVE, 0, 0, None, b'{"inputs": [[1, 2, 3, 4]]}'),
    ):
        with pytest.raises(Fault, match="planted"):
            targets.run(asked.pack())
