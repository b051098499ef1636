"""bonsai-train: the offline job's commands. PyTorch is loaded by those that need a net: an .onnx file needs none."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.contract.manifest import Manifest
from app.errors import BonsaiError
from training import recipes, tables
from training.compress.quantize import PRESETS
from training.errors import UnknownRecipe
from training.job import Job, new_folder, newest_folder
from training.options import Amp, Name
from training.own_graph import compile_graph
from training.pareto import Terms
from training.plan import Plan
from training.watch import watch

if TYPE_CHECKING:
    from training.recipes.recipe import Recipe
    from training.run import Run

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
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(recipes.NAMES)}.")],
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
    from training.run import run_recipe

    chosen = find(recipe)
    chosen = replace(chosen, epochs=epochs or chosen.epochs)
    terms = Terms(max_drop=max_drop, max_class_drop=max_class_drop, max_ms=max_ms, max_mb=max_mb)
    with learning(chosen.name, models, runs, terms, resume, device, amp) as one:
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
        folder: Path | None = compile_file(Path(target), rows, name, models, runs, terms, resume)
    else:
        from training import own
        from training.run import compile_subject

        subject, plan = own.load(target)
        with learning(subject.name, models, runs, terms, resume, device, amp) as one:
            folder = compile_subject(subject, plan, one, f"bonsai-train compile {target}")
    if folder is not None:
        tables.show(folder)


def compile_file(
    path: Path, rows: Path | None, name: str | None, models: Path, runs: Path, terms: Terms, resume: bool
) -> Path:
    """Compiles an .onnx file under a bar that names the step."""
    if rows is None:
        raise typer.BadParameter("expected an .npz with inputs and targets, got nothing", param_hint="--rows")
    name = name or path.stem
    with watch(name) as seen:
        job = Job(
            models=models,
            folder=run_folder(runs / name, resume),
            terms=terms,
            on_step=seen.on_step,
            notice=seen.notice,
            stop=seen.stop,
        )
        return compile_graph(path, rows, name, Plan(presets=tuple(PRESETS)), job)


@commands.command()
def rebuild(
    version: Annotated[Path, typer.Argument(help="A version folder of the model repository.")],
    subject: Annotated[str | None, typer.Option(help="MODULE:FUNCTION, where the version is of no recipe.")] = None,
) -> None:
    """Make a version's graphs anew from the checkpoint beside them, and hold them against the published ones."""
    from training import checkpoint, own
    from training.rebuild import rebuild as rebuild_version

    manifest = Manifest.read(version)
    if checkpoint.FILENAME not in manifest.files:
        raise typer.BadParameter(
            "expected a version with a checkpoint, got one that was compiled from an .onnx file", param_hint="VERSION"
        )
    if subject is not None:
        source, _ = own.load(subject)
    elif manifest.name in recipes.NAMES:
        recipe = recipes.find(manifest.name)
        source = recipe.subject(recipe.load(), recipe.seeds.training)
    else:
        raise typer.BadParameter(f"expected the net of {manifest.name}, which is no recipe", param_hint="--subject")
    for file, sha256 in rebuild_version(version, source).items():
        typer.echo(f"{file}: {sha256}, as published")


def find(name: str) -> "Recipe":
    try:
        return recipes.find(name)
    except UnknownRecipe as error:
        raise typer.BadParameter(str(error), param_hint="RECIPE") from None


@contextmanager
def learning(
    name: str, models: Path, runs: Path, terms: Terms, resume: bool, device: Name, amp: Amp
) -> "Iterator[Run]":
    """A run under a bar that counts the epochs of each step, alone or as one of several ranks."""
    from training.device import pick
    from training.distributed import joined
    from training.run import Run

    with joined() as ranks, watch(name, quiet=not ranks.first) as seen:
        folder = run_folder(runs / name, resume)
        yield Run(
            models=models,
            folder=Path(ranks.from_first(str(folder).encode()).decode()),
            terms=terms,
            on_step=seen.on_step,
            on_epoch=seen.on_epoch,
            notice=seen.notice,
            stop=seen.stop,
            device=pick(device, amp, ranks.local),
            ranks=ranks,
        )


def run_folder(home: Path, resume: bool) -> Path:
    return newest_folder(home) if resume else new_folder(home)


def main() -> None:
    """The console script. Exit code 1 where a gate is not passed, 2 where the command is wrong."""
    try:
        commands()
    except BonsaiError as error:
        typer.echo(f"bonsai-train: {error}", err=True)
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        typer.echo("bonsai-train: this needs PyTorch: install the extra 'train'", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
