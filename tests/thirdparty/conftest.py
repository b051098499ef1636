"""One repository of bare graphs, and the server that serves them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.contract.deployment import FILENAME
from tests.serving import Server, serving, wait_for
from tests.thirdparty.doors import Target
from tests.thirdparty.oddities import SERVED
from tests.thirdparty.plain import Plain
from tests.thirdparty.refused import REFUSED


@dataclass(frozen=True)
class World:
    """`state` is where the server keeps optimised graphs; `waits`: requests wait for others to share a run with."""

    server: Server
    client: httpx.Client
    models: Path
    state: Path
    waits: bool

    def target(self, model: str) -> Target:
        return Target(self.client, model, self.plain(model).kinds)

    def runs(self, model: str) -> int:
        """How many runs the model's requests have taken so far."""
        count: int = self.client.get(f"/v2/models/{model}/stats").json()["model_stats"][0]["execution_count"]
        return count

    def plain(self, model: str) -> Plain:
        return Plain(self.models / model / "model.onnx")


@contextmanager
def serving_all(folder: Path, count: int) -> Iterator[World]:
    """A server of the models in a folder, once every one of so many is ready or refused."""
    models, state = folder / "models", folder / "state"
    limits = httpx.Limits(keepalive_expiry=1)  # before the server closes an idle connection, which takes it 5 seconds
    with (
        serving(models, BONSAI_STATE=str(state)) as server,
        httpx.Client(base_url=server.url, timeout=60, limits=limits) as client,
    ):

        def is_settled() -> bool:
            index = client.post("/v2/repository/index").json()
            return len(index) == count and all(entry["state"] in ("READY", "UNAVAILABLE") for entry in index)

        wait_for(is_settled, f"{count} models to be ready or refused")
        yield World(server, client, models, state, waits=(models / FILENAME).is_file())


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every odd graph, in a folder of its own without a manifest."""
    folder = tmp_path_factory.mktemp("odd")
    for name, make in (SERVED | {name: make for name, (make, _) in REFUSED.items()}).items():
        make(folder / "models" / name / "model.onnx")
    return folder


WAITING = "[defaults]\ninstances = 2\n\n[defaults.limits]\nmax_queue_delay_ms = 10\n"


@pytest.fixture(scope="package", params=[None, WAITING], ids=["as it comes", "waiting"])
def odd(folder: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """A server with all of them. The first is told nothing, and runs such small graphs on its event loop. The second
    runs them on threads, takes the optimised graphs that the first has kept, and has requests wait for each other."""
    if request.param is not None:
        (folder / "models" / FILENAME).write_text(request.param)
    with serving_all(folder, len(SERVED) + len(REFUSED)) as world:
        yield world
