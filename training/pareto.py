"""Candidates of a compile, the front that none of them beats, and the choice by the user's terms."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from app.contract.manifest import Metric
from app.contract.tensors import Frozen
from training.errors import NoCandidate
from training.measure.bench import Speed, high, low
from training.measure.gate import Gate, Verdict, too_large_drop


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form of the network, and everything that was measured of it.

    `widths`: how much of the layers is left, such as "75 %". `accuracy`: on the validation rows, a share of 1; the
    test rows take no part in a choice. `speed`: by batch size, its ratios against the original. `requires`: CPU flags.
    """

    name: str
    file: str
    precision: str
    widths: str
    accuracy: Metric
    speed: Mapping[int, Speed]
    bytes: int
    memory_mb: float
    batchable: bool
    requires: tuple[str, ...] = ()
    verdict: Verdict

    @property
    def drop(self) -> Metric:
        """Percentage points lost against the original, on the same rows."""
        return self.verdict.drop


class Terms(Frozen):
    """What the user asks of a network.

    `max_drop`: percentage points that it may lose in all, `max_class_drop` in any class. `max_ms`: the 99th percentile
    of a run of `batch` rows. `max_mb`: resident memory, in megabytes of 2^20 bytes. None sets no limit. `batch` is also
    where the fastest is looked for.
    """

    max_drop: float = Field(ge=0, le=100)
    max_class_drop: float | None = Field(default=None, ge=0, le=100)
    max_ms: float | None = Field(default=None, gt=0)
    max_mb: float | None = Field(default=None, gt=0)
    batch: int = Field(default=8, ge=1)

    @property
    def gate(self) -> Gate:
        """What of them is held against a form's answers."""
        return Gate(max_drop=self.max_drop, max_class_drop=self.max_class_drop)

    @property
    def options(self) -> str:
        """How a command says them."""
        asked = self.model_dump(exclude_none=True, exclude={"batch"})
        return "".join(f" --{name.replace('_', '-')} {value:g}" for name, value in asked.items())

    def reasons_against(self, candidate: Candidate) -> tuple[str, ...]:
        """Which gates and terms it does not meet; empty where it may be chosen."""
        # The gate and these terms may name the same drop.
        return tuple(dict.fromkeys((*candidate.verdict.reasons, *self._exceeded(candidate))))

    def _exceeded(self, candidate: Candidate) -> Iterator[str]:
        yield from too_large_drop(candidate.drop, self.max_drop)
        took = candidate.speed[self.batch].p99_ms
        if self.max_ms is not None and took > self.max_ms:
            yield f"p99 of batch {self.batch} is {took:.2f} ms, allowed are {self.max_ms:g}"
        if self.max_mb is not None and candidate.memory_mb > self.max_mb:
            yield f"takes {candidate.memory_mb:.1f} MB, allowed are {self.max_mb:g}"


@dataclass(frozen=True)
class Choice:
    """The candidate chosen, and by name why each of the others was not."""

    chosen: Candidate
    rejected: Mapping[str, tuple[str, ...]]


def front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other one dominates in accuracy, p50 at every batch size, bytes and memory, in the order
    given. Without p99: it is decided by the few slowest runs, so nearly every candidate would be ahead somewhere."""

    def costs(candidate: Candidate) -> tuple[float, ...]:
        times = (speed.p50_ms for speed in candidate.speed.values())
        return -candidate.accuracy.value, *times, candidate.bytes, candidate.memory_mb

    def dominates(one: Candidate, other: Candidate) -> bool:
        no_worse = all(first <= second for first, second in zip(costs(one), costs(other), strict=True))
        return no_worse and costs(one) != costs(other)

    return tuple(one for one in candidates if not any(dominates(other, one) for other in candidates))


def choose(candidates: Sequence[Candidate], terms: Terms) -> Choice:
    """The fastest candidate that meets all terms; of those as fast as it, as far as was measured, the most accurate,
    of these the one that asks least of a CPU, and of these the smallest file.

    The fastest is the one whose speed-up is surely the highest: its interval has the highest lower end. As fast are
    those whose intervals overlap with that one. So a larger `max_drop` never leads to a slower choice: a candidate
    that joins can raise the lower end and put others out, and where it comes behind them in accuracy it changes
    nothing else. Raises NoCandidate, which names each with its reasons, where none meets the terms.
    """
    against = {candidate.name: terms.reasons_against(candidate) for candidate in candidates}
    passing = [candidate for candidate in candidates if not against[candidate.name]]
    if not passing:
        listed = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in against.items())
        raise NoCandidate(f"no candidate meets the terms: {listed or 'there is none'}")
    fastest = max(passing, key=lambda candidate: low(_speedup(candidate, terms)))
    least = low(_speedup(fastest, terms))
    equals = [candidate for candidate in passing if high(_speedup(candidate, terms)) >= least]
    chosen = min(equals, key=lambda one: (-one.accuracy.value, len(one.requires), one.bytes, one.name))
    for candidate in passing:
        against[candidate.name] = (_why_another(candidate, chosen, candidate in equals, terms),)
    del against[chosen.name]
    return Choice(chosen, against)


def _speedup(candidate: Candidate, terms: Terms) -> Metric:
    return candidate.speed[terms.batch].speedup


def _why_another(candidate: Candidate, chosen: Candidate, is_as_fast: bool, terms: Terms) -> str:
    if not is_as_fast:
        return f"slower: {times(_speedup(candidate, terms))}, {chosen.name} {times(_speedup(chosen, terms))}"
    if candidate.accuracy.value < chosen.accuracy.value:
        return f"not surely faster than {chosen.name}, and less accurate"
    if len(candidate.requires) > len(chosen.requires):
        return f"not surely faster than {chosen.name}, as accurate, and asks more of a CPU"
    return f"not surely faster than {chosen.name}, as accurate, and not smaller"


def times(speedup: Metric) -> str:
    """A ratio in words: 3.21 x [3.10, 3.30]."""
    return f"{speedup.value:.2f} x [{low(speedup):.2f}, {high(speedup):.2f}]"
