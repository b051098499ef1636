"""What /config says of a model, and the list of models."""

from collections.abc import Iterator

import pytest
from onnx import TensorProto

from tests import graphs
from tests.api.application import Application, running
from tests.publishing import publish
from tests.runtime.made import scalars

LIMITS = "[models.m.limits]\nmax_batch_rows = 7\nmax_queue_delay_ms = 1.5\n"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("configured")
    models, cache = folder / "models", folder / "cache"
    publish(models / "m" / "1", graphs.linear(folder / "graph" / "model.onnx"), cache)
    scalars(models / "scalars" / "model.onnx")
    graphs.identity(models / "words" / "model.onnx", TensorProto.STRING, ("N", "T", 2), "in put")
    (models / "deployments.toml").write_text(LIMITS + "[models.m]\ninstances = 2\n")
    with running(models, folder / "state", poll_seconds=0.05) as application:
        while "scalars" not in application.parts.repository.names():
            application.run(application.parts.repository.refresh())
        yield application


@pytest.mark.parametrize("path", ["/v2/models/m/config", "/v2/models/m/versions/1/config"])
def test_dims_are_without_the_rows(application: Application, path: str) -> None:
    assert application.get(path).json() == {
        "name": "m",
        "platform": "onnx_onnxv1",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": 7,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
        "instance_group": [{"kind": "KIND_CPU", "count": 2}],
        "dynamic_batching": {
            "max_queue_delay_microseconds": 1500,
            "priority_levels": 3,
            "default_priority_level": 2,
        },
    }


def test_a_model_without_rows_has_whole_dims_and_no_batches(application: Application) -> None:
    config = application.get("/v2/models/scalars/config").json()
    assert config["max_batch_size"] == 0
    assert [tensor["dims"] for tensor in config["input"]] == [[], []]
    assert "dynamic_batching" not in config


def test_strings_have_tritons_name(application: Application) -> None:
    config = application.get("/v2/models/words/config").json()
    assert config["input"] == [{"name": "in put", "data_type": "TYPE_STRING", "dims": [-1, 2]}]


@pytest.mark.parametrize("path", ["/v2/models/cats/config", "/v2/models/m/versions/9/config"])
def test_what_is_not_there_is_404(application: Application, path: str) -> None:
    assert application.get(path).status_code == 404


def test_the_list_has_every_model(application: Application) -> None:
    assert application.get("/v2/models").json() == {"models": ["m", "scalars", "words"]}
