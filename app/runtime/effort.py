"""Whether what a run takes can depend on the values of its inputs, and not only on their sizes."""

from collections.abc import Container, Iterable
from typing import NamedTuple

LOOPS = frozenset(
    {"Loop", "Scan", "SequenceMap", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"},
)
"""Operators that run as often as a value says, or once for each element."""
ALL = tuple(range(16))
GROWING: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CropAndResize": (3,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": ALL,
    "OneHot": (1,),
    "Pad": (1,),
    "Range": ALL,
    "Resize": (2, 3),
    "Tile": (1, 2),
    "Upsample": (1,),
}
"""Operators whose output may be larger than their inputs, and which inputs say how large."""
_SIZES = frozenset({"Constant", "Shape", "Size"})


class Node(NamedTuple):
    """A node of a graph."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def is_open_ended(nodes: Iterable[Node], constants: Container[str]) -> bool:
    """Whether one of these nodes, in order, loops, or makes something as large as a value says that is neither constant
    nor taken from a shape. What comes from a graph around this one counts as such a value."""
    known: set[str] = set()

    def is_known(name: str) -> bool:
        return not name or name in constants or name in known

    for node in nodes:
        if node.operator in LOOPS:
            return True
        sizes = [node.inputs[index] for index in GROWING.get(node.operator, ()) if index < len(node.inputs)]
        if not all(is_known(name) for name in sizes):
            return True
        if node.operator in _SIZES or (node.inputs and all(is_known(name) for name in node.inputs)):
            known.update(node.outputs)
    return False
