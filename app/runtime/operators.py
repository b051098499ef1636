"""Which operators the installed ONNX Runtime has, and which of them a server does not run."""

import functools
from collections.abc import Mapping
from typing import Any

from onnxruntime.capi import _pybind_state as binding

from app.errors import LoadFailed, clip
from app.runtime.onnx_file import Facts, Operator

DENIED: Mapping[Operator, str] = {
    ("com.microsoft", "EPContext"): "it loads code compiled for a device, also from a file that it names",
    ("com.microsoft", "Snpe"): "it loads a container of Qualcomm's engine",
    ("com.microsoft", "PythonOp"): "it calls Python",
    ("com.microsoft", "PythonOpGrad"): "it calls Python",
    ("org.pytorch.aten", "ATen"): "it calls PyTorch",
}
"""The first two are in the ordinary wheels. What only builds for training can run is here as well: a build must not
widen what a model may do. By their schemas, no other operator of the ordinary wheels names a file or a connection."""
MOST_NODES = 50_000
"""Of a graph whose functions have been put in: ONNX Runtime does that at load, in time that grows with the square.
16,000 nodes take 2 s, 130,000 take 54 s."""


@functools.cache
def built_in() -> Mapping[str, Mapping[str, int]]:
    """Domain -> operator -> opset version in which it last changed; empty for a wheel that does not tell."""
    schemas: dict[str, dict[str, int]] = {}
    read: Any = getattr(binding, "get_all_operator_schema", list)
    for schema in read():
        versions = schemas.setdefault(schema.domain, {})
        versions[schema.name] = max(schema.since_version, versions.get(schema.name, 0))
    return schemas


def check(facts: Facts) -> int:
    """The number of nodes, with all functions put in.

    Raises LoadFailed for an operator set or operator that is not built in or is denied, and for too many nodes.
    """
    known = built_in()
    for domain, version in facts.opsets.items():
        newest = max(known.get(domain, {"": version}).values())
        if version > newest:
            name = domain or "ai.onnx"
            raise LoadFailed(
                f"operator set {name}: expected at most version {newest}, which is installed, got {version}"
            )
    for operator, where in facts.operators.items():
        if operator in DENIED or operator not in facts.functions:  # a function must not lend its name to one
            _check_one(operator, where, known)
    return _count(facts)


def _check_one(operator: Operator, where: str, known: Mapping[str, Mapping[str, int]]) -> None:
    domain, name = operator
    label = clip(f"{domain}.{name}" if domain else name, 120)
    if operator in DENIED:
        raise LoadFailed(f"{where}: operator {label} is not run by a server: {DENIED[operator]}")
    if known and name not in known.get(domain, {}):
        names = ", ".join(sorted(domain or "ai.onnx" for domain in known))
        raise LoadFailed(f"{where}: expected an operator of {names} or a function of the model, got {label}")


def _count(facts: Facts) -> int:
    """Functions that call functions may stand for any number of nodes, and ONNX Runtime puts all of them in."""
    sizes: dict[Operator, int] = {}
    stack: list[Operator | None] = [None]
    under_way: set[Operator] = set()
    size = 0
    while stack:
        caller = stack[-1]
        calls = facts.calls[caller]
        unknown = [callee for callee in calls if callee in facts.functions and callee not in sizes]
        if unknown and caller is not None:
            under_way.add(caller)
        if recursive := under_way & set(unknown):
            raise LoadFailed(f"function {clip(min(recursive)[1])} calls itself")
        if unknown:
            stack += unknown
            continue
        stack.pop()
        size = sum(count * sizes.get(callee, 1) for callee, count in calls.items())
        if facts.functions and size > MOST_NODES:
            raise LoadFailed(f"expected at most {MOST_NODES} nodes with all functions put in, got {size} or more")
        if caller is not None:
            sizes[caller] = size
            under_way.discard(caller)
    return size
