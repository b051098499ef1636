"""The export and its gates, each shown a graph that it has to refuse."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper, parser
from torch import Tensor, nn
from torch.nn import functional

import training
from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.compress import export as module
from training.compress import graph
from training.compress.evaluating import net_answers
from training.compress.export import export, require_exported, require_runs, to_onnx
from training.compress.fuse import fold
from training.compress.graph import TINY, notes, strip
from training.errors import ExportRefused, GraphRefused
from training.measure.answers import graph_answers, open_graph
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
    libraries = str(Path(torch.__file__).parent)
    assert libraries.encode() in raw.SerializeToString(), "PyTorch has stopped to leave paths: drop the stripping?"
    path = export(fold(net).net, DIGITS.input, DIGITS.output, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    assert path.stat().st_size < 1_000_000
    model = onnx.load(path, load_external_data=False)
    assert {node.domain for node in graph.nodes(model.graph)} == {""}
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")  # three bytes of a weight may spell ".py" by chance
    for text in (str(CHECKOUT), libraries, tempfile.gettempdir(), "/home", ".py", 'File "'):
        assert text.encode() not in model.SerializeToString()


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


def test_a_batch_norm_is_refused_unless_the_net_has_it_left() -> None:
    normed = small("y = BatchNormalization (x, one, one, one, one)")
    with pytest.raises(ExportRefused, match="BatchNormalization"):
        require_exported(normed, INPUT, OUTPUT)
    require_exported(normed, INPUT, OUTPUT, batch_norms=1)


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
    with pytest.raises(ExportRefused):
        export(TwoRows().eval(), INPUT, OUTPUT, tmp_path)
    assert not list(tmp_path.iterdir())


class LooksAtValues(nn.Module):
    """A net whose way depends on what it reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


class WithoutOperator(nn.Module):
    """A net with a function that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (LooksAtValues(), "GuardOnDataDependentSymNode: Could not guard on data-dependent expression .*$"),
        (WithoutOperator(), "ConversionError: Error when translating node %bessel_j0 .*$"),
    ],
    ids=["looks at values", "without operator"],
)
def test_a_net_that_the_exporter_cannot_read_is_refused_with_what_it_says(
    net: nn.Module, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=f"^net: expected one that PyTorch exports, got {reason}"):
        export(net.eval(), INPUT, OUTPUT, tmp_path)
    assert not list(tmp_path.iterdir())


class Words(nn.Module):
    """Attention over as many words as there are, up to 64."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.places = nn.Embedding(64, 16)
        self.queries = nn.Linear(16, 48)
        self.dense = nn.Linear(16, 3)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places.weight[: words.shape[1]]
        query, key, value = (part.unflatten(2, (4, 4)).transpose(1, 2) for part in self.queries(x).chunk(3, 2))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        answers: Tensor = self.dense((x + mixed.transpose(1, 2).flatten(2)).mean(1))
        return answers


def test_a_sequence_is_as_long_as_it_likes_and_attention_is_the_same(tmp_path: Path) -> None:
    net = Words().eval()
    input = InputSpec(name="words", datatype=DataType.INT64, shape=(-1, -1))
    output = OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, 3))
    path = export(net, input, output, tmp_path)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in dims] == ["batch", "dim1"]
    for shape in ((1, 1), (3, 7), (2, 64)):
        words = np.random.default_rng(1).integers(0, 50, shape)
        np.testing.assert_allclose(graph_answers(open_graph(path), words), net_answers(net, words), atol=1e-5)


def test_pictures_are_of_any_size(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    input = InputSpec(name="image", datatype=DataType.FP32, shape=(-1, 3, -1, -1))
    path = export(net, input, OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, 2)), tmp_path)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, "dim2", "dim3"]
    image = np.random.default_rng(1).random((2, 3, 40, 40), dtype=np.float32)
    np.testing.assert_allclose(graph_answers(open_graph(path), image), net_answers(net, image), atol=1e-5)


TWO_ROWS = "flat = Reshape (x, eight)  y = Reshape (flat, two)"


def shaped(operators: str) -> ModelProto:
    """As `small`, with a few shapes and axes to name."""
    model = small(operators)
    for name, values in {"eight": [8], "two": [2, 4], "zero": [0]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    return model


@pytest.mark.parametrize(
    ("operators", "finding"),
    [
        (TWO_ROWS, r"x: expected a run at \[1, 4\], got: "),
        (
            "row = ReduceMean (x, zero)  y = Mul (row, one)",
            r"y: expected 2 rows of \[-1, 4\] for \[2, 4\], got \[1, 4\]",
        ),
        (
            "wide = Concat <axis = 0> (x, x)  y = Abs (wide)",
            r"y: expected 1 rows of \[-1, 4\] for \[1, 4\], got \[2, 4\]",
        ),
    ],
    ids=["two rows alone", "rows are lost", "rows are added"],
)
def test_a_batch_that_is_free_by_name_alone_is_found_by_running(operators: str, finding: str) -> None:
    with pytest.raises(ExportRefused, match=finding):
        require_runs(shaped(operators), INPUT, OUTPUT)


def foreign(operators: str) -> ModelProto:
    model = small(operators)
    model.opset_import.add(domain="com.microsoft", version=1)
    return model


def static() -> ModelProto:
    model = small("y = Add (x, one)")
    static_input(model)
    static_output(model)
    return model


@pytest.mark.parametrize(
    ("made", "finding"),
    [
        (static(), r"x: expected \(name, ONNX type, shape\) .*\(-1, 4\)\), got .*\(2, 4\)"),
        (shaped(TWO_ROWS), r"x: expected a run at \[1, 4\], got: "),
        (foreign("y = com.microsoft.Gelu (x)"), r"opset: expected 20 of ONNX alone, got .*com\.microsoft"),
    ],
    ids=["a static batch", "a batch that is free by name alone", "an operator of the runtime's own"],
)
def test_what_the_exporter_gives_is_not_written_before_it_has_passed_the_gates(
    made: ModelProto, finding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "to_onnx", lambda *_: made)
    with pytest.raises(ExportRefused, match=finding):
        export(nn.Linear(4, 4), INPUT, OUTPUT, tmp_path)
    assert not list(tmp_path.iterdir())


def tiny(weights: np.ndarray) -> int:
    """How many weights are no zeros and yet too small to matter."""
    return int(((weights != 0) & (abs(weights) < TINY)).sum())


def test_weights_that_learning_or_a_fold_has_made_tiny_are_zero_in_the_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)).eval()
    net.get_parameter("1.weight").data[1] = 1e-35
    net.get_parameter("2.weight").data[2] = 1e-35
    folded = fold(net).net
    assert tiny(folded.get_parameter("0.weight").detach().numpy()) == 4
    model = onnx.load(export(folded, INPUT, OUTPUT, tmp_path))
    weights = [numpy_helper.to_array(weight) for weight in model.graph.initializer]
    assert sorted(weight.shape for weight in weights) == [(4,), (4,), (4,), (4, 4)]
    assert sum(map(tiny, weights)) == 0
    assert tiny(folded.get_parameter("0.weight").detach().numpy()) == 4, "the net is left as it is"


class Untraceable(nn.Module):
    """A dense layer and a BatchNorm that torch.fx cannot read, so that the exporter is the one that folds them."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.norm(self.dense(x)) if x.dim() == 2 else x
        return answers


def test_weights_that_the_exporter_makes_tiny_are_zero_in_the_file(tmp_path: Path) -> None:
    net = Untraceable().eval()
    net.dense.weight.data[1] *= 1e-8
    net.norm.weight.data[1] = 1e-25
    folded = fold(net)
    assert folded.left == 1
    model = onnx.load(export(folded.net, INPUT, OUTPUT, tmp_path))
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    weights = [numpy_helper.to_array(weight) for weight in model.graph.initializer]
    assert [(weight == 0).sum() for weight in weights if weight.ndim == 2] == [4]
    assert sum(map(tiny, weights)) == 0


def test_weights_that_one_file_cannot_hold_are_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(graph, "MOST_BYTES", 100)
    with pytest.raises(
        GraphRefused, match="weights: expected at most 100 bytes, which one ONNX file can hold, got 160"
    ):
        export(nn.Linear(4, 8), INPUT, OUTPUT, tmp_path)
