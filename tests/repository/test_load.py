"""Loading a version: what is proven before it may answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from app.contract.manifest import Manifest, Tolerance
from app.contract.tensors import DataType, InputSpec
from app.errors import LoadFailed
from app.runtime import cpu
from tests import graphs
from tests.repository.shelf import Make, Shelf, variant
from tests.runtime import made

NO_FLAG = "no_such_cpu_flag"


def test_a_published_version_is_batched(shelf: Shelf) -> None:
    loaded = shelf.load(shelf.publish("m", 1))
    assert (loaded.proven.variant, loaded.proven.batchable) == ("model.onnx", True)


BARE: dict[str, tuple[Make, bool]] = {
    "row by row": (graphs.linear, True),
    "strings": (lambda path: graphs.identity(path, TensorProto.STRING), True),
    "dependent rows": (graphs.mean_over_rows, False),
    "one int8 scale": (made.dynamically_quantised, False),
    "a scalar input": (made.scaled, False),
    "two encoders": (made.two_encoders, False),
    "a fixed batch": (lambda path: graphs.linear(path, rows=1), False),
    "another length than is tried": (lambda path: made.for_length(path, 5), False),
}


@pytest.mark.parametrize(("make", "batchable"), BARE.values(), ids=BARE)
def test_a_graph_without_a_manifest_is_batched_only_where_that_is_proven(
    shelf: Shelf, make: Make, batchable: bool
) -> None:
    assert shelf.load(shelf.bare("m", make)).proven.batchable is batchable


def test_a_graph_that_is_swapped_once_it_was_held_against_its_digest_is_refused_and_leaves_nothing_behind(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shelf.publish("m", 1)
    shelf.cache = shelf.cache.parent / "fresh"
    graph = folder / "model.onnx"
    good, other = graph.read_bytes(), shelf.make(lambda path: graphs.linear(path, seed=9)).read_bytes()
    verify = Manifest.verify

    def swapped(manifest: Manifest, where: Path) -> None:
        verify(manifest, where)
        graph.write_bytes(other)

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "verify", swapped)
        assert "one that has changed since" in shelf.refusal(folder)
    graph.write_bytes(good)
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(
        shelf.load(folder).proven.session.run({"x": x})["y"], x @ made.weights_of(graph), rtol=1e-5
    )


# Variants: the first that this host can serve.


def add_graph(folder: Path, name: str, seed: int = 0) -> None:
    """One more graph in a version folder: the same as model.onnx, or with other weights."""
    graphs.linear(folder / name, seed=seed)


@pytest.mark.parametrize(
    ("seed", "first", "served"),
    [
        (0, {}, "model.fast.onnx"),
        (0, {"requires": (NO_FLAG,)}, "model.onnx"),
        (5, {}, "model.onnx"),
        (5, {"tolerance": Tolerance(rtol=0, atol=1e9)}, "model.fast.onnx"),
    ],
    ids=["the first", "its CPU flag is not there", "its golden sample fails", "its own tolerance is wide"],
)
def test_the_first_variant_that_holds_here_is_served(
    shelf: Shelf, seed: int, first: dict[str, Any], served: str
) -> None:
    folder = shelf.publish("m", 1)
    add_graph(folder, "model.fast.onnx", seed)
    shelf.amend(folder, variants=(variant("model.fast.onnx", **first), variant()))
    assert shelf.load(folder).proven.variant == served


def test_the_wide_tolerance_of_one_variant_does_not_help_another(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    add_graph(folder, "wrong.onnx", seed=5)
    wide = variant(requires=(NO_FLAG,), tolerance=Tolerance(rtol=0, atol=1e9))
    shelf.amend(folder, variants=(wide, variant("wrong.onnx")))
    assert "wrong.onnx: golden sample: output 'y' is off" in shelf.refusal(folder)


@pytest.mark.skipif(not cpu.flags(), reason="this host does not tell its CPU flags")
def test_a_variant_whose_cpu_flags_are_there_is_served(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1, variants=(variant(requires=tuple(sorted(cpu.flags())[:3])),))
    assert shelf.load(folder).proven.variant == "model.onnx"


def test_where_no_variant_can_be_served_the_reasons_of_all_are_given(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    add_graph(folder, "wrong.onnx", seed=5)
    (folder / "broken.onnx").write_bytes(b"junk")
    shelf.amend(
        folder, variants=(variant("broken.onnx"), variant("wrong.onnx"), variant(requires=("sse2", NO_FLAG, "amx_no")))
    )
    said = shelf.refusal(folder)
    assert said.startswith("no variant can be served here: broken.onnx: ")
    assert "; wrong.onnx: golden sample: output 'y' is off by" in said
    assert f"model.onnx: this CPU has no amx_no, {NO_FLAG}" in said


# What does not fit together.


def test_a_manifest_in_another_folder_is_refused(shelf: Shelf) -> None:
    for change in ({"name": "other"}, {"version": 2}):
        said = shelf.refusal(shelf.publish("m", 1, graphs.linear, **change))
        assert "expected m version 1, as the folder says, got" in said


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "expected sha256"),
        (lambda path: path.write_bytes(b""), "(0 bytes)"),
        (lambda path: path.unlink(), "expected a plain file, got none"),
    ],
    ids=["one bit", "empty", "missing"],
)
def test_a_file_that_is_not_as_published_is_refused_by_name(shelf: Shelf, name: str, damage: Any, said: str) -> None:
    folder = shelf.publish("m", 1)
    damage(folder / name)
    refusal = shelf.refusal(folder)
    assert refusal.startswith(f"{name}: ")
    assert said in refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the document: "),
        ("[]", "the document: "),
        ("{}", "name: Field required"),
        ('{"schema_version": 2}', "schema_version: "),
        ('{"nmae": "m"}', "nmae: "),
    ],
)
def test_a_broken_manifest_is_refused_by_field(shelf: Shelf, text: str, said: str) -> None:
    folder = shelf.publish("m", 1)
    (folder / "manifest.json").write_text(text)
    refusal = shelf.refusal(folder)
    assert refusal.startswith("manifest.json: ")
    assert said in refusal


def test_a_manifest_may_not_lead_out_of_its_folder(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("golden.npz", "../golden.npz"))
    assert "manifest.json" in shelf.refusal(folder)


INPUTS = {
    "another name": InputSpec(name="z", datatype=DataType.FP32, shape=(-1, 4)),
    "another datatype": InputSpec(name="x", datatype=DataType.FP64, shape=(-1, 4)),
    "another width": InputSpec(name="x", datatype=DataType.FP32, shape=(-1, 5)),
    "one dimension more": InputSpec(name="x", datatype=DataType.FP32, shape=(-1, 4, 1)),
    "a fixed batch": InputSpec(name="x", datatype=DataType.FP32, shape=(1, 4)),
}


@pytest.mark.parametrize("declared", INPUTS.values(), ids=INPUTS)
def test_a_signature_that_is_not_the_graphs_is_refused(shelf: Shelf, declared: InputSpec) -> None:
    folder = shelf.publish("m", 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["inputs"] = [declared.model_dump(mode="json", exclude_none=True)]
    golden = np.load(folder / "golden.npz")
    np.savez(
        folder / "golden.npz",
        **{f"inputs/{declared.name}": golden["inputs/x"], "outputs/y": golden["outputs/y"]},
    )
    shelf.amend(folder, inputs=(declared,), batch_axis=None)
    said = shelf.refusal(folder)
    assert "manifest.json inputs: expected what the graph has, x FP32 [-1, 4], got" in said


# Rows that may share a run.


@pytest.mark.parametrize("make", [graphs.mean_over_rows, made.dynamically_quantised])
def test_a_batchable_claim_that_is_a_lie_is_not_believed(shelf: Shelf, make: Make) -> None:
    assert not shelf.load(shelf.publish("m", 1, make)).proven.batchable


@pytest.mark.parametrize("changes", [{"variants": (variant(batchable=False),)}, {"batch_axis": None}])
def test_what_is_published_as_not_batchable_is_not_batched(shelf: Shelf, changes: dict[str, Any]) -> None:
    assert not shelf.load(shelf.publish("m", 1, **changes)).proven.batchable


def cut_golden(folder: Path, rows: int) -> None:
    """Keeps the first rows of the golden sample only."""
    with np.load(folder / "golden.npz") as arrays:
        kept = {name: arrays[name][:rows] for name in arrays.files}
    np.savez(folder / "golden.npz", **kept)


def lie_in_one_row(shelf: Shelf) -> Path:
    """A mean over rows whose golden sample is one row: alone it looks the same."""
    folder = shelf.publish("m", 1, graphs.mean_over_rows)
    cut_golden(folder, 1)
    with np.load(folder / "golden.npz") as arrays:
        x = arrays["inputs/x"]
    np.savez(folder / "golden.npz", **{"inputs/x": x, "outputs/y": np.zeros_like(x)})
    shelf.amend(folder)
    return folder


def golden_without_rows(shelf: Shelf) -> Path:
    folder = shelf.publish("m", 1)
    cut_golden(folder, 0)
    shelf.amend(folder)
    return folder


def few_rows_only(shelf: Shelf) -> Path:
    """A graph that works up to eight rows, which the largest batch (32) is over."""
    return shelf.publish("m", 1, lambda path: made.up_to(path, 8))


@pytest.mark.parametrize("make", [lie_in_one_row, golden_without_rows, few_rows_only])
def test_what_cannot_be_batched_is_served_one_by_one_or_refused_with_a_reason(shelf: Shelf, make: Any) -> None:
    folder = make(shelf)
    try:
        assert not shelf.load(folder).proven.batchable
    except LoadFailed as error:
        assert "golden" in str(error) or "batch" in str(error) or "rows" in str(error)


NO_ROWS: dict[str, Make] = {
    "a scalar beside the rows": made.scaled,
    "one fixed row": lambda path: graphs.linear(path, rows=1),
    "scalars": made.scalars,
}


@pytest.mark.parametrize("make", NO_ROWS.values(), ids=NO_ROWS)
def test_a_batch_axis_that_is_not_there_is_refused(shelf: Shelf, make: Make) -> None:
    folder = shelf.publish("m", 1, make, batch_axis=None)
    assert not shelf.load(folder).proven.batchable
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "batch_axis": 0}))
    assert "batch_axis: expected null" in shelf.refusal(folder)


def test_a_bare_graph_that_takes_few_rows_only_is_served_one_by_one_or_refused(shelf: Shelf) -> None:
    folder = shelf.bare("m", lambda path: made.up_to(path, 8))
    assert shelf.load(folder, limits={"max_batch_rows": 8}).proven.batchable
    try:
        assert not shelf.load(folder).proven.batchable
    except LoadFailed as error:
        assert "rows" in str(error)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_is_not_there_is_refused_for_every_variant(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    assert "asked for CUDAExecutionProvider" in shelf.refusal(folder, provider="cuda")
    assert shelf.load(folder, provider="cuda", allow_fallback=True).proven.session.provider == "CPUExecutionProvider"


def test_weights_beside_a_graph_need_a_digest_of_their_own(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    made.with_weights_beside(folder / "model.onnx")
    shelf.amend(folder)
    manifest = Manifest.read(folder)
    assert "weights.bin" in manifest.files
    files = {name: found for name, found in manifest.files.items() if name != "weights.bin"}
    Manifest(**{**dict(manifest), "files": files}).write(folder)
    assert "manifest.json files: expected an entry for weights.bin, which holds weights, got none" in shelf.refusal(
        folder
    )
