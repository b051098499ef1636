"""deployments.toml: how models are run. The operator (or a tuner) writes it; changes apply while serving."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from app.contract.manifest import NAME_PATTERN, explain
from app.contract.tensors import Frozen
from app.errors import ManifestInvalid

FILENAME = "deployments.toml"


class Limits(Frozen):
    """Bounds of a model's batcher. They change live, without a reload."""

    max_batch_rows: int = Field(default=128, ge=1)
    """Rows of one run at most; it has fewer where more do not pay. A larger request is split and its answer joined."""
    max_queue_rows: int = Field(default=4096, ge=1)
    """Rows that may wait; more are refused with 503."""
    max_queue_delay_ms: float = Field(default=0.0, ge=0)
    """How long the first request of a batch may wait for others, while an instance is free, in milliseconds."""
    max_padded_size: int = Field(default=8192, ge=1)
    """Rows times padded length of one run, of models whose inputs declare a pad value."""
    max_run_ms: float = Field(default=60000.0, gt=0)
    """How long one run may take, in milliseconds; then it is ended between two nodes of its graph."""
    max_output_mb: int = Field(default=256, ge=1)
    """Megabytes of all outputs of a run, and of all answers to the parts of a request that is split."""
    slo_ms: float | None = Field(default=None, gt=0)
    """Deadline of a request that names none, in milliseconds from its arrival."""


class Deployment(Frozen):
    """How one model is run. A change outside `limits`, `instances` and `default_version` reloads it."""

    provider: Literal["cpu", "cuda"] = "cpu"
    device: int = Field(default=0, ge=0)
    """Index of the CUDA device."""
    gpu_memory_mb: int | None = Field(default=None, ge=1)
    """What ONNX Runtime's arena for the model may take of the CUDA device; by default whatever is there."""
    allow_fallback: bool = False
    """Serve on the CPU where the asked provider is not there, instead of not being ready."""
    instances: int | None = Field(default=None, ge=1)
    """Runs that may be under way at once; by default what is measured to be best, on a GPU 1. A change applies live."""
    threads: int | None = Field(default=None, ge=1)
    """Intra-op threads of a run; by default the process's CPU budget divided by the instances."""
    wide_session_mb: int = Field(default=256, ge=0)
    """Weights of which a second copy is kept in memory at most, for a wide session beside narrow ones."""
    default_version: int | None = Field(default=None, ge=1)
    """Version that a request without one gets; by default the highest that is ready."""
    limits: Limits = Limits()

    def reloads(self, before: "Deployment") -> bool:
        """Whether a model that was loaded by `before` has to be loaded again."""
        live = {"limits": Limits(), "default_version": None, "instances": None}
        return before.model_copy(update=live) != self.model_copy(update=live)


class Deployments(Frozen):
    """The whole file. A model without a table of its own is run as `defaults` says."""

    schema_version: Literal[1] = 1
    default_model: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Model of a /predict request that names none, where several are loaded."""
    defaults: Deployment = Deployment()
    models: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Deployment] = {}

    @property
    def is_blank(self) -> bool:
        """Nothing is said: there is no file, or there is nothing in it, as for a moment while it is written anew."""
        return not self.model_fields_set

    def of(self, name: str) -> Deployment:
        return self.models.get(name, self.defaults)

    @classmethod
    def read(cls, models: Path) -> "Deployments":
        """deployments.toml of a model repository; the defaults where there is none.

        Raises ManifestInvalid: which field, what was expected, what came.
        """
        try:
            return cls.model_validate(tomllib.loads((models / FILENAME).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ManifestInvalid(f"{FILENAME}: {error}") from None
        except ValidationError as error:
            raise ManifestInvalid(explain(FILENAME, error)) from None
        except OSError as error:
            raise ManifestInvalid(f"{FILENAME} cannot be read: {error.strerror}") from None
