"""The names of datatypes, held against NumPy, onnx and ONNX Runtime themselves."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from pydantic import ValidationError

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature, TensorSpec
from app.errors import LoadFailed
from tests import graphs


def test_the_datatypes_are_those_of_the_protocol() -> None:
    assert [str(datatype) for datatype in DataType] == list(graphs.KINDS)


@pytest.mark.parametrize(("name", "kind"), graphs.KINDS.items(), ids=graphs.KINDS)
def test_a_loaded_graph_of_each_kind_gives_the_datatype_back(tmp_path: Path, name: str, kind: int) -> None:
    graph = graphs.identity(tmp_path / "model.onnx", kind)
    read = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"]).get_inputs()[0].type
    assert DataType.from_onnx(read) is DataType(name)
    assert DataType(name).onnx == read


@pytest.mark.parametrize(("name", "kind"), graphs.KINDS.items(), ids=graphs.KINDS)
def test_numpy_has_the_type_that_onnx_means(name: str, kind: int) -> None:
    numpy = DataType(name).numpy
    if name == "BF16":
        assert np.dtype(numpy) == np.dtype("V2")  # NumPy has none; its files have two bytes of no meaning
    else:
        assert np.dtype(numpy) == onnx.helper.tensor_dtype_to_np_dtype(kind)


@pytest.mark.parametrize(
    "name",
    ["seq(map(int64,tensor(float)))", "optional(tensor(float))", "tensor(float8e4m3fn)", "float", "tensor(FP32)", ""],
)
def test_what_the_protocol_cannot_carry_is_refused_by_name(name: str) -> None:
    with pytest.raises(LoadFailed) as raised:
        DataType.from_onnx(name)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "shape", "fits"),
    [
        ((-1, 4), (0, 4), True),
        ((-1, 4), (9, 4), True),
        ((-1, 4), (9, 5), False),
        ((-1, 4), (4,), False),
        ((-1, 4), (1, 4, 1), False),
        ((2, -1), (2, 7), True),
        ((2, -1), (1, 7), False),
        ((), (), True),
        ((), (1,), False),
        ((0,), (0,), True),
        ((0,), (1,), False),
    ],
)
def test_a_shape_fits_where_every_fixed_dimension_is_equal(
    spec: tuple[int, ...], shape: tuple[int, ...], fits: bool
) -> None:
    assert TensorSpec(name="x", datatype=DataType.FP32, shape=spec).matches(shape) is fits


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (InputSpec, {"name": ""}),
        (InputSpec, {"datatype": "float32"}),
        (InputSpec, {"datatype": "fp32"}),
        (InputSpec, {"shape": (-2,)}),
        (InputSpec, {"shape": (1.5,)}),
        (InputSpec, {"medium": "video"}),
        (InputSpec, {"labels": ("a",)}),
        (OutputSpec, {"activation": "relu"}),
        (OutputSpec, {"medium": "text"}),
    ],
)
def test_a_wrong_spec_is_refused_and_the_field_named(kind: type[TensorSpec], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as raised:
        kind(**{"name": "x", "datatype": "FP32", "shape": (-1, 1), **fields})
    assert raised.value.errors()[0]["loc"][0] == next(iter(fields))


def test_specs_are_immutable() -> None:
    spec = InputSpec(name="x", datatype=DataType.FP32, shape=(-1,))
    with pytest.raises(ValidationError):
        spec.name = "y"


@pytest.mark.parametrize("missing", ["inputs", "outputs"])
def test_a_signature_needs_inputs_and_outputs(missing: str) -> None:
    sides: dict[str, object] = {
        "inputs": (InputSpec(name="x", datatype=DataType.FP32, shape=(-1,)),),
        "outputs": (OutputSpec(name="y", datatype=DataType.FP32, shape=(-1,)),),
    }
    with pytest.raises(ValidationError, match=missing):
        Signature.model_validate(sides | {missing: ()})
