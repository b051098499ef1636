"""New versions and changed deployments are noticed while serving."""

import shutil
from pathlib import Path

import httpx
import numpy as np

from tests import graphs
from tests.publishing import publish
from tests.serving import Server, serving, wait_for

ROW = [[1.0, 2.0, 3.0, 4.0]]


def publish_version(models: Path, version: int, tmp_path: Path) -> None:
    """Publishes by rename, as training does."""
    graph = graphs.linear(tmp_path / f"{version}.onnx", seed=version)
    aside = tmp_path / "linear" / str(version)
    publish(aside, graph, tmp_path / "cache")
    (models / "linear").mkdir(exist_ok=True)
    aside.rename(models / "linear" / str(version))


def version_of(server: Server) -> int:
    return int(server.predict(ROW).json().get("version", 0))


def test_a_published_version_is_served_and_a_removed_one_is_not(models: Path, tmp_path: Path) -> None:
    publish_version(models, 1, tmp_path)
    with serving(models) as server:
        assert version_of(server) == 1
        publish_version(models, 2, tmp_path)
        wait_for(lambda: version_of(server) == 2, "version 2")
        old = server.predict(ROW, version=1).json()
        assert old["version"] == 1
        assert not np.allclose(old["outputs"]["y"], server.predict(ROW).json()["outputs"]["y"])
        shutil.rmtree(models / "linear" / "2")
        wait_for(lambda: version_of(server) == 1, "version 1 again")
        assert server.predict(ROW, version=2).status_code == 404


def test_a_broken_version_says_why_and_the_one_before_goes_on(models: Path, tmp_path: Path) -> None:
    publish_version(models, 1, tmp_path)
    with serving(models) as server:
        publish_version(models, 2, tmp_path / "second")
        wait_for(lambda: version_of(server) == 2, "version 2")
        with (models / "linear" / "2" / "model.onnx").open("ab") as graph:
            graph.write(b"one byte more")
        wait_for(lambda: version_of(server) == 1, "version 1 again")
        answer = httpx.get(f"{server.url}/v2/models/linear/versions/2/ready")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert "model.onnx: expected sha256" in answer.json()["error"]
        assert str(models) not in answer.text


def test_deployments_apply_while_serving(models: Path, tmp_path: Path) -> None:
    publish_version(models, 1, tmp_path)
    publish_version(models, 2, tmp_path / "second")
    deployments = models / "deployments.toml"
    with serving(models) as server:
        assert version_of(server) == 2
        deployments.write_text("[models.linear]\ndefault_version = 1\n")
        wait_for(lambda: version_of(server) == 1, "the default version to change")
        deployments.write_text('[models.linear]\nprovider = "cuda"\n')
        wait_for(lambda: server.predict(ROW).status_code == 503, "the model to ask for CUDA")
        assert "asked for CUDAExecutionProvider" in server.predict(ROW).json()["error"]
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        deployments.write_text('[models.linear]\nprovider = "cuda"\nallow_fallback = true\n')
        wait_for(lambda: version_of(server) == 2, "the fallback to the CPU")
        deployments.write_text("[models.linear]\nproviders = 1\n")
        wait_for(lambda: any("the last good one stays" in log["message"] for log in server.logs), "the complaint")
        assert version_of(server) == 2
