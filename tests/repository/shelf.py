"""A model repository on disk, and the server's repository over it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.batching.batch import Entry, Outcome
from app.batching.shared_cpu import SharedCpu
from app.contract.deployment import FILENAME, Deployment, Deployments
from app.contract.manifest import Manifest, Tolerance, Variant, digest
from app.errors import LoadFailed
from app.protocol.messages import Array, InferRequest, Inputs, Share, Timings
from app.repository.loading import Loaded, load
from app.repository.model import Model
from app.repository.repository import Repository
from app.repository.store import FolderStore, read_folder
from app.runtime.graph_cache import GraphCache
from app.telemetry.metrics import Metrics
from tests import graphs
from tests.publishing import publish

Make = Callable[[Path], Path]
PATIENCE = 10
ROW = np.array([[1, 2, 3, 4]], np.float32)


def variant(file: str = "model.onnx", **changes: Any) -> Variant:
    """A variant of a manifest; `changes` replaces its fields."""
    fields = {"precision": "fp32", "tolerance": Tolerance(rtol=1e-4, atol=1e-5), "batchable": True}
    return Variant(file=file, **fields | changes)


class Shelf:
    """models/ with what the test puts there; `metrics` are those of the repositories that it opens."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.models.mkdir(exist_ok=True)
        self.cache = root / "graphs"
        self.metrics = Metrics()
        self.cpu = SharedCpu(time.monotonic, time.thread_time)
        self._made = root / "made"
        self._count = 0

    def make(self, make: Make) -> Path:
        """A graph outside the repository."""
        self._count += 1
        return make(self._made / str(self._count) / "model.onnx")

    def publish(self, name: str, version: int, make: Make = graphs.linear, /, **changes: Any) -> Path:
        """A version folder with a manifest; `changes` replaces fields of the manifest."""
        folder = self.models / name / str(version)
        publish(folder, self.make(make), self.cache, **changes)
        return folder

    def bare(self, name: str, make: Make = graphs.linear) -> Path:
        """A folder with nothing but a graph."""
        return make(self.models / name / "model.onnx").parent

    def amend(self, folder: Path, **changes: Any) -> None:
        """Writes the manifest again, with these fields replaced and with digests of the files that are there now."""
        manifest = Manifest.read(folder)
        files = {path.name: digest(path) for path in folder.iterdir() if path.name != "manifest.json"}
        Manifest(**{**dict(manifest), "files": files, **changes}).write(folder)

    def deploy(self, text: str) -> None:
        (self.models / FILENAME).write_text(text)

    def on_threads(self) -> None:
        """Runs every model on threads, also those that are quick enough for the event loop."""
        self.deploy("[defaults]\ninstances = 2\n")

    def load(self, folder: Path, **deployment: Any) -> Loaded:
        """Loads a version folder as the repository would."""
        bare = folder.parent == self.models
        name, version = (folder.name, 1) if bare else (folder.parent.name, int(folder.name))
        found = read_folder(folder, name, version)
        assert found is not None
        return load(found, Deployment(**deployment), GraphCache(self.cache))

    def refusal(self, folder: Path, **deployment: Any) -> str:
        """Why a version folder cannot be served; never with a path of this machine."""
        try:
            self.load(folder, **deployment)
        except LoadFailed as error:
            assert str(self.models.parent) not in str(error)
            return str(error)
        raise AssertionError("it was loaded")

    def repository(self, still_seconds: float = 0.0) -> Repository:
        return Repository(
            FolderStore(self.models, still_seconds),
            lambda: Deployments.read(self.models),
            GraphCache(self.cache),
            self.metrics,
        )

    def run(self, scenario: Callable[[Repository], Awaitable[None]], **options: Any) -> None:
        """Plays a scenario on an event loop of its own, with a repository that has been refreshed once."""

        async def play() -> None:
            repository = self.repository(**options)
            await repository.refresh()
            try:
                await scenario(repository)
            finally:
                await repository.close()

        asyncio.run(play())

    def sample(self, name: str, **labels: str) -> float | None:
        """A value of the metrics; None where there is no such series."""
        return self.metrics.registry.get_sample_value(name, labels)

    def loads(self, name: str, version: int, result: str) -> float:
        found = self.sample("bonsai_model_loads_total", model=name, version=str(version), result=result)
        return found or 0.0


def submit(model: Model, x: Array = ROW, deadline: float | None = None) -> "asyncio.Future[Outcome]":
    """Submits rows without waiting for the answer."""
    return submit_inputs(model, {"x": x}, deadline)[0]


def submit_inputs(
    model: Model, inputs: Inputs, deadline: float | None = None
) -> "tuple[asyncio.Future[Outcome], Entry]":
    """Submits any inputs; the answer, and what cancels it."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    request = InferRequest(None, None, lambda _: inputs, Timings(time.monotonic()), served=model.served)
    rows = len(next(iter(inputs.values()))) if model.served.signature.batch_axis == 0 else 1
    return answer, model.submit(request, inputs, rows, deadline, answer.set_result)


async def ask(model: Model, x: Array = ROW) -> Array:
    """The output y for rows."""
    outcome = await asyncio.wait_for(submit(model, x), PATIENCE)
    assert isinstance(outcome, Share), outcome
    return outcome.array("y")
