"""Binary tensors: sizes, lengths and headers that lie."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.graphs import KINDS
from tests.hostile.case import GOOD, INFER, Case, infer

_WIDTHS = {"BOOL": 1, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}
_WIDTHS |= {f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)}
ROW = bytes(16)
OCTETS = {"Content_Type": "application/octet-stream"}


def text(size: Any, datatype: str = "FP32", **members: Any) -> bytes:
    """The JSON of a request whose input lies behind it; the answer is wanted in binary too."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": datatype, "parameters": {"binary_data_size": size}}
    return json.dumps({"parameters": {"binary_data_output": True}, "inputs": [tensor | members]}).encode()


def mixed(
    name: str, json_part: bytes, raw: bytes, status: int = 400, says: str = "", length: Any = None, target: str = INFER
) -> Case:
    """A body of JSON and tensors; a length of None is the true one."""
    header = {"Inference_Header_Content_Length": str(len(json_part) if length is None else length)}
    return infer(name, json_part + raw, status, says, target=target, **OCTETS, **header)


LENGTH = len(text(16))
_HEADER = "inference-header-content-length"
_SIZES = (
    mixed("binary", text(16), ROW, 200),
    mixed("bin size > body", text(16), ROW[1:], says="binary_data_size"),
    mixed("bin trailing bytes", text(16), ROW + b"\0", says="body"),
    mixed("bin size negative", text(-16), ROW, says="binary_data_size"),
    mixed("bin size 2^63", text(2**63), ROW, says="binary_data_size"),
    mixed("bin size 2^64 + 16", text(2**64 + 16), ROW, says="binary_data_size"),
    mixed("bin size 1e999", text(16).replace(b": 16}", b": 1e999}"), ROW),
    mixed("bin size 16.0", text(16.0), ROW, says="binary_data_size"),
    mixed("bin size a string", text("16"), ROW, says="binary_data_size"),
    mixed("bin size true", text(True), b"\0", says="binary_data_size"),
    mixed("bin size null", text(None), ROW),
    mixed("bin size + data both", text(16, data=[1, 2, 3, 4]), ROW, says="inputs[0].data"),
    mixed("bin size 0", text(0), b"", says="data"),
    mixed("bin zero batch", text(0, shape=[0, 4]), b"", 200),
    mixed("bin overflow shape 2^62 x 64", text(16, shape=[2**62, 64]), ROW, says="data"),
    mixed("bin overflow shape 2^62 + 1 x 4", text(16, shape=[2**62 + 1, 4]), ROW, says="data"),
    mixed("bin overflow shape to 0", text(0, shape=[2**32, 2**32]), b"", says="data"),
    mixed("bin shape that no array has", text(0, shape=[0, 2**63 - 1]), b"", says="data"),
    mixed("hdr len > body", text(16), ROW, says=_HEADER, length=LENGTH + 17),
    mixed("hdr len negative", text(16), ROW, says=_HEADER, length=-1),
    mixed("hdr len with a plus", text(16), ROW, says=_HEADER, length=f"+{LENGTH}"),
    mixed("hdr len in hexadecimal", text(16), ROW, says=_HEADER, length=hex(LENGTH)),
    mixed("hdr len empty", text(16), ROW, says=_HEADER, length=""),
    mixed("hdr len a list", text(16), ROW, says=_HEADER, length=f"{LENGTH}, {LENGTH}"),
    mixed("hdr len of arabic digits", text(16), ROW, says=_HEADER, length="\u00b2"),
    mixed("hdr len 99999999999", text(16), ROW, says=_HEADER, length=99999999999),
    mixed("hdr len 2^63", text(16), ROW, says=_HEADER, length=2**63),
    mixed("hdr len of 5000 digits", text(16), ROW, says=_HEADER, length="1" * 5000),
    mixed("hdr len splits json", text(16), ROW, says="body", length=LENGTH - 1),
    mixed("hdr len 1", text(16), ROW, says="body", length=1),
    mixed("hdr len into the tensor", text(16), ROW, says="body", length=LENGTH + 1),
    mixed("bin on the native door", text(16), ROW, 501, _HEADER, target="/predict"),
    infer("octets on the native door", ROW, 415, "content-type", target="/predict", **OCTETS),
    infer("bin size without the header", text(16) + ROW, says="body", **OCTETS),
    infer("bin size without bytes", text(16), says="binary_data_size", **OCTETS),
)


def _off_by_one() -> Iterator[Case]:
    for datatype, width in _WIDTHS.items():
        target, size = f"/v2/models/{datatype.lower()}/infer", 4 * width
        raw = bytes(size + 1)
        yield mixed(f"{datatype}: right", text(size, datatype), raw[:size], 200, target=target)
        for wrong in (size - 1, size + 1):
            yield mixed(f"{datatype}: {wrong} bytes", text(wrong, datatype), raw[:wrong], says="data", target=target)
            yield mixed(f"{datatype}: says {wrong}", text(wrong, datatype), raw[:size], target=target)
            yield mixed(f"{datatype}: has {wrong}", text(size, datatype), raw[:wrong], target=target)
            yield mixed(f"{datatype}: raw {wrong}", b"", raw[:wrong], says="body", length=0, target=target)
        yield mixed(f"{datatype}: raw", b"", raw[:size], 200, length=0, target=target)
        yield mixed(f"{datatype}: raw nothing", b"", b"", 200, length=0, target=target)
        other = "FP32" if datatype != "FP32" else "INT32"
        yield mixed(f"{datatype}: as {other}", text(16, other), ROW, says="datatype", target=target)


_RAW = (
    mixed("raw hdr=0 wrong size 255B", b"", bytes(255), says="body", length=0),
    mixed("raw hdr=0 json", b"", json.dumps({"inputs": [GOOD]}).encode() + b" " * 3, says="body", length=0),
    mixed("raw hdr=00", b"", ROW, 200, length="00"),
    mixed("raw hdr=0 for two inputs", b"", ROW, says=_HEADER, length=0, target="/v2/models/two/infer"),
    mixed("raw hdr=0 for strings", b"", ROW, says=_HEADER, length=0, target="/v2/models/bytes/infer"),
    mixed("BOOL of 2", text(4, "BOOL"), b"\0\1\2\0", says="0 and 1", target="/v2/models/bool/infer"),
    mixed("BOOL of 255, raw", b"", b"\0\1\xff\0", says="0 and 1", length=0, target="/v2/models/bool/infer"),
)


def _strings(*elements: tuple[int, bytes]) -> bytes:
    """BYTES as they are written, with whatever lengths."""
    return b"".join(struct.pack("<I", length) + content for length, content in elements)


_A = (1, b"a")
_LYING = {
    "a length of 2^32 - 1": _strings((2**32 - 1, b"a"), _A, _A, _A),
    "a length of 2^31": _strings((2**31, b"a"), _A, _A, _A),
    "a length that takes the rest": _strings((16, b"a"), _A, _A, _A),
    "a length one too long": _strings(_A, _A, _A, (2, b"a")),
    "a length one too short": _strings(_A, _A, _A, (0, b"a")),
    "an inner length one too short": _strings((0, b"a"), _A, _A, _A),
    "three strings of four": _strings(_A, _A, _A),
    "five strings of four": _strings(_A, _A, _A, _A, _A),
    "a length cut off": _strings(_A, _A, _A) + b"\1\0",
    "big-endian lengths": (b"\0\0\0\1a") * 4,
    "no utf-8": _strings(_A, _A, _A, (1, b"\xff")),
    "a surrogate in utf-8": _strings(_A, _A, _A, (3, b"\xed\xa0\x80")),
    "nothing": b"",
    "lengths without strings": _strings(*[(1, b"")] * 4),
}


def _lying() -> Iterator[Case]:
    target = "/v2/models/bytes/infer"
    for name, raw in _LYING.items():
        yield mixed(f"BYTES: {name}", text(len(raw), "BYTES"), raw, says="inputs[0].data", target=target)
    for name, raw in {
        "four": _strings(_A, _A, _A, _A),
        "four empty": bytes(16),
        "NUL": _strings((1, b"\0"), *[_A] * 3),
    }.items():
        yield mixed(f"BYTES: {name}", text(len(raw), "BYTES"), raw, 200, target=target)
    many = 131_073
    tensor = text(4 * many, "BYTES", shape=[many, 1])
    yield mixed("BYTES: more strings than are read", tensor, bytes(4 * many), 413, "strings", target=target)
    yield mixed("BYTES: 2^60 strings", text(16, "BYTES", shape=[2**60, 1]), bytes(16), says="data", target=target)


_NAN = text(16).replace(b'"binary_data_output": true', b'"binary_data_output": false')

CASES: list[Case] = [
    *_SIZES,
    *_off_by_one(),
    *_RAW,
    *_lying(),
    mixed("NaN in, binary out", text(16), b"\xff" * 16, 200),
    mixed("NaN in, JSON out", _NAN, b"\xff" * 16, says="NaN"),
]
assert KINDS.keys() == _WIDTHS.keys() | {"BYTES"}
