"""Tensor specs, and the three names that every datatype goes by."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.errors import LoadFailed


class DataType(StrEnum):
    """A tensor's element type, named as in the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"

    @property
    def numpy(self) -> str:
        """NumPy's dtype name. NumPy has no BF16: two bytes of no meaning to it, as .npy files have them too."""
        return _NAMES[self][0]

    @property
    def onnx(self) -> str:
        """ONNX Runtime's type string, such as `tensor(float)`."""
        return f"tensor({_NAMES[self][1]})"

    @classmethod
    def from_onnx(cls, name: str) -> "DataType":
        """The datatype of an ONNX Runtime type string.

        Raises LoadFailed for what is not a tensor (`seq(map(int64,tensor(float)))`) or has no OIP name.
        """
        try:
            return _BY_ONNX[name]
        except KeyError:
            raise LoadFailed(f"type {name} is not a tensor that the Open Inference Protocol can carry") from None


_NAMES: dict[DataType, tuple[str, str]] = {
    DataType.BOOL: ("bool", "bool"),
    DataType.UINT8: ("uint8", "uint8"),
    DataType.UINT16: ("uint16", "uint16"),
    DataType.UINT32: ("uint32", "uint32"),
    DataType.UINT64: ("uint64", "uint64"),
    DataType.INT8: ("int8", "int8"),
    DataType.INT16: ("int16", "int16"),
    DataType.INT32: ("int32", "int32"),
    DataType.INT64: ("int64", "int64"),
    DataType.FP16: ("float16", "float16"),
    DataType.FP32: ("float32", "float"),
    DataType.FP64: ("float64", "double"),
    DataType.BF16: ("V2", "bfloat16"),
    DataType.BYTES: ("object", "string"),
}
_BY_ONNX = {datatype.onnx: datatype for datatype in DataType}

Dim = Annotated[int, Field(ge=-1)]


class Frozen(BaseModel):
    """Base of every contract model: immutable; an unknown key, "3" for 3 and a NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(Frozen):
    """Name, element type and shape of a tensor; -1 in a shape is a free dimension."""

    name: str = Field(min_length=1)
    datatype: DataType = Field(strict=False)
    shape: tuple[Dim, ...]

    def matches(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            dim in (-1, size) for dim, size in zip(self.shape, shape, strict=True)
        )


class InputSpec(TensorSpec):
    """An input. `medium` is what a person may send instead of numbers; `pad_value` allows batching of
    different lengths."""

    medium: Literal["image", "audio", "text"] | None = None
    pad_value: float | None = None

    @model_validator(mode="after")
    def _only_numbers_are_padded(self) -> "InputSpec":
        if self.pad_value is not None and self.datatype in (DataType.BYTES, DataType.BF16):
            raise ValueError(f"pad_value: expected none for {self.datatype}, got one")
        return self


class OutputSpec(TensorSpec):
    """An output. With `labels` (one for each column) the native door adds predictions; `activation` turns the
    raw values into scores."""

    labels: tuple[str, ...] | None = None
    activation: Literal["softmax", "sigmoid"] | None = None

    @model_validator(mode="after")
    def _labels_need_a_column_each(self) -> "OutputSpec":
        if self.labels is not None:
            if self.datatype in (DataType.BYTES, DataType.BOOL, DataType.BF16):
                raise ValueError(f"labels: expected an output of numbers, got {self.datatype}")
            if len(self.shape) != 2 or self.shape[1] != len(self.labels):
                raise ValueError(f"labels: expected shape [-1, {len(self.labels)}], got {list(self.shape)}")
        return self


class Signature(Frozen):
    """What goes into a model and what comes out.

    `batch_axis` is the axis that holds the rows of every input and output; None where there is no such axis, so
    that a request is one run.
    """

    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    batch_axis: Literal[0] | None = 0
