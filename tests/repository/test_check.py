"""`bonsai check` and `bonsai models` look at folders the way the server does."""

from pathlib import Path

import pytest

from app.errors import LoadFailed
from app.repository.check import Finding, check, listing
from app.runtime.graph_cache import GraphCache
from tests import graphs
from tests.repository.shelf import Shelf
from tests.runtime import made


def findings(shelf: Shelf, folder: Path) -> list[Finding]:
    return list(check(folder, GraphCache(shelf.cache)))


def test_a_version_that_can_be_served_is_ok(shelf: Shelf) -> None:
    (found,) = findings(shelf, shelf.publish("m", 1))
    assert (found.folder, found.ok) == ("m version 1", True)
    assert found.text == "model.onnx on CPUExecutionProvider, batched"


def test_a_model_folder_is_checked_version_by_version(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    (shelf.publish("m", 2) / "model.onnx").write_bytes(b"junk")
    (shelf.models / "m" / "v3").mkdir()
    found = {finding.folder: finding for finding in findings(shelf, shelf.models / "m")}
    assert [finding.ok for finding in found.values()] == [True, False, False]
    assert "expected sha256" in found["m version 2"].text
    assert "named by an integer" in found["m/v3"].text


def test_a_bare_folder_says_how_it_would_be_served(shelf: Shelf) -> None:
    (found,) = findings(shelf, shelf.bare("m", graphs.mean_over_rows))
    assert found.text == "model.onnx on CPUExecutionProvider, one request at a time"


def test_a_model_whose_name_is_a_number_is_a_model_all_the_same(shelf: Shelf) -> None:
    shelf.publish("2024", 1)
    (found,) = findings(shelf, shelf.models / "2024")
    assert (found.folder, found.ok) == ("2024 version 1", True)


def test_a_relative_folder_has_its_name(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shelf.publish("m", 1))
    (found,) = findings(shelf, Path())
    assert found.folder == "m version 1"


def test_a_folder_that_is_not_there_is_refused(shelf: Shelf) -> None:
    with pytest.raises(LoadFailed, match="expected a version folder"):
        findings(shelf, shelf.models / "none")


def test_a_folder_with_nothing_in_it_is_a_finding(shelf: Shelf) -> None:
    (shelf.models / "empty" / "1").mkdir(parents=True)
    (found,) = findings(shelf, shelf.models / "empty" / "1")
    assert not found.ok
    assert "got neither" in found.text


def test_a_golden_sample_that_cannot_be_read_is_a_finding(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    (folder / "golden.npz").write_bytes(b"")
    shelf.amend(folder)
    (found,) = findings(shelf, folder)
    assert not found.ok
    assert "golden.npz" in found.text


def test_the_listing_reads_manifests_alone(shelf: Shelf) -> None:
    shelf.bare("bare")
    shelf.publish("m", 1, graphs.linear, task="classify")
    (shelf.publish("m", 2) / "manifest.json").write_text("{")
    rows = {(name, version): (task, variants) for name, version, task, variants, _ in listing(shelf.models)}
    assert rows["bare", "1"] == ("(no manifest)", "model.onnx")
    assert rows["m", "1"] == ("classify", "model.onnx (fp32)")
    assert rows["m", "2"][0].startswith("manifest.json: the document:")


def test_what_the_guard_refuses_is_a_finding(shelf: Shelf) -> None:
    folder = shelf.bare("m", made.with_weights_beside)
    (folder / "weights.bin").rename(folder.parent / "weights.bin")
    (found,) = findings(shelf, folder)
    assert not found.ok
    assert found.text == "model.onnx: tensor 'w': external data 'weights.bin': expected a plain file, got none"
