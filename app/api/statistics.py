"""Statistics of models, in the form of Triton's "statistics extension": read from the metrics, not counted twice.

What is not measured is left out: statistics of single batch sizes (`batch_stats`), of answers in parts and of memory.
"""

import time

from fastapi import APIRouter
from pydantic import BaseModel

from app.repository.repository import Repository, State
from app.telemetry.answers import Answers
from app.telemetry.metrics import Metrics


class Duration(BaseModel):
    """How often, and how many nanoseconds all together."""

    count: int
    ns: int


class InferStatistics(BaseModel):
    """Requests by outcome, and the time of the good ones in each phase. There is no response cache, so none hits it."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration = Duration(count=0, ns=0)
    cache_miss: Duration = Duration(count=0, ns=0)


class VersionStatistics(BaseModel):
    """`inference_count` counts rows that were run, `execution_count` runs. `last_inference` is when the latest request
    that was answered well came, in milliseconds since the epoch; 0 where there was none."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics


class Statistics(BaseModel):
    model_stats: list[VersionStatistics]


def router(repository: Repository, metrics: Metrics) -> APIRouter:
    """/v2/models/stats and /v2/models/{model}[/versions/{version}]/stats."""
    routes = APIRouter(prefix="/v2/models", tags=["metadata"])

    def ready_versions(name: str) -> list[VersionStatistics]:
        ready = [number for number, slot in repository.versions(name).items() if slot.state is State.READY]
        return [_statistics(metrics, name, number) for number in sorted(ready)]

    @routes.get("/stats")
    async def all_statistics() -> Statistics:
        """Statistics of every version of every model that is ready."""
        return Statistics(model_stats=[found for name in repository.names() for found in ready_versions(name)])

    @routes.get("/{model}/stats")
    async def model_statistics(model: str) -> Statistics:
        """Statistics of every version of a model that is ready."""
        return Statistics(model_stats=ready_versions(model))

    @routes.get("/{model}/versions/{version}/stats")
    async def version_statistics(model: str, version: str) -> Statistics:
        """Statistics of one version."""
        served = repository.acquire(model, version).served
        return Statistics(model_stats=[_statistics(metrics, served.name, served.version)])

    return routes


def _statistics(metrics: Metrics, name: str, version: int) -> VersionStatistics:
    answers = metrics.requests.answers_of(name, version)
    failures, failed_seconds = metrics.requests.failures_of(name, version)
    runs = metrics.batch_rows.labels(name, str(version))
    return VersionStatistics(
        name=name,
        version=str(version),
        last_inference=_since_epoch(answers.latest) if answers.latest else 0,
        inference_count=round(runs.total),
        execution_count=runs.count,
        inference_stats=InferStatistics(
            success=Duration(count=answers.total.count, ns=_nanoseconds(answers.total.total)),
            fail=Duration(count=failures, ns=_nanoseconds(failed_seconds)),
            queue=_phase(answers, "queue"),
            compute_input=_phase(answers, "batch"),
            compute_infer=_phase(answers, "compute"),
            compute_output=_phase(answers, "encode"),
        ),
    )


def _phase(answers: Answers, name: str) -> Duration:
    series = answers.phases[name]
    return Duration(count=series.count, ns=_nanoseconds(series.total))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _since_epoch(instant: float) -> int:
    """Milliseconds since the epoch of an instant of the monotonic clock."""
    return round((time.time() - time.monotonic() + instant) * 1000)
