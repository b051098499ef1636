"""The data plane: what happens to a request, whatever door it came through. No HTTP in here."""

from collections.abc import Callable
from typing import Protocol

from app.contract.tensors import Signature, TensorSpec
from app.errors import BonsaiError, Draining, InvalidInput
from app.protocol.messages import DTYPES, Array, InferRequest, Inputs, Outputs, Share, empty_outputs
from app.repository.model import Model
from app.repository.repository import Repository

WAY_PART, WAY_SECONDS = 0.02, 0.002
"""Of a request's time, kept for its way here before it was read and its answer's way back, and how much at most: its
client's clock runs meanwhile."""

Reply = Callable[[Share | BonsaiError], None]


class Pending(Protocol):
    """A request that is on its way."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more; harmless after it."""


class DataPlane:
    """Takes requests from the doors and answers each through its callback, exactly once."""

    def __init__(self, repository: Repository, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._drains_since: float | None = None
        self._repository = repository

    def drain(self) -> None:
        """From now on only what was received before is answered."""
        if self._drains_since is None:
            self._drains_since = self.clock()

    @property
    def draining(self) -> bool:
        return self._drains_since is not None

    def acquire(self, model: str | None, version: str | None) -> Model:
        """The model version that answers, by name and version or the defaults. Raises what says that there is none."""
        if self._drains_since is not None:
            raise Draining("the server is stopping")
        return self._repository.acquire(model, version)

    def infer(self, request: InferRequest, reply: Reply) -> Pending | None:
        """Admits, resolves, validates and submits a request. `reply` is called with the answer or the error: at once,
        or later on the same thread. None is given where it has been called already."""
        timings = request.timings
        try:
            if self._drains_since is not None and timings.received > self._drains_since:
                raise Draining("the server is stopping")
            model = self._repository.acquire(request.model, request.version)
            request.served = model.served
            signature = model.served.signature
            inputs = request.read_inputs(signature)
            rows = validate(signature, inputs)
            if request.outputs is not None:
                _check_requested(request.outputs, signature)
            timings.decoded = self.clock()
            if rows:
                timeout = request.timeout if request.timeout is not None else model.slo_seconds
                deadline = None
                if timeout is not None:
                    deadline = timings.received + timeout - min(WAY_PART * timeout, WAY_SECONDS)
                return model.submit(request, inputs, rows, deadline, reply)
            timings.started = timings.joined = timings.computed = timings.decoded
            outcome = Share(Outputs(empty_outputs(signature)))
        except Exception as fault:  # noqa: BLE001 - boundary: whatever went wrong, the request is answered
            reply(BonsaiError.of(fault))
            return None
        reply(outcome)
        return None


def validate(signature: Signature, inputs: Inputs) -> int:
    """Holds inputs against a signature; returns the number of rows (1 where the model has no batch axis).

    Raises InvalidInput that names the input.
    """
    for spec in signature.inputs:
        column = inputs.get(spec.name)
        if column is None:
            got = ", ".join(inputs) or "none"
            raise InvalidInput.field("inputs", expected=f"an input '{spec.name}'", got=got)
        if not isinstance(column, list):  # a list was proven by the codec that read it
            _check_array(spec, column)
    if signature.batch_axis is None:
        return 1
    rows = len(inputs[signature.inputs[0].name])
    if len(signature.inputs) > 1 and any(len(inputs[spec.name]) != rows for spec in signature.inputs):
        got = ", ".join(f"{spec.name} {len(inputs[spec.name])}" for spec in signature.inputs)
        raise InvalidInput.field("inputs", expected="the same number of rows in every input", got=got)
    return rows


def _check_array(spec: TensorSpec, column: Array) -> None:
    if column.dtype != DTYPES[spec.datatype]:
        raise InvalidInput.field(f"input '{spec.name}'", expected=f"datatype {spec.datatype}", got=str(column.dtype))
    if not spec.matches(column.shape):
        raise InvalidInput.field(
            f"input '{spec.name}'", expected=f"shape {list(spec.shape)} (-1: any size)", got=f"{list(column.shape)}"
        )


def _check_requested(names: tuple[str, ...], signature: Signature) -> None:
    known = [spec.name for spec in signature.outputs]
    for name in names:
        if name not in known:
            raise InvalidInput.field("outputs", expected=f"one of {', '.join(known)}", got=f"'{name[:128]}'")
