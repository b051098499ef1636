"""One server process with small models, for every client."""

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto

from tests import graphs
from tests.keys import ONLY_ADMIN
from tests.publishing import publish
from tests.serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`simple` with two versions; `words` and `halves` give back x [N, 2] as y; `held` is there to be unloaded."""
    folder = tmp_path_factory.mktemp("wire")
    models, cache = folder / "models", folder / "cache"
    simple = graphs.sum_and_difference(folder / "graphs" / "model.onnx")
    sample = {name: np.arange(32, dtype=np.int32).reshape(8, 4) for name in ("a", "b")}
    for version in ("1", "2"):
        publish(models / "simple" / version, simple, cache, sample)
    graphs.identity(models / "words" / "model.onnx", TensorProto.STRING, ("N", 2))
    graphs.identity(models / "halves" / "model.onnx", TensorProto.FLOAT16, ("N", 2))
    graphs.identity(models / "held" / "model.onnx", TensorProto.FLOAT, ("N", 2))
    state = str(folder / "state")
    with serving(models, BONSAI_STATE=state, BONSAI_KEYS=ONLY_ADMIN, BONSAI_MAX_BODY_BYTES="1000000") as server:
        for name in ("words", "halves", "held"):
            server.wait_until(f"/v2/models/{name}/ready")
        yield server


@pytest.fixture(scope="session")
def address(server: Server) -> str:
    """Host and port."""
    return server.url.removeprefix("http://")
