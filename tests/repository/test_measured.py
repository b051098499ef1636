"""What a deployment leaves open is measured once at load; what it says is not questioned."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.repository import loading
from app.runtime import cpu
from app.runtime.graph_cache import GraphCache
from app.runtime.profile import Profile
from app.runtime.providers import Placement
from app.runtime.session import ALONE, BRIEFLY, Session
from tests import graphs
from tests.repository.shelf import Shelf, variant

MEASURED = Profile(3, 1, ((1, 0.01), (32, 0.1)), 2, ((1, 0.005),))


class Choosing(list[int]):
    """Stands in for the measurement; the numbers of CPUs that it was asked to divide."""

    def __init__(self, chosen: Profile) -> None:
        self.chosen = chosen

    def __call__(self, _: object, batches: Any, cpus: int) -> Profile:
        self.append(cpus)
        assert batches
        return self.chosen


@pytest.fixture
def choosing(monkeypatch: pytest.MonkeyPatch) -> Choosing:
    choosing = Choosing(MEASURED)
    monkeypatch.setattr(loading.profile, "choose", choosing)
    return choosing


def looks(session: Session) -> str:
    """Microseconds for which a thread looks for more of a run."""
    found: str = session._session.get_session_options().get_session_config_entry("session.intra_op.spin_duration_us")
    return found


def test_a_graph_is_measured_on_the_budget_of_this_process_and_its_profile_is_kept(
    shelf: Shelf, choosing: Choosing
) -> None:
    folder = shelf.publish("m", 1)
    for _ in range(2):
        loaded = shelf.load(folder)
        assert loaded.profile == MEASURED
        assert loaded.wide is not None
        assert loaded.wide is not loaded.proven.session
        assert (looks(loaded.proven.session), looks(loaded.wide)) == ("10", "2000")
    assert choosing == [cpu.budget()]


def test_a_profile_without_a_wide_session_opens_none(shelf: Shelf, choosing: Choosing) -> None:
    choosing.chosen = Profile(1, 1, ((1, 0.01),))
    assert shelf.load(shelf.publish("m", 1)).wide is None


def test_a_second_copy_of_the_weights_is_kept_only_where_it_is_small_enough(shelf: Shelf, choosing: Choosing) -> None:
    folder = shelf.publish("m", 1, lambda path: graphs.linear(path, width=100_000))  # 1.14 MB
    assert shelf.load(folder, wide_session_mb=2).wide is not None
    for too_little in (0, 1):
        loaded = shelf.load(folder, wide_session_mb=too_little)
        assert loaded.wide is None
        assert loaded.profile.threads == MEASURED.threads
    assert len(choosing) == 1


def test_a_load_holds_no_more_than_two_copies_of_the_weights(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 8 CPUs, where three ways are measured beside the session that was proven."""
    folder = shelf.publish("m", 1, lambda path: graphs.slow(path, repeats=20))
    opened: weakref.WeakSet[Session] = weakref.WeakSet()
    threads: list[int] = []
    alone: list[bool] = []
    held: list[int] = []
    load = Session.load

    def counted(
        graph: Path, placement: Placement, count: int, cache: GraphCache, spinning: Mapping[str, str] = BRIEFLY
    ) -> Session:
        session = load(graph, placement, count, cache, spinning)
        opened.add(session)
        threads.append(count)
        alone.append(spinning is ALONE)
        held.append(len(opened))
        return session

    monkeypatch.setattr(cpu, "budget", lambda: 8)
    monkeypatch.setattr(loading.profile, "MEASURE_SECONDS", 0.01)
    monkeypatch.setattr(Session, "load", counted)
    shelf.load(folder)
    assert threads[:3] == [1, 8, 4]
    assert alone[:3] == [False, True, False]
    assert max(held) == 2


@pytest.mark.parametrize("given", [{"instances": 2}, {"threads": 1}, {"instances": 2, "threads": 1}], ids=str)
def test_what_the_deployment_says_is_not_measured(shelf: Shelf, choosing: Choosing, given: dict[str, int]) -> None:
    loaded = shelf.load(shelf.publish("m", 1), **given)
    assert choosing == []
    assert loaded.profile.instances == given.get("instances", 1)
    assert loaded.profile.threads == given.get("threads", max(1, cpu.budget() // given.get("instances", 1)))
    assert loaded.wide is None
    assert loaded.profile.costs[0][0] == 1  # what a run costs is known all the same


def other_graph(shelf: Shelf, folder: Path) -> None:
    shelf.publish("m", 1, lambda path: graphs.linear(path, seed=1))


def other_limits(shelf: Shelf, folder: Path) -> dict[str, Any]:
    return {"limits": {"max_batch_rows": 8}}


def damage(shelf: Shelf, folder: Path) -> None:
    (kept,) = shelf.cache.glob("*.json")
    kept.write_text("{")


@pytest.mark.parametrize("change", [other_graph, other_limits, damage])
def test_it_is_measured_again_where_what_was_kept_does_not_hold(shelf: Shelf, choosing: Choosing, change: Any) -> None:
    folder = shelf.publish("m", 1)
    shelf.load(folder)
    deployment = change(shelf, folder) or {}
    for _ in range(2):
        shelf.load(folder, **deployment)
    assert len(choosing) == 2


def test_what_was_measured_beside_other_work_serves_until_the_next_load(shelf: Shelf, choosing: Choosing) -> None:
    folder = shelf.publish("m", 1)
    choosing.chosen = replace(MEASURED, disturbed=True)
    assert shelf.load(folder).wide is not None
    choosing.chosen = MEASURED
    for _ in range(2):
        assert shelf.load(folder).profile == MEASURED
    assert len(choosing) == 2


def test_a_profile_holds_only_where_rows_share_runs_as_they_did(shelf: Shelf) -> None:
    """One of single rows says nothing of batches: nothing would ever be batched."""
    folder = shelf.publish("m", 1, variants=(variant(batchable=False),))
    assert [rows for rows, _ in shelf.load(folder).profile.costs] == [1]
    shelf.amend(folder, variants=(variant(),))
    assert len(shelf.load(folder).profile.costs) > 1
    shelf.amend(folder, variants=(variant(batchable=False),))
    assert [rows for rows, _ in shelf.load(folder).profile.costs] == [1]


def test_a_graph_that_cannot_run_its_batches_is_not_batched(shelf: Shelf, choosing: Choosing) -> None:
    choosing.chosen = Profile(1, 1, ())
    assert not shelf.load(shelf.publish("m", 1)).proven.batchable


def test_what_no_inputs_are_known_of_is_not_measured(shelf: Shelf, choosing: Choosing) -> None:
    loaded = shelf.load(shelf.bare("m", graphs.mean_over_rows))
    assert (choosing, loaded.profile) == ([], Profile(1, cpu.budget(), ()))
