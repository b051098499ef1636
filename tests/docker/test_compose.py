"""The serve image and its container, for real, by plain `docker compose`."""

import json
import os
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.digits import held_out

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parent.parent.parent
LARGEST_IMAGE = 400_000_000
LARGEST_OWN_LAYERS = 250_000_000
OWN_FIRST_STEP = "ENV PATH=/venv/bin"
"""Begins the Dockerfile's first step; the image's history below it is the base image's."""

INSIDE = """
import json, os
from importlib.metadata import version

def writable(folder):
    try:
        open(f"{folder}/probe", "x").close()
        os.remove(f"{folder}/probe")
    except OSError:
        return False
    return True

status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "uids": [int(uid) for uid in status["Uid"].split()],
    "capabilities": [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")],
    "no_new_privileges": int(status["NoNewPrivs"]),
    "writable": [folder for folder in ("/", "/venv", "/models", "/state", "/tmp") if writable(folder)],
    "version": version("bonsai-serve"),
}))
"""
"""Says what the server's process may do. Run in its container, as its user."""


@dataclass(frozen=True)
class Project:
    """A compose project of the test's own: other containers, images and volumes stay as they are."""

    name: str
    port: int
    files: tuple[Path, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def container(self) -> str:
        return f"{self.name}-serve-1"

    @property
    def image(self) -> str:
        return f"{self.name}-serve"

    def compose(self, *arguments: str) -> None:
        files = [f"--file={file}" for file in self.files]
        command = ["docker", "compose", f"--project-name={self.name}", *files, *arguments]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"PORT": str(self.port)}, check=True)


def docker(*arguments: str) -> str:
    """What the command prints. Raises CalledProcessError."""
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of a container or an image."""
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


@pytest.fixture(scope="module")
def engine() -> None:
    """Skips where no container engine answers."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command")
    info = subprocess.run(["docker", "info"], capture_output=True, text=True)
    if info.returncode:
        pytest.skip(f"no container engine answers: {info.stderr.splitlines()[0]}")


@pytest.fixture(scope="module")
def project(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The server, built and up; everything of it is gone afterwards."""
    files = [ROOT / "docker-compose.yml"]
    if "bridge" not in docker("network", "ls", "--format={{.Name}}").split():
        # An engine without a bridge has no network for the build's steps; they need one to install packages.
        files.append(tmp_path_factory.mktemp("compose") / "network.json")
        files[-1].write_text(json.dumps({"services": {"serve": {"build": {"network": "host"}}}}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    project = Project(f"bonsai-test-{os.getpid()}", port, tuple(files))
    try:
        project.compose("build", "serve")
        project.compose("up", "--detach", "--wait", "--wait-timeout=120")
        yield project
    finally:
        project.compose("logs", "--no-color")
        project.compose("down", "--volumes", "--rmi=local", "--timeout=5")


def test_a_held_out_digit_is_classified(project: Project) -> None:
    images, digits = held_out()
    answer = httpx.post(f"{project.url}/predict", json={"inputs": images[:1].tolist()})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] == str(digits[0])


def test_the_server_may_do_no_more_than_it_must(project: Project) -> None:
    inside = json.loads(docker("exec", project.container, "python", "-c", INSIDE))
    assert 0 not in inside["uids"]
    assert not any(inside["capabilities"])
    assert inside["no_new_privileges"] == 1
    assert inside["writable"] == ["/state", "/tmp"]
    assert inspect(project.container)["HostConfig"]["Memory"] > 0


def test_the_package_knows_its_version(project: Project) -> None:
    inside = json.loads(docker("exec", project.container, "python", "-c", INSIDE))
    assert inside["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_image_is_small(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    size = inspect(project.image)["Size"]
    history = docker("history", "--human=false", "--no-trunc", "--format={{.Size}} {{.CreatedBy}}", project.image)
    steps = [line.split(" ", 1) for line in history.splitlines()]  # the newest first
    first = next(index for index, (_, step) in enumerate(steps) if step.startswith(OWN_FIRST_STEP))
    own = sum(int(step_size) for step_size, _ in steps[: first + 1])
    with capsys.disabled():
        print(f"\nserve image: {size / 1e6:.0f} MB, of which {own / 1e6:.0f} MB above the base image")
    assert size <= LARGEST_IMAGE
    assert own <= LARGEST_OWN_LAYERS


@pytest.fixture(scope="module")
def services(engine: None) -> dict[str, Any]:
    """All of docker-compose.yml, as compose reads it."""
    read = docker("compose", f"--file={ROOT / 'docker-compose.yml'}", "--profile=*", "config", "--format=json")
    found: dict[str, Any] = json.loads(read)["services"]
    return found


def test_only_this_machine_is_served(services: dict[str, Any]) -> None:
    published = {name: [port["host_ip"] for port in service.get("ports", [])] for name, service in services.items()}
    assert published == {"serve": ["127.0.0.1"], "serve-gpu": ["127.0.0.1"], "train": []}


def test_a_gpu_is_asked_for_in_its_profile_only(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "deploy" in service] == ["serve-gpu"]
    assert services["serve-gpu"]["profiles"] == ["gpu"]
    [device] = services["serve-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_stop_ends_with_0_and_the_next_start_finds_its_state(project: Project) -> None:
    project.compose("stop")
    assert inspect(project.container)["State"]["ExitCode"] == 0
    project.compose("up", "--detach", "--wait", "--wait-timeout=120", "--no-build")
    assert docker("exec", project.container, "find", "/state/graphs", "-name", "*.onnx")
