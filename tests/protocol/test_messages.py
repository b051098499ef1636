"""Timings, and the answer to a batch of no rows."""

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.protocol.messages import Timings, empty_outputs


def test_every_phase_has_its_duration() -> None:
    timings = Timings(10.0, read=10.5, decoded=11.0, started=13.0, joined=14.0, computed=17.0, encoded=25.0)
    assert (timings.queue, timings.compute, timings.total) == (2.0, 4.0, 15.0)


@pytest.mark.parametrize(
    ("passed", "total"),
    [
        ({}, 0.0),
        ({"decoded": 11.0}, 1.0),
        ({"decoded": 11.0, "started": 13.0}, 3.0),
        ({"decoded": 11.0, "started": 13.0, "computed": 17.0}, 7.0),
    ],
)
def test_the_total_lasts_until_the_last_point_that_was_passed(passed: dict[str, float], total: float) -> None:
    assert Timings(received=10.0, **passed).total == total


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
