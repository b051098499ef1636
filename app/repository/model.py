"""A loaded model version: the place where contract, runtime and batcher meet."""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable

import numpy as np

from app.batching.batch import Entry, Reply, Run
from app.batching.batcher import DynamicBatcher
from app.batching.cost import Costs
from app.batching.express import Express
from app.batching.padding import Bucket, bucket_length
from app.batching.runs import Runs
from app.batching.shared_cpu import SharedCpu
from app.contract.deployment import Deployment, Limits
from app.contract.tensors import TensorSpec
from app.errors import NotReady
from app.protocol.messages import Halt, InferRequest, Inputs, ServedModel, Tensors
from app.repository.loading import Loaded, bind_every_size, takes_any_size
from app.repository.store import VersionFolder
from app.runtime.instances import InlineInstance, InstanceGroup
from app.runtime.profile import Measured
from app.telemetry.metrics import Metrics

DRAIN_POLL_SECONDS = 0.01


class Model:
    """A version that answers requests. Its batcher's state belongs to the event loop's thread."""

    def __init__(
        self,
        folder: VersionFolder,
        loaded: Loaded,
        deployment: Deployment,
        metrics: Metrics,
        cpu: SharedCpu,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        proven = loaded.proven
        self.served = ServedModel(folder.name, folder.version, proven.signature, proven.session.provider)
        self.batchable = proven.batchable
        self.sample = proven.sample
        self._loop = loop
        self._metrics = metrics.of(folder.name, folder.version)
        self._profile = loaded.profile
        self._padding = proven.padding
        self._one_key = _has_one_shape(proven.signature.inputs) if proven.batchable else False
        self._sessions = [session for session in (proven.session, loaded.wide) if session is not None]
        self._is_bounded = not (proven.session.is_open_ended or takes_any_size(proven))
        self._instances = self._start(deployment)
        self._bound = loaded.bound
        if self._bound is None and self._runs_on_the_loop and proven.batchable:
            self._bound = bind_every_size(proven)
        run = self._bound.run if self._bound else self._run
        runs = _runs(loaded, run, cpu, deployment.limits.max_batch_rows)
        self._batcher = DynamicBatcher(
            runs, self._instances, deployment.limits, clock=time.monotonic, scheduler=loop, metrics=self._metrics
        )
        self._express = Express(
            self._batcher, runs, deployment.limits, clock=time.monotonic, soon=loop.call_soon, metrics=self._metrics
        )
        self._limit(deployment.limits)

    @property
    def instances(self) -> int:
        """Runs that may be under way at once."""
        return self._instances.count

    @property
    def _runs_on_the_loop(self) -> bool:
        return isinstance(self._instances, InlineInstance)

    def _run(self, inputs: Inputs, halt: Halt | None = None) -> Tensors:
        """A run that nobody can end where it keeps the event loop's thread."""
        return self._sessions[0].run(inputs, None if self._runs_on_the_loop else halt)

    def apply(self, deployment: Deployment) -> None:
        """Changes what may change live: the limits and the number of instances."""
        before = self._instances
        count = deployment.instances or self._profile.instances
        if count != before.count or self._is_inline(deployment) != self._runs_on_the_loop:
            self._instances = self._start(deployment)
        elif deployment.limits == self.limits:
            return  # as after most polls: to tell the batcher would end a delay that is under way
        self._limit(deployment.limits)
        self._batcher.apply(deployment.limits, self._instances)
        self._express.apply(deployment.limits)
        if self._instances is not before:
            before.close()

    def _limit(self, limits: Limits) -> None:
        self.limits = limits
        self.slo_seconds = None if limits.slo_ms is None else limits.slo_ms / 1000
        most_bytes = limits.max_output_mb << 20
        for session in self._sessions:
            session.limit(limits.max_run_ms / 1000, most_bytes)
        if self._bound is not None:
            self._bound.limit(most_bytes)
        is_open = self._runs_on_the_loop and self._one_key
        self._enter: Callable[[Entry], None] = self._express.submit if is_open else self._batcher.submit
        self.express = self._express if is_open and limits.slo_ms is None else None

    def submit(self, request: InferRequest, inputs: Inputs, rows: int, deadline: float | None, reply: Reply) -> Entry:
        """Queues validated inputs; `reply` gets the outputs or the error. Raises Overloaded or TooLarge; NotReady after
        `close`."""
        entry = Entry(inputs, rows, (), reply, request.timings, deadline, request.priority, request.client)
        if not self._one_key:
            entry.key = self._key(entry)
        self._enter(entry)
        return entry

    async def close(self) -> None:
        """Answers what was submitted, then ends the threads and lets go of all that is large. The model itself is part
        of a cycle, and the garbage collector is spared."""
        while not self._express.idle:  # noqa: ASYNC110 - the batcher knows no event loop to hang an Event on
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        self._enter = _refuse
        self.express = None
        self.sample = None
        self._instances.close()
        self._batcher.close()
        for session in self._sessions:
            session.close()
        if self._bound is not None:
            self._bound.close()
        self._metrics.forget()

    def _is_inline(self, deployment: Deployment) -> bool:
        """Whether even the largest run may have the event loop wait for it."""
        most_rows = deployment.limits.max_batch_rows if self.batchable else 1
        return self._is_bounded and deployment.instances in (None, 1) and self._profile.is_inline(most_rows)

    def _start(self, deployment: Deployment) -> InstanceGroup | InlineInstance:
        if self._is_inline(deployment):
            return InlineInstance()
        name = f"{self.served.name}-{self.served.version}"
        count = deployment.instances or self._profile.instances
        return InstanceGroup(name, count, self._loop.call_soon_threadsafe)

    def _key(self, entry: Entry) -> Hashable | None:
        """The shape key; sets the entry's length where it may be padded."""
        if not self.batchable:
            return None
        # In the signature's order, whatever the client's.
        dims = tuple(np.shape(entry.inputs[spec.name])[1:] for spec in self.served.signature.inputs)
        length = None if self._padding is None else self._padding.length(entry.inputs)
        if length is None:
            return dims
        entry.length = length
        return Bucket(bucket_length(length), tuple(shape[1:] for shape in dims))


def _refuse(_: Entry) -> None:
    raise NotReady("the model has been unloaded")


def _has_one_shape(specs: Iterable[TensorSpec]) -> bool:
    """Whether every request has the same shape, but for its rows."""
    return all(-1 not in spec.shape[1:] for spec in specs)


def _is_complete(costs: Measured, most_rows: int) -> bool:
    """Whether time was enough to measure every size."""
    return not costs or costs[-1][0] == most_rows


def _runs(loaded: Loaded, narrow: Run, cpu: SharedCpu, most_rows: int) -> Runs:
    chosen = loaded.profile
    return Runs(
        narrow=narrow,
        costs=Costs(chosen.costs, _is_complete(chosen.costs, most_rows)),
        cpu=cpu,
        wide=loaded.wide.run if loaded.wide is not None else None,
        wide_costs=Costs(chosen.wide_costs, _is_complete(chosen.wide_costs, most_rows)),
        padding=loaded.proven.padding,
    )
