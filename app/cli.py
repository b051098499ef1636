"""The command line: bonsai serve | check | models | schema."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel

from app import __version__
from app.contract.deployment import Deployments
from app.contract.manifest import Manifest
from app.errors import BonsaiError
from app.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Serve trained networks. Settings beyond these options are BONSAI_* environment variables.",
)

Models = Annotated[Path | None, typer.Option(help="Folder of the model repository.")]


class Document(StrEnum):
    """Files that have a JSON Schema."""

    MANIFEST = "manifest"
    DEPLOYMENTS = "deployments"


SCHEMAS: dict[Document, type[BaseModel]] = {Document.MANIFEST: Manifest, Document.DEPLOYMENTS: Deployments}


@app.command()
def serve(
    models: Models = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    log_format: Annotated[Literal["auto", "text", "json"] | None, typer.Option(help="How logs are written.")] = None,
) -> None:
    """Serve the models of a folder."""
    from app.server import serve as run
    from app.telemetry.logging import logging_to

    settings = Settings.load(models=models, host=host, port=port, log_format=log_format)
    with logging_to(sys.stderr, settings.log_format):
        run(settings)


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="A version folder, or a folder with a model.onnx.")]) -> None:
    """Load a model folder as the server would, and say what is wrong with it."""
    from app.repository.check import check as examine
    from app.runtime.graph_cache import GraphCache

    findings = list(examine(folder, GraphCache(Settings.load().state / "graphs")))
    for finding in findings:
        typer.echo(f"{finding.folder}: {'ok' if finding.ok else 'WRONG'}: {finding.text}", err=not finding.ok)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command("models")
def list_models(models: Models = None) -> None:
    """List the versions in a model repository."""
    from rich.console import Console
    from rich.table import Table

    from app.repository.check import listing

    table = Table("model", "version", "task", "variants", "size", box=None)
    for row in listing(Settings.load(models=models).models):
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False).print(table)


@app.command()
def schema(document: Annotated[Document, typer.Argument(help="Which file.")]) -> None:
    """Print the JSON Schema of manifest.json or deployments.toml."""
    typer.echo(json.dumps(SCHEMAS[document].model_json_schema(), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Runs a command; what goes wrong is one line on stderr and exit code 1."""
    try:
        app()
    except BonsaiError as error:
        typer.echo(f"bonsai: {error}", err=True)
        sys.exit(1)
