"""The export and its gates, each shown a graph that it has to refuse."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import ModelProto, parser
from torch import Tensor, nn

import training
from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.compress.export import export, notes, require_exported, strip, to_onnx
from training.compress.fuse import fold
from training.errors import ExportRefused
from training.recipes.digits import DIGITS

CHECKOUT = Path(training.__file__).parent.parent
INPUT = InputSpec(name="x", datatype=DataType.FP32, shape=(-1, 4))
OUTPUT = OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, 4))


@pytest.fixture(scope="module")
def raw(net: nn.Module) -> ModelProto:
    """The digits net as PyTorch's exporter leaves it."""
    return to_onnx(fold(net).net, DIGITS.input, DIGITS.output)


@pytest.fixture
def clean(raw: ModelProto) -> ModelProto:
    """The same, ready to be written."""
    model = ModelProto()
    model.CopyFrom(raw)
    strip(model)
    return model


def small(operators: str) -> ModelProto:
    return parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 4] x) => (float[batch, 4] y) <float[4] one = {{1.0, 1.0, 1.0, 1.0}}> {{ {operators} }}"""
    )


def test_the_file_is_whole_and_says_nothing_of_its_maker(net: nn.Module, raw: ModelProto, tmp_path: Path) -> None:
    assert str(CHECKOUT).encode() in raw.SerializeToString(), "PyTorch has stopped to leave paths: drop the stripping?"
    path = export(fold(net).net, DIGITS.input, DIGITS.output, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    assert path.stat().st_size < 1_000_000
    assert str(CHECKOUT).encode() not in path.read_bytes()
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")  # three bytes of a weight may spell ".py" by chance
    assert b".py" not in model.SerializeToString()


def test_the_same_net_is_the_same_bytes(net: nn.Module, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        written.append(export(fold(net).net, DIGITS.input, DIGITS.output, folder).read_bytes())
    assert written[0] == written[1]


def test_a_clean_graph_passes(clean: ModelProto) -> None:
    require_exported(clean, DIGITS.input, DIGITS.output)
    assert [dim.dim_param or dim.dim_value for dim in clean.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
    ]


def static_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def static_output(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2


def other_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 21


def doc_string(model: ModelProto) -> None:
    model.graph.node[0].doc_string = "training/recipes/digits.py, line 52"


def metadata(model: ModelProto) -> None:
    model.graph.node[-1].metadata_props.add(key="stack_trace", value="training/recipes/digits.py, line 52")


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (static_input, r"image: expected .*\(-1, 8, 8\)\), got .*\(2, 8, 8\)"),
        (static_output, r"logits: expected .*\(-1, 10\)\), got .*\(2, 10\)"),
        (other_opset, r"opset: expected 20 of ONNX alone, got {'': 21}"),
        (doc_string, "notes: expected none, got doc_string"),
        (metadata, "notes: expected none, got metadata_props"),
    ],
)
def test_a_spoilt_graph_is_refused(clean: ModelProto, spoil: Callable[[ModelProto], None], finding: str) -> None:
    spoil(clean)
    with pytest.raises(ExportRefused, match=finding):
        require_exported(clean, DIGITS.input, DIGITS.output)


@pytest.mark.parametrize(
    "changed", [{"name": "z"}, {"datatype": DataType.FP64}, {"shape": (-1, 5)}, {"shape": (4, 4)}], ids=str
)
def test_a_graph_that_declares_another_tensor_is_refused(changed: dict[str, object]) -> None:
    model = small("y = Add (x, one)")
    require_exported(model, INPUT, OUTPUT)
    with pytest.raises(ExportRefused):
        require_exported(model, INPUT.model_copy(update=changed), OUTPUT)
    with pytest.raises(ExportRefused):
        require_exported(model, INPUT, OUTPUT.model_copy(update=changed))


def test_a_second_output_is_refused() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 4] x) => (float[batch, 4] y, float[batch, 4] z) { y = Abs (x)  z = Neg (x) }"""
    )
    with pytest.raises(ExportRefused, match="y: expected"):
        require_exported(model, INPUT, OUTPUT)


def test_a_batch_norm_is_refused() -> None:
    with pytest.raises(ExportRefused, match="BatchNormalization"):
        require_exported(small("y = BatchNormalization (x, one, one, one, one)"), INPUT, OUTPUT)


def test_a_graph_that_is_not_valid_is_refused() -> None:
    with pytest.raises(onnx.checker.ValidationError):
        require_exported(small("y = Add (x, nowhere)"), INPUT, OUTPUT)


def test_notes_are_found_inside_a_subgraph() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 4] x) => (float[batch, 4] y) <bool yes = {1}> {
          y = If (yes) <then_branch = a () => (float[batch, 4] t) { t = Abs (x) },
                        else_branch = b () => (float[batch, 4] e) { e = Neg (x) }> }"""
    )
    inner = model.graph.node[0].attribute[0].g.node[0]
    inner.doc_string = "somewhere.py"
    assert [field for _, field in notes(model)] == ["doc_string"]
    strip(model)
    assert not list(notes(model))
    assert inner.op_type == "Abs"


class TwoRows(nn.Module):
    """A net that only works for the batch that it is traced with."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 4) + torch.arange(8.0).reshape(2, 4)


def test_a_net_with_a_batch_size_of_its_own_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises((ExportRefused, torch.onnx.OnnxExporterError)):
        export(TwoRows().eval(), INPUT, OUTPUT, tmp_path)
    assert not list(tmp_path.iterdir())
