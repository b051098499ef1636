"""The data plane: what happens to a request, whatever door it came through. No HTTP in here."""

from collections.abc import Callable
from functools import partial

from app.contract.tensors import Signature, TensorSpec
from app.errors import BonsaiError, Draining, InvalidInput
from app.protocol.messages import DTYPES, InferRequest, InferResponse, Tensors, empty_outputs
from app.repository.model import Model
from app.repository.repository import Repository
from app.telemetry.metrics import Metrics

Reply = Callable[[InferResponse | BonsaiError], None]


class DataPlane:
    """Takes requests from the doors and answers each through its callback, exactly once."""

    def __init__(self, repository: Repository, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._drains_since: float | None = None
        self._repository = repository
        self._metrics = metrics

    def drain(self) -> None:
        """From now on only what was received before is answered."""
        if self._drains_since is None:
            self._drains_since = self.clock()

    @property
    def draining(self) -> bool:
        return self._drains_since is not None

    def infer(self, request: InferRequest, reply: Reply) -> None:
        """Admits, resolves, validates and submits a request. `reply` is called with the answer or the error: at once,
        or later on the same thread."""
        self._metrics.in_flight.inc()
        outcome: InferResponse | BonsaiError | None
        try:
            outcome = self._take_in(request, reply)
        except BonsaiError as error:
            outcome = error
        except Exception as fault:  # noqa: BLE001 - boundary: whatever went wrong, the request is answered
            outcome = BonsaiError.of(fault)
        if outcome is not None:
            self._answer(reply, outcome)

    def _take_in(self, request: InferRequest, reply: Reply) -> InferResponse | None:
        """The answer where there is one at once; None for a request that is on its way."""
        if self._drains_since is not None and request.timings.received > self._drains_since:
            raise Draining("the server is stopping")
        model = self._repository.acquire(request.model, request.version)
        request.resolved = (model.name, model.version)
        inputs = request.read_inputs(model.signature)
        rows = validate(model.signature, inputs)
        _check_requested(request.outputs, model.signature)
        request.timings.decoded = self.clock()
        if rows == 0 and model.signature.batch_axis is not None:
            request.timings.started = request.timings.computed = request.timings.decoded
            return _respond(model, request, empty_outputs(model.signature))
        timeout = request.timeout if request.timeout is not None else model.slo_seconds
        deadline = None if timeout is None else request.timings.received + timeout
        model.submit(inputs, rows, deadline, request.timings, partial(self._finish, model, request, reply))
        return None

    def _finish(self, model: Model, request: InferRequest, reply: Reply, outcome: Tensors | BonsaiError) -> None:
        self._answer(reply, outcome if isinstance(outcome, BonsaiError) else _respond(model, request, outcome))

    def _answer(self, reply: Reply, outcome: InferResponse | BonsaiError) -> None:
        self._metrics.in_flight.dec()
        reply(outcome)


def _respond(model: Model, request: InferRequest, outputs: Tensors) -> InferResponse:
    return InferResponse(
        model=model.name,
        version=model.version,
        signature=model.signature,
        provider=model.provider,
        outputs=outputs if request.outputs is None else {name: outputs[name] for name in request.outputs},
        timings=request.timings,
    )


def validate(signature: Signature, inputs: Tensors) -> int:
    """Holds tensors against a signature; returns the number of rows (1 where the model has no batch axis).

    Raises InvalidInput that names the input.
    """
    for spec in signature.inputs:
        _check_tensor(spec, inputs)
    if signature.batch_axis is None:
        return 1
    rows = {spec.name: len(inputs[spec.name]) for spec in signature.inputs}
    if len(set(rows.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidInput.field("inputs", expected="the same number of rows in every input", got=got)
    return next(iter(rows.values()))


def _check_tensor(spec: TensorSpec, inputs: Tensors) -> None:
    array = inputs.get(spec.name)
    if array is None:
        got = ", ".join(inputs) or "none"
        raise InvalidInput.field("inputs", expected=f"an input '{spec.name}'", got=got)
    if array.dtype != DTYPES[spec.datatype]:
        raise InvalidInput.field(f"input '{spec.name}'", expected=f"datatype {spec.datatype}", got=str(array.dtype))
    if not spec.matches(array.shape):
        raise InvalidInput.field(
            f"input '{spec.name}'", expected=f"shape {list(spec.shape)} (-1: any size)", got=f"{list(array.shape)}"
        )


def _check_requested(names: tuple[str, ...] | None, signature: Signature) -> None:
    known = [spec.name for spec in signature.outputs]
    for name in names or ():
        if name not in known:
            raise InvalidInput.field("outputs", expected=f"one of {', '.join(known)}", got=f"'{name[:128]}'")
