"""The documentation names what there is: every setting, endpoint, command, option, metric and error code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from app.api.status import STATUS
from app.cli import SCHEMAS
from app.cli import app as commands
from app.contract.deployment import Deployment, Limits
from app.main import create_app
from app.settings import NOT_OURS, PREFIX, Settings
from app.telemetry.metrics import Metrics
from tests.openapi import document
from training.cli import commands as training_commands

DOCS = Path(__file__).parent.parent.parent / "docs"


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def first_cells(page: str, pattern: str) -> set[str]:
    """What matches the pattern in the first cells of a page's rows."""
    return {found for row in rows(page) for found in re.findall(pattern, row[0])}


def test_settings() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows("settings.md") if row[0].startswith("`BONSAI_")}
    settings = {PREFIX + name.upper(): field for name, field in Settings.model_fields.items()}
    assert documented.keys() == settings.keys()
    for name, field in settings.items():
        if field.default_factory is None:
            assert documented[name] == str(field.default).lower().replace("'", ""), name
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert all(name in text for name in NOT_OURS)


def test_metrics() -> None:
    metrics = Metrics()
    named = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in metrics.registry.collect()
    }
    of_process = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in ProcessCollector(registry=None).collect()
    }
    documented = {row[0].strip("`"): row[1] for row in rows("metrics.md") if row[0].startswith("`")}
    assert documented == {name: kind for name, kind in named.items() if name not in of_process}


def test_metric_labels() -> None:
    metrics = Metrics()
    labels = {
        family.name + ("_total" if family.type == "counter" else ""): family._labelnames  # type: ignore[attr-defined]
        for family in metrics.registry.collect()
        if hasattr(family, "_labelnames")  # one that a collector of ours made
    }
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels[metric._name + ("_total" if metric._type == "counter" else "")] = metric._labelnames
    documented = {row[0].strip("`"): row[2] for row in rows("metrics.md") if row[0].startswith("`")}
    assert documented == {name: ", ".join(names) for name, names in labels.items() if not name.startswith("process_")}


@pytest.mark.parametrize("room", [Deployment, Limits], ids=["deployment", "limits"])
def test_every_deployment_field_has_a_row_with_its_default(room: type[Deployment] | type[Limits]) -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows("models.md")}
    prefix = "limits." if room is Limits else ""
    for name, field in room.model_fields.items():
        if name != "limits":
            written = json.dumps(field.default).strip('"').removesuffix(".0")
            assert documented[prefix + name] == ("" if field.default is None else written), name


def test_no_deployment_field_is_documented_that_is_not_there() -> None:
    fields = {*Deployment.model_fields, *(f"limits.{name}" for name in Limits.model_fields)} - {"limits"}
    assert {row[0].strip("`") for row in rows("models.md") if row[0].startswith("`")} == fields


def test_endpoints(models: Path) -> None:
    served = {
        f"{method.upper()} {path}"
        for path, operations in document(create_app(Settings.load(models=models)))["paths"].items()
        for method in operations
    }
    of_fastapi = {"GET /docs", "GET /openapi.json"}
    assert first_cells("protocol.md", r"`((?:GET|POST) /[^`]*)`") == served | of_fastapi


def test_error_codes() -> None:
    documented = {row[0].strip("`"): int(row[1]) for row in rows("protocol.md") if re.fullmatch(r"\d{3}", row[1])}
    assert documented == STATUS


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words, also those of groups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def options_of(commands: dict[str, Any]) -> set[tuple[str, str]]:
    """Every option with its command."""
    return {
        (option, name)
        for name, command in commands.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }


def documented_options(page: str) -> set[tuple[str, str]]:
    """The same, from the rows of a page's tables."""
    return {(row[0].strip("`"), command) for row in rows(page) if "--" in row[0] for command in row[1].split(", ")}


def test_commands_and_options() -> None:
    named = dict(commands_of(typer.main.get_command(commands)))
    words = {" ".join(re.findall(r"\b[a-z]+\b", cell)[1:]) for cell in first_cells("cli.md", r"`(bonsai [^`]*)`")}
    assert words == named.keys()
    assert documented_options("cli.md") == options_of(named)


def test_training_options() -> None:
    assert documented_options("training.md") == options_of(dict(commands_of(typer.main.get_command(training_commands))))


@pytest.mark.parametrize("version", ["cifar10/1", "digits/2", "sms/1"])
def test_the_figures_of_a_committed_version(version: str) -> None:
    manifest = json.loads((DOCS.parent / "models" / version / "manifest.json").read_text(encoding="utf-8"))
    compression = manifest["compression"]
    speedup = {f"speedup_{name}": metric for name, metric in compression["speedup"].items()}
    behind = (DOCS / "training.md").read_text(encoding="utf-8").partition(f"| figure of `models/{version}` |")[2]
    table = re.findall(r"^\| `(\w+)` \| (\S+) \| (.+) \|$", behind.partition("\n\n")[0], re.MULTILINE)
    assert {name: figures for name, *figures in table} == {
        name: [f"{metric['value']:.4f}", "{:.4f} to {:.4f}".format(*metric["ci95"])]
        for name, metric in (manifest["metrics"] | {"drop": compression["drop"]} | speedup).items()
    }


@pytest.mark.parametrize("name", SCHEMAS, ids=str)
def test_json_schemas(name: str) -> None:
    written = json.loads((DOCS / "schema" / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert written == SCHEMAS[name].model_json_schema(), "run `make schema`"  # type: ignore[index]


def test_links_lead_somewhere() -> None:
    for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_deployments_example_is_valid() -> None:
    import tomllib

    from app.contract.deployment import Deployments

    example = re.search(r"```toml\n(.*?)```", (DOCS / "models.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    assert Deployments.model_validate(tomllib.loads(example[1])).models["digits"].instances == 2


def test_the_table_of_clients_names_every_test_of_theirs() -> None:
    named = {
        (file, test)
        for row in rows("protocol.md")
        if len(row) == 3 and (found := re.search(r"in `(test_\w+\.py)`", row[2]))
        for file in [found[1]]
        for test in re.findall(r"`(test_\w+)`", row[2])
    }
    wire = DOCS.parent / "tests" / "wire"
    there = {
        (path.name, test)
        for path in wire.glob("test_*.py")
        for test in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named == there
