"""The command line, as a person meets it."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training import cli, recipes
from training.errors import ParityBroken
from training.recipes.recipe import Recipe


def test_an_unknown_recipe_is_refused_with_a_list_of_those_that_exist() -> None:
    result = CliRunner().invoke(cli.commands, ["run", "digts"])
    assert result.exit_code == 2
    assert re.search(r"RECIPE: expected one of: digits; got 'digts'", " ".join(result.output.split()))


@pytest.mark.parametrize("option", [["--epochs", "0"], ["--folds", "1"], ["--repeats", "0"], ["--epoch", "3"]])
def test_a_wrong_option_is_refused(option: list[str]) -> None:
    result = CliRunner().invoke(cli.commands, ["run", "digits", *option])
    assert result.exit_code == 2


def test_options_reach_the_run_and_the_figures_are_shown(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Recipe, Path, Path]] = []

    def run(recipe: Recipe, models: Path, runs: Path, on_epoch: object) -> Path:
        asked.append((recipe, models, runs))
        return published

    monkeypatch.setattr(cli, "run_recipe", run)
    options = ["--models", "m", "--runs", "r", "--epochs", "3", "--folds", "4"]
    result = CliRunner().invoke(cli.commands, ["run", "digits", *options])
    assert result.exit_code == 0
    assert asked == [(replace(recipes.find("digits"), epochs=3, folds=4), Path("m"), Path("r"))]
    for name in ("test_accuracy", "cv_accuracy"):
        assert re.search(rf"{name} *│ 0\.\d{{4}} │ 0\.\d{{4}} to [01]\.\d{{4}}", result.output)
    assert f"published {published}" in result.output


def test_a_gate_that_is_not_passed_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> Path:
        raise ParityBroken("graph at batch 2: expected so, got other")

    monkeypatch.setattr(cli, "run_recipe", run)
    monkeypatch.setattr(sys, "argv", ["bonsai-train", "run", "digits"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert capsys.readouterr().err == "bonsai-train: graph at batch 2: expected so, got other\n"
