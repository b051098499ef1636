"""Pretrained graphs of other projects, byte for byte as they ship: every answer is that of plain ONNX Runtime."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.protocol.messages import Array
from app.repository.check import check
from app.runtime.graph_cache import GraphCache
from tests.thirdparty.conftest import World, serving_all
from tests.thirdparty.doors import DOORS, Tensors, infer_binary, predict
from tests.thirdparty.plain import assert_same
from tests.thirdparty.wheels import MEMBERS, Unavailable, lay_out

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIENTS, REQUESTS_EACH = 12, 6
DOOR_OF = list(DOORS.values())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with all of them."""
    folder = tmp_path_factory.mktemp("pretrained")
    try:
        lay_out(folder / "models")
    except Unavailable as error:
        pytest.skip(str(error))
    with serving_all(folder, len(MEMBERS)) as world:
        yield world


def files() -> list[bytes]:
    """Real files of several kinds."""
    paths = [*sorted((ROOT / "app").rglob("*.py"))[:16], *sorted((ROOT / "docs").glob("*.md"))]
    paths += [ROOT / name for name in ("Makefile", "pyproject.toml", "models/digits/1/model.onnx")]
    return [path.read_bytes() for path in paths]


def features(content: bytes) -> list[int]:
    """Magika's input: 1,024 bytes from the beginning and from the end, 256 where there are none."""
    begin, end = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    return [*begin, *[256] * (2048 - len(begin) - len(end)), *end]


def some_files(random: np.random.Generator) -> Tensors:
    chosen = random.choice(np.array(files(), object), random.integers(1, 5))
    return {"bytes": np.array([features(content) for content in chosen], np.int32)}


def images(random: np.random.Generator, height: int, step: int) -> Tensors:
    """Normalised pixels [N, 3, height, width] of a width of its own."""
    rows, width = int(random.integers(1, 4)), step * int(random.integers(1, 5))
    return {"x": random.uniform(-1, 1, (rows, 3, height, width)).astype(np.float32)}


REQUESTS: dict[str, Callable[[np.random.Generator], Tensors]] = {
    "magika": some_files,
    "rapidocr-classifier": lambda random: images(random, 48, 48),
    "rapidocr-detector": lambda random: images(random, 64, 32),
    "rapidocr-recogniser": lambda random: images(random, 48, 40),
}


@pytest.mark.parametrize("model", REQUESTS)
@pytest.mark.parametrize("clients", [1, CLIENTS])
def test_it_answers_as_plain_onnx_runtime_does(pretrained: World, model: str, clients: int) -> None:
    """Also to requests of other rows and widths at the same time."""
    plain, target, make = pretrained.plain(model), pretrained.target(model), REQUESTS[model]

    def ask(number: int) -> None:
        random = np.random.default_rng(number)
        for request in range(REQUESTS_EACH):
            inputs = make(random)
            assert_same(DOOR_OF[(number + request) % len(DOOR_OF)](target, inputs), plain.run(inputs))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))


def test_an_answer_does_not_depend_on_its_neighbours(pretrained: World) -> None:
    """Whether sharing runs pays is measured for each model; for some of these it does."""
    batched = [model for model in REQUESTS if model != "magika"]
    assert sum(runs_beside_others(pretrained, model) for model in batched) < CLIENTS * REQUESTS_EACH * len(batched)


def runs_beside_others(world: World, model: str) -> int:
    """One image again and again, answered as it is alone while others send images of its size; gives the runs."""
    target, random = world.target(model), np.random.default_rng(0)
    crowd = random.uniform(-1, 1, (CLIENTS, 4, 3, 64, 96)).astype(np.float32)
    image = {"x": crowd[0, :1]}
    alone, before = infer_binary(target, image), world.runs(model)

    def ask(number: int) -> None:
        for _ in range(REQUESTS_EACH):
            if number % 2:
                infer_binary(target, {"x": crowd[number]})
            else:
                assert_same(infer_binary(target, image), alone)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    return world.runs(model) - before


def test_magika_knows_the_files_of_this_project(pretrained: World) -> None:
    """The proof that these are the real weights: files of one kind get one label, files of different kinds two."""
    paths = [ROOT / "app" / "main.py", ROOT / "app" / "cli.py", ROOT / "Makefile"]
    inputs = {"bytes": np.array([features(path.read_bytes()) for path in paths], np.int32)}
    scores = predict(pretrained.target("magika"), inputs)["target_label"]
    first, second, third = scores.argmax(axis=1)
    assert first == second != third
    assert (scores.max(axis=1) > 0.9).all()


def sound(random: np.random.Generator, rows: int, samples: int) -> Array:
    """A chord that swells, and noise: [rows, samples] at 16 kHz."""
    seconds = np.arange(samples) / 16000
    pitches = random.uniform(80, 400, (rows, 3, 1))
    chord = np.sin(2 * np.pi * pitches * seconds).sum(axis=1) * np.sin(np.pi * seconds)
    return (0.2 * chord + 0.01 * random.standard_normal((rows, samples))).astype(np.float32)


def converse(
    world: World, model: str, states: Tensors, back: dict[str, str], chunks: list[Tensors], start: int
) -> None:
    """Feeds each side its own state back: the server's and plain ONNX Runtime's, which agree after every chunk."""
    plain, target = world.plain(model), world.target(model)
    ours = theirs = states
    for step, chunk in enumerate(chunks):
        answer = DOOR_OF[(start + step) % len(DOOR_OF)](target, {**chunk, **ours})
        expected = plain.run({**chunk, **theirs})
        assert_same(answer, expected)
        ours = {name: answer[output] for name, output in back.items()}
        theirs = {name: expected[output] for name, output in back.items()}


@pytest.mark.parametrize("clients", [1, CLIENTS])
def test_a_voice_detector_keeps_its_state(pretrained: World, clients: int) -> None:
    """Silero: the state has its batch on axis 1, the sample rate is a scalar."""

    def listen(number: int) -> None:
        rows = 1 + number % 3
        pieces = np.split(sound(np.random.default_rng(number), rows, 12 * 576), 12, axis=1)
        chunks = [{"input": piece, "sr": np.array(16000)} for piece in pieces]
        states = {"state": np.zeros((2, rows, 128), np.float32)}
        converse(pretrained, "silero-vad", states, {"state": "stateN"}, chunks, number)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(listen, range(clients)))


@pytest.mark.parametrize("clients", [1, CLIENTS])
def test_rows_that_are_a_sequence_stay_one(pretrained: World, clients: int) -> None:
    """Silero's other export: the free first dimension is time, so that neither joining nor cutting is allowed."""

    def listen(number: int) -> None:
        random = np.random.default_rng(number)
        chunks = [{"input": sound(random, int(random.integers(1, 9)), 576)} for _ in range(6)]
        states = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}
        converse(pretrained, "silero-vad-sequence", states, {"h": "hn", "c": "cn"}, chunks, number)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(listen, range(clients)))


def test_the_check_and_the_log_find_nothing_wrong(pretrained: World) -> None:
    batched = {}
    for model in MEMBERS:
        (found,) = check(pretrained.models / model, GraphCache(pretrained.state / "graphs"))
        assert found.ok, found.text
        batched[model] = found.text.endswith("batched")
    assert {model for model, is_batched in batched.items() if is_batched} == {
        "rapidocr-classifier",
        "rapidocr-detector",
        "rapidocr-recogniser",
    }
    told = [record["message"] for record in pretrained.server.logs if record["level"] != "info"]
    assert set(told) <= {"slow request"}  # true on a busy machine
