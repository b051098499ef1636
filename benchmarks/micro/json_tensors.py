"""JSON to tensors and back: app/protocol/json_tensors.py against other ways to do it, in one run.

Run at the repository's root: python -m benchmarks.micro.json_tensors. Prints microseconds a call, the best of several
rounds. Reading ends in a float32 array in every candidate. A candidate whose package is not installed is left out.
"""

import importlib
import json
import platform
import timeit
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np
import orjson
import pydantic_core

from app.contract.tensors import DataType, InputSpec
from app.protocol import binary_tensors, json_tensors
from app.protocol.messages import Array

SHAPES = ((1, 4), (1, 64), (32, 64), (1, 3, 224, 224))
ROUNDS = 7
SECONDS = 0.3
"""For all rounds of a candidate."""
OF_NUMBERS = b"0123456789.eE+- \n\r\t"
"""What a list of numbers has beside its brackets and commas."""

Calls = dict[str, Callable[[], object]]


def main() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "orjson", "numpy", "pydantic-core"))
    print(f"{packages}, Python {platform.python_version()}")
    simdjson = _optional("simdjson", "pysimdjson")
    for shape in SHAPES:
        array = np.random.default_rng(0).random(shape).astype(np.float32)
        text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
        print(f"{list(shape)}, {len(text):,} bytes")
        for name, call in {**readers(text, array), **strict(text, array, simdjson), **writers(array)}.items():
            print(f"  {name:<34} {microseconds(call):10.1f} us", flush=True)


def readers(text: bytes, array: Array) -> Calls:
    """What the app does, and parsers alone: the latter take what the app refuses, but for msgspec typed."""
    view, shape = memoryview(text), array.shape
    spec = InputSpec(name="x", datatype=DataType.FP32, shape=(-1, *shape[1:]))
    flat = memoryview(b"[%b]" % text.translate(None, b"[]"))
    raw = msgspec.Raw(flat)
    contents = memoryview(array.tobytes())
    typed, untyped = msgspec.json.Decoder(_nested_floats(len(shape))), msgspec.json.Decoder()
    return {
        "read  app, nested (/predict)": lambda: np.array(json_tensors.read_rows(view, spec, "x"), np.float32),
        "read  app, flat (OIP)": lambda: json_tensors.read_shaped(raw, DataType.FP32, shape, "x"),
        "read  app, raw bytes (OIP)": lambda: binary_tensors.read(contents, DataType.FP32, shape, "x"),
        "read  msgspec, typed": lambda: np.array(typed.decode(view), np.float32),
        "read  msgspec, untyped": lambda: np.array(untyped.decode(view), np.float32),
        "read  orjson": lambda: np.asarray(orjson.loads(view), np.float32),
        "read  pydantic-core": lambda: np.asarray(pydantic_core.from_json(text), np.float32),
        "read  json": lambda: np.asarray(json.loads(text), np.float32),
    }


def strict(text: bytes, array: Array, simdjson: Any) -> Calls:
    """Parsers that lose the nesting, with the structure proven beside them."""
    expected = _skeleton(array.shape)
    calls: Calls = {"read  orjson, flat, proven": lambda: _proven(text, expected, _flat_by_orjson)}
    if simdjson is not None:
        parser = simdjson.Parser()

        def flat(body: bytes) -> Array:
            return np.frombuffer(parser.parse(body).as_buffer(of_type="d")).astype(np.float32)

        calls["read  simdjson, flat, unproven"] = lambda: flat(text)
        calls["read  simdjson, flat, proven"] = lambda: _proven(text, expected, flat)
    for name, call in calls.items():
        assert np.array_equal(np.asarray(call()), array.ravel()), name
    return calls


def _flat_by_orjson(body: bytes) -> Array:
    values = orjson.loads(b"[%b]" % body.translate(None, b"[]"))
    return np.fromiter(values, np.float32, len(values))


def _proven(text: bytes, skeleton: bytes, parse: Callable[[bytes], Array]) -> Array:
    """Without the numbers, only the brackets and commas of the shape are left; a name or a string would show."""
    if text.translate(None, OF_NUMBERS) != skeleton:
        raise ValueError
    with np.errstate(over="ignore"):
        values = parse(text)
    if not np.isfinite(values).all():
        raise ValueError
    return values


def writers(array: Array) -> Calls:
    return {
        "write orjson, numpy": lambda: orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY),
        "write msgspec, list": lambda: msgspec.json.encode(array.tolist()),
        "write json, list": lambda: json.dumps(array.tolist()).encode(),
    }


def microseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    timer.timeit(1)
    number = max(1, int(SECONDS / max(timer.timeit(1), 1e-6) / ROUNDS))
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


def _skeleton(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of a nested list of this shape."""
    inner = b""
    for dim in reversed(shape):
        inner = b"[%b]" % b",".join([inner] * dim)
    return inner


def _nested_floats(rank: int) -> Any:
    nested: Any = float
    for _ in range(rank):
        nested = list[nested]
    return nested


def _optional(module: str, package: str) -> Any:
    """The module; None, with a line that says so, where its package is not installed."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        print(f"{package} is not installed: left out")
        return None
    print(f"{package} {version(package)}")
    return found


if __name__ == "__main__":
    main()
