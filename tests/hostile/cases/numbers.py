"""Values that a datatype cannot hold, in both dialects. Model `fp32` and its like return one row of four as it is."""

import json
from collections.abc import Iterator

from tests.graphs import KINDS
from tests.hostile.case import PREDICT, Case, infer

_WHOLE = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_NEVER = ("null", "true", '"1"', '""', "{}", "NaN", "-Infinity", "1e999", "-1e999", "9" * 5000, "1e-", ".5", "--1")


def _bounds(sign: str, bits: int) -> tuple[int, int]:
    return (0, 2**bits - 1) if sign == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _refused(datatype: str) -> tuple[str, ...]:
    """Texts of JSON that are no value of the datatype."""
    if datatype in _WHOLE:
        low, high = _bounds(*_WHOLE[datatype])
        return (*_NEVER, str(low - 1), str(high + 1), "1.5", str(2**64), str(-(2**63) - 1), "1e40", str(10**30))
    if datatype == "BOOL":
        return (*(text for text in _NEVER if text != "true"), "0", "1", "1.0", "-0")
    if datatype == "BYTES":
        strings = ('"1"', '""')
        return (*(text for text in _NEVER if text not in strings), "1", "[]", '"\\ud800"', '"\\q"')
    if datatype == "FP32":
        return (*_NEVER, "1e39", "-1e39", "3.4028236e38")
    return _NEVER


def _accepted(datatype: str) -> tuple[str, ...]:
    if datatype in _WHOLE:
        low, high = _bounds(*_WHOLE[datatype])
        return str(low), str(high), "0", "-0"
    if datatype == "BOOL":
        return "true", "false"
    if datatype == "BYTES":
        return '""', '"\\u0000"', '"\\ud83d\\ude00"', json.dumps("\\" * 1000), '"\\u202e"'
    return "-0", "-0.0", "1e-400", "3.4028235e38", "0.1", str(2**63), "1" + "0" * 30


def _cases(datatype: str) -> Iterator[Case]:
    model = datatype.lower()
    filler = {"BOOL": "true", "BYTES": '"a"'}.get(datatype, "1")
    for status, texts in ((400, _refused(datatype)), (200, _accepted(datatype))):
        for text in dict.fromkeys(texts):  # bounds of datatypes meet
            row = f"[{text}, {filler}, {filler}, {filler}]"
            shown = text if len(text) < 40 else f"{text[:8]}, {len(text)} long"
            predict = f'{{"model": "{model}", "inputs": [{row}]}}'
            yield infer(f"predict: {datatype} of {shown}", predict.encode(), status, target=PREDICT)
            tensor = f'{{"name": "x", "shape": [1, 4], "datatype": "{datatype}", "data": {row}}}'
            target = f"/v2/models/{model}/infer"
            yield infer(f"infer: {datatype} of {shown}", f'{{"inputs": [{tensor}]}}'.encode(), status, target=target)


def _halves() -> Iterator[Case]:
    """What the protocol carries in binary alone."""
    for datatype in ("FP16", "BF16"):
        tensor = {"name": "x", "shape": [1, 4], "datatype": datatype, "data": [1, 2, 3, 4]}
        yield infer(
            f"{datatype} in JSON", {"inputs": [tensor]}, says="datatype", target=f"/v2/models/{datatype.lower()}/infer"
        )


CASES: list[Case] = [
    *(case for datatype in KINDS if datatype not in ("FP16", "BF16") for case in _cases(datatype)),
    *_halves(),
]
