"""The decision: which form of a network is published, by the validation rows, and whether the test rows agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.contract.manifest import Metric
from training.errors import NoCandidate
from training.forms import FLOAT, Bench, Form, measured, results
from training.measure.accuracy import proportion
from training.measure.gate import Verdict
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
    rows = bench.application.test
    expected = results(bench.application, original.path, rows)
    got = results(bench.application, chosen.path, rows)
    verdict = terms.gate.judge(expected, got, rows.targets)
    require_passed(chosen, verdict)
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
        fallback = results(bench.application, decision.float_form.path, rows)
        require_passed(decision.float_form, terms.gate.judge(expected, fallback, rows.targets))
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


def require_passed(form: Form, on_test: Verdict) -> None:
    """Raises NoCandidate where a form that is to be published fails the gate on the test rows."""
    if not on_test.passed:
        raise NoCandidate(f"{form.name}, chosen by the validation rows, on the test rows: {on_test.reasons[0]}")
