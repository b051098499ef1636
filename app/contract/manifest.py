"""manifest.json: what a published model version is. Training writes it once; nobody changes it afterwards."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from app.contract.tensors import Frozen, InputSpec, OutputSpec, Signature
from app.errors import LoadFailed, ManifestInvalid

FILENAME = "manifest.json"
WHOLE = "the document"
"""Where a finding is about no field of it."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileDigest(Frozen):
    """A file of the version folder, by content."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class Tolerance(Frozen):
    """How far an answer may lie from the golden one: |got - golden| <= atol + rtol * |golden|."""

    rtol: float = Field(ge=0)
    atol: float = Field(ge=0)


class Variant(Frozen):
    """One graph of the version. The server takes the first whose CPU needs hold and whose golden sample passes."""

    file: FileName
    precision: str = Field(min_length=1)
    requires: tuple[str, ...] = ()
    """CPU flags as /proc/cpuinfo names them, such as `avx512_vnni`."""
    tolerance: Tolerance
    batchable: bool
    """False where a row's answer depends on the rows beside it."""


class Metric(Frozen):
    """A measured figure, with its 95 % confidence interval and the baseline that it is compared with."""

    value: float
    ci95: tuple[float, float] | None = None
    baseline: float | None = None


class Compression(Frozen):
    """What was taken out of the network on its way here, and what that cost and gained."""

    removed: dict[str, int] = {}
    fused: dict[str, int] = {}
    quantised: dict[str, int] = {}
    kept_float: tuple[str, ...] = ()
    """Nodes of the graph that int8 would have harmed too much."""
    speedup: dict[str, Metric] = {}
    drop: Metric | None = None


class Link(Frozen):
    """One step of the lineage: the sha256 of what it produced."""

    step: str
    sha256: Sha256


class Lineage(Frozen):
    """Where the version comes from: data -> checkpoint -> fused -> onnx, each by content."""

    chain: tuple[Link, ...]
    versions: dict[str, str]
    seeds: dict[str, int]
    command: str


class Manifest(Frozen):
    """A model version: its files by digest, its signature, its variants, its figures and its origin."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    task: str
    description: str
    created: datetime
    files: dict[FileName, FileDigest]
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    batch_axis: Literal[0] | None = 0
    variants: tuple[Variant, ...] = Field(min_length=1)
    golden: FileName
    metrics: dict[str, Metric] = {}
    compression: Compression = Compression()
    lineage: Lineage

    @model_validator(mode="after")
    def _names_only_listed_files(self) -> "Manifest":
        for name in (*(variant.file for variant in self.variants), self.golden):
            if name not in self.files:
                raise ValueError(f"files: expected an entry for {name}, got none")
        return self

    @model_validator(mode="after")
    def _rows_need_a_free_dimension(self) -> "Manifest":
        for spec in (*self.inputs, *self.outputs):
            if self.batch_axis == 0 and spec.shape[:1] != (-1,):
                raise ValueError(f"batch_axis: expected null, because '{spec.name}' has no free first dimension, got 0")
        return self

    @property
    def signature(self) -> Signature:
        return Signature(inputs=self.inputs, outputs=self.outputs, batch_axis=self.batch_axis)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of a version folder. Raises ManifestInvalid: which field, what was expected, what came."""
        try:
            return cls.model_validate_json((folder / FILENAME).read_bytes())
        except ValidationError as error:
            raise ManifestInvalid(explain(FILENAME, error)) from None
        except OSError as error:
            raise ManifestInvalid(f"{FILENAME} cannot be read: {error.strerror}") from None

    def write(self, folder: Path) -> None:
        """Writes manifest.json, readable and with a stable order of keys."""
        document = self.model_dump(mode="json", exclude_none=True)
        document["batch_axis"] = self.batch_axis  # the one field whose null means something
        text = json.dumps(document, indent=2, ensure_ascii=False)
        (folder / FILENAME).write_text(text + "\n", encoding="utf-8")

    def verify(self, folder: Path) -> None:
        """Holds every listed file against its digest. Raises LoadFailed for the first that differs."""
        for name, listed in self.files.items():
            found = digest(folder / name)
            if found != listed:
                raise LoadFailed(
                    f"{name}: expected sha256 {listed.sha256} ({listed.bytes} bytes), "
                    f"got {found.sha256} ({found.bytes} bytes)"
                )


def digest(path: Path) -> FileDigest:
    """sha256 and size of a file. Raises LoadFailed where it is not a plain file that can be read."""
    if path.is_symlink() or not path.is_file():
        raise LoadFailed(f"{path.name}: expected a plain file, got {'a link' if path.is_symlink() else 'none'}")
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(sha256=sha256, bytes=path.stat().st_size)
    except OSError as error:
        raise LoadFailed(f"{path.name}: {error.strerror}") from None


def explain(source: str, error: ValidationError) -> str:
    """pydantic's findings in one line: file, field, what is wrong, what came."""
    return f"{source}: " + "; ".join(f"{field}: {text}" for field, text in findings(error))


def findings(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Each of pydantic's findings: the field, and what is wrong with what came."""
    for finding in error.errors(include_url=False):
        field = ".".join(str(part) for part in finding["loc"]) or WHOLE
        came = (
            "" if finding["type"] in ("missing", "json_invalid", "value_error") else f", got {finding['input']!r:.80}"
        )
        yield field, f"{finding['msg']}{came}"
