"""Where a data set's file is looked for, and how it is fetched: from a server of the test's own."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from training.data.source import FOLDER, Download, find, find_or_fetch
from training.errors import DataBroken, DataMissing

TEXT = b"ham\tHello\n"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Download]:
    """A .zip on a server; what is fetched from it is kept below tmp_path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(FOLDER, raising=False)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("messages", TEXT)
        archive.writestr("readme", "unwanted")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "set.zip").write_bytes(content.getvalue())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path / "public"))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/set.zip"
        yield Download(url=url, sha256=hashlib.sha256(content.getvalue()).hexdigest(), member="messages")
        server.shutdown()
        thread.join()


def test_a_file_is_found_in_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "set.tsv").touch()
    assert find("set.tsv", "nowhere") == tmp_path / "set.tsv"


def test_what_is_missing_says_where_people_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(DataMissing, match=r"set\.tsv: expected it in the folder that BONSAI_DATA names.*; ask there"):
        find("set.tsv", "ask there")
    monkeypatch.delenv(FOLDER)
    with pytest.raises(DataMissing, match=r"set\.tsv: expected BONSAI_DATA to name the folder.*; ask there"):
        find("set.tsv", "ask there")


def test_a_file_that_is_there_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "set.tsv").touch()
    nowhere = Download(url="http://127.0.0.1:9/set.zip", sha256="", member="messages")
    assert find_or_fetch("set.tsv", nowhere) == tmp_path / "set.tsv"


def test_the_wanted_member_is_fetched_once(published: Download, tmp_path: Path) -> None:
    path = find_or_fetch("set.tsv", published)
    assert path.read_bytes() == TEXT
    assert path.is_relative_to(tmp_path / "cache" / "bonsai")
    (tmp_path / "public" / "set.zip").unlink()
    assert find_or_fetch("set.tsv", published) == path


def test_another_file_than_expected_is_refused(published: Download, tmp_path: Path) -> None:
    (tmp_path / "public" / "set.zip").write_bytes(b"something else")
    with pytest.raises(DataBroken, match=f"set.zip: expected SHA-256 {published.sha256}, got another"):
        find_or_fetch("set.tsv", published)
    assert not list((tmp_path / "cache").rglob("messages"))


def test_an_address_that_gives_nothing_is_missing_data(published: Download, tmp_path: Path) -> None:
    (tmp_path / "public" / "set.zip").unlink()
    with pytest.raises(DataMissing, match=r"set\.tsv: expected BONSAI_DATA .*set\.zip; fetching it failed: 404"):
        find_or_fetch("set.tsv", published)
