"""Steps: taken once, taken again where something has changed, and never half done."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import ModuleType

import pytest

from training import steps
from training.errors import Interrupted
from training.steps import Step, Steps, folder_digest


@pytest.fixture
def source(tmp_path: Path) -> ModuleType:
    """A module whose file may be written anew."""
    path = tmp_path / "source.py"
    path.write_text("factor = 2\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("source", path)
    assert spec is not None
    return importlib.util.module_from_spec(spec)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "rows.txt").write_text("1 2 3", encoding="utf-8")
    return folder


class Counted:
    """A step's work, which counts how often it is done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "result.txt").write_text("6", encoding="utf-8")


def test_a_step_is_taken_once(tmp_path: Path, source: ModuleType, folder: Path) -> None:
    work, seen = Counted(), []
    steps = Steps(tmp_path / "run", seen.append)
    step = Step("double", {"factor": 2}, [source], [folder])
    first = steps.take(step, work)
    assert first == steps.take(step, work) == Steps(tmp_path / "run", seen.append).take(step, work)
    assert (first / "result.txt").read_text(encoding="utf-8") == "6"
    assert (work.times, [step.name for step in seen]) == (1, ["double"])


def changed_config(source: ModuleType, folder: Path) -> Step:
    return Step("double", {"factor": 3}, [source], [folder])


def changed_source(source: ModuleType, folder: Path) -> Step:
    Path(str(source.__file__)).write_text("factor = 3\n", encoding="utf-8")
    return Step("double", {"factor": 2}, [source], [folder])


def changed_input(source: ModuleType, folder: Path) -> Step:
    (folder / "rows.txt").write_text("1 2 4", encoding="utf-8")
    return Step("double", {"factor": 2}, [source], [folder])


def another_name(source: ModuleType, folder: Path) -> Step:
    (folder / "rows.txt").rename(folder / "lines.txt")
    return Step("double", {"factor": 2}, [source], [folder])


@pytest.mark.parametrize("change", [changed_config, changed_source, changed_input, another_name])
def test_a_step_is_taken_again_where_something_has_changed(
    tmp_path: Path, source: ModuleType, folder: Path, change: Callable[[ModuleType, Path], Step]
) -> None:
    work, steps = Counted(), Steps(tmp_path / "run", lambda step: None)
    first = steps.take(Step("double", {"factor": 2}, [source], [folder]), work)
    second = steps.take(change(source, folder), work)
    assert first != second
    assert first.exists()
    assert work.times == 2


def test_a_step_is_taken_again_with_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a version's lineage would name packages that did not make it."""
    work, taken = Counted(), Steps(tmp_path / "run", lambda step: None)
    step = Step("double", {}, [])
    first = taken.take(step, work)
    monkeypatch.setattr(steps, "installed", lambda: [("torch", "9.9")])
    assert taken.take(step, work) != first


def test_an_interrupted_step_finds_what_it_left(tmp_path: Path, source: ModuleType) -> None:
    found: list[list[str]] = []

    def interrupted(folder: Path) -> None:
        found.append([path.name for path in folder.iterdir()])
        if not found[-1]:
            (folder / "half.txt").touch()
            raise KeyboardInterrupt

    steps, step = Steps(tmp_path / "run", lambda step: None), Step("double", {}, [source])
    with pytest.raises(KeyboardInterrupt):
        steps.take(step, interrupted)
    assert not [path for path in steps.folder.iterdir() if not path.name.startswith(".")]
    assert [path.name for path in steps.take(step, interrupted).iterdir()] == ["half.txt"]
    assert found == [[], ["half.txt"]]


def test_after_a_stop_no_step_is_taken_but_those_that_are_there_are_found(tmp_path: Path, source: ModuleType) -> None:
    stop, work = Event(), Counted()
    steps = Steps(tmp_path / "run", lambda step: None, stop=stop)
    taken = steps.take(Step("double", {}, [source]), work)
    stop.set()
    assert steps.take(Step("double", {}, [source]), work) == taken
    with pytest.raises(Interrupted, match="stopped before triple"):
        steps.take(Step("triple", {}, [source]), work)
    assert work.times == 1
    assert [path.name for path in steps.folder.iterdir()] == [taken.name]


def test_the_digest_of_a_folder_does_not_depend_on_its_place(folder: Path, tmp_path: Path) -> None:
    before = folder_digest(folder)
    assert folder_digest(folder.rename(tmp_path / "elsewhere")) == before
