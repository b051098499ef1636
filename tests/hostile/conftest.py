"""A server for the whole list, on each of the two carriers, with a neighbour that goes on asking."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contract.tensors import OutputSpec
from tests import graphs
from tests.hostile.witness import Witness
from tests.http.carriers import COMMANDS, carrying
from tests.http.wire import Wire
from tests.keys import ONLY_ADMIN
from tests.publishing import publish

_QUICK = 'default_model = "m"\n[defaults]\ninstances = 1\nthreads = 1\n'


@pytest.fixture(scope="package")
def hostile_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m: x [N, 4] -> y [N, 3]. labelled: the same with labels. two: a and b. raises: fails on what is not 0 to 3.
    One for each datatype, of its name in lower case: x [N, 4], which comes back as it is."""
    folder, aside = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("aside")
    graphs.linear(folder / "m" / "1" / "model.onnx")
    graphs.outer_sum(folder / "two" / "1" / "model.onnx")
    graphs.refuses_negative(folder / "raises" / "1" / "model.onnx")
    for datatype, kind in graphs.KINDS.items():
        graphs.identity(folder / datatype.lower() / "1" / "model.onnx", kind)
    output = OutputSpec(name="y", datatype="FP32", shape=(-1, 3), labels=("a", "b", "c"), activation="softmax")
    publish(folder / "labelled" / "1", graphs.linear(aside / "model.onnx"), aside / "cache", outputs=(output,))
    (folder / "deployments.toml").write_text(_QUICK)
    return folder


@pytest.fixture(scope="package", params=COMMANDS)
def witness(
    request: pytest.FixtureRequest, hostile_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Witness]:
    """A server whose doors are open but to administration, and its neighbour."""
    state = tmp_path_factory.mktemp("state")
    with carrying(request.param, hostile_models, state, BONSAI_KEYS=ONLY_ADMIN) as carrier:
        seen = Witness(carrier)
        neighbour = threading.Thread(target=seen.keep_asking)
        neighbour.start()
        try:
            yield seen
        finally:
            seen.ended.set()
            neighbour.join()


@pytest.fixture
def wire(witness: Witness) -> Iterator[Wire]:
    """A connection."""
    opened = Wire(witness.carrier.url)
    opened.timeout(10)
    yield opened
    opened.close()
