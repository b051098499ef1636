"""deployments.toml is followed while serving: limits at once, what shapes the session by a reload."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from app.errors import BonsaiError, ManifestInvalid, NotReady, Overloaded, TooLarge
from app.repository.repository import Repository
from tests import graphs
from tests.repository.shelf import ROW, Shelf, ask, submit

# ONNX Runtime warns where a provider is not built in; some tests here ask for one on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Specified provider")


@pytest.fixture(autouse=True)
def version(shelf: Shelf) -> None:
    shelf.publish("m", 1)


def test_changed_limits_apply_without_a_reload(shelf: Shelf) -> None:
    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        shelf.deploy("[models.m.limits]\nmax_queue_rows = 2\nslo_ms = 250")
        await repository.refresh()
        assert repository.acquire("m", None) is model
        assert model.slo_seconds == 0.25
        with pytest.raises(TooLarge, match="at most 2 rows"):
            submit(model, ROW.repeat(3, axis=0))
        shelf.deploy("schema_version = 1")
        await repository.refresh()
        assert repository.acquire("m", None) is model
        assert model.slo_seconds is None
        assert len(await ask(model, ROW.repeat(3, axis=0))) == 3

    shelf.run(scenario)


def test_a_changed_batch_limit_splits_what_is_larger(shelf: Shelf) -> None:
    x = np.random.default_rng(0).random((10, 4)).astype(np.float32)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        whole = await ask(model, x)
        assert shelf.sample("bonsai_batch_rows_count", model="m", version="1") == 1
        shelf.deploy("[models.m.limits]\nmax_batch_rows = 3")
        await repository.refresh()
        np.testing.assert_allclose(await ask(model, x), whole, rtol=1e-5)
        assert shelf.sample("bonsai_batch_rows_count", model="m", version="1") == 1 + 4

    shelf.run(scenario)


def test_limits_hold_from_the_start(shelf: Shelf) -> None:
    shelf.deploy("[defaults.limits]\nmax_queue_rows = 2")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        answers = [submit(model), submit(model)]
        with pytest.raises(Overloaded):
            submit(model)
        assert not any(isinstance(outcome, BonsaiError) for outcome in await asyncio.gather(*answers))

    shelf.run(scenario)


def test_a_changed_default_version_applies_without_a_reload(shelf: Shelf) -> None:
    shelf.publish("m", 2)

    async def scenario(repository: Repository) -> None:
        first = repository.acquire("m", "1")
        shelf.deploy("[models.m]\ndefault_version = 1")
        await repository.refresh()
        assert repository.acquire("m", None) is first

    shelf.run(scenario)


@pytest.mark.parametrize("changed", ["threads = 1", "allow_fallback = true"])
def test_what_shapes_the_session_reloads_it(shelf: Shelf, changed: str) -> None:
    async def scenario(repository: Repository) -> None:
        before = repository.acquire("m", None)
        shelf.deploy(f"[models.m]\n{changed}")
        await repository.refresh()
        after = repository.acquire("m", None)
        assert after is not before
        np.testing.assert_array_equal(await ask(after), await ask(after))

    shelf.run(scenario)


def test_a_table_of_another_model_changes_nothing(shelf: Shelf) -> None:
    async def scenario(repository: Repository) -> None:
        before = repository.acquire("m", None)
        shelf.deploy("[models.other]\ninstances = 2")
        await repository.refresh()
        assert repository.acquire("m", None) is before

    shelf.run(scenario)


def test_cuda_that_is_not_there_is_not_ready_until_the_fallback_is_allowed(shelf: Shelf) -> None:
    async def scenario(repository: Repository) -> None:
        await ask(repository.acquire("m", None))
        shelf.deploy('[models.m]\nprovider = "cuda"')
        await repository.refresh()
        assert not repository.ready
        with pytest.raises(NotReady, match=r"asked for CUDAExecutionProvider.*allow_fallback"):
            repository.acquire("m", None)
        shelf.deploy('[models.m]\nprovider = "cuda"\nallow_fallback = true')
        await repository.refresh()
        model = repository.acquire("m", None)
        assert model.served.provider == "CPUExecutionProvider"
        await ask(model)
        assert shelf.sample("bonsai_model_ready", model="m", version="1", provider="CPUExecutionProvider") == 1

    shelf.run(scenario)


BROKEN: dict[str, bytes] = {
    "no TOML": b"[models.m",
    "an unknown key": b"[models.m]\ninstanses = 2",
    "a wrong type": b'[models.m]\ninstances = "two"',
    "a number out of range": b"[models.m.limits]\nmax_batch_rows = 0",
    "another schema": b"schema_version = 2",
    "a wrong name": b'default_model = "../m"',
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_keeps_the_last_good_one(shelf: Shelf, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    shelf.deploy("[models.m.limits]\nslo_ms = 250")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        (shelf.models / "deployments.toml").write_bytes(content)
        for _ in range(2):
            await repository.refresh()
        assert repository.acquire("m", None) is model
        assert model.slo_seconds == 0.25
        said = [record.getMessage() for record in caplog.records if "deployments.toml" in record.getMessage()]
        assert len(said) == 1
        assert "the last good one stays in force" in said[0]
        shelf.deploy("[models.m.limits]\nslo_ms = 500")
        await repository.refresh()
        assert model.slo_seconds == 0.5

    shelf.run(scenario)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_broken_from_the_start_is_refused(shelf: Shelf, content: bytes) -> None:
    (shelf.models / "deployments.toml").write_bytes(content)

    async def scenario() -> None:
        with pytest.raises(ManifestInvalid, match=r"^deployments\.toml"):
            shelf.repository()

    asyncio.run(scenario())


def test_a_broken_file_does_not_keep_new_versions_from_loading(shelf: Shelf) -> None:
    async def scenario(repository: Repository) -> None:
        shelf.deploy("[")
        shelf.publish("m", 2)
        await repository.refresh()
        assert repository.acquire("m", None).served.version == 2

    shelf.run(scenario)


BLANK: dict[str, str | None] = {"empty": "", "a comment": "# nothing", "no file": None}


def blank(shelf: Shelf, content: str | None) -> None:
    if content is None:
        (shelf.models / "deployments.toml").unlink()
    else:
        shelf.deploy(content)


@pytest.mark.parametrize("content", BLANK.values(), ids=BLANK)
def test_a_file_that_is_blank_for_one_look_changes_nothing(shelf: Shelf, content: str | None) -> None:
    """As one that is written anew in its place."""
    written = "[models.m]\nthreads = 1\n[models.m.limits]\nslo_ms = 250"
    shelf.deploy(written)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        for between in (written, "[", written):  # a broken one is no second look at a blank one
            blank(shelf, content)
            await repository.refresh()
            assert repository.acquire("m", None) is model
            assert model.slo_seconds == 0.25
            shelf.deploy(between)
            await repository.refresh()
        assert repository.acquire("m", None) is model
        assert model.slo_seconds == 0.25

    shelf.run(scenario)


@pytest.mark.parametrize("content", BLANK.values(), ids=BLANK)
def test_a_file_that_stays_blank_is_the_defaults(shelf: Shelf, content: str | None) -> None:
    shelf.deploy("[models.m.limits]\nslo_ms = 250")

    async def scenario(repository: Repository) -> None:
        blank(shelf, content)
        for _ in range(2):
            await repository.refresh()
        assert repository.acquire("m", None).slo_seconds is None
        shelf.deploy("[models.m.limits]\nslo_ms = 500")
        await repository.refresh()
        assert repository.acquire("m", None).slo_seconds == 0.5

    shelf.run(scenario)


def test_a_model_that_cannot_change_stops_neither_the_others_nor_what_is_new(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.publish("z", 1)
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name.startswith("m-1"):
            raise RuntimeError("can't start new thread")
        start(thread)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        shelf.deploy("[models.m]\ninstances = 3\n[models.z.limits]\nslo_ms = 250")
        shelf.publish("n", 1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refusing)
            for _ in range(2):
                await repository.refresh()
        await ask(model)
        await ask(repository.acquire("n", None))
        assert repository.acquire("z", None).slo_seconds == 0.25
        said = [record.getMessage() for record in caplog.records if "m version 1" in record.getMessage()]
        assert said == ["model repository: m version 1: its deployment cannot be applied: can't start new thread"]
        await repository.refresh()
        assert repository.acquire("m", None) is model
        assert model.instances == 3

    shelf.run(scenario)


@pytest.mark.parametrize(("make", "runs"), [(graphs.linear, 1), (graphs.mean_over_rows, 3)])
def test_only_rows_that_do_not_depend_on_each_other_share_a_run(shelf: Shelf, make: Any, runs: int) -> None:
    shelf.bare("rows", make)
    shelf.deploy("[models.rows]\ninstances = 1")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("rows", None)
        await asyncio.gather(*(submit(model) for _ in range(3)))
        assert shelf.sample("bonsai_batch_rows_count", model="rows", version="1") == runs

    shelf.run(scenario)
