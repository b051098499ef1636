"""API keys: the document, the file, how a key is made."""

import hashlib
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.keys import Key, Keys, Scope, append, digest_of, new
from app.contract.manifest import NAME_PATTERN
from app.errors import InvalidInput

ENTRY: dict[str, Any] = {"sha256": "0" * 64, "scopes": ["infer"]}


def test_a_key_is_random_and_says_what_it_is() -> None:
    made = {new() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"bonsai_[A-Za-z0-9_-]{43}", key) for key in made)


def test_the_digest_is_sha256() -> None:
    assert digest_of("bonsai_x") == hashlib.sha256(b"bonsai_x").hexdigest()


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"a": ENTRY | {"sha256": "0"}}, r"a\.sha256"),
        ({"a": {"scopes": ["infer"]}}, r"a\.sha256: expected the digest of a key"),
        ({"a": ENTRY | {"scopes": ["root"]}}, r"a\.scopes"),
        ({"a": ENTRY | {"scopes": []}}, r"a\.scopes"),
        ({"a": ENTRY | {"scopes": "infer"}}, r"a\.scopes"),
        ({"a": ENTRY | {"key": "bonsai_x"}}, r"a\.key"),
        ({"a": ENTRY | {"requests_per_second": 0}}, r"a\.requests_per_second"),
        ({"a": ENTRY | {"requests_per_second": "9"}}, r"a\.requests_per_second"),
        ({"a": ENTRY | {"burst": 4}}, "burst: expected requests_per_second beside it"),
        ({"a b": ENTRY}, r"a b"),
        ({"a": ENTRY, "b": ENTRY}, r"sha256: expected a key of its own"),
        ({"anonymous": ENTRY}, r"anonymous\.sha256: expected none"),
        ({"anonymous": {"scopes": ["admin"]}}, r"anonymous\.scopes: expected no admin"),
        ([], "dictionary"),
    ],
)
def test_a_wrong_document_is_refused_with_the_field(document: object, found: str) -> None:
    with pytest.raises(InvalidInput, match=found):
        Keys.of(document)


@pytest.mark.parametrize("text", ["[a", "a = 1", "[a]\nscopes = ['x']"])
def test_a_wrong_file_is_refused_with_its_name_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"^keys.toml: "):
        Keys.read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^keys.toml cannot be read: No such file"):
        Keys.read(tmp_path / "keys.toml")


entries = st.builds(
    lambda digest, scopes, rate, burst: (
        {"sha256": digest.hex(), "scopes": sorted(scopes)}
        | ({} if rate is None else {"requests_per_second": rate, **({} if burst is None else {"burst": burst})})
    ),
    st.binary(min_size=32, max_size=32),
    st.sets(st.sampled_from(Scope), min_size=1),
    st.none() | st.floats(0.001, 1e6),
    st.none() | st.integers(1, 10**6),
)


@given(
    st.dictionaries(
        st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: name != "anonymous"), entries, max_size=4
    ).filter(lambda keys: len({entry["sha256"] for entry in keys.values()}) == len(keys))
)
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> None:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(Keys.of(document).toml())
    assert Keys.read(file) == Keys.of(document)


def test_keys_are_added_to_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    append(Keys.of({"a": ENTRY}), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("# ours\n" + file.read_text())
    append(Keys.of({"b.c": ENTRY | {"sha256": "1" * 64}}), file)
    assert Keys.read(file).root.keys() == {"a", "b.c"}
    assert file.read_text().startswith("# ours\n")
    assert [path.name for path in tmp_path.iterdir()] == ["keys.toml"]


def test_what_a_person_wrote_into_a_file_without_keys_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("# ask ops for a key\n")
    append(Keys.of({"a": ENTRY}), file)
    assert file.read_text().startswith("# ask ops for a key\n\n[a]\n")


def test_a_name_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    append(Keys.of({"a": ENTRY}), file)
    before = file.read_text()
    with pytest.raises(InvalidInput, match="expected no key of that name, got a"):
        append(Keys.of({"a": ENTRY | {"sha256": "1" * 64}}), file)
    assert file.read_text() == before


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^keys.toml cannot be written: "):
        append(Keys.of({"a": ENTRY}), tmp_path / "no" / "keys.toml")


def test_a_key_keeps_nothing_but_its_digest() -> None:
    assert set(Key.model_fields) == {"sha256", "scopes", "requests_per_second", "burst"}
