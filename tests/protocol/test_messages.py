"""Timings, and the answer to a batch of no rows."""

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.protocol.messages import Timings, empty_outputs


def test_every_phase_that_has_ended_has_its_duration() -> None:
    timings = Timings(received=10.0, decoded=11.0, started=13.0, computed=17.0, encoded=25.0)
    assert dict(timings.phases()) == {"decode": 1.0, "queue": 2.0, "compute": 4.0, "encode": 8.0}
    assert timings.total == 15.0


@pytest.mark.parametrize(
    ("passed", "phases", "total"),
    [
        ({}, [], 0.0),
        ({"decoded": 11.0}, ["decode"], 1.0),
        ({"decoded": 11.0, "started": 13.0}, ["decode", "queue"], 3.0),
        ({"decoded": 11.0, "encoded": 12.0}, ["decode"], 2.0),
    ],
)
def test_a_point_that_was_not_passed_ends_no_phase(passed: dict[str, float], phases: list[str], total: float) -> None:
    timings = Timings(received=10.0, **passed)
    assert [name for name, _ in timings.phases()] == phases
    assert timings.total == total


def test_the_answer_to_no_rows_has_every_output_with_no_rows() -> None:
    outputs = empty_outputs(
        Signature(
            inputs=(InputSpec(name="x", datatype="FP32", shape=(-1,)),),
            outputs=(
                OutputSpec(name="a", datatype="FP32", shape=(-1, 3)),
                OutputSpec(name="b", datatype="INT64", shape=(-1,)),
                OutputSpec(name="c", datatype="BYTES", shape=(-1, -1, 2)),
            ),
        )
    )
    assert {name: (array.shape, array.dtype) for name, array in outputs.items()} == {
        "a": ((0, 3), np.dtype("float32")),
        "b": ((0,), np.dtype("int64")),
        "c": ((0, 0, 2), np.dtype("object")),
    }
