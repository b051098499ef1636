"""A published graph is plain, whole, silent about its maker, and the same to the byte each time."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, parser

from tests.training.graphs import residual, written
from training.compress import graph
from training.errors import GraphRefused

NESTED = """<ir_version: 10, opset_import: ["" : 20]>
graph (float[batch, 4] x) => (float[batch, 4] y) <bool yes = {1}> {
  y = If (yes) <then_branch = a () => (float[batch, 4] t) { t = Abs (x) },
                else_branch = b () => (float[batch, 4] e) { e = Neg (x) }> }"""


def test_what_is_loaded_is_valid(tmp_path: Path) -> None:
    with pytest.raises(GraphRefused, match=r"model\.onnx: expected a valid ONNX graph"):
        graph.load(written(ModelProto(), tmp_path / "model.onnx"))
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(GraphRefused, match=r"text\.onnx: expected a valid ONNX graph"):
        graph.load(tmp_path / "text.onnx")


def test_weights_beside_the_graph_come_into_it(tmp_path: Path) -> None:
    onnx.save(residual(), tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=0)
    saved = graph.save(graph.load(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    (tmp_path / "a.data").unlink()
    whole = onnx.load(saved, load_external_data=False)
    assert all(weight.data_location == TensorProto.DEFAULT for weight in whole.graph.initializer)
    onnx.checker.check_model(whole, full_check=True)
    with pytest.raises(GraphRefused):
        graph.load(tmp_path / "a.onnx")


def test_weights_that_one_file_cannot_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_BYTES", 1_000)
    with pytest.raises(GraphRefused, match=r"weights: expected at most 1000 bytes.*got \d{5}"):
        graph.save(residual(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("domain", ["com.microsoft", "com.microsoft.nchwc"])
def test_a_graph_that_an_optimiser_wrote_is_refused(domain: str) -> None:
    graph.require_plain(residual())
    model = parser.parse_model(NESTED)
    graph.require_plain(model)
    model.graph.node[0].attribute[0].g.node[0].domain = domain
    with pytest.raises(GraphRefused, match=rf"expected ONNX's own, as they were exported, got {domain}\.Abs"):
        graph.require_plain(model)


@pytest.mark.parametrize(
    "text",
    [
        "/home/anna/net.weight",
        'File "<string>"',
        "nets/resnet.py",
        r"C:\nets",
        "saved at /tmp/x",
        str(Path.cwd() / "x"),
    ],
)
def test_a_path_in_any_text_is_found(text: str, tmp_path: Path) -> None:
    model = parser.parse_model(NESTED)
    node = model.graph.node[0].attribute[1].g.node[0]
    node.name = text
    with pytest.raises(GraphRefused, match="text: expected no path of this machine"):
        graph.save(model, tmp_path / "model.onnx")
    node.name = ""
    node.attribute.append(helper.make_attribute("where", text))
    with pytest.raises(GraphRefused, match="text: expected no path of this machine"):
        graph.require_no_paths(model)


@pytest.mark.parametrize(
    "name", ["/body/0/Conv_output_0", "/body/Conv", "model.pyramid.weight", "body.0.Profile", "c:out"]
)
def test_names_that_exporters_give_are_no_paths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/body")
    model = parser.parse_model(NESTED)
    model.graph.node[0].name = name
    graph.require_no_paths(model)


def test_the_steps_that_take_an_onnx_file_need_no_torch() -> None:
    modules = [f"training.{name}" for name in ("compress.prepare", "compress.quantize", "measure.coverage")]
    code = f"import sys, {', '.join(modules)}, training.compress.sensitivity; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
