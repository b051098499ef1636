"""Requests of a running application, through its door or past it, and its metrics."""

import asyncio
import time
from typing import Any, NamedTuple

import numpy as np

from app.contract.tensors import Signature
from app.dataplane import Pending
from app.errors import BonsaiError
from app.protocol.messages import InferRequest, Inputs, Share, Timings
from tests.api.application import Application

ROWS = [[1, 2, 3, 4], [5, 6, 7, 8]]
MODEL = {"model": "m", "version": "1"}


def predict(application: Application, inputs: object = ROWS, **members: object) -> int:
    """The status of a request."""
    return application.request("POST", "/predict", json={"inputs": inputs, **members}).status_code


class Taken(NamedTuple):
    """A request that was taken in without the door, so that many come within one turn of the loop."""

    answer: "asyncio.Future[Share | BonsaiError]"
    pending: Pending | None

    def cancel(self) -> None:
        """Its client has gone."""
        assert self.pending is not None
        self.pending.cancel()


def infer(application: Application, rows: Any = ROWS, model: str = "m", **members: Any) -> Taken:
    answer: asyncio.Future[Share | BonsaiError] = asyncio.get_running_loop().create_future()

    def read(signature: Signature) -> Inputs:
        return {spec.name: np.array(rows, spec.datatype.numpy) for spec in signature.inputs}

    request = InferRequest(model, None, read, Timings(time.monotonic()), **members)
    return Taken(answer, application.parts.dataplane.infer(request, answer.set_result))


async def exposition(application: Application) -> str:
    return (await application.ask("GET", "/metrics")).text
