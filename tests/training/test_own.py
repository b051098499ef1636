"""Networks and graphs of the user's own, from a call or a command to a published version."""

import subprocess
import sys
import sysconfig
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD
from typer.testing import CliRunner

import training
from app.contract.manifest import Manifest
from tests.training import mynets
from training import checkpoint, cli, decision
from training.data.dataset import Dataset
from training.errors import ExportRefused, SubjectRefused
from training.forms import Bench
from training.measure.answers import graph_answers, open_graph
from training.measure.gate import Gate
from training.own import Evaluation, compile, load, subject_of
from training.own_graph import application_of, as_given, read_rows
from training.pareto import Candidate, Choice, Terms, choose
from training.report import Report
from training.steps import Steps
from training.subject import Subject, sources_of


def subject(net: nn.Module, evaluation: Evaluation = mynets.EVALUATION, **given: Any) -> Subject:
    example = torch.from_numpy(mynets.TRAIN.inputs[:2])
    course = {"course": mynets.course(), **given}
    return subject_of(net, example, mynets.loader(), mynets.TRAIN, evaluation, name="mine", **course)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an .onnx file as an exporter leaves it, a BatchNorm in it, and the rows to judge it by."""
    folder = tmp_path_factory.mktemp("graph")
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14, 4))
    learnt = mynets.learnt(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter uses what PyTorch has deprecated
        program = torch.onnx.export(
            learnt,
            (torch.from_numpy(mynets.TRAIN.inputs[:2]),),
            input_names=["x"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, folder / "words.onnx")
    rows = mynets.rows(400, 5)
    np.savez(folder / "rows.npz", inputs=rows.inputs, targets=rows.targets)
    return folder


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("test", Dataset(mynets.TRAIN.inputs.astype(np.float64), mynets.TRAIN.targets), "got float64"),
        ("validation", Dataset(mynets.TRAIN.inputs[:, :5], mynets.TRAIN.targets), r"got float32 \[512, 5, 16\]"),
        ("test", Dataset(mynets.TRAIN.inputs, mynets.TRAIN.targets[:9]), "one a row, got 9"),
        ("validation", Dataset(mynets.TRAIN.inputs[:0], mynets.TRAIN.targets[:0]), r"got float32 \[0, 6, 16\]"),
    ],
)
def test_rows_that_are_not_as_the_example_are_refused_at_the_start(part: str, rows: Dataset, message: str) -> None:
    with pytest.raises(SubjectRefused, match=f"^{part}: expected .*{message}"):
        subject(mynets.perceptron(), replace(mynets.EVALUATION, **{part: rows}))


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(1), x


def test_a_net_of_several_answers_is_refused_by_what_it_gives() -> None:
    with pytest.raises(SubjectRefused, match="net: expected one tensor of answers, got tuple"):
        subject(Pair())


class Negative(nn.MultiheadAttention):
    """An attention of somebody's own."""

    def forward(self, *args: Any, **named: Any) -> Any:
        found, shares = super().forward(*args, **named)
        return -3 * found, shares


class Attending(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.last = attention, nn.Linear(mynets.WIDTH, mynets.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.attention(x, x, x)[0].mean(1))
        return logits


def test_an_attention_that_computes_something_else_is_left_alone() -> None:
    net = Attending(Negative(mynets.WIDTH, 4, batch_first=True)).eval()
    x = torch.from_numpy(mynets.TRAIN.inputs[:4])
    assert torch.equal(subject(net).net(x), net(x))


class Padded(nn.Module):
    """Sums over all places; PyTorch's encoder leaves those of padding zero, as long as it is whole."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(mynets.WIDTH, nhead=4, dim_feedforward=32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1)
        self.last = nn.Linear(mynets.WIDTH, mynets.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(x.shape[1]) >= 3
        logits: torch.Tensor = self.last(self.encoder(x, src_key_padding_mask=mask.expand(len(x), -1)).sum(1))
        return logits


@pytest.mark.filterwarnings("ignore")
def test_a_net_that_answers_otherwise_with_its_heads_apart_is_refused() -> None:
    with pytest.raises(SubjectRefused, match=r"^net: attention, taken apart into heads: expected .* an .onnx file"):
        subject(Padded())


def test_a_subject_is_known_by_its_loss_and_its_optimisers_arguments() -> None:
    def known(optimizer: Any) -> dict[str, Any]:
        course = replace(mynets.course(), optimizer=optimizer)
        return subject(mynets.perceptron(), course=course).config

    slow, quick = (partial(SGD, momentum=momentum) for momentum in (0.5, 0.9))
    assert known(slow) == known(partial(SGD, momentum=0.5)) != known(quick) != known(SGD)
    assert sources_of(partial(mynets.rows, 3)) == (mynets,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_transformer_is_compiled_and_loses_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose_the_cut_one(candidates: list[Candidate], terms: Terms) -> Choice:
        choice = choose([candidate for candidate in candidates if candidate.widths == "3.5x"], terms)
        uncut = {candidate.name: ("uncut",) for candidate in candidates if candidate.widths != "3.5x"}
        return Choice(choice.chosen, {**uncut, **choice.rejected})

    # Nets as small as these are equally fast, cut or not, and chance would choose.
    monkeypatch.setattr(decision, "choose", choose_the_cut_one)
    torch.manual_seed(1)
    net = mynets.learnt(mynets.Encoder())

    def compiled() -> Path:
        return compile(
            net,
            torch.from_numpy(mynets.TRAIN.inputs[:2]),
            mynets.loader(),
            mynets.TRAIN,
            mynets.EVALUATION,
            Terms(max_drop=30.0),
            name="encoder",
            peak_learning_rate=3e-3,
            # Without every hidden unit that may go it is 2.4 times as cheap, with one layer's heads gone too 3.4 times.
            plan=replace(mynets.PLAN, levels=(3.5,)),
            models=tmp_path / "models",
            folder=tmp_path / "run",
        )

    folder = compiled()
    manifest, report = Manifest.read(folder), Report.read(folder)
    manifest.verify(folder)
    names = {entry.name: entry for entry in report.entries}
    assert {"original fp32", "1x fp32", "3.5x fp32", "3.5x dynamic"} <= names.keys()
    # Its scale is the whole batch's, so a row's answer depends on its neighbours.
    assert (names["1x fp32"].batchable, names["1x dynamic"].batchable) == (True, False)
    heads = [layer for layer in report.layers if layer.name.endswith("self_attn.q")]
    assert [layer.units for layer in heads] == [4, 4]
    assert all(1 <= layer.after_pruning < 4 for layer in heads)
    saved = load_file(folder / checkpoint.FILENAME)
    widths = [saved[f"{layer.name}.weight"].shape for layer in heads]
    assert widths == [(layer.after_pruning * mynets.WIDTH // 4, mynets.WIDTH) for layer in heads]
    for variant in manifest.variants:
        assert variant.batchable == ("dynamic" not in variant.precision)
        answers = graph_answers(open_graph(folder / variant.file), mynets.EVALUATION.test.inputs)
        assert (answers.argmax(1) == mynets.EVALUATION.test.targets).mean() > 0.6
    taken = {path.name for path in (tmp_path / "run").iterdir()}
    assert compiled().name == "2"
    assert {path.name for path in (tmp_path / "run").iterdir()} == taken  # every step was there


@pytest.mark.slow
def test_a_function_is_compiled_from_the_command_line(tmp_path: Path) -> None:
    options = ["--models", str(tmp_path / "models"), "--runs", str(tmp_path / "runs"), "--max-drop", "30"]
    result = CliRunner().invoke(cli.commands, ["compile", "tests.training.mynets:mine", *options])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "mine" / "1"
    Manifest.read(folder).verify(folder)
    again = CliRunner().invoke(cli.commands, ["rebuild", str(folder), "--subject", "tests.training.mynets:mine"])
    assert again.exit_code == 0, again.output
    assert "model.onnx" in again.output
    assert ", as published" in again.output


@pytest.fixture(scope="module")
def words(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version that the command makes of the .onnx file."""
    folder = tmp_path_factory.mktemp("words")
    options = ["--models", str(folder / "models"), "--runs", str(folder / "runs"), "--max-drop", "30"]
    command = ["compile", str(graph / "words.onnx"), "--rows", str(graph / "rows.npz"), *options]
    result = CliRunner().invoke(cli.commands, command)
    assert result.exit_code == 0, result.output
    return folder / "models" / "words" / "1"


def test_an_onnx_file_is_compiled_without_its_net(graph: Path, words: Path) -> None:
    manifest = Manifest.read(words)
    manifest.verify(words)
    assert manifest.compression.fused == {"BatchNormalization": 1}
    assert manifest.inputs[0].name == "x"
    content = b"".join(path.read_bytes() for path in words.iterdir())
    roots = (str(graph), str(words.parents[2]), "/site-packages/")
    assert not [root for root in roots if root.encode() in content]
    assert {entry.precision for entry in Report.read(words).entries} >= {"fp32", "portable", "dynamic"}


def test_an_onnx_file_needs_rows(graph: Path) -> None:
    result = CliRunner().invoke(cli.commands, ["compile", str(graph / "words.onnx")])
    assert result.exit_code == 2
    assert "expected an .npz with inputs and targets" in " ".join(result.output.split())


def test_rows_that_do_not_fit_are_refused(graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", inputs=np.zeros((3, 2)))
    result = CliRunner().invoke(
        cli.commands, ["compile", str(graph / "words.onnx"), "--rows", str(tmp_path / "rows.npz")]
    )
    assert isinstance(result.exception, SubjectRefused)
    assert "rows.npz: expected targets, got inputs" in str(result.exception)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tests.training.nowhere:mine", "expected MODULE:FUNCTION that can be imported"),
        ("tests.training.mynets:yours", "expected MODULE:FUNCTION that can be imported"),
        ("tests.training.mynets", "expected MODULE:FUNCTION that can be imported"),
        ("tests.training.mynets:nothing", "expected a Subject, or a Subject and a Plan, got str"),
    ],
)
def test_what_is_no_network_is_refused(target: str, reason: str) -> None:
    with pytest.raises(SubjectRefused, match=reason):
        load(target)


def test_a_module_is_found_where_the_command_is_called(tmp_path: Path) -> None:
    (tmp_path / "nets_of_mine.py").write_text("def mine():\n    return missing.attribute\n", encoding="utf-8")
    script = Path(sysconfig.get_path("scripts")) / "bonsai-train"
    command = [script, "compile", "nets_of_mine:mine"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    # What the function itself raises is its owner's to read, with the line that raised it.
    assert "NameError: name 'missing' is not defined" in ended.stderr
    assert "nets_of_mine.py" in ended.stderr


WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torch_pruning", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from training.cli import main
main()
"""


def test_an_onnx_file_is_compiled_where_there_is_no_torch(graph: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "compile", "words.onnx", "--rows", "rows.npz"]
    options = ["--models", str(tmp_path / "models"), "--runs", str(tmp_path / "runs"), "--max-drop", "30"]
    ended = subprocess.run([*command, *options], cwd=graph, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    manifest = Manifest.read(tmp_path / "models" / "words" / "1")
    assert manifest.lineage.command == "bonsai-train compile words.onnx --rows rows.npz --name words --max-drop 30"


def test_what_needs_torch_says_so_where_there_is_none(graph: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "run", "digits"]
    ended = subprocess.run(command, cwd=graph, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        1,
        "bonsai-train: this needs PyTorch: install the extra 'train'\n",
    )


def test_a_graph_of_a_fixed_batch_is_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph / "words.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "words.onnx")
    with pytest.raises(SubjectRefused, match=r"expected a free first axis, for the batch, got x of shape \[1, 6, 16\]"):
        application_of(tmp_path / "words.onnx", mynets.rows(40, 5), "words")


def test_a_graph_whose_batch_is_free_by_name_only_is_refused(tmp_path: Path) -> None:
    pairs = """<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 4] x) => (float[batch, 4] y)
        <int64[2] pairs = {-1, 8}, int64[2] rows = {-1, 4}> { flat = Reshape (x, pairs)  y = Reshape (flat, rows) }"""
    onnx.save(onnx.parser.parse_model(pairs), tmp_path / "pairs.onnx")
    rows = Dataset(np.eye(4, dtype=np.float32).repeat(10, 0), np.arange(4).repeat(10))
    with pytest.raises(ExportRefused, match="batch 1: expected answers, got ExecutionFailed"):
        application_of(tmp_path / "pairs.onnx", rows, "pairs")


def test_rows_of_another_kind_are_refused(graph: Path) -> None:
    rows = mynets.rows(40, 5)
    doubles = Dataset(rows.inputs.astype(np.float64), rows.targets)
    with pytest.raises(SubjectRefused, match=r"expected inputs of float32 \[-1, 6, 16\], got float64 \[40, 6, 16\]"):
        application_of(graph / "words.onnx", doubles, "words")
    with pytest.raises(SubjectRefused, match="expected enough of each class to divide them in three"):
        application_of(graph / "words.onnx", mynets.rows(5, 5), "words")


@pytest.mark.parametrize("content", [None, b"", b"no arrays"])
def test_a_file_that_holds_no_rows_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SubjectRefused, match=r"rows\.npz: expected an \.npz file, got"):
        read_rows(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_file_that_was_cut_off_is_refused(save: Any, share: float, tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.npz", mynets.rows(40, 5)
    save(path, inputs=rows.inputs, targets=rows.targets)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SubjectRefused, match=r"rows\.npz: expected an \.npz file, got"):
        read_rows(path)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (np.array([{}, None]), r"expected an \.npz file, got: Object arrays cannot be loaded"),
        (np.float32(1.0), r"expected inputs \[rows, \.\.\.\], got a single number"),
    ],
    ids=["objects", "a number"],
)
def test_inputs_that_are_no_rows_are_refused(inputs: Any, reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", inputs=inputs, targets=np.zeros(2, np.int64))
    with pytest.raises(SubjectRefused, match=reason):
        read_rows(tmp_path / "rows.npz")


def test_a_byte_that_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez_compressed(path, inputs=mynets.rows(40, 5).inputs, targets=mynets.rows(40, 5).targets)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(SubjectRefused, match=r"rows\.npz: expected an \.npz file, got"):
        read_rows(path)


def test_a_single_array_is_no_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(3))
    with pytest.raises(SubjectRefused, match=r"expected an \.npz with inputs and targets, got a single array"):
        read_rows(tmp_path / "rows.npy")


@pytest.mark.parametrize("name", ["", "my net", "../net", "-net", "n" * 129])
def test_a_name_that_no_model_can_have_is_refused_before_anything_is_done(name: str, graph: Path) -> None:
    with pytest.raises(SubjectRefused, match="name: expected letters, digits"):
        application_of(graph / "words.onnx", mynets.rows(40, 5), name)


def test_the_call_is_the_package_s_own() -> None:
    assert training.compile is compile
    with pytest.raises(AttributeError, match="has no attribute 'compille'"):
        training.compille  # noqa: B018


def test_a_version_of_an_onnx_file_says_that_it_cannot_be_rebuilt(words: Path) -> None:
    result = CliRunner().invoke(cli.commands, ["rebuild", str(words)])
    assert result.exit_code == 2
    assert "got one that was compiled from an .onnx file" in " ".join(result.output.replace("│", " ").split())


def test_a_graph_is_known_by_its_weights_too_where_they_lie_in_another_file(graph: Path, tmp_path: Path) -> None:
    path, weights = tmp_path / "words.onnx", tmp_path / "words.data"
    model = onnx.load(graph / "words.onnx")
    onnx.save(model, path, save_as_external_data=True, location=weights.name, size_threshold=1000)
    bench = Bench(
        application=application_of(path, read_rows(graph / "rows.npz"), "words"),
        steps=Steps(tmp_path / "run", lambda _: None),
        gate=Gate(max_drop=1),
        race_seconds=0.1,
    )
    before = as_given(bench, path)
    assert as_given(bench, path) == before
    weights.write_bytes((np.fromfile(weights, np.float32) * -7).tobytes())
    assert as_given(bench, path) != before
