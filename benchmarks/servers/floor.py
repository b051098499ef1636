"""The least that a Python server can do around a model: uvloop's own protocol, one run for each request, nothing else.

It takes whatever comes as one request that is whole, looks at no header, checks nothing, counts nothing, batches
nothing. No server that does its job can answer a lone request sooner on uvloop and ONNX Runtime's Python API.

Run: python -m benchmarks.servers.floor PORT GRAPH
"""

import asyncio
import sys
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import orjson
import uvloop

END_OF_HEAD = b"\r\n\r\n"


class Body(msgspec.Struct):
    inputs: list[list[float]]


DECODER = msgspec.json.Decoder(Body)


def open_session(graph: str) -> ort.InferenceSession:
    """On one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class Model:
    """A graph of one input and one output, run through bound buffers of one row."""

    def __init__(self, graph: str) -> None:
        self._session = open_session(graph)
        self._binding = self._session.io_binding()
        self._input, self._output = (
            np.zeros((1, *node.shape[1:]), np.float32)
            for node in (*self._session.get_inputs(), *self._session.get_outputs())
        )
        self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, _value(self._input))
        self._binding.bind_ortvalue_output(self._session.get_outputs()[0].name, _value(self._output))

    def predict(self, inputs: list[list[float]]) -> bytes:
        self._input[:] = inputs
        self._session.run_with_iobinding(self._binding)
        return orjson.dumps(self._output, option=orjson.OPT_SERIALIZE_NUMPY)


def _value(array: np.ndarray) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy(array)


class Floor(asyncio.Protocol):
    """One connection."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        body = data[data.find(END_OF_HEAD) + 4 :]
        answer = b'{"outputs":%b}' % self._model.predict(DECODER.decode(body).inputs) if body else b"{}"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
        )


async def main(port: int, graph: str) -> None:
    model = Model(graph)
    server = await asyncio.get_running_loop().create_server(lambda: Floor(model), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
