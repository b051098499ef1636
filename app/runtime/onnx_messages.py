"""The messages of an ONNX file, as far as they are read.

Numbers, names and types of fields are those of onnx.proto3, IR version 13
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from app.runtime import wire

INT, INTS, TEXT, TEXTS, BYTES, COUNTED = "int", "ints", "text", "texts", "bytes", "counted"
Kinds = dict[int, tuple[str, str, bool]]
"""Field number -> name, type or message, and whether it may come more than once."""

MESSAGES: dict[str, Kinds] = {
    "ModelProto": {
        1: ("ir_version", INT, False),
        7: ("graph", "GraphProto", False),
        8: ("opset_import", "OperatorSetIdProto", True),
        20: ("training_info", "TrainingInfoProto", True),
        25: ("functions", "FunctionProto", True),
    },
    "OperatorSetIdProto": {1: ("domain", TEXT, False), 2: ("version", INT, False)},
    "TrainingInfoProto": {1: ("initialization", "GraphProto", False), 2: ("algorithm", "GraphProto", False)},
    "FunctionProto": {
        1: ("name", TEXT, False),
        7: ("node", "NodeProto", True),
        9: ("opset_import", "OperatorSetIdProto", True),
        10: ("domain", TEXT, False),
        11: ("attribute_proto", "AttributeProto", True),
        13: ("overload", TEXT, False),
    },
    "GraphProto": {
        1: ("node", "NodeProto", True),
        5: ("initializer", "TensorProto", True),
        15: ("sparse_initializer", "SparseTensorProto", True),
    },
    "NodeProto": {
        1: ("input", TEXTS, True),
        2: ("output", TEXTS, True),
        3: ("name", TEXT, False),
        4: ("op_type", TEXT, False),
        5: ("attribute", "AttributeProto", True),
        7: ("domain", TEXT, False),
        8: ("overload", TEXT, False),
    },
    "AttributeProto": {
        1: ("name", TEXT, False),
        5: ("t", "TensorProto", False),
        6: ("g", "GraphProto", False),
        10: ("tensors", "TensorProto", True),
        11: ("graphs", "GraphProto", True),
        22: ("sparse_tensor", "SparseTensorProto", False),
        23: ("sparse_tensors", "SparseTensorProto", True),
    },
    "SparseTensorProto": {
        1: ("values", "TensorProto", False),
        2: ("indices", "TensorProto", False),
        3: ("dims", INTS, True),
    },
    "TensorProto": {
        1: ("dims", INTS, True),
        2: ("data_type", INT, False),
        4: ("float_data", COUNTED, True),
        5: ("int32_data", COUNTED, True),
        6: ("string_data", COUNTED, True),
        7: ("int64_data", COUNTED, True),
        8: ("name", TEXT, False),
        9: ("raw_data", BYTES, False),
        10: ("double_data", COUNTED, True),
        11: ("uint64_data", COUNTED, True),
        13: ("external_data", "StringStringEntryProto", True),
        14: ("data_location", INT, False),
    },
    "StringStringEntryProto": {1: ("key", TEXT, False), 2: ("value", TEXT, False)},
}

_WIRES = {INT: {wire.VARINT}, INTS: {wire.VARINT, wire.LENGTH}, TEXT: {wire.LENGTH}, BYTES: {wire.LENGTH}}
_COUNTED = {
    "float_data": {wire.LENGTH, wire.FIXED32},
    "double_data": {wire.LENGTH, wire.FIXED64},
    "string_data": {wire.LENGTH},
}


def wires(name: str, kind: str) -> set[int]:
    """The wire types that a field may have; numbers may be packed."""
    if kind == COUNTED:
        return _COUNTED.get(name, _WIRES[INTS])
    return _WIRES.get(kind, {wire.LENGTH})
