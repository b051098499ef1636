"""bonsai-train: the offline job's commands."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.contract.manifest import Manifest
from app.errors import BonsaiError
from training import recipes
from training.errors import UnknownRecipe
from training.recipes.recipe import Recipe
from training.run import run as run_recipe

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@commands.callback()
def bonsai_train() -> None:
    """Trains networks and publishes them as model versions."""


@commands.command()
def run(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(recipes.RECIPES))}.")],
    models: Annotated[Path, typer.Option(help="Model repository to publish into.")] = Path("models"),
    runs: Annotated[Path, typer.Option(help="Where the run's checkpoints go.")] = Path("runs"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own.")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of the cross-validation, likewise.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats of the cross-validation, likewise.")] = None,
) -> None:
    """Train, fuse, export, verify and publish one version."""
    chosen = find(recipe)
    chosen = replace(
        chosen,
        epochs=epochs or chosen.epochs,
        folds=folds or chosen.folds,
        repeats=repeats or chosen.repeats,
    )
    show(follow(chosen, models, runs))


def find(name: str) -> Recipe:
    try:
        return recipes.find(name)
    except UnknownRecipe as error:
        raise typer.BadParameter(str(error), param_hint="RECIPE") from None


def follow(recipe: Recipe, models: Path, runs: Path) -> Path:
    """Runs the recipe under a progress bar that counts the epochs of all its trainings."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeElapsedColumn()) as progress:
        bar = progress.add_task(recipe.name, total=recipe.epochs_in_all)
        return run_recipe(recipe, models, runs, lambda: progress.advance(bar))


def show(folder: Path) -> None:
    """Prints the figures of a published version, each with its interval."""
    manifest = Manifest.read(folder)
    table = Table("metric", "value", "95 % interval", title=f"{manifest.name} version {manifest.version}")
    for name, metric in manifest.metrics.items():
        interval = "{:.4f} to {:.4f}".format(*metric.ci95) if metric.ci95 else "none"
        table.add_row(name, f"{metric.value:.4f}", interval)
    console = Console()
    console.print(table)
    console.print(f"published {folder}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """The console script. Exit code 1 where a gate is not passed, 2 where the command is wrong."""
    try:
        commands()
    except BonsaiError as error:
        typer.echo(f"bonsai-train: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
