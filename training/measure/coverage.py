"""Coverage: what the runtime makes of a graph, read from the graph that it runs and not from the one it was given."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto

from training.compress import graph

FLOAT = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "NhwcFusedConv"})
INT8 = frozenset(
    {
        *("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    }
)
LAYOUT = "com.microsoft.nchwc"
RETYPED = ("Nhwc", "Q", "Dynamic", "MatMulInteger")
"""How the names of the runtime's own nodes begin that stand for one exported node, in another layout or type."""
ERRORS_ONLY = 3


@dataclass(frozen=True)
class Coverage:
    """The graph that runs, in figures.

    `ops`: nodes by operator; `fused`: nodes that do several operators' work, such as "Conv+Relu", and how many; `int8`:
    share of the products (Conv, Gemm, MatMul) that run on integers, 0 where there is none.
    """

    nodes_before: int
    nodes_after: int
    ops: dict[str, int]
    fused: dict[str, int]
    int8: float


def coverage(path: Path) -> Coverage:
    """Loads a graph on this host's CPU as the server does, with every optimisation, and reads what came out.

    That differs from one CPU to the next, so it is a figure of a report and no property of the file.
    """
    before = graph.load(path)
    after = optimised(path)
    running = list(graph.nodes(after.graph))
    ops = Counter(node.op_type for node in running)
    fused = Counter(name for name in map(_fusion, running) if name is not None)
    integer, floating = (sum(ops[kind] for kind in kinds) for kinds in (INT8, FLOAT))
    return Coverage(
        nodes_before=sum(1 for _ in graph.nodes(before.graph)),
        nodes_after=len(running),
        ops=dict(sorted(ops.items())),
        fused=dict(sorted(fused.items())),
        int8=integer / max(1, integer + floating),
    )


def optimised(path: Path) -> ModelProto:
    """The graph that runs here. It is for reading only: on another CPU its answers may be wrong."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
        options.log_severity_level = ERRORS_ONLY  # it warns that the saved graph is bound to this CPU
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        model: ModelProto = onnx.load(options.optimized_model_filepath)
    return model


def _fusion(node: NodeProto) -> str | None:
    """What a node of the runtime has taken in, joined by "+"; None for one that does a single operator's work."""
    activation = next((value.s.decode() for value in node.attribute if value.name == "activation"), "")
    if node.op_type in FLOAT:
        sums = "Conv" in node.op_type and len(node.input) > 3 and node.input[3]
        parts = [node.op_type.removeprefix("Nhwc").removeprefix("Fused"), "Add" if sums else "", activation]
        return "+".join(filter(None, parts)) if sums or activation else None
    if node.domain in graph.STANDARD | {LAYOUT} or node.op_type.startswith(RETYPED):
        return None
    return node.op_type
