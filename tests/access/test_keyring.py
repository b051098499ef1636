"""The keyring: whose request it is, and a file of keys that changes."""

import asyncio
import logging
from pathlib import Path

import pytest

from app.access.keyring import ANYBODY, NOBODY, Keyring
from app.access.keys import Keys, Scope, append, digest_of, new
from app.errors import Forbidden, InvalidInput, Unauthorized

ALICE, BOB = new(), new()


def keys(key: str, *scopes: str, name: str = "alice", **limits: float) -> Keys:
    return Keys.of({name: {"sha256": digest_of(key), "scopes": list(scopes) or ["infer"], **limits}})


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def test_without_any_key_anybody_may_infer_and_nobody_may_administer() -> None:
    for headers in ({}, bearer(ALICE)):
        caller = Keyring(None, None).find(headers)
        assert caller is ANYBODY
        caller.check(Scope.INFER)
        caller.check(Scope.METRICS)
        with pytest.raises(Unauthorized, match=r"^key: expected an API key with the scope admin, got none$"):
            caller.check(Scope.ADMIN)


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer %b" % ALICE.encode()},
        {b"authorization": b"bearer   %b " % ALICE.encode()},
        {b"x-api-key": ALICE.encode()},
        {b"authorization": b"Basic dTpw", b"x-api-key": ALICE.encode()},  # of a proxy before this server
    ],
)
def test_a_key_comes_in_either_header(headers: dict[bytes, bytes]) -> None:
    assert Keyring(keys(ALICE), None).find(headers).name == "alice"


def test_a_key_may_have_any_characters() -> None:
    for key in ("schl\u00fcssel-0123456789", "\U0001f511" * 20):
        assert Keyring(keys(key), None).find({b"x-api-key": key.encode()}).name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        bearer(BOB),
        bearer(ALICE[:-1]),
        bearer(ALICE + "x"),
        bearer(""),
        bearer(digest_of(ALICE)),
        {b"x-api-key": b""},
        {b"x-api-key": b"\xff\x00"},
        {b"authorization": b"Bearer %b" % BOB.encode(), b"x-api-key": ALICE.encode()},
    ],
)
def test_another_key_is_refused_and_not_repeated(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthorized, match=r"^key: expected one that is known here, got another$"):
        Keyring(keys(ALICE), None).find(headers)


def test_a_key_opens_its_scopes_alone() -> None:
    caller = Keyring(keys(ALICE, "metrics"), None).find(bearer(ALICE))
    caller.check(Scope.METRICS)
    with pytest.raises(Forbidden, match=r"^key: expected one with the scope infer, got one with metrics$"):
        caller.check(Scope.INFER)


def test_where_there_are_keys_nobody_comes_without() -> None:
    caller = Keyring(keys(ALICE), None).find({})
    assert caller is NOBODY
    with pytest.raises(Unauthorized, match="got none"):
        caller.check_known()


def test_anonymous_says_what_opens_without_a_key() -> None:
    keyring = Keyring(Keys.of({**keys(ALICE).root, "anonymous": {"scopes": ["metrics"]}}), None)
    caller = keyring.find({})
    caller.check_known()
    caller.check(Scope.METRICS)
    with pytest.raises(Unauthorized):
        caller.check(Scope.INFER)
    assert keyring.find(bearer(ALICE)).name == "alice"


def test_an_empty_file_of_keys_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.touch()
    assert Keyring(None, file).find({}) is NOBODY


def test_the_environment_and_the_file_are_one_keyring_with_each_name_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    append(keys(BOB, name="bob"), file)
    keyring = Keyring(keys(ALICE), file)
    assert [keyring.find(bearer(key)).name for key in (ALICE, BOB)] == ["alice", "bob"]
    with pytest.raises(InvalidInput, match="expected each name once, got alice"):
        append(keys(new()), file)
        Keyring(keys(ALICE), file)


def test_one_key_has_one_holder_also_across_both(tmp_path: Path) -> None:
    append(keys(ALICE, name="bob"), tmp_path / "keys.toml")
    with pytest.raises(InvalidInput, match="expected a key of its own"):
        Keyring(keys(ALICE), tmp_path / "keys.toml")


def test_a_changed_file_is_read_and_listeners_hear_of_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    append(keys(ALICE), file)
    keyring = Keyring(None, file)

    async def change() -> None:
        heard = asyncio.Event()
        keyring.on_change(heard.set)
        following = asyncio.create_task(keyring.follow(0.01))
        file.write_text(keys(BOB, name="bob").toml())
        await heard.wait()
        following.cancel()

    asyncio.run(asyncio.wait_for(change(), 10))
    assert keyring.find(bearer(BOB)).name == "bob"
    with pytest.raises(Unauthorized):
        keyring.find(bearer(ALICE))


@pytest.mark.parametrize("text", ["[alice", None])
def test_a_wrong_or_missing_file_leaves_the_keys_as_they_were(
    text: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.toml"
    append(keys(ALICE), file)
    keyring = Keyring(None, file)
    keyring.on_change(lambda: pytest.fail("nothing has changed"))
    file.unlink() if text is None else file.write_text(text)
    with caplog.at_level(logging.ERROR):
        keyring.refresh()
    assert keyring.find(bearer(ALICE)).name == "alice"
    assert "the keys stay as they were: keys.toml" in caplog.text


def test_who_stays_the_same_keeps_the_bucket_and_who_changes_gets_another(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    append(keys(ALICE, requests_per_second=1), file)
    append(keys(BOB, name="bob", requests_per_second=1), file)
    keyring = Keyring(None, file)
    alice, bob = keyring.find(bearer(ALICE)), keyring.find(bearer(BOB))
    file.write_text(file.read_text() + "burst = 5\n")  # the last table is bob's
    keyring.refresh()
    assert keyring.find(bearer(ALICE)) is alice
    assert keyring.find(bearer(BOB)) is not bob
