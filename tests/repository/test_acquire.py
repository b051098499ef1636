"""Which model answers a request, and what is said where none does."""

import asyncio

import pytest

from app.errors import BonsaiError, InvalidInput, NotFound, NotReady
from app.repository.repository import Repository
from app.repository.store import LARGEST_VERSION
from tests import graphs
from tests.repository.shelf import Shelf


def two_models(shelf: Shelf) -> None:
    """a in the versions 1, 2 and 10, and b."""
    for version in (1, 2, 10):
        shelf.publish("a", version)
    shelf.bare("b")


def break_version(shelf: Shelf, name: str, version: int) -> None:
    (shelf.models / name / str(version) / "model.onnx").write_bytes(b"junk")


FOUND = {
    "the version asked for": ("", "a", "2", ("a", 2)),
    "leading zeros": ("", "a", "002", ("a", 2)),
    "the highest version by number": ("", "a", None, ("a", 10)),
    "the version that the deployment names": ("[models.a]\ndefault_version = 1", "a", None, ("a", 1)),
    "a version beside the default": ("[models.a]\ndefault_version = 1", "a", "2", ("a", 2)),
    "the default version for all": ("[defaults]\ndefault_version = 1", "a", None, ("a", 1)),
    "the default model": ('default_model = "a"', None, None, ("a", 10)),
    "a version of the default model": ('default_model = "a"', None, "1", ("a", 1)),
    "another than the default model": ('default_model = "a"', "b", None, ("b", 1)),
}


@pytest.mark.parametrize(("deployments", "name", "version", "expected"), FOUND.values(), ids=FOUND)
def test_a_request_finds_its_model(
    shelf: Shelf, deployments: str, name: str | None, version: str | None, expected: tuple[str, int]
) -> None:
    two_models(shelf)
    shelf.deploy(deployments)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire(name, version)
        assert (model.served.name, model.served.version) == expected

    shelf.run(scenario)


def test_a_model_that_is_alone_needs_no_name(shelf: Shelf) -> None:
    shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        assert repository.acquire(None, None).served.name == "m"

    shelf.run(scenario)


REFUSED: dict[str, tuple[str, str | None, str | None, type[BonsaiError], str]] = {
    "no such model": ("", "c", None, NotFound, "no model 'c'"),
    "a long name": ("", "c" * 5000, None, NotFound, f"no model '{'c' * 127}…'"),
    "no such version": ("", "a", "9", NotFound, "model 'a' has no version 9; it has 1, 2, 10"),
    "version 0": ("", "a", "0", NotFound, "model 'a' has no version 0; it has 1, 2, 10"),
    "a word for a version": ("", "a", "latest", NotFound, "no version 'latest': expected an integer"),
    "a decimal version": ("", "a", "1.0", NotFound, "no version '1.0': expected an integer"),
    "a negative version": ("", "a", "-1", NotFound, "no version '-1': expected an integer"),
    "an empty version": ("", "a", "", NotFound, "no version '': expected an integer"),
    "a version in superscript": ("", "a", "\u00b2", NotFound, "no version '\u00b2': expected an integer"),
    "a version beyond 64 bits": ("", "a", str(2**63), InvalidInput, f"version: expected at most {LARGEST_VERSION}"),
    "a version of 5000 digits": ("", "a", "1" * 5000, InvalidInput, f"version: expected at most {LARGEST_VERSION}"),
    "no name among several": ("", None, None, InvalidInput, "model: expected one of a, b, got none"),
    "a default version that is not there": (
        "[models.a]\ndefault_version = 3",
        "a",
        None,
        NotReady,
        "model 'a' is not ready: its default version 3 is not there",
    ),
}


@pytest.mark.parametrize(("deployments", "name", "version", "kind", "said"), REFUSED.values(), ids=REFUSED)
def test_a_request_without_a_model_is_told_why(
    shelf: Shelf, deployments: str, name: str | None, version: str | None, kind: type[BonsaiError], said: str
) -> None:
    two_models(shelf)
    shelf.deploy(deployments)

    async def scenario(repository: Repository) -> None:
        with pytest.raises(BonsaiError) as raised:
            repository.acquire(name, version)
        assert type(raised.value) is kind
        assert str(raised.value).startswith(said)
        assert len(str(raised.value)) < 300

    shelf.run(scenario)


def test_where_the_highest_version_failed_the_highest_that_is_ready_answers(shelf: Shelf) -> None:
    two_models(shelf)
    break_version(shelf, "a", 10)

    async def scenario(repository: Repository) -> None:
        assert repository.acquire("a", None).served.version == 2
        with pytest.raises(NotReady, match=r"model 'a' version 10 is not ready: model\.onnx: expected sha256"):
            repository.acquire("a", "10")

    shelf.run(scenario)


def test_a_default_version_that_failed_is_not_replaced_by_another(shelf: Shelf) -> None:
    two_models(shelf)
    break_version(shelf, "a", 2)
    shelf.deploy("[models.a]\ndefault_version = 2")

    async def scenario(repository: Repository) -> None:
        with pytest.raises(NotReady, match="model 'a' version 2 is not ready: "):
            repository.acquire("a", None)

    shelf.run(scenario)


def test_where_every_version_failed_the_reason_is_given_and_the_repository_is_not_ready(shelf: Shelf) -> None:
    shelf.publish("a", 1)
    break_version(shelf, "a", 1)

    async def scenario(repository: Repository) -> None:
        assert not repository.ready
        for name in ("a", None):
            with pytest.raises(NotReady, match=r"model 'a' version 1 is not ready: model\.onnx"):
                repository.acquire(name, None)

    shelf.run(scenario)


def test_an_empty_repository_is_not_ready(shelf: Shelf) -> None:
    async def scenario(repository: Repository) -> None:
        assert repository.settled.is_set()
        assert not repository.ready
        with pytest.raises(NotReady, match="no model is loaded"):
            repository.acquire(None, None)

    shelf.run(scenario)


def test_before_the_first_pass_nothing_is_ready(shelf: Shelf) -> None:
    shelf.bare("m")

    async def scenario() -> None:
        repository = shelf.repository()
        assert not repository.settled.is_set()
        assert not repository.ready
        with pytest.raises(NotReady):
            repository.acquire(None, None)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["m", None])
def test_before_the_first_pass_a_model_is_not_ready_rather_than_not_found(shelf: Shelf, name: str | None) -> None:
    shelf.bare("m")
    shelf.deploy('default_model = "m"')

    async def scenario() -> None:
        with pytest.raises(NotReady):
            shelf.repository().acquire(name, None)

    asyncio.run(scenario())


def test_names_and_versions_are_listed_whatever_their_state(shelf: Shelf) -> None:
    shelf.bare("b", graphs.linear)
    shelf.publish("a", 1)
    break_version(shelf, "a", 1)

    async def scenario(repository: Repository) -> None:
        assert repository.names() == ["a", "b"]
        assert {number: slot.state for number, slot in repository.versions("a").items()} == {1: "failed"}
        assert {number: slot.state for number, slot in repository.versions("b").items()} == {1: "ready"}

    shelf.run(scenario)


def test_all_models_of_a_server_share_its_cpu(shelf: Shelf) -> None:
    two_models(shelf)

    async def scenario(repository: Repository) -> None:
        shared = {id(repository.acquire(name, None)._batcher._runs.cpu) for name in ("a", "b")}
        assert len(shared) == 1

    shelf.run(scenario)
