"""A model behind FastAPI as most people write it: one run for each request.

POST /predict takes nested lists through a pydantic model and answers lists. The endpoint is `async def`, as in most
tutorials, so a run holds the event loop; a plain `def` would add a switch of threads to each request. The infer path
takes tensors as bytes: it reads the body raw, past its JSON header, and answers raw bytes.

Run: python -m benchmarks.servers.naive PORT GRAPH THREADS
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request, Response
from pydantic import create_model

from benchmarks.servers.stock import serve

DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def application(graph: str, threads: int) -> FastAPI:
    """The inputs of the graph have one datatype and one shape; all but its first dimension are fixed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    shape = session.get_inputs()[0].shape[1:]
    dtype = DTYPES[session.get_inputs()[0].type]
    nested: Any = float
    for _ in (None, *shape):
        nested = list[nested]
    body_model: Any = create_model("Body", inputs=(nested, ...))
    app = FastAPI()

    @app.get("/")
    async def index() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict", response_model=None)
    async def predict(body: body_model) -> dict[str, Any]:
        (outputs,) = session.run(None, {names[0]: np.array(body.inputs, dtype)})
        return {"outputs": outputs.tolist()}

    @app.post("/v2/models/{model}/infer", response_model=None)
    async def infer(model: str, request: Request) -> Response:
        header = int(request.headers["inference-header-content-length"])
        arrays = np.frombuffer(await request.body(), dtype, offset=header).reshape(len(names), -1, *shape)
        (outputs,) = session.run(None, dict(zip(names, arrays, strict=True)))
        return Response(outputs.tobytes(), media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    port, graph, threads = sys.argv[1:]
    serve(application(graph, int(threads)), int(port))
