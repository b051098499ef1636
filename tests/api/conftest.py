"""One application with one labelled model, for tests that only read."""

from collections.abc import Iterator

import pytest

from app.contract.tensors import OutputSpec
from tests import graphs
from tests.api.application import Application, running
from tests.publishing import publish

LABELLED = OutputSpec(name="y", datatype="FP32", shape=(-1, 3), labels=("a", "b", "c"), activation="softmax")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A model m, version 1: x FP32 [-1, 4] to y FP32 [-1, 3], with labels."""
    folder = tmp_path_factory.mktemp("application")
    graph = graphs.linear(folder / "graph" / "model.onnx")
    publish(folder / "models" / "m" / "1", graph, folder / "cache", outputs=(LABELLED,))
    with running(folder / "models", folder / "state") as application:
        yield application
