"""The command line: bonsai serve | check | models | keys | schema."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel

from app import __version__
from app.access.keys import Keys, Scope, append, digest_of, new
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

keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys, name="keys")

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
    from app.runtime import memory
    from app.runtime.graph_cache import GraphCache

    settings = Settings.load()
    memory.bound(settings.memory_mb)
    findings = list(examine(folder, GraphCache(settings.state / "graphs")))
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


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[list[Scope], typer.Option(help="What it opens; may be given several times.")],
    requests_per_second: Annotated[float | None, typer.Option(help="How often it may be used.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests that may come at once.")] = None,
    file: Annotated[Path | None, typer.Option(help="File of keys that it is added to; made if need be.")] = None,
) -> None:
    """Make an API key. It is printed once; what is kept of it is its digest."""
    key = new()
    limits = {"requests_per_second": requests_per_second, "burst": burst}
    entry = {
        "sha256": digest_of(key),
        "scopes": scope,
        **{name: value for name, value in limits.items() if value is not None},
    }
    made = Keys.of({name: entry})
    if file is None:
        typer.echo(f"to be added to the file that BONSAI_KEYS_FILE names:\n\n{made.toml()}", err=True)
    else:
        append(made, file)
    typer.echo(key)


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
