"""Models on a GPU: row buckets, warmed before the model answers. The GPU of these tests is a fake: see fake_gpu.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from app.errors import ExecutionFailed
from app.protocol.messages import Array, Halt
from app.repository.loading import Loaded
from app.repository.repository import Repository
from app.runtime import profile
from app.runtime.bound import BoundSession
from app.runtime.providers import CPU, CUDA
from tests import graphs
from tests.fake_gpu import FakeGpu
from tests.repository.shelf import Shelf, ask
from tests.runtime import made

BUCKETS = [1, 2, 4, 8, 16, 32, 40]


def load(shelf: Shelf, make: Callable[[Path], Path] = graphs.linear, **deployment: Any) -> Loaded:
    given: dict[str, Any] = {"provider": "cuda", "limits": {"max_batch_rows": 40}}
    return shelf.load(shelf.bare("m", make), **given | deployment)


def bound_of(loaded: Loaded) -> BoundSession:
    assert loaded.bound is not None
    return loaded.bound


def rows_of(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def test_every_bucket_has_run_once_before_anything_is_measured(shelf: Shelf, gpu: FakeGpu) -> None:
    loaded = load(shelf)
    assert gpu.bound_rows[: len(BUCKETS)] == BUCKETS
    assert set(gpu.bound_rows) == set(BUCKETS)
    assert [rows for rows, _ in loaded.profile.costs] == BUCKETS[: len(loaded.profile.costs)]


def test_every_bucket_has_run_where_there_is_no_time_to_measure_it(
    shelf: Shelf, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "MEASURE_SECONDS", 0)
    load(shelf)
    assert gpu.bound_rows[: len(BUCKETS)] == BUCKETS
    assert gpu.bound_rows[len(BUCKETS) :] == [1, 1]


def test_a_batch_is_padded_to_the_next_bucket_with_zeros_and_answered_for_its_own_rows(
    shelf: Shelf, gpu: FakeGpu
) -> None:
    loaded = load(shelf)
    bound, session = bound_of(loaded), loaded.proven.session
    for rows in (40, *range(41)):  # a full one first: its rows must not stay in the buffers
        x = rows_of(rows)
        got = bound.run({"x": x})["y"]
        np.testing.assert_allclose(got, session.run({"x": x})["y"], rtol=1e-5)
        assert got.shape == (rows, 3)
        seen = gpu.bound[-1]["x"]
        assert len(seen) == next(bucket for bucket in BUCKETS if bucket >= rows)
        np.testing.assert_array_equal(seen[:rows], x)
        assert not seen[rows:].any()


def test_more_rows_than_the_last_bucket_are_an_ordinary_run(shelf: Shelf, gpu: FakeGpu) -> None:
    """As where `max_batch_rows` has been raised since the load."""
    loaded = load(shelf)
    before = len(gpu.bound), len(gpu.plain)
    x = rows_of(41)
    np.testing.assert_allclose(bound_of(loaded).run({"x": x})["y"], loaded.proven.session.run({"x": x})["y"])
    assert (len(gpu.bound), len(gpu.plain)) == (before[0], before[1] + 2)


def test_an_ordinary_run_can_be_halted_and_one_through_buffers_cannot(shelf: Shelf, gpu: FakeGpu) -> None:
    bound, halt = bound_of(load(shelf)), Halt()
    halt.ask()
    assert bound.run({"x": rows_of(40)}, halt)["y"].shape == (40, 3)
    with pytest.raises(ExecutionFailed):
        bound.run({"x": rows_of(41)}, halt)


def test_buffers_are_made_once_on_the_device_that_was_asked_for(shelf: Shelf, gpu: FakeGpu) -> None:
    bound = bound_of(load(shelf, device=1))
    assert {value.device for value in gpu.values} == {("cuda", 1)}
    assert len(gpu.values) == 2 * len(BUCKETS)  # an input and an output
    for rows in range(41):
        bound.run({"x": rows_of(rows)})
    assert len(gpu.values) == 2 * len(BUCKETS)


def test_an_answer_stays_as_it_is_when_the_next_run_comes(shelf: Shelf, gpu: FakeGpu) -> None:
    bound = bound_of(load(shelf))
    first = bound.run({"x": rows_of(3)})["y"]
    kept = first.copy()
    bound.run({"x": np.zeros((3, 4), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_requests_are_run_in_buckets(shelf: Shelf, gpu: FakeGpu) -> None:
    shelf.bare("m")
    shelf.deploy('[models.m]\nprovider = "cuda"\n')

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        assert model.served.provider == CUDA
        before = len(gpu.plain)
        for rows, bucket in ((1, 1), (3, 4), (100, 128)):
            assert len(await ask(model, rows_of(rows))) == rows
            assert gpu.bound_rows[-1] == bucket
        assert len(gpu.plain) == before

    shelf.run(scenario)


@pytest.mark.parametrize(
    "make",
    [graphs.mean_over_rows, graphs.pooled, lambda path: made.up_to(path, 8)],
    ids=["rows that are not independent", "a free length", "no more than 8 rows"],
)
def test_other_graphs_are_run_as_the_requests_come(shelf: Shelf, gpu: FakeGpu, make: Callable[[Path], Path]) -> None:
    assert load(shelf, make).bound is None


def test_where_it_falls_back_to_the_cpu_nothing_is_padded(
    shelf: Shelf, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    loaded = load(shelf, allow_fallback=True)
    assert (loaded.proven.session.provider, loaded.bound, gpu.bound) == (CPU, None, [])


@pytest.mark.parametrize(
    ("given", "options"), [({}, {}), ({"gpu_memory_mb": 512}, {"gpu_mem_limit": 512 << 20})], ids=["none", "512 MB"]
)
def test_the_device_memory_limit_is_onnx_runtimes(
    shelf: Shelf, gpu: FakeGpu, given: dict[str, int], options: dict[str, int]
) -> None:
    load(shelf, device=1, **given)
    assert gpu.providers == [(CUDA, {"device_id": 1, "use_tf32": 0, **options}), CPU]


def test_a_graph_of_any_length_gives_memory_of_the_device_back(shelf: Shelf, gpu: FakeGpu) -> None:
    loaded = load(shelf, graphs.pooled, device=1)
    gpu.plain.clear()
    for _ in range(3):
        loaded.proven.session.run(graphs.POOLED)
    first, *others = gpu.plain
    assert first.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0;gpu:1"
    assert others == [None, None]
