"""One application with models that move every metric."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from app.contract.tensors import InputSpec
from app.repository.loading import Loaded, load
from app.runtime.profile import Profile
from tests import graphs
from tests.api.application import Application, running
from tests.gate import Gate
from tests.publishing import publish

DEPLOYMENTS = """
default_model = "m"
[models.m]
instances = 1
[models.m.limits]
max_batch_rows = 2
max_queue_rows = 8
[models.padded]
instances = 1
[models.delayed.limits]
max_queue_delay_ms = 1.0
"""
PADDED = InputSpec(name="ids", datatype="INT64", shape=(-1, -1), pad_value=0)


@pytest.fixture
def application(models: Path, state: Path, tmp_path: Path) -> Iterator[Application]:
    """Models m, delayed, raising (on negative values) and padded, and one that cannot be loaded."""
    made = tmp_path / "made"
    publish(models / "m" / "1", graphs.linear(made / "linear.onnx"), tmp_path / "cache")
    publish(models / "delayed" / "1", made / "linear.onnx", tmp_path / "cache")
    graph, sample = graphs.pooled(made / "pooled.onnx"), graphs.POOLED
    publish(models / "padded" / "1", graph, tmp_path / "cache", sample, inputs=(PADDED,))
    publish(models / "raising" / "1", graphs.refuses_negative(made / "raising.onnx"), tmp_path / "cache")
    (models / "broken" / "1").mkdir(parents=True)
    (models / "broken" / "1" / "manifest.json").write_text("{}")
    (models / "deployments.toml").write_text(DEPLOYMENTS)
    with running(models, state) as application:
        yield application


@pytest.fixture
def gate(application: Application, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Stops the runs of a model `gated`, x [N, 4] to y [N, 4], which are said to take 80 s, and 20 s a row."""
    gate: Any = Gate()

    def gated(*given: Any) -> Loaded:
        loaded = load(*given)
        profile = Profile(1, 1, ((1, 100.0), (8, 240.0)))
        return replace(loaded, proven=replace(loaded.proven, session=gate), profile=profile)

    monkeypatch.setattr("app.repository.repository.load", gated)
    graph = graphs.identity(models.parent / "made" / "identity.onnx", TensorProto.FLOAT)
    publish(models / "gated" / "1", graph, models.parent / "cache")
    application.run(application.parts.repository.refresh())
    yield gate
    gate.opened.set()
