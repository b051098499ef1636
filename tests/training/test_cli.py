"""The command line, as a person meets it."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training import cli, recipes
from training.errors import ParityBroken
from training.job import new_folder, newest_folder
from training.pareto import Terms
from training.recipes.recipe import Recipe
from training.run import Run


def test_an_unknown_recipe_is_refused_with_a_list_of_those_that_exist() -> None:
    result = CliRunner().invoke(cli.commands, ["run", "digts"])
    assert result.exit_code == 2
    assert re.search(r"RECIPE: expected one of: cifar10, digits, sms; got 'digts'", " ".join(result.output.split()))


@pytest.mark.parametrize("option", [["--epochs", "0"], ["--max-drop", "101"], ["--device", "tpu"], ["--epoch", "3"]])
def test_a_wrong_option_is_refused(option: list[str]) -> None:
    result = CliRunner().invoke(cli.commands, ["run", "digits", *option])
    assert result.exit_code == 2


def test_options_reach_the_run_and_the_figures_are_shown(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Recipe, Run]] = []

    def run(recipe: Recipe, run: Run) -> Path:
        asked.append((recipe, run))
        return published

    monkeypatch.setattr("training.run.run_recipe", run)
    options = ["--models", "m", "--runs", str(tmp_path), "--epochs", "3", "--max-drop", "0.5", "--max-ms", "2"]
    options += ["--max-class-drop", "3"]
    result = CliRunner().invoke(cli.commands, ["run", "digits", *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    ((recipe, given),) = asked
    assert recipe == replace(recipes.find("digits"), epochs=3)
    assert (given.models, given.terms) == (Path("m"), Terms(max_drop=0.5, max_class_drop=3, max_ms=2))
    assert given.folder.parent == tmp_path / "digits"
    for name in ("test_accuracy", "cv_accuracy"):
        assert re.search(rf"{name} *│ 0\.\d{{4}} *│ 0\.\d{{4}} to [01]\.\d{{4}}", result.output)
    assert re.search(r"2x fp32 .*│", result.output)
    assert f"published {published}" in result.output


@pytest.mark.parametrize("limit", ["--max-ms", "--max-mb"])
def test_a_limit_of_nothing_is_refused(limit: str) -> None:
    result = CliRunner().invoke(cli.commands, ["run", "digits", limit, "0"])
    assert result.exit_code == 2
    assert "greater than or equal to 0.001" in " ".join(result.output.split())


def test_resume_goes_on_with_the_newest_run(tmp_path: Path) -> None:
    home = tmp_path / "digits"
    assert newest_folder(home).parent == home
    for name in ("20260101T000000.000000Z", "20260301T000000.000000Z", "20260201T000000.000000Z"):
        (home / name).mkdir(parents=True)
    assert newest_folder(home).name == "20260301T000000.000000Z"
    assert new_folder(home) > newest_folder(home)


def test_a_gate_that_is_not_passed_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> Path:
        raise ParityBroken("graph at batch 2: expected so, got other")

    monkeypatch.setattr("training.run.run_recipe", run)
    monkeypatch.setattr(sys, "argv", ["bonsai-train", "run", "digits"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert capsys.readouterr().err == "bonsai-train: graph at batch 2: expected so, got other\n"
