"""A client that sends the bytes it is told to, and reads answers off the socket."""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 20.0
SLOW_ROW = [0.5] * 1024


@dataclass(frozen=True)
class Reply:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of a failure, which holds nothing else."""
        document = self.json()
        assert list(document) == ["error"], document
        text: str = document["error"]
        return text


class Wire:
    """One connection."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.connect((host, int(port)))
        except OSError:
            self._socket.close()
            raise
        self._read = b""

    def send(self, *pieces: bytes) -> "Wire":
        """Sends the pieces one by one."""
        for piece in pieces:
            self._socket.sendall(piece)
        return self

    def timeout(self, seconds: float) -> None:
        """How long sending and receiving may take."""
        self._socket.settimeout(seconds)

    def half_close(self) -> "Wire":
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Ends the connection as a client that dies does: RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def reply(self, method: str = "POST") -> Reply:
        """The next answer."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._receive()
        lines = self._read[:end].decode("latin-1").split("\r\n")
        self._read = self._read[end + 4 :]
        protocol, status, _ = lines[0].split(" ", 2)
        assert protocol == "HTTP/1.1", lines[0]
        names = [line.partition(":")[0].lower() for line in lines[1:]]
        assert len(set(names)) == len(names), f"a header comes twice: {names}"
        headers = {name: line.partition(":")[2].strip() for name, line in zip(names, lines[1:], strict=True)}
        return Reply(int(status), headers, b"" if method == "HEAD" or status == "100" else self._body(headers))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        assert "transfer-encoding" not in headers
        length = int(headers["content-length"])
        while len(self._read) < length:
            self._receive()
        body, self._read = self._read[:length], self._read[length:]
        return body

    def is_silent(self, seconds: float) -> bool:
        """Nothing comes for so long."""
        self.timeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return True
        finally:
            self.timeout(PATIENCE_SECONDS)
        return False

    def assert_ended(self) -> None:
        """The server has closed its side, after what was read and without a reset."""
        assert self._read == b"", self._read
        assert self._socket.recv(65536) == b""

    def _receive(self) -> None:
        chunk = self._socket.recv(1 << 20)
        if not chunk:
            raise AssertionError(f"the connection ended within an answer: {self._read!r}")
        self._read += chunk


BODY = json.dumps({"inputs": [[1, 2, 3, 4]]}).encode()
LARGE_BODY = b" " * 200_000 + BODY
"""The same request in one that does not come in one piece."""


def request(
    body: bytes = BODY,
    *,
    method: str = "POST",
    target: str = "/predict",
    version: str = "HTTP/1.1",
    chunks: list[bytes] | None = None,
    **headers: str,
) -> bytes:
    """A request. `_` in a header's name stands for `-`; with `chunks` the body goes in those."""
    lines = [f"{method} {target} {version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    elif body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


def infer(identity: object, model: str = "fast", values: Any = (1, 2, 3, 4), **headers: str) -> bytes:
    """A request whose answer carries its identity."""
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    body = json.dumps({"id": str(identity), "inputs": [tensor]}).encode()
    return request(body, target=f"/v2/models/{model}/infer", **headers)


def raw_infer(identity: object, values: bytes) -> bytes:
    """A request with a raw tensor of 32-bit floats, whose answer has one too."""
    size = {"binary_data_size": len(values)}
    tensor = {"name": "x", "shape": [1, len(values) // 4], "datatype": "FP32", "parameters": size}
    document = {"id": str(identity), "inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(document).encode()
    length = str(len(text))
    return request(text + values, target="/v2/models/wide/infer", Inference_Header_Content_Length=length)


def slow(identity: object, **headers: str) -> bytes:
    """A request that takes some ten milliseconds or more to answer."""
    return infer(identity, "slow", SLOW_ROW, **headers)
