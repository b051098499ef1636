"""Networks and graphs of the user's own, from a call or a command to a published version."""

import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from app.contract.manifest import Manifest
from tests.training import mynets
from training import cli
from training.errors import SubjectRefused
from training.measure.answers import graph_answers, open_graph
from training.own import compile, load
from training.pareto import Terms
from training.report import Report


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_transformer_is_compiled_and_loses_heads(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = mynets.learnt(mynets.Encoder())
    folder = compile(
        net,
        torch.from_numpy(mynets.TRAIN.inputs[:2]),
        mynets.loader(),
        mynets.TRAIN,
        mynets.EVALUATION,
        Terms(max_drop=30.0),
        name="encoder",
        peak_learning_rate=3e-3,
        plan=mynets.PLAN,
        models=tmp_path / "models",
        runs=tmp_path / "runs",
    )
    manifest, report = Manifest.read(folder), Report.read(folder)
    manifest.verify(folder)
    names = {entry.name: entry for entry in report.entries}
    assert {"original fp32", "1x fp32", "2x fp32", "2x dynamic"} <= names.keys()
    # Its scale is the whole batch's, so a row's answer depends on its neighbours.
    assert (names["1x fp32"].batchable, names["1x dynamic"].batchable) == (True, False)
    assert [layer.units for layer in report.layers if layer.name.endswith("self_attn.q")] == [4, 4]
    for variant in manifest.variants:
        assert variant.batchable == ("dynamic" not in variant.precision)
        answers = graph_answers(open_graph(folder / variant.file), mynets.EVALUATION.test.inputs)
        assert (answers.argmax(1) == mynets.EVALUATION.test.targets).mean() > 0.6


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


def test_an_onnx_file_is_compiled_without_its_net(graph: Path, tmp_path: Path) -> None:
    options = ["--models", str(tmp_path / "models"), "--runs", str(tmp_path / "runs"), "--max-drop", "30"]
    command = ["compile", str(graph / "words.onnx"), "--rows", str(graph / "rows.npz"), *options]
    result = CliRunner().invoke(cli.commands, command)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "words" / "1"
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    assert manifest.compression.fused == {"BatchNormalization": 1}
    assert manifest.inputs[0].name == "x"
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not [root for root in (str(graph), str(tmp_path), "/site-packages/") if root.encode() in content]
    assert {entry.precision for entry in Report.read(folder).entries} >= {"fp32", "portable", "dynamic"}


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


def test_the_torch_free_steps_do_not_load_torch() -> None:
    code = "import sys, training.compress.quantize, training.compress.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
