"""The configuration of models, in the form of Triton's "model configuration extension"."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.metadata import PLATFORM
from app.contract.tensors import DataType, Signature, TensorSpec
from app.protocol.messages import DEFAULT_PRIORITY, PRIORITIES
from app.repository.model import Model
from app.repository.repository import Repository

_CPU = "CPUExecutionProvider"


class TensorConfig(BaseModel):
    """`dims` are without the axis of the rows where the model has one."""

    name: str
    data_type: str
    dims: list[int]


class InstanceGroup(BaseModel):
    kind: Literal["KIND_CPU", "KIND_GPU"]
    count: int


class DynamicBatching(BaseModel):
    max_queue_delay_microseconds: int
    priority_levels: int = PRIORITIES[-1]
    default_priority_level: int = DEFAULT_PRIORITY


class EveryVersion(BaseModel):
    """There is nothing to say of it."""


class VersionPolicy(BaseModel):
    all: EveryVersion = EveryVersion()


class ModelConfig(BaseModel):
    """`max_batch_size` is 0 for a model without rows."""

    name: str
    platform: str = PLATFORM
    backend: str = "onnxruntime"
    version_policy: VersionPolicy = VersionPolicy()
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]
    instance_group: list[InstanceGroup]
    dynamic_batching: DynamicBatching | None = None

    @classmethod
    def of(cls, model: Model) -> "ModelConfig":
        signature, limits = model.served.signature, model.limits
        delay = DynamicBatching(max_queue_delay_microseconds=round(limits.max_queue_delay_ms * 1000))
        kind: Literal["KIND_CPU", "KIND_GPU"] = "KIND_CPU" if model.served.provider == _CPU else "KIND_GPU"
        return cls(
            name=model.served.name,
            max_batch_size=0 if signature.batch_axis is None else limits.max_batch_rows,
            input=[_tensor(spec, signature) for spec in signature.inputs],
            output=[_tensor(spec, signature) for spec in signature.outputs],
            instance_group=[InstanceGroup(kind=kind, count=model.instances)],
            dynamic_batching=delay if model.batchable else None,
        )


def router(repository: Repository) -> APIRouter:
    """/v2/models/{model}[/versions/{version}]/config."""
    routes = APIRouter(prefix="/v2/models/{model}", tags=["metadata"])

    @routes.get("/config", response_model_exclude_none=True)
    async def model_config(model: str) -> ModelConfig:
        """How a model's default version is run: batch size, shapes without rows, instances."""
        return ModelConfig.of(repository.acquire(model, None))

    @routes.get("/versions/{version}/config", response_model_exclude_none=True)
    async def version_config(model: str, version: str) -> ModelConfig:
        """The same, of one version."""
        return ModelConfig.of(repository.acquire(model, version))

    return routes


def _tensor(spec: TensorSpec, signature: Signature) -> TensorConfig:
    kind = "STRING" if spec.datatype is DataType.BYTES else spec.datatype
    dims = spec.shape if signature.batch_axis is None else spec.shape[1:]
    return TensorConfig(name=spec.name, data_type=f"TYPE_{kind}", dims=list(dims))
