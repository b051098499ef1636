"""A loaded model version: the place where contract, runtime and batcher meet."""

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np

from app.batching.batch import Entry, Reply
from app.batching.batcher import DynamicBatcher
from app.contract.deployment import Deployment, Limits
from app.contract.manifest import Manifest, Variant
from app.contract.tensors import Signature, TensorSpec
from app.errors import ExecutionFailed, LoadFailed
from app.protocol.messages import Tensors, Timings
from app.repository.store import BARE_GRAPH, VersionFolder
from app.runtime import cpu, invariance
from app.runtime.golden import Golden
from app.runtime.graph_cache import GraphCache
from app.runtime.instances import InlineInstance, InstanceGroup
from app.runtime.providers import Placement
from app.runtime.session import Session
from app.telemetry.metrics import Metrics

DRAIN_POLL_SECONDS = 0.01
WARM_UP_RUNS = 3
INLINE_SECONDS = 0.0002
"""A model whose largest batch takes less is run on the event loop: handing it to a thread and back takes as long."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A graph that has been proven on this host."""

    session: Session
    signature: Signature
    variant: str
    batchable: bool
    sample: Tensors | None
    """Inputs that the graph is known to take."""
    largest_seconds: float = math.inf
    """What a run of the largest batch takes, where that is known."""


def load(folder: VersionFolder, deployment: Deployment, cache: GraphCache) -> Loaded:
    """Loads and proves a version. Blocking. Raises LoadFailed: why it cannot be served."""
    placement = Placement(deployment.provider, deployment.device, deployment.allow_fallback)
    threads = deployment.threads or max(1, cpu.budget() // deployment.instances)

    def open_session(file: str) -> Session:
        return Session.load(folder.path / file, placement, threads, cache)

    loaded = _load_manifested(folder, open_session) if folder.has_manifest else _load_bare(open_session)
    return _warm_up(loaded, deployment.limits.max_batch_rows)


def _load_manifested(folder: VersionFolder, open_session: Callable[[str], Session]) -> Loaded:
    manifest = Manifest.read(folder.path)
    _check_place(manifest, folder)
    manifest.verify(folder.path)
    golden = Golden.read(folder.path / manifest.golden, manifest.signature)
    refusals = []
    for variant in manifest.variants:
        try:
            return _prove(variant, manifest, golden, open_session)
        except (LoadFailed, ExecutionFailed) as error:
            refusals.append(f"{variant.file}: {error}")
    raise LoadFailed("no variant can be served here: " + "; ".join(refusals))


def _check_place(manifest: Manifest, folder: VersionFolder) -> None:
    if (manifest.name, manifest.version) != (folder.name, folder.version):
        raise LoadFailed(
            f"manifest.json: expected {folder.name} version {folder.version}, as the folder says, "
            f"got {manifest.name} version {manifest.version}"
        )


def _prove(variant: Variant, manifest: Manifest, golden: Golden, open_session: Callable[[str], Session]) -> Loaded:
    if missing := sorted(set(variant.requires) - cpu.flags()):
        raise LoadFailed(f"this CPU has no {', '.join(missing)}")
    session = open_session(variant.file)
    _check_signature(manifest.signature, session.signature)
    golden.replay(session, variant.tolerance)
    if manifest.batch_axis is None:
        return Loaded(session, manifest.signature, variant.file, False, golden.inputs)
    first = {name: array[: invariance.ROWS] for name, array in golden.inputs.items()}
    batchable = variant.batchable and invariance.is_batch_invariant(session, first)
    return Loaded(session, manifest.signature, variant.file, batchable, first)


def _load_bare(open_session: Callable[[str], Session]) -> Loaded:
    """A graph without a manifest: served from its own signature, and batched only after the self-test."""
    session = open_session(BARE_GRAPH)
    signature = session.signature
    samples = invariance.samples(signature) if signature.batch_axis == 0 else []
    for inputs in samples:
        if invariance.is_batch_invariant(session, inputs):
            return Loaded(session, signature, BARE_GRAPH, True, inputs)
    # Free first dimensions that are not proven to be rows need not even agree with each other.
    return Loaded(session, signature.model_copy(update={"batch_axis": None}), BARE_GRAPH, False, None)


def _check_signature(declared: Signature, read: Signature) -> None:
    for kind, ours, graphs in (
        ("input", declared.inputs, read.inputs),
        ("output", declared.outputs, read.outputs),
    ):
        expected, got = _describe(ours), _describe(graphs)
        if expected != got:
            raise LoadFailed(f"manifest.json {kind}s: expected what the graph has, {got}, got {expected}")


def _describe(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(sorted(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs))


def _warm_up(loaded: Loaded, rows: int) -> Loaded:
    """Runs of the largest batch, so that memory is there before the first request and its cost is known.

    A graph that cannot take so many rows is served one request at a time.
    """
    if not loaded.batchable or loaded.sample is None:
        return loaded
    largest = {name: np.resize(array, (rows, *array.shape[1:])) for name, array in loaded.sample.items()}
    try:
        return replace(loaded, largest_seconds=min(_seconds(loaded.session, largest) for _ in range(WARM_UP_RUNS)))
    except ExecutionFailed:
        return replace(loaded, batchable=False)


def _seconds(session: Session, inputs: Tensors) -> float:
    started = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - started


class Model:
    """A version that answers requests. Its batcher's state belongs to the event loop's thread."""

    def __init__(
        self,
        folder: VersionFolder,
        loaded: Loaded,
        deployment: Deployment,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name = folder.name
        self.version = folder.version
        self.signature = loaded.signature
        self.provider = loaded.session.provider
        self.batchable = loaded.batchable
        self.sample = loaded.sample
        self.slo_seconds: float | None = None
        self._instances: InstanceGroup | InlineInstance
        if loaded.largest_seconds < INLINE_SECONDS and deployment.instances == 1:
            self._instances = InlineInstance(loop.call_soon)
        else:
            name = f"{self.name}-{self.version}"
            self._instances = InstanceGroup(name, deployment.instances, loop.call_soon_threadsafe)
        self._batcher = DynamicBatcher(
            loaded.session.run,
            self._instances,
            max_batch_rows=deployment.limits.max_batch_rows,
            max_queue_rows=deployment.limits.max_queue_rows,
            clock=time.monotonic,
            call_soon=loop.call_soon,
            metrics=metrics.of(self.name, self.version),
        )
        self.apply(deployment.limits)

    def apply(self, limits: Limits) -> None:
        """Changes the limits of the running batcher."""
        self._batcher.max_batch_rows = limits.max_batch_rows
        self._batcher.max_queue_rows = limits.max_queue_rows
        self.slo_seconds = None if limits.slo_ms is None else limits.slo_ms / 1000

    def submit(self, inputs: Tensors, rows: int, deadline: float | None, timings: Timings, reply: Reply) -> None:
        """Queues validated inputs; `reply` gets the outputs or the error. Raises Overloaded or TooLarge."""
        self._batcher.submit(
            Entry(inputs=inputs, rows=rows, key=self._key(inputs), reply=reply, timings=timings, deadline=deadline)
        )

    async def close(self) -> None:
        """Answers what was submitted, then ends the threads."""
        while not self._batcher.idle:  # noqa: ASYNC110 - the batcher knows no event loop to hang an Event on
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        self._instances.close()

    def _key(self, inputs: Tensors) -> Hashable | None:
        if not self.batchable:
            return None
        return tuple(inputs[spec.name].shape[1:] for spec in self.signature.inputs)
