"""Metadata of the server and its models, as the Open Inference Protocol v2 has it."""

from fastapi import APIRouter
from pydantic import BaseModel

from app import __version__
from app.contract.tensors import TensorSpec
from app.repository.model import Model
from app.repository.repository import Repository

PLATFORM = "onnx_onnxv1"
EXTENSIONS = [
    "binary_tensor_data",
    "model_repository",
    "model_configuration",
    "statistics",
    "schedule_policy",
    "parameters",
]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]

    @classmethod
    def of(cls, spec: TensorSpec) -> "TensorMetadata":
        return cls(name=spec.name, datatype=spec.datatype, shape=list(spec.shape))


class Models(BaseModel):
    models: list[str]


class ModelParameters(BaseModel):
    """What the protocol leaves to each server to tell."""

    execution_provider: str


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: ModelParameters


class ModelReady(BaseModel):
    name: str
    ready: bool


def router(repository: Repository) -> APIRouter:
    """/v2, /v2/models and /v2/models/{model}[/versions/{version}][/ready]."""
    routes = APIRouter(prefix="/v2", tags=["metadata"])

    def describe(model: Model) -> ModelMetadata:
        return ModelMetadata(
            name=model.served.name,
            versions=[str(version) for version in sorted(repository.versions(model.served.name))],
            platform=PLATFORM,
            inputs=[TensorMetadata.of(spec) for spec in model.served.signature.inputs],
            outputs=[TensorMetadata.of(spec) for spec in model.served.signature.outputs],
            parameters=ModelParameters(execution_provider=model.served.provider),
        )

    @routes.get("")
    async def server_metadata() -> ServerMetadata:
        """Name and version of the server, and the protocol extensions that it offers."""
        return ServerMetadata(name="bonsai", version=__version__, extensions=EXTENSIONS)

    @routes.get("/models")
    async def models() -> Models:
        """Names of the models in the repository, ready or not."""
        return Models(models=repository.names())

    @routes.get("/models/{model}")
    async def model_metadata(model: str) -> ModelMetadata:
        """Inputs and outputs of a model's default version."""
        return describe(repository.acquire(model, None))

    @routes.get("/models/{model}/versions/{version}")
    async def version_metadata(model: str, version: str) -> ModelMetadata:
        """Inputs and outputs of one version."""
        return describe(repository.acquire(model, version))

    @routes.get("/models/{model}/ready")
    async def model_ready(model: str) -> ModelReady:
        """200 while the default version answers; 503 with the reason while it does not."""
        return ModelReady(name=repository.acquire(model, None).served.name, ready=True)

    @routes.get("/models/{model}/versions/{version}/ready")
    async def version_ready(model: str, version: str) -> ModelReady:
        """200 while this version answers; 503 with the reason while it does not."""
        return ModelReady(name=repository.acquire(model, version).served.name, ready=True)

    return routes
