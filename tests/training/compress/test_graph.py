"""A published graph is plain, whole, silent about its maker, and the same to the byte each time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, parser
from onnxruntime import InferenceSession, SessionOptions

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


def test_what_the_runtime_optimised_for_this_cpu_is_not_written(tmp_path: Path) -> None:
    plain = written(residual(), tmp_path / "plain.onnx")
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that such a graph is for this CPU alone
    InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    with pytest.raises(GraphRefused, match=r"expected ONNX's own, as they were exported, got com\.microsoft"):
        graph.save(optimised, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


TEXTS = [
    "/home/anna/net.weight",
    'File "<string>"',
    "nets/resnet.py",
    "resnet.py:52",
    "resnet.py, line 52",
    r"C:\nets",
    "saved at /tmp/x",
    "/mnt/disk/nets",
    "/usr/share/nets",
    str(Path.cwd() / "x"),
]


@pytest.mark.parametrize("text", TEXTS)
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


def attribute(model: ModelProto, text: str) -> None:
    model.graph.node[0].attribute[1].g.node[0].attribute.append(helper.make_attribute("where", text))


def attributes(model: ModelProto, text: str) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("where", ["", text]))


def name_of_the_graph(model: ModelProto, text: str) -> None:
    model.graph.name = text


def producer(model: ModelProto, text: str) -> None:
    model.producer_name = text


def table(model: ModelProto, text: str) -> None:
    model.graph.initializer.add(name="words", data_type=TensorProto.STRING, dims=[1], string_data=[text.encode()])


BELOW_THE_ROOT = ("root/net/weights", "opt/x/y", "data/a/b", "var/x/y", "work/x", "workspace/x")
FOLDERS = [*(f"/{folder}" for folder in BELOW_THE_ROOT), "saved in '/app/nets'"]


@pytest.mark.parametrize("text", FOLDERS)
@pytest.mark.parametrize("write", [attribute, attributes, name_of_the_graph, producer, table])
def test_a_folder_that_a_module_may_be_called_as_is_a_path_where_no_node_or_value_is_named(
    write: Callable[[ModelProto, str], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # where the tests are run has no part in it
    model = parser.parse_model(NESTED)
    write(model, text)
    with pytest.raises(GraphRefused, match="text: expected no path of this machine"):
        graph.require_no_paths(model)


@pytest.mark.parametrize("text", ["main.py", "happy.pyramid", "and/or", "/m/0k4j", "bij,bjk->bik", "data", "work/unit"])
def test_a_text_that_only_looks_like_a_path_is_none(text: str) -> None:
    model = parser.parse_model(NESTED)
    attribute(model, text)
    graph.require_no_paths(model)


@pytest.mark.parametrize(
    "name",
    [
        *(f"/{module}/Conv" for module in ("body", "root/net")),
        *(f"/{module}/Conv_output_0" for module in ("body/0", "data")),
        "/layers.0/self_attn/MatMul",
        "model.pyramid.weight",
        "body.0.Profile",
        "c:out",
    ],
)
def test_names_that_exporters_give_are_no_paths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # where the tests are run has no part in it
    monkeypatch.setenv("HOME", "/body")
    model = parser.parse_model(NESTED)
    model.graph.node[0].name = name
    inner = model.graph.node[0].attribute[0].g
    inner.node[0].output[0] = inner.output[0].name = name
    model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0]))
    graph.require_no_paths(model)


def test_the_steps_that_take_an_onnx_file_need_no_torch() -> None:
    modules = [f"training.{name}" for name in ("compress.prepare", "compress.quantize", "measure.coverage")]
    code = f"import sys, {', '.join(modules)}, training.compress.sensitivity; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
