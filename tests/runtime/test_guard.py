"""What is refused of a model file before ONNX Runtime sees it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from app.errors import LoadFailed
from app.runtime import memory, onnx_messages, operators
from app.runtime.guard import Graph
from tests import bombs, graphs
from tests.runtime import made

Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "m" / "1" / "model.onnx")


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A graph with its weights in weights.bin."""
    return made.with_weights_beside(tmp_path / "m" / "1" / "model.onnx")


def refusal(graph: Path) -> str:
    with pytest.raises(LoadFailed) as raised:
        Graph.open(graph)
    assert str(graph.parent) not in str(raised.value)
    return str(raised.value)


def edit(graph: Path, change: Edit) -> Path:
    model = onnx.load(graph, load_external_data=False)
    change(model)
    graph.write_bytes(model.SerializeToString())
    return graph


def test_what_a_graph_says_of_itself(graph: Path, beside: Path) -> None:
    facts = Graph.open(graphs.linear(graph)).facts
    assert facts.operators == {("", "MatMul"): "node 'MatMul'"}
    assert (facts.opsets, facts.ir_version, facts.weights, facts.external) == ({"": 20}, 10, 4 * 3 * 4, [])
    assert facts.bytes == graph.stat().st_size


def test_what_a_graph_says_of_weights_beside_it(beside: Path) -> None:
    opened = Graph.open(beside)
    (tensor,) = opened.facts.external
    assert (tensor.tensor, tensor.location, tensor.bytes) == ("tensor 'w'", "weights.bin", 48)
    assert opened.facts.weights == 48
    assert opened.stamps.keys() == {beside, beside.parent / "weights.bin"}


LOOKS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "a web page": (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "a zip": (b"PK\x03\x04" + b"x" * 99, "PyTorch"),
    "json": (b'{"a": 1}', "JSON"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "bytes that are none"),
    "nothing known": (b"\xfa\x3f\x00" * 9, "bytes that are none"),
}


@pytest.mark.parametrize(("content", "said"), LOOKS.values(), ids=LOOKS)
def test_what_is_no_graph_is_told_by_its_look(graph: Path, content: bytes, said: str) -> None:
    graph.write_bytes(content)
    assert refusal(graph).startswith("model.onnx: expected an ONNX graph, got ")
    assert said in refusal(graph)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_graph_that_is_cut_off_is_told(graph: Path, kept: float) -> None:
    content = graph.read_bytes()
    graph.write_bytes(content[: int(len(content) * kept)])
    assert "got one that is cut off" in refusal(graph)


def test_a_graph_may_be_a_hard_link_and_no_symbolic_one(graph: Path, tmp_path: Path) -> None:
    os.link(graph, tmp_path / "other.onnx")
    Graph.open(tmp_path / "other.onnx")
    (tmp_path / "link.onnx").symlink_to(graph)
    assert "got a link" in refusal(tmp_path / "link.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "got something else" in refusal(tmp_path / "pipe.onnx")


def test_a_graph_larger_than_the_memory_is_refused(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_bound", 100)
    assert "expected a file of at most 100 bytes (BONSAI_MEMORY_MB)" in refusal(graph)


def test_weights_larger_than_the_memory_are_refused(graph: Path) -> None:
    def dense(model: onnx.ModelProto) -> None:
        values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
        indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))

    assert "expected weights of at most" in refusal(edit(graph, dense))


def point(tensor: TensorProto, **entries: str) -> None:
    """Lets external data of a tensor say this."""
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)


def pointing(**entries: str) -> Edit:
    return lambda model: point(model.graph.initializer[0], **entries)


ATTACKS: dict[str, tuple[Edit, str]] = {
    "missing": (pointing(location="none.bin"), "expected a plain file, got none"),
    "above": (pointing(location="../secret.bin"), "inside the version folder"),
    "above, inside": (pointing(location="sub/../../secret.bin"), "inside the version folder"),
    "absolute": (pointing(location="/etc/passwd"), "inside the version folder"),
    "of windows": (pointing(location="..\\secret.bin"), "inside the version folder"),
    "no name": (pointing(location=""), "inside the version folder"),
    "a dot": (pointing(location="."), "inside the version folder"),
    "NUL": (pointing(location="weights.bin\0"), "inside the version folder"),
    "ORT's own memory": (pointing(location="*/_ORT_MEM_ADDR_/*", offset="140000"), "expected a plain file, got none"),
    "a link": (pointing(location="link.bin"), "expected a plain file, got a link"),
    "behind a link": (pointing(location="linked/secret.bin"), "got a link on the way"),
    "a hard link": (pointing(location="hard.bin"), "got a hard link"),
    "a folder": (pointing(location="sub"), "got something else"),
    "past the end": (pointing(offset="1"), "expected 48 bytes from byte 1 on, got a file of 48 bytes"),
    "far past the end": (pointing(offset=str(2**59)), "got a file of 48 bytes"),
    "offset below 0": (pointing(offset="-8"), "expected a number of at least 0, got '-8'"),
    "huge offset": (pointing(offset="9" * 30), "expected a number"),
    "length below 0": (pointing(length="-1"), "expected a number"),
    "too short": (pointing(length="47"), "expected 48 bytes of external data, as shape [4, 3] has, got 47"),
    "unknown key": (pointing(prepacked="1"), "got prepacked"),
}


@pytest.mark.parametrize(("attack", "said"), ATTACKS.values(), ids=ATTACKS)
def test_onnx_external_data(beside: Path, attack: Edit, said: str) -> None:
    folder = beside.parent
    secret = folder.parent / "secret.bin"
    secret.write_bytes(bytes(48))
    (folder / "sub").mkdir()
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    os.link(secret, folder / "hard.bin")
    found = refusal(edit(beside, attack))
    assert "tensor 'w'" in found
    assert said in found


def test_external_data_may_lie_in_a_folder_inside(beside: Path) -> None:
    (beside.parent / "sub").mkdir()
    (beside.parent / "weights.bin").rename(beside.parent / "sub" / "w.bin")
    edit(beside, pointing(location="sub/w.bin"))
    assert made.session_of(beside).run({"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 3)


def stolen() -> TensorProto:
    tensor = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    point(tensor, location="../secret.bin")
    return tensor


def _branch() -> onnx.GraphProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["stolen"], ["b"])], "branch", [], [graphs.tensor("b", [1])]
    )
    graph.initializer.append(stolen())
    return graph


def _if(branch: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)


def _deep_branch() -> onnx.GraphProto:
    return helper.make_graph([_if(_branch())], "outer", [], [graphs.tensor("z", [1])])


def _function() -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_function("l", "f", [], ["o"], [helper.make_node("Constant", [], ["o"], value=stolen())], opsets)


def _sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(stolen(), numpy_helper.from_array(np.zeros(1, np.int64)), [1])


HIDDEN: dict[str, Edit] = {
    "attribute": lambda m: m.graph.node.append(helper.make_node("Constant", [], ["k"], value=stolen())),
    "attributes": lambda m: m.graph.node.append(helper.make_node("Constant", [], ["k"], tensors=[stolen()])),
    "branch": lambda m: m.graph.node.append(_if(_branch())),
    "branch of a branch": lambda m: m.graph.node.append(_if(_deep_branch())),
    "function": lambda m: m.functions.append(_function()),
    "sparse": lambda m: m.graph.sparse_initializer.append(_sparse()),
    "training": lambda m: m.training_info.add().algorithm.initializer.append(stolen()),
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_external_data_is_found_wherever_a_tensor_may_be(graph: Path, hide: Edit) -> None:
    (graph.parent.parent / "secret.bin").write_bytes(bytes(4))
    assert "external data '../secret.bin'" in refusal(edit(graph, hide))


def test_a_file_that_changes_after_the_check_is_not_served(beside: Path) -> None:
    opened = Graph.open(beside)
    opened.verify_unchanged()
    weights = beside.parent / "weights.bin"
    stat = weights.stat()
    weights.write_bytes(bytes(48))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(LoadFailed, match=r"weights.bin: expected the file that was checked"):
        opened.verify_unchanged()


OPERATORS: dict[str, tuple[str, str, str]] = {
    "of another domain": ("evil.ops", "RunShell", "got evil.ops.RunShell"),
    "unknown": ("", "Frobnicate", "got Frobnicate"),
    "unknown of Microsoft": ("com.microsoft", "PyOp", "got com.microsoft.PyOp"),
    "denied": ("com.microsoft", "EPContext", "EPContext is not run by a server: it loads code"),
}


@pytest.mark.parametrize(("domain", "name", "said"), OPERATORS.values(), ids=OPERATORS)
def test_an_operator_that_is_not_built_in_or_not_run_is_refused(graph: Path, domain: str, name: str, said: str) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(name, ["x"], ["z"], domain=domain, name="culprit"))

    assert said in refusal(edit(graph, add))
    assert "node 'culprit'" in refusal(graph)


def test_the_functions_of_a_model_are_operators(tmp_path: Path) -> None:
    session = made.session_of(bombs.laughs(tmp_path / "m" / "model.onnx", 3))
    np.testing.assert_array_equal(session.run({"x": np.ones(1, np.float32)})["y"], [1])


def test_a_function_does_not_lend_its_name_to_what_is_denied(graph: Path) -> None:
    def shadow(model: onnx.ModelProto) -> None:
        body = [helper.make_node("Identity", ["a"], ["b"])]
        opsets = [helper.make_opsetid("", 20)]
        model.functions.append(helper.make_function("com.microsoft", "EPContext", ["a"], ["b"], body, opsets))
        model.graph.node.append(helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft"))

    assert "EPContext is not run by a server" in refusal(edit(graph, shadow))


@pytest.mark.parametrize("levels", [20, 300])
def test_functions_that_stand_for_too_many_nodes_are_refused(tmp_path: Path, levels: int) -> None:
    graph = bombs.laughs(tmp_path / "model.onnx", levels)
    started = time.monotonic()
    assert f"expected at most {operators.MOST_NODES} nodes" in refusal(graph)
    assert time.monotonic() - started < 2


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    assert "calls itself" in refusal(bombs.laughs(tmp_path / "model.onnx", 3, calls_itself=True))


def test_an_operator_set_that_is_too_new_is_refused_with_both_versions(graph: Path) -> None:
    def set_opset(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 99

    newest = max(operators.built_in()[""].values())
    assert f"operator set ai.onnx: expected at most version {newest}, which is installed, got 99" in refusal(
        edit(graph, set_opset)
    )


WRONG: dict[str, tuple[Callable[[TensorProto], object], str]] = {
    "too few bytes": (lambda t: setattr(t, "raw_data", bytes(47)), "expected 48 bytes, as shape [4, 3] has, got 47"),
    "too many": (lambda t: t.dims.append(2), "expected 96 bytes"),
    "overflow": (lambda t: t.dims.extend([2**62, 2**62]), "got 48"),
    "negative": (lambda t: t.dims.extend([-1, -1]), "expected dimensions of at least 0"),
    "no such type": (lambda t: setattr(t, "data_type", 99), "expected a data type of ONNX, got number 99"),
    "two fields": (lambda t: t.float_data.append(1), "got raw_data beside it"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_the_bytes_of_a_tensor_are_those_of_its_shape(
    graph: Path, change: Callable[[TensorProto], object], said: str
) -> None:
    found = refusal(edit(graph, lambda model: change(model.graph.initializer[0])))
    assert found.startswith("model.onnx: tensor 'w': ")
    assert said in found


def kinds() -> list[int]:
    return [kind for kind in TensorProto.DataType.values() if kind != TensorProto.UNDEFINED]


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("kind", kinds(), ids=TensorProto.DataType.Name)
def test_every_datatype_is_measured_as_onnx_writes_it(graph: Path, kind: int, raw: bool) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if kind == TensorProto.STRING:
        tensor = helper.make_tensor("t", kind, [5], [b"a"] * 5)
    elif raw:
        tensor = numpy_helper.from_array(np.ones(5).astype(dtype), "t")
    else:
        tensor = helper.make_tensor("t", kind, [5], np.ones(5).astype(dtype))
    Graph.open(edit(graph, lambda model: model.graph.initializer.append(tensor)))
    tensor.dims[0] = 11
    edit(graph, lambda model: model.graph.initializer[-1].CopyFrom(tensor))
    if kind == TensorProto.STRING or not raw:
        assert "elements, as shape [11] has" in refusal(graph)
    else:
        assert "bytes, as shape [11] has" in refusal(graph)


def nested(levels: int) -> bytes:
    """A graph in a graph in a graph, by hand: no library writes so many."""

    def field(number: int, content: bytes) -> bytes:
        length, size = len(content), bytearray()
        while length >= 0x80:
            size.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([number << 3 | 2, *size, length]) + content

    graph = b""
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x0a" + field(7, graph)


@pytest.mark.parametrize("levels", [40, 10_000])
def test_graphs_in_graphs_end_somewhere(graph: Path, levels: int) -> None:
    graph.write_bytes(nested(levels))
    assert "expected at most 100 messages inside each other" in refusal(graph)


def test_the_table_of_messages_is_that_of_onnx() -> None:
    for message, known in onnx_messages.MESSAGES.items():
        fields = getattr(onnx, message).DESCRIPTOR.fields_by_number
        for number, (name, kind, repeated) in known.items():
            field = fields[number]
            assert field.name == name
            assert repeated == field.is_repeated
            if kind in onnx_messages.MESSAGES:
                assert field.message_type.name == kind


def test_all_messages_that_hold_tensors_or_graphs_are_walked() -> None:
    holders = {"TensorProto", "SparseTensorProto", "GraphProto", "NodeProto", "AttributeProto", "FunctionProto"}
    holders |= {"TrainingInfoProto"}
    for message in [*holders, "ModelProto"]:
        for number, field in getattr(onnx, message).DESCRIPTOR.fields_by_number.items():
            if field.message_type is not None and field.message_type.name in holders:
                assert number in onnx_messages.MESSAGES[message], f"{message}.{field.name}"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A valid model with something of everything."""
    path = bombs.laughs(tmp_path_factory.mktemp("rich") / "model.onnx", 2)
    model = onnx.load(path)
    loop = onnx.load(bombs.endless(path.parent / "loop.onnx")).graph.node[1]
    branch = helper.make_graph([loop], "b", [], [graphs.tensor("z", [1])])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    model.graph.initializer.append(helper.make_tensor("i", TensorProto.INT32, [3], [1, 2, 300]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2)), "d"))
    return model.SerializeToString()


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutations_are_accepted_or_refused_and_nothing_else(rich: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(rich)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.sampled_from([0, 1, 2, 10]))
        content[place : place + length] = data.draw(st.binary(max_size=11))
        if not content:
            break
    graph = tmp_path / "model.onnx"
    graph.write_bytes(content)
    try:
        Graph.open(graph)
    except LoadFailed as error:
        assert len(str(error)) < 1500
