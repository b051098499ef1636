"""A job: where a compile works and publishes, under which terms, and who watches. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from training.forms import Notice
from training.pareto import Terms
from training.ranks import ALONE, Ranks
from training.steps import Step, Steps


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a command.

    `folder` is its own; where it is not new, its steps are not taken again. `on_step` is called before a step, `notice`
    with a sentence about what was not done. Once `stop` is set, it ends before its next step with Interrupted.
    """

    models: Path
    folder: Path
    terms: Terms
    on_step: Callable[[Step], None] = field(default=lambda step: None)
    notice: Notice = field(default=lambda sentence: None)
    stop: Event = field(default_factory=Event)
    ranks: Ranks = ALONE

    def steps(self) -> Steps:
        """The steps that are taken here."""
        return Steps(self.folder, self.on_step, self.ranks, self.stop)


def new_folder(runs: Path) -> Path:
    """A folder named by the time, not made yet."""
    return runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def newest_folder(runs: Path) -> Path:
    """The newest run's folder; a new one where there is none."""
    return max(runs.glob("*Z"), default=new_folder(runs))
