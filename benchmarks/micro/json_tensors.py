"""JSON to tensors and back: candidates for app/protocol/json_tensors.py, in one run.

Run: python benchmarks/micro/json_tensors.py. Prints microseconds a call, the best of several rounds.
"""

import json
import timeit
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import orjson

SHAPES = ((1, 64), (32, 64), (1, 3, 224, 224))
ROUNDS = 5
SECONDS = 0.3


def main() -> None:
    print(f"msgspec {msgspec.__version__}, orjson {orjson.__version__}, numpy {np.__version__}")
    for shape in SHAPES:
        array = np.random.default_rng(0).random(shape).astype(np.float32)
        text = json.dumps(array.tolist()).encode()
        nested: Any = float
        for _ in shape:
            nested = list[nested]
        typed = msgspec.json.Decoder(nested)
        print(f"{shape}")
        for name, call in {
            "read  msgspec typed": lambda: np.array(typed.decode(text), np.float32),  # noqa: B023
            "read  orjson": lambda: np.array(orjson.loads(text), np.float32),  # noqa: B023
            "read  json": lambda: np.array(json.loads(text), np.float32),  # noqa: B023
            "write orjson, numpy": lambda: orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY),  # noqa: B023
            "write msgspec, list": lambda: msgspec.json.encode(array.tolist()),  # noqa: B023
            "write json, list": lambda: json.dumps(array.tolist()).encode(),  # noqa: B023
        }.items():
            print(f"  {name:<20} {microseconds(call):10.1f} us")


def microseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    number = max(1, int(SECONDS / max(timer.timeit(1), 1e-6) / ROUNDS))
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


if __name__ == "__main__":
    main()
