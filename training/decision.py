"""The decision: which form of a network is published, by the validation rows, and whether the test rows agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.contract.manifest import Metric
from training.errors import NoCandidate
from training.forms import FLOAT, Bench, Form, measured, results
from training.measure.accuracy import proportion
from training.measure.gate import Results, Verdict
from training.pareto import Candidate, Choice, Terms, choose


@dataclass(frozen=True)
class Decision:
    """What was measured of the original (the first) and of every form, and which form was chosen.

    On the test rows: `test` is the chosen one's verdict, `accuracy` its accuracy, `original_accuracy` the original's.
    """

    original: Form
    forms: Mapping[str, Form]
    measured: tuple[Candidate, ...]
    choice: Choice
    test: Verdict
    accuracy: Metric
    original_accuracy: Metric

    @property
    def chosen(self) -> Form:
        """The form to be published."""
        return self.forms[self.choice.chosen.name]

    @property
    def float_form(self) -> Form:
        """The chosen form before it was quantised: what is served where a CPU cannot run it."""
        return next(f for f in self.forms.values() if (f.level, f.precision) == (self.chosen.level, FLOAT))


def decide(bench: Bench, original: Form, forms: Sequence[Form], terms: Terms) -> Decision:
    """Chooses among the forms, and holds the chosen one against the original on rows that had no part in the choice.

    Raises NoCandidate where no form meets the terms, or where the chosen one loses too much on the test rows. Nothing
    else is tried then: a second choice by the test rows would make their figure worthless.
    """
    base, *candidates = measured(bench, [original, *forms])
    candidates = held_against_their_floats(candidates)
    choice = choose(candidates, terms)
    named = {form.name: form for form in forms}
    chosen = named[choice.chosen.name]
    expected = results(bench.application, original.path, bench.application.test)
    got, verdict = judged_on_test(bench, chosen, expected, terms)
    decision = Decision(
        original=original,
        forms=named,
        measured=(base, *candidates),
        choice=choice,
        test=verdict,
        accuracy=proportion(got.scores > 0),
        original_accuracy=proportion(expected.scores > 0),
    )
    if decision.float_form != chosen:
        judged_on_test(bench, decision.float_form, expected, terms)
    return decision


def held_against_their_floats(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, where the float form of a quantised one fails the gate with that as a reason against it: both are
    published, and the float one is served where a CPU cannot run the other."""
    floats = {candidate.widths: candidate.verdict for candidate in candidates if candidate.precision == FLOAT}

    def held(candidate: Candidate) -> Candidate:
        if candidate.precision == FLOAT:
            return candidate
        inherited = tuple(f"its float form {reason}" for reason in floats[candidate.widths].reasons)
        return replace(candidate, verdict=replace(candidate.verdict, reasons=(*candidate.verdict.reasons, *inherited)))

    return [held(candidate) for candidate in candidates]


def judged_on_test(bench: Bench, form: Form, expected: Results, terms: Terms) -> tuple[Results, Verdict]:
    """What a form that is to be published makes of the test rows, held against the original's. Raises NoCandidate where
    it fails the gate there."""
    rows = bench.application.test
    got = results(bench.application, form.path, rows)
    verdict = terms.gate.judge(expected, got, rows.targets)
    if not verdict.passed:
        raise NoCandidate(f"{form.name}, chosen by the validation rows, on the test rows: {verdict.reasons[0]}")
    return got, verdict
