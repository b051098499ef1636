"""bonsai-train: the offline job's commands."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.contract.manifest import Manifest
from app.errors import BonsaiError
from training import own, recipes, tables
from training.compress.quantize import PRESETS
from training.device import Amp, Name, pick
from training.distributed import joined
from training.errors import UnknownRecipe
from training.own_graph import compile_graph
from training.pareto import Terms
from training.rebuild import rebuild as rebuild_version
from training.recipes.recipe import Recipe
from training.run import Run, compile_subject, new_folder, newest_folder, run_recipe
from training.steps import Step
from training.subject import Plan

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

LEAST = 0.001
"""Of a limit that is to be above zero."""

Models = Annotated[Path, typer.Option(help="Model repository to publish into.")]
Runs = Annotated[Path, typer.Option(help="Where the steps of a run go.")]
MaxDrop = Annotated[float, typer.Option(min=0, max=100, help="Percentage points that the answers may lose.")]
MaxClassDrop = Annotated[
    float | None, typer.Option(min=0, max=100, help="Percentage points that the answers of any class may lose.")
]
MaxMs = Annotated[float | None, typer.Option(min=LEAST, help="Milliseconds of 8 rows, 99th percentile, one thread.")]
MaxMb = Annotated[float | None, typer.Option(min=LEAST, help="Megabytes of memory that the loaded graph may take.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of that name.")]
On = Annotated[Name, typer.Option("--device", help="Where the net learns.")]
Mixed = Annotated[Amp, typer.Option("--amp", help="Mixed precision; auto is the fastest that is safe there.")]


@commands.callback()
def bonsai_train() -> None:
    """Trains networks, compiles them, and publishes the best version under your terms."""


@commands.command()
def run(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(recipes.RECIPES))}.")],
    models: Models = Path("models"),
    runs: Runs = Path("runs"),
    max_drop: MaxDrop = 1.0,
    max_class_drop: MaxClassDrop = None,
    max_ms: MaxMs = None,
    max_mb: MaxMb = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own.")] = None,
    resume: Resume = False,
    device: On = "auto",
    amp: Mixed = "off",
) -> None:
    """Train a recipe, compile what came out, and publish one version."""
    chosen = find(recipe)
    chosen = replace(chosen, epochs=epochs or chosen.epochs)
    terms = Terms(max_drop=max_drop, max_class_drop=max_class_drop, max_ms=max_ms, max_mb=max_mb)
    with watched(chosen.name, models, runs, terms, resume, device, amp) as one:
        folder = run_recipe(chosen, one)
    if folder is not None:
        tables.show(folder)


@commands.command()
def compile(
    target: Annotated[str, typer.Argument(help="MODULE:FUNCTION that returns a Subject, or a float MODEL.onnx.")],
    rows: Annotated[Path | None, typer.Option(help="For an .onnx file: an .npz with inputs and targets.")] = None,
    name: Annotated[str | None, typer.Option(help="For an .onnx file: the model's name, if not the file's.")] = None,
    models: Models = Path("models"),
    runs: Runs = Path("runs"),
    max_drop: MaxDrop = 1.0,
    max_class_drop: MaxClassDrop = None,
    max_ms: MaxMs = None,
    max_mb: MaxMb = None,
    resume: Resume = False,
    device: On = "auto",
    amp: Mixed = "off",
) -> None:
    """Compile a trained network of your own, and publish one version."""
    terms = Terms(max_drop=max_drop, max_class_drop=max_class_drop, max_ms=max_ms, max_mb=max_mb)
    if target.endswith(".onnx"):
        if rows is None:
            raise typer.BadParameter("expected an .npz with inputs and targets, got nothing", param_hint="--rows")
        path = Path(target)
        with watched(name or path.stem, models, runs, terms, resume, device, amp) as one:
            folder: Path | None = compile_graph(path, rows, name or path.stem, Plan(presets=tuple(PRESETS)), one)
    else:
        subject, plan = own.load(target)
        with watched(subject.name, models, runs, terms, resume, device, amp) as one:
            folder = compile_subject(subject, plan, one, f"bonsai-train compile {target}")
    if folder is not None:
        tables.show(folder)


@commands.command()
def rebuild(
    version: Annotated[Path, typer.Argument(help="A version folder of the model repository.")],
    subject: Annotated[str | None, typer.Option(help="MODULE:FUNCTION, where the version is of no recipe.")] = None,
) -> None:
    """Make a version's graphs anew from the checkpoint beside them, and hold them against the published ones."""
    name = Manifest.read(version).name
    if subject is None:
        recipe = find(name)
        source = recipe.subject(recipe.load(), recipe.seeds.training)
    else:
        source, _ = own.load(subject)
    for file, sha256 in rebuild_version(version, source).items():
        typer.echo(f"{file}: {sha256}, as published")


def find(name: str) -> Recipe:
    try:
        return recipes.find(name)
    except UnknownRecipe as error:
        raise typer.BadParameter(str(error), param_hint="RECIPE") from None


@contextmanager
def watched(name: str, models: Path, runs: Path, terms: Terms, resume: bool, device: Name, amp: Amp) -> Iterator[Run]:
    """A run under a bar that counts the epochs of each step; SIGTERM and Ctrl-C stop it so that it can go on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    home = runs / name
    with (
        joined() as ranks,
        Progress(*columns, TimeElapsedColumn(), console=Console(quiet=not ranks.first)) as progress,
        stoppable() as stop,
    ):
        bar = progress.add_task(name, total=None)
        folder = newest_folder(home) if resume else new_folder(home)

        def on_step(step: Step) -> None:
            progress.reset(bar, description=step.name, total=step.epochs or None)

        yield Run(
            models=models,
            folder=Path(ranks.from_first(str(folder).encode()).decode()),
            terms=terms,
            on_step=on_step,
            on_epoch=lambda: progress.advance(bar),
            notice=lambda sentence: progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True),
            stop=stop,
            device=pick(device, amp, ranks.local),
            ranks=ranks,
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


def main() -> None:
    """The console script. Exit code 1 where a gate is not passed, 2 where the command is wrong."""
    try:
        commands()
    except BonsaiError as error:
        typer.echo(f"bonsai-train: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
