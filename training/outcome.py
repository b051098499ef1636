"""The outcome of a decision, as the report tells it."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from app.contract.manifest import Lineage
from training.application import Application
from training.compress import graph
from training.decision import Decision
from training.facts import read_facts
from training.measure.coverage import coverage
from training.measure.gate import ClassDrop
from training.measure.machine import this_machine
from training.pareto import Candidate, Terms, front
from training.report import Entry, Fusion, Machine, Report, Timing, WorstClass

MB = 1 << 20


def facts(
    application: Application, decision: Decision, baselines: Sequence[Candidate], terms: Terms, line: Lineage
) -> Report:
    """Everything that the report holds, but for the layers of the net."""
    machine = this_machine()
    original, *candidates = decision.measured
    labels = application.output.labels
    on_front = {candidate.name for candidate in front(decision.measured)}
    reasons = {**decision.choice.rejected, decision.choice.chosen.name: ()}
    entries = [
        entry(original, "original", (), labels, on_front, terms),
        *(entry(candidate, "candidate", reasons[candidate.name], labels, on_front, terms) for candidate in candidates),
        *(entry(baseline, "baseline", (), labels, set(), terms) for baseline in baselines),
    ]
    chosen = decision.choice.chosen.name
    return Report(
        model=application.name,
        task=application.task,
        machine=Machine(cpu=machine.cpu, flags=machine.flags, threads=1),
        layers=(),
        fusion=fusion(decision),
        entries=tuple(one.model_copy(update={"chosen": one.name == chosen}) for one in entries),
        terms=terms,
        lineage=line,
    )


def entry(
    candidate: Candidate,
    role: Literal["original", "candidate", "baseline"],
    reasons: Sequence[str],
    labels: Sequence[str] | None,
    on_front: Collection[str],
    terms: Terms,
) -> Entry:
    """A line of the table, from what was measured on the validation rows."""
    verdict = candidate.verdict
    return Entry(
        name=candidate.name,
        role=role,
        precision=candidate.precision,
        accuracy=candidate.accuracy,
        drop=None if role == "original" else verdict.drop,
        agreement=None if verdict.agreement is None else verdict.agreement.value,
        worst_class=None if verdict.worst_class is None else worst_class(verdict.worst_class, labels),
        timings=tuple(
            Timing(batch=batch, p50_ms=speed.p50_ms, p99_ms=speed.p99_ms, speedup=speed.speedup)
            for batch, speed in candidate.speed.items()
        ),
        file_bytes=candidate.bytes,
        memory_bytes=max(0, round(candidate.memory_mb * MB)),
        batchable=candidate.batchable,
        passed=not terms.reasons_against(candidate),
        reasons=tuple(reasons),
        on_front=candidate.name in on_front,
    )


def worst_class(found: ClassDrop, labels: Sequence[str] | None) -> WorstClass:
    """The class that lost most, by its label where classes have labels."""
    return WorstClass(label=str(found.label) if labels is None else labels[found.label], drop=found.drop.value)


def fusion(decision: Decision) -> Fusion:
    """Nodes by operator: as published, and as ONNX Runtime runs them here."""
    path = decision.chosen.path
    runs = coverage(path)
    exported = Counter(node.op_type for node in graph.nodes(graph.load(path).graph))
    folded = read_facts(decision.float_form.folder).get("batch_norms", 0)
    return Fusion(
        exported=dict(sorted(exported.items())),
        runs=runs.ops,
        fused={"BatchNormalization": folded} if folded else {},
        int8_share=runs.int8,
    )
