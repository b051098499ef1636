"""manifest.json: written, read, and refused with a reason."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.manifest import FILENAME, FileDigest, Manifest, Metric, Tolerance
from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.errors import ManifestInvalid
from tests.contract.manifests import SHA, document, manifest, replaced

COMMITTED = sorted((Path(__file__).parent.parent.parent / "models").glob("*/*/manifest.json"))


def refusal(folder: Path, content: Any) -> str:
    """Why a manifest.json with this content is refused."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / FILENAME).write_bytes(raw)
    with pytest.raises(ManifestInvalid) as raised:
        Manifest.read(folder)
    return str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_axis": None},
        {"metrics": {}},
        {"inputs": (InputSpec(name="x", datatype="BYTES", shape=(-1,)),)},
        {"outputs": (OutputSpec(name="y", datatype="INT64", shape=(-1, -1, 3)),)},
        {"metrics": {"only a value": Metric(value=1.0)}},
    ],
    ids=str,
)
def test_what_is_written_is_read_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    written = manifest(**changes)
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written


def test_the_file_is_the_same_every_time_and_a_person_can_read_it(tmp_path: Path) -> None:
    manifest().write(tmp_path)
    first = (tmp_path / FILENAME).read_bytes()
    Manifest.read(tmp_path).write(tmp_path)
    assert (tmp_path / FILENAME).read_bytes() == first
    assert "Blüten" in first.decode()
    assert first.count(b"\n") > 20


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_committed_manifest_reads_and_its_files_hold(path: Path) -> None:
    Manifest.read(path.parent).verify(path.parent)


def test_the_signature_is_the_manifests(tmp_path: Path) -> None:
    given = manifest(batch_axis=None)
    assert given.signature == Signature(inputs=given.inputs, outputs=given.outputs, batch_axis=None)


WRONG = {
    "name": "../etc",
    "version": 0,
    "schema_version": 2,
    "created": "yesterday",
    "files": [],
    "files/golden.npz/sha256": SHA.upper(),
    "files/golden.npz/bytes": -1,
    "inputs": [],
    "inputs/0/datatype": "FP33",
    "inputs/0/shape/1": -2,
    "inputs/0/medium": "video",
    "outputs/0/labels": "rose",
    "outputs/0/activation": "relu",
    "batch_axis": 1,
    "variants": [],
    "variants/0/file": "../model.onnx",
    "variants/0/precision": "",
    "variants/0/tolerance/atol": -1.0,
    "variants/0/batchable": "perhaps",
    "golden": ".hidden",
    "metrics/accuracy/ci95": [0.1, 0.2, 0.3],
    "compression/removed/units": 0.5,
    "lineage/chain/0/sha256": "abc",
}


@pytest.mark.parametrize(("path", "value"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_refused_with_its_field_and_what_came(tmp_path: Path, path: str, value: Any) -> None:
    content = document(tmp_path)
    content["compression"] = {"removed": {}}
    text = refusal(tmp_path, replaced(content, path, value))
    assert text.startswith(f"{FILENAME}: ")
    assert f"{path.replace('/', '.')}" in text
    assert repr(value)[:60] in text
    assert "\n" not in text


@pytest.mark.parametrize("value", [True, "3"], ids=repr)
def test_an_integer_is_a_json_integer(tmp_path: Path, value: Any) -> None:
    """A bool or a string that Python could turn into a number is a mistake, not a version."""
    assert "version" in refusal(tmp_path, replaced(document(tmp_path), "version", value))


@pytest.mark.parametrize(
    "path",
    ["extra", "inputs/0/extra", "outputs/0/extra", "variants/0/extra", "lineage/extra", "files/golden.npz/extra"],
)
def test_an_unknown_key_is_refused_by_its_path(tmp_path: Path, path: str) -> None:
    assert path.replace("/", ".") in refusal(tmp_path, replaced(document(tmp_path), path, 1))


@pytest.mark.parametrize("path", ["name", "files", "golden", "lineage", "inputs", "created"])
def test_a_missing_key_is_named(tmp_path: Path, path: str) -> None:
    content = document(tmp_path)
    del content[path]
    text = refusal(tmp_path, content)
    assert f"{path}: Field required" in text


@pytest.mark.parametrize("path", ["golden", "variants/0/file"])
def test_a_file_that_is_not_listed_is_refused_by_name(tmp_path: Path, path: str) -> None:
    text = refusal(tmp_path, replaced(document(tmp_path), path, "other.bin"))
    assert "files: expected an entry for other.bin, got none" in text


BROKEN = {"empty": b"", "cut": b'{"name": "fl', "not json": b"hello", "not utf-8": b'{"name": "\xff"}', "list": b"[]"}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    assert refusal(tmp_path, raw).startswith(f"{FILENAME}: the document: ")


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid) as raised:
        Manifest.read(tmp_path)
    assert str(raised.value) == f"{FILENAME} cannot be read: No such file or directory"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_is_a_number_that_json_can_carry(value: float) -> None:
    """NaN in manifest.json is no JSON: other readers of the file would fail on it."""
    with pytest.raises(ValidationError):
        Metric(value=value)


def test_a_tolerance_has_a_bound() -> None:
    """With an infinite tolerance every answer passes the golden sample."""
    with pytest.raises(ValidationError):
        Tolerance(rtol=0.0, atol=math.inf)


LABELLED: dict[str, Any] = {"name": "logits", "datatype": "FP32", "labels": ("rose", "Tulpe")}


@pytest.mark.parametrize(
    "output",
    [
        LABELLED | {"shape": (-1, 3)},
        LABELLED | {"shape": (-1, 1)},
        LABELLED | {"shape": (-1,)},
        LABELLED | {"shape": (-1, 2, 2)},
        LABELLED | {"shape": (-1, 2), "datatype": "BYTES"},
    ],
    ids=lambda output: f"{output['datatype']} {output['shape']}",
)
def test_labels_need_a_column_each(output: dict[str, Any]) -> None:
    """Else the version loads, and every prediction of it fails or lacks labels."""
    with pytest.raises(ValidationError, match="labels"):
        manifest(outputs=(OutputSpec(**output),))


def test_a_batch_axis_needs_tensors_that_have_it() -> None:
    with pytest.raises(ValidationError, match="batch_axis"):
        manifest(inputs=(InputSpec(name="x", datatype="FP32", shape=()),), batch_axis=0)


def test_a_manifest_is_immutable() -> None:
    with pytest.raises(ValidationError):
        manifest().version = 4
    with pytest.raises(ValidationError):
        FileDigest(sha256=SHA, bytes=1).bytes = 2
