"""What an ONNX file says of itself: operators, weights, files beside it. Read without ONNX Runtime and without copying
a tensor.

Fields that are not in `onnx_messages.py` are passed over by their length. The walk keeps its own stack, no deeper than
protobuf's parsers go, and reads no more than MOST_FIELDS.
"""

import math
import mmap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import LoadFailed, clip
from app.runtime import weights, wire
from app.runtime.effort import Node, is_open_ended
from app.runtime.onnx_messages import COUNTED, INT, INTS, MESSAGES, TEXT, TEXTS, wires
from app.runtime.weights import External, Tensor
from app.runtime.wire import Malformed, Span

DEEPEST = 100
"""Messages inside each other: what protobuf's own parsers read
(https://protobuf.dev/programming-guides/proto-limits/)."""
MOST_FIELDS = 2_000_000
"""Some seconds of reading."""
LONGEST_TEXT = 1 << 16
"""Bytes of a name."""

_EXTERNAL = 1  # TensorProto.DataLocation

Operator = tuple[str, str]
"""Domain, "" for ONNX's own, and name."""


@dataclass(slots=True)
class Facts:
    """What the file says. Everything nested counts: subgraphs, attributes, functions, training."""

    bytes: int = 0
    """Of the file."""
    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    """The highest version of each domain that is imported."""
    operators: dict[Operator, str] = field(default_factory=dict)
    """Every operator that a node uses, and the first node that does."""
    calls: dict[Operator | None, Counter[Operator]] = field(default_factory=dict)
    """How often a function has nodes of each operator; the graph itself is None."""
    external: list[External] = field(default_factory=list)
    """Tensors whose bytes lie in other files."""
    weights: int = 0
    """Bytes of all tensors once they are loaded."""

    is_open_ended: bool = False
    """Whether what a run takes can depend on the values of its inputs."""

    @property
    def functions(self) -> set[Operator]:
        """Operators that the model itself defines."""
        return {name for name in self.calls if name is not None}


@dataclass(slots=True)
class _Message:
    """One that is being read."""

    kind: str
    parent: "_Message | None"
    fields: Iterator[wire.Field]
    seen: set[str] = field(default_factory=set)
    values: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    """What may come more than once."""
    nodes: list[Node] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)
    dims: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Elements of a tensor, by the field that they lie in."""
    raw: int | None = None
    """Bytes of raw_data."""
    entries: dict[str, str] = field(default_factory=dict)
    calls: Counter[Operator] = field(default_factory=Counter)

    @property
    def label(self) -> str:
        """What a person would look for."""
        kinds = {
            "TensorProto": "tensor",
            "NodeProto": "node",
            "FunctionProto": "function",
            "AttributeProto": "attribute",
        }
        name = clip(self.texts.get("name", "") or self.texts.get("op_type", ""), 80)
        own = f"{kinds.get(self.kind, self.kind)} '{name}'"
        nested = self.parent is not None and self.parent.kind in ("AttributeProto", "NodeProto")
        return f"{own} of {self.parent.label}" if nested and self.parent is not None else own


def read(path: Path) -> Facts:
    """Reads a file that is not empty. Raises Malformed, Truncated, or LoadFailed for what is protobuf but no graph."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _Walk(content).run()


class _Walk:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._facts = Facts(bytes=len(content))
        self._stack = [_Message("ModelProto", None, wire.fields(content, Span(0, len(content))))]
        self._finishes: dict[str, Callable[[_Message], None]] = {
            "ModelProto": self._end_model,
            "OperatorSetIdProto": self._end_opset,
            "GraphProto": self._end_graph,
            "NodeProto": self._end_node,
            "FunctionProto": self._end_function,
            "StringStringEntryProto": self._end_entry,
            "TensorProto": self._end_tensor,
            "SparseTensorProto": self._end_sparse_tensor,
        }

    def run(self) -> Facts:
        model = self._stack[0]
        read = 0
        while self._stack:
            message = self._stack[-1]
            found = next(message.fields, None)
            if found is None:
                self._stack.pop()
                self._finish(message)
                continue
            read += 1
            if read > MOST_FIELDS:
                raise LoadFailed(f"expected at most {MOST_FIELDS} fields")
            self._take(message, found)
        if "graph" not in model.seen:
            raise Malformed("no graph in it")
        self._facts.ir_version = model.values.get("ir_version", 0)
        return self._facts

    def _take(self, message: _Message, found: wire.Field) -> None:
        known = MESSAGES[message.kind].get(found.number)
        if known is None:
            return
        name, kind, repeated = known
        if name in message.seen and not repeated:
            raise Malformed(f"{message.kind}.{name} is there twice")
        message.seen.add(name)
        if found.wire not in wires(name, kind):
            raise Malformed(f"{message.kind}.{name} has wire type {found.wire}")
        if kind in MESSAGES:
            if len(self._stack) >= DEEPEST:
                raise LoadFailed(f"expected at most {DEEPEST} messages inside each other, got more")
            self._stack.append(_Message(kind, message, wire.fields(self._content, found.span)))
        else:
            self._take_value(message, name, kind, found)

    def _take_value(self, message: _Message, name: str, kind: str, found: wire.Field) -> None:
        if kind == INT:
            message.values[name] = wire.signed(found.value)
        elif kind == INTS:
            self._take_dims(message, found)
        elif kind == COUNTED:
            message.counts[name] = message.counts.get(name, 0) + weights.count(self._content, name, found)
        elif kind == TEXT:
            message.texts[name] = self._text(message, name, found.span)
        elif kind == TEXTS:
            message.names.setdefault(name, []).append(self._text(message, name, found.span))
        else:
            message.raw = found.span.stop - found.span.start

    def _take_dims(self, message: _Message, found: wire.Field) -> None:
        given = [found.value] if found.wire == wire.VARINT else wire.varints(self._content, found.span)
        for dim in given:
            message.dims.append(wire.signed(dim))
            if len(message.dims) > 1000:
                raise LoadFailed(f"{message.label}: expected a shape, got more than 1000 dimensions")

    def _text(self, message: _Message, name: str, span: Span) -> str:
        if span.stop - span.start > LONGEST_TEXT:
            raise LoadFailed(f"{message.kind}.{name}: expected at most {LONGEST_TEXT} bytes")
        try:
            return self._content[span.start : span.stop].decode()
        except UnicodeDecodeError:
            raise Malformed(f"byte {span.start}: {message.kind}.{name} is no UTF-8") from None

    def _finish(self, message: _Message) -> None:
        """Notes what a message said, once it has been read to its end."""
        finish = self._finishes.get(message.kind)
        if finish is not None:
            finish(message)

    def _end_model(self, message: _Message) -> None:
        self._facts.calls[None] = message.calls

    def _end_opset(self, message: _Message) -> None:
        domain, version = _domain(message), message.values.get("version", 0)
        self._facts.opsets[domain] = max(version, self._facts.opsets.get(domain, 0))

    def _end_node(self, message: _Message) -> None:
        operator = _domain(message), _overloaded(message, "op_type")
        self._facts.operators.setdefault(operator, message.label)
        _owner(message).calls[operator] += 1
        inputs, outputs = (tuple(message.names.get(name, ())) for name in ("input", "output"))
        assert message.parent is not None
        message.parent.nodes.append(Node(operator[1], inputs, outputs))

    def _end_graph(self, message: _Message) -> None:
        self._facts.is_open_ended |= is_open_ended(message.nodes, message.constants)

    def _end_function(self, message: _Message) -> None:
        function = _domain(message), _overloaded(message, "name")
        if function in self._facts.calls:
            raise Malformed(f"{message.label} is there twice")
        self._facts.calls[function] = message.calls
        self._end_graph(message)

    def _end_entry(self, message: _Message) -> None:
        key = message.texts.get("key", "")
        assert message.parent is not None
        if key in message.parent.entries:
            raise Malformed(f"{message.parent.label}: external_data.{clip(key, 40)} is there twice")
        message.parent.entries[key] = message.texts.get("value", "")

    def _end_tensor(self, message: _Message) -> None:
        tensor = Tensor(
            label=message.label,
            dims=message.dims,
            data_type=message.values.get("data_type", 0),
            counts=message.counts,
            raw=message.raw,
            is_external=message.values.get("data_location", 0) == _EXTERNAL,
            entries=message.entries,
        )
        if message.parent is not None:
            message.parent.constants.add(message.texts.get("name", ""))
        external = tensor.check()
        if external is not None:
            self._facts.external.append(external)
        self._facts.weights += tensor.bytes()

    def _end_sparse_tensor(self, message: _Message) -> None:
        """ONNX Runtime makes it dense: of at most 16 bytes an element."""
        if min(message.dims, default=0) < 0:
            raise LoadFailed(f"{message.label}: expected dimensions of at least 0, got {clip(str(message.dims), 100)}")
        self._facts.weights += math.prod(message.dims) * 16


def _domain(message: _Message) -> str:
    """ONNX's own has two names."""
    domain = message.texts.get("domain", "")
    return "" if domain == "ai.onnx" else domain


def _overloaded(message: _Message, name: str) -> str:
    overload = message.texts.get("overload", "")
    plain = message.texts.get(name, "")
    return f"{plain}:{overload}" if overload else plain


def _owner(node: _Message) -> _Message:
    """The function or the model that a node belongs to."""
    owner = node
    while owner.parent is not None and owner.kind != "FunctionProto":
        owner = owner.parent
    return owner
