"""A session: one graph on one execution provider."""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature, TensorSpec
from app.errors import ExecutionFailed, LoadFailed, NotReady, clip
from app.protocol.messages import DTYPES, Array, Column, Halt, Inputs
from app.runtime import bfloat16, memory, raw_strings
from app.runtime.bound import BoundSession, can_be_bound
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import CUDA, Placement
from app.runtime.watchdog import WATCHDOG

# What it would warn of is checked here, and refused with a reason; what fails is raised. An input must not write logs.
ort.set_default_logger_severity(4)


_SOURCES = re.compile(r"/\S+\.(?:cc|h):\d+ (?:.*?\)(?: const)? (?=[A-Z\"']))?")
"""Where in its C++ sources ONNX Runtime raised."""
SHRINK_SECONDS = 10.0
"""Memory that a session has given back is fetched again by the next large run, so it gives back no more often."""

LOAD_SECONDS = 60.0
"""For a run while a model is proven and measured."""
MOST_FOLDED = 1 << 30
"""Bytes of one result that the optimiser may compute at load: ONNX Runtime's own default since 1.27."""

_KNOWS_BOUND = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 26)
_NEVER = {"session.intra_op.allow_spinning": "0"}
BRIEFLY = {"session.intra_op.spin_duration_us": "10", "session.force_spinning_stop": "1"} if _KNOWS_BOUND else _NEVER
"""How a thread looks for more of its run before it sleeps. By itself it would look for milliseconds, behind a run too,
and take the CPU from the event loop and from other models (docs/decisions/0014-spinning.md)."""
ALONE = {"session.intra_op.spin_duration_us": "2000"} if _KNOWS_BOUND else _NEVER
"""The same for runs that have the CPU to themselves: to the next run of a client that asks again at once."""

Spec = TypeVar("Spec", bound=TensorSpec)


class Session:
    """A loaded graph. `run` may be called from several threads at once: they share the weights."""

    def __init__(self, session: ort.InferenceSession, provider: str, device: int, is_open_ended: bool = False) -> None:
        self._session: ort.InferenceSession | None = session
        self.is_open_ended = is_open_ended
        """How long a run takes may depend on the values of its inputs."""
        self._most_seconds = LOAD_SECONDS
        self._most_bytes: float = math.inf
        self._device = ("cuda", device) if provider == CUDA else ("cpu", 0)
        self._arenas = f"cpu:0;gpu:{device}" if provider == CUDA else "cpu:0"
        self._shrinks_at = math.inf
        self.provider = provider
        self.signature = _read_signature(session)
        self.rows_have_one_name = _have_one_name(session)
        bfloat16.check(self.signature, provider)
        self._run = _runner(session, self.signature)
        self._outputs = [spec.name for spec in self.signature.outputs]
        self._elements = {spec.name: (DTYPES[spec.datatype], spec.shape[1:]) for spec in self.signature.inputs}

    @classmethod
    def load(
        cls,
        graph: Graph,
        placement: Placement,
        threads: int,
        cache: GraphCache,
        spinning: Mapping[str, str] = BRIEFLY,
    ) -> "Session":
        """Loads a graph with `threads` intra-op threads.

        Raises LoadFailed where ONNX Runtime cannot load it, its files change meanwhile, the provider asked for is not
        there, or an input or output is no tensor.
        """
        most = memory.bound()
        providers = placement.providers(ort.get_available_providers())
        if len(providers) > 1:
            ort.preload_dlls()  # finds the CUDA and cuDNN wheels, which lie outside the loader's path

        def create(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry(memory.SHARED_ARENA, "1")
            most_folded = min(MOST_FOLDED, most // max(1, graph.nodes))  # together no more than the memory there is
            options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(most_folded))
            options.log_severity_level = 4  # what a run raises is logged with the request it belongs to
            for key, value in spinning.items():
                options.add_session_config_entry(key, value)
            return ort.InferenceSession(path, options, providers)

        try:
            session = cache.open(graph, placement, create)
        except LoadFailed:
            raise
        except Exception as error:  # ORT raises a dozen unrelated classes; all of them mean: not this graph
            raise LoadFailed(
                f"{graph.path.name}: ONNX Runtime cannot load it: {_without_paths(str(error), graph.path)}"
            ) from error
        graph.verify_unchanged()
        return cls(session, placement.check(session.get_providers()), placement.device, graph.facts.is_open_ended)

    def run(self, inputs: Inputs, halt: Halt | None = None) -> dict[str, Array]:
        """All outputs by name. Blocking; releases the GIL; `halt` ends it between two nodes of the graph.

        Raises ExecutionFailed, also for a run that takes more time or makes more than `limit` allows; NotReady after
        `close`. Without `halt` the time is only watched where a graph is open-ended.
        """
        if halt is None and not self.is_open_ended:
            return self._run_to_its_end(inputs, None)
        halt = halt or Halt()
        watched = WATCHDOG.watch(halt, self._most_seconds)
        try:
            return self._run_to_its_end(inputs, halt)
        except ExecutionFailed as error:
            if not watched.rang:
                raise
            limit = f"{1000 * self._most_seconds:.0f} ms (max_run_ms)"
            raise ExecutionFailed(f"the model took longer on this input than {limit}") from error
        finally:
            WATCHDOG.forget(watched)

    def _run_to_its_end(self, inputs: Inputs, halt: Halt | None) -> dict[str, Array]:
        try:
            arrays = {name: self._array(name, column) for name, column in inputs.items()}
            outputs = dict(zip(self._outputs, self._run(self._outputs, arrays, self._options(halt)), strict=True))
        except NotReady:
            raise
        except Exception as error:  # the graph raised; its message may name nodes and files, so it goes to the log only
            raise ExecutionFailed(_failure(error)) from error
        if sum([array.nbytes for array in outputs.values()]) > self._most_bytes:
            name, array = max(outputs.items(), key=lambda output: output[1].nbytes)
            raise ExecutionFailed(
                f"output '{name}': expected at most {self._most_bytes:.0f} bytes of all outputs (max_output_mb), "
                f"got {array.nbytes}"
            )
        return outputs

    def _array(self, name: str, column: Column) -> Array:
        if not isinstance(column, list):
            return column
        dtype, dims = self._elements[name]
        array = np.array(column, dtype)
        return array if column else array.reshape(0, *dims)  # an empty list has lost the dimensions inside it

    def bound(self, sizes: Sequence[int]) -> BoundSession | None:
        """The same graph run through bound buffers, at most `sizes[-1]` rows at once; None where its shapes or elements
        are not fixed, and after `close`."""
        if self._session is None or not can_be_bound(self.signature):
            return None
        return BoundSession(self._session, self.signature, sizes, self._device, self.run)

    def close(self) -> None:
        """Lets go of the graph: ONNX Runtime gives its memory back with the last run that is under way. Whoever holds
        the session may be part of a cycle, which the garbage collector finds late or never."""
        self._session = None
        self._run = _refuse

    def limit(self, most_seconds: float, most_bytes: int) -> None:
        """From now on a run may take so long, and its outputs may have so many bytes."""
        self._most_seconds = most_seconds
        self._most_bytes = most_bytes

    def return_memory(self) -> None:
        """From now on one run in SHRINK_SECONDS, the first of them, gives the system back what runs have fetched and
        none of them holds. By itself ONNX Runtime keeps what its largest run took for as long as the session lives."""
        self._shrinks_at = 0.0

    def _options(self, halt: Halt | None) -> ort.RunOptions | None:
        """Fresh ones each time: terminated options end every run that they are given to."""
        now = time.monotonic()
        if halt is None and now < self._shrinks_at:
            return None
        options = ort.RunOptions()
        if now >= self._shrinks_at:
            self._shrinks_at = now + SHRINK_SECONDS
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", self._arenas)
        if halt is not None:
            halt.by(lambda: setattr(options, "terminate", True))
        return options


def _runner(session: ort.InferenceSession, signature: Signature) -> Callable[..., list[Array]]:
    """What runs the graph: ONNX Runtime itself, or what stands before it where NumPy cannot say what a tensor is."""
    if bfloat16.is_used(signature):
        return partial(bfloat16.run, session)
    if raw_strings.is_used(signature):
        return partial(raw_strings.run, session, signature.batch_axis is not None)
    run: Callable[..., list[Array]] = session.run
    return run


def _refuse(*_: object) -> list[Array]:
    raise NotReady("the model has been unloaded")


def _read_signature(session: ort.InferenceSession) -> Signature:
    """Raises LoadFailed where a request or an answer could not name every input and output."""
    inputs = tuple(_read_spec(InputSpec, "input", node) for node in _named("inputs", session.get_inputs()))
    outputs = tuple(_read_spec(OutputSpec, "output", node) for node in _named("outputs", session.get_outputs()))
    free = all(spec.shape[:1] == (-1,) for spec in (*inputs, *outputs))
    return Signature(inputs=inputs, outputs=outputs, batch_axis=0 if free else None)


def _have_one_name(session: ort.InferenceSession) -> bool:
    """Whether the graph itself says that the first dimensions of its inputs are the same."""
    inputs = session.get_inputs()
    names = {node.shape[0] if node.shape else None for node in inputs}
    return len(inputs) == 1 or (len(names) == 1 and all(names))


def _named(role: str, nodes: list[Any]) -> list[Any]:
    """The nodes, each of which has a name of its own."""
    try:
        described = [(node.name, node.shape) for node in nodes]  # dimensions have names too
    except UnicodeDecodeError:
        raise LoadFailed(f"{role}: expected names in UTF-8, got bytes that are not") from None
    names = [name for name, _ in described]
    if not names:
        raise LoadFailed(f"{role}: expected at least one, got none")
    if len(set(names)) < len(names):
        raise LoadFailed(f"{role}: expected names that differ, got '{clip(max(names, key=names.count))}' twice")
    return nodes


def _read_spec(kind: type[Spec], role: str, node: Any) -> Spec:
    """Any dimension that is not an integer is free: names of dimensions are free text."""
    try:
        datatype = DataType.from_onnx(node.type)
    except LoadFailed as error:
        raise LoadFailed(f"{role} '{clip(node.name)}': {error}") from None
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape)
    return kind(name=node.name, datatype=datatype, shape=shape)


def _failure(error: Exception) -> str:
    if "BFCArena" in str(error):  # it names the limit that was left, and says nothing else that a client may use
        return "the model needed more memory for this input than there is (BONSAI_MEMORY_MB)"
    return "the model failed on this input"


def _without_paths(message: str, graph: Path) -> str:
    plain = _SOURCES.sub("", message.replace(str(graph), graph.name).replace(str(graph.parent), "."))
    return " ".join(plain.split())
