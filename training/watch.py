"""Watch: what a person sees of a job, and how they stop it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.forms import Notice
from training.steps import Step


@dataclass(frozen=True)
class Watch:
    """What a job tells as it goes, and the event by which it is asked to stop."""

    on_step: Callable[[Step], None]
    on_epoch: Callable[[], None]
    notice: Notice
    stop: Event


@contextmanager
def watch(name: str, *, quiet: bool = False) -> Iterator[Watch]:
    """A bar that names each step and counts its epochs; SIGTERM and Ctrl-C ask for a stop from which a job can go on.

    A `quiet` one shows nothing, as all ranks but the first do.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(quiet=quiet)) as progress, stoppable() as stop:
        bar = progress.add_task(name, total=None)
        yield Watch(
            on_step=lambda step: progress.reset(bar, description=step.name, total=step.epochs or None),
            on_epoch=lambda: progress.advance(bar),
            notice=lambda sentence: progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True),
            stop=stop,
        )


@contextmanager
def stoppable() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set; a second one ends the process as ever."""
    stop = Event()

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
