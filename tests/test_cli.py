"""The command line: what it prints, and how it ends."""

import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import __version__, cli
from app.access.keys import Keys, Scope, digest_of
from app.contract.deployment import Deployments
from app.contract.manifest import Manifest
from tests import graphs
from tests.contract.manifests import manifest
from tests.publishing import publish


class Outcome:
    """What a command printed, and its exit code."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code or 0, out, err


class Shell:
    """Types `bonsai ...`, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["bonsai", *map(str, words)])
        self._monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        with pytest.raises(SystemExit) as raised:
            cli.main()
        return Outcome(raised.value.code, *self._capsys.readouterr())


@pytest.fixture
def bonsai(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return Shell(monkeypatch, capsys)


@pytest.fixture
def published(models: Path, tmp_path: Path) -> Path:
    """A version folder that loads."""
    folder = models / "m" / "1"
    publish(folder, graphs.linear(tmp_path / "graph" / "model.onnx"), tmp_path / "cache")
    return folder


def fails_in_one_line(outcome: Outcome, *texts: str) -> bool:
    """Exit code 1, one line on stderr that begins with the program's name, nothing on stdout."""
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("bonsai: ")
    assert outcome.err.count("\n") == 1
    return all(text.lower() in outcome.err.lower() for text in texts)


def test_version(bonsai: Shell) -> None:
    outcome = bonsai("version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{__version__}\n", "")


def test_without_a_command_it_says_which_there_are(bonsai: Shell) -> None:
    outcome = bonsai()
    assert outcome.code == 2
    assert all(name in outcome.out + outcome.err for name in ("serve", "check", "models", "schema", "version"))


@pytest.mark.parametrize(
    "words", [["sevre"], ["serve", "--prot", "1"], ["schema"], ["schema", "x"], ["check"]], ids=str
)
def test_a_mistyped_command_ends_with_2_and_is_named(bonsai: Shell, words: list[str]) -> None:
    outcome = bonsai(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Error" in outcome.err


@pytest.mark.parametrize(("name", "model"), [("manifest", Manifest), ("deployments", Deployments)])
def test_schema_prints_json_schema(bonsai: Shell, name: str, model: type[Manifest]) -> None:
    outcome = bonsai("schema", name)
    assert outcome.code == 0
    assert json.loads(outcome.out) == model.model_json_schema()


def test_check_says_ok_and_how_it_is_run(bonsai: Shell, published: Path) -> None:
    for folder in (published, published.parent):
        outcome = bonsai("check", folder)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == "m version 1: ok: model.onnx on CPUExecutionProvider, batched\n"


def test_check_says_what_is_wrong_and_ends_with_1(bonsai: Shell, published: Path) -> None:
    (published / "model.onnx").write_bytes(b"damaged")
    outcome = bonsai("check", published)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("m version 1: WRONG: model.onnx: expected sha256 ")
    assert outcome.err.count("\n") == 1


def test_check_goes_on_after_a_version_that_is_wrong(bonsai: Shell, published: Path) -> None:
    (published.parent / "2").mkdir()
    (published.parent / "2" / "manifest.json").write_text("{")
    outcome = bonsai("check", published.parent)
    assert outcome.code == 1
    assert outcome.out.startswith("m version 1: ok")
    assert outcome.err.startswith("m version 2: WRONG: manifest.json")


def test_check_of_nothing_fails_in_one_line(bonsai: Shell, tmp_path: Path) -> None:
    assert fails_in_one_line(bonsai("check", tmp_path / "nowhere"), "expected a version folder")


def test_models_lists_every_version(bonsai: Shell, published: Path) -> None:
    (published.parent / "2").mkdir()
    (published.parent / "2" / "manifest.json").write_text("{")
    graphs.linear(published.parent.parent / "bare" / "1" / "model.onnx")
    outcome = bonsai("models", "--models", published.parent.parent)
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[0] == ["model", "version", "task", "variants", "size"]
    assert rows[1][:5] == ["bare", "1", "(no", "manifest)", "model.onnx"]
    assert rows[2][:5] == ["m", "1", "test", "model.onnx", "(fp32)"]
    assert rows[3][:2] == ["m", "2"]
    assert "Invalid JSON" in outcome.out


@pytest.mark.parametrize("task", ["[/]", "[red]a", "[bold]b[/bold]", ":smile:"])
def test_models_prints_what_the_manifest_says_as_it_stands(bonsai: Shell, models: Path, task: str) -> None:
    (models / "flowers" / "3").mkdir(parents=True)
    manifest(task=task).write(models / "flowers" / "3")
    outcome = bonsai("models", "--models", models)
    assert outcome.code == 0
    assert f" {task} " in outcome.out


def test_models_of_no_folder_fails_in_one_line(bonsai: Shell, tmp_path: Path) -> None:
    assert fails_in_one_line(bonsai("models", "--models", tmp_path / "nowhere"), "models: expected a folder")


def test_the_models_folder_comes_from_the_environment_unless_given(
    bonsai: Shell, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONSAI_MODELS", str(published.parent.parent))
    assert " m " in bonsai("models").out
    assert fails_in_one_line(bonsai("models", "--models", tmp_path / "nowhere"))


@pytest.mark.parametrize("command", [["serve"], ["check", "."], ["models"]], ids=lambda words: words[0])
def test_a_mistyped_variable_stops_every_command_that_reads_settings(
    bonsai: Shell, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONSAI_PROT", "1")
    assert fails_in_one_line(bonsai(*command), "BONSAI_PROT")


def test_a_state_folder_that_cannot_be_made_fails_in_one_line(
    bonsai: Shell, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONSAI_STATE", str(published / "model.onnx"))
    assert fails_in_one_line(bonsai("check", published), "BONSAI_STATE")
    assert fails_in_one_line(bonsai("serve", "--models", published.parent.parent), "BONSAI_STATE")


def test_serve_without_a_models_folder_fails_in_one_line(bonsai: Shell, tmp_path: Path) -> None:
    assert fails_in_one_line(bonsai("serve", "--models", tmp_path / "nowhere"), "models: expected a folder")


def test_serve_with_a_broken_deployments_file_fails_in_one_line(bonsai: Shell, models: Path) -> None:
    (models / "deployments.toml").write_text("[defaults]\ninstance = 1\n")
    assert fails_in_one_line(bonsai("serve", "--models", models), "deployments.toml: defaults.instance")


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_serve_on_no_port_fails_in_one_line(bonsai: Shell, models: Path, port: str) -> None:
    assert fails_in_one_line(bonsai("serve", "--models", models, "--port", port), "port", port)


def test_serve_on_a_port_that_is_taken_fails_in_one_line(bonsai: Shell, models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = bonsai("serve", "--models", models, "--port", port)
    assert fails_in_one_line(outcome, f"cannot listen on 127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 64], ids=["not of this machine", "no name"])
def test_serve_on_an_address_that_cannot_be_had_fails_in_one_line(bonsai: Shell, models: Path, host: str) -> None:
    assert fails_in_one_line(bonsai("serve", "--models", models, "--port", 0, "--host", host), host)


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Types `python ...` in a folder."""
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["app.py", "app/__init__.py", "both"])
def test_python_m_app_beside_another_app_says_once_that_it_runs_that_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "app").mkdir()
    for file in ["app.py", "app/__init__.py"] if name == "both" else [name]:
        (tmp_path / file).write_text("print('mine')\n")
    if name != "app.py":
        (tmp_path / "app" / "__main__.py").write_text("")
    else:
        (tmp_path / "app").rmdir()
    done = python(tmp_path, "-m", "app")
    assert (done.returncode, done.stdout) == (0, "mine\n")
    assert done.stderr.count("bonsai: ") == 1
    assert done.stderr.count("\n") == 1
    assert "type `bonsai` or `python -P -m app`" in done.stderr


@pytest.mark.parametrize("words", [["app.py"], ["-c", "import app"], ["-m", "other"], ["-m", "app.other"]], ids=str)
def test_whoever_runs_something_else_hears_nothing(tmp_path: Path, words: list[str]) -> None:
    for name in ("app.py", "other.py"):
        (tmp_path / name).write_text("")
    assert "bonsai" not in python(tmp_path, *words).stderr


@pytest.mark.parametrize("words", [["-m", "app"], ["-P", "-m", "app"]], ids=" ".join)
def test_python_m_app_elsewhere_is_bonsai_and_says_nothing_more(tmp_path: Path, words: list[str]) -> None:
    if "-P" in words:
        (tmp_path / "app.py").write_text("print('mine')\n")
    done = python(tmp_path, *words, "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_python_m_app_in_the_source_tree_says_nothing() -> None:
    done = python(Path(__file__).parent.parent, "-m", "app", "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_a_new_key_is_on_stdout_alone_and_what_is_kept_of_it_beside(bonsai: Shell) -> None:
    outcome = bonsai("keys", "new", "alice", "--scope", "infer", "--requests-per-second", "5", "--burst", "9")
    assert outcome.code == 0
    key = outcome.out.strip()
    assert key not in outcome.err
    kept = Keys.of(tomllib.loads(outcome.err.partition("\n\n")[2])).root["alice"]
    assert (kept.sha256, kept.scopes, kept.requests_per_second, kept.burst) == (digest_of(key), {Scope.INFER}, 5, 9)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a b", "--scope", "infer"], "a b"),
        (["anonymous", "--scope", "infer"], "anonymous.sha256"),
        (["alice", "--scope", "infer", "--burst", "3"], "burst"),
        (["alice", "--scope", "infer", "--requests-per-second", "-1"], "requests_per_second"),
        (["alice", "--scope", "infer", "--requests-per-second", "0"], "requests_per_second"),
    ],
)
def test_a_key_that_cannot_be_is_refused(words: list[str], found: str, bonsai: Shell) -> None:
    assert fails_in_one_line(bonsai("keys", "new", *words), found)
