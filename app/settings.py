"""Settings of the process: BONSAI_* in the environment, read once, frozen."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.access.keys import Keys
from app.contract.manifest import WHOLE, findings
from app.errors import InvalidInput

PREFIX = "BONSAI_"
NOT_OURS = frozenset({"BONSAI_DATA"})
"""Variables with our prefix that belong to training."""


def _default_state() -> Path:
    """The XDG base directory specification's place for state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bonsai"


def _variable(field: str) -> str:
    """As it is set, and what of its value is meant; of what several settings say together, nothing."""
    if field == WHOLE:
        return "settings"
    name, dot, part = field.partition(".")
    return f"{PREFIX}{name.upper()}{dot}{part}"


class Settings(BaseSettings):
    """Everything that is fixed while the process lives. docs/settings.md lists them; a test holds both equal."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Path = Path("models")
    """Folder of the model repository."""
    state: Path = Field(default_factory=_default_state)
    """The one folder that the server writes to."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and logs it."""
    poll_seconds: float = Field(default=2.0, gt=0)
    """How often the model repository is looked at."""
    max_body_bytes: int = Field(default=16 << 20, ge=1)
    """Largest request body."""
    memory_mb: int | None = Field(default=None, ge=64)
    """What models may take of the memory, weights and runs together; by default three quarters of what there is."""
    read_seconds: float = Field(default=30.0, gt=0)
    """How long a request may take to arrive whole."""
    max_connections: int = Field(default=4096, ge=1)
    """Connections at once."""
    drain_seconds: int = Field(default=30, ge=1)
    """How long the requests that were taken in may take after SIGTERM."""
    keys: Keys | None = None
    """API keys as JSON: an object of what a table of the file of keys holds, by name."""
    keys_file: Path | None = None
    """TOML file of API keys, followed while serving."""
    hosts: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Names that this server answers to, with commas between them; by default local ones where it is bound to this
    machine, else all."""
    tls_certificate: Path | None = None
    """PEM file of the certificate and its chain, to serve https."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text at a terminal, JSON otherwise."""
    log_requests: bool = False
    """A log line for every request."""
    slow_request_ms: float = Field(default=1000.0, gt=0)
    """Requests that take at least this long are always logged."""

    @classmethod
    def load(cls, **given: object) -> "Settings":
        """Settings from the environment; what is given (not None) goes first.

        Raises InvalidInput that names the variable, also for a BONSAI_* variable that is none of ours.
        """
        known = {PREFIX + name.upper() for name in cls.model_fields} | NOT_OURS
        unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
        if unknown:
            raise InvalidInput.field(
                ", ".join(unknown), expected=f"one of {', '.join(sorted(known))}", got="no setting"
            )
        try:
            settings = cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            found = "; ".join(f"{_variable(field)}: {text}" for field, text in findings(error))
            raise InvalidInput(found) from None
        if settings.keys is None and f"{PREFIX}KEYS" in map(str.upper, os.environ):  # it would open every door
            raise InvalidInput.field(f"{PREFIX}KEYS", expected="an object of keys", got="null")
        return settings

    @field_validator("hosts", mode="before")
    @classmethod
    def _splits_at_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip().lower() for name in value.split(",")]
        if not all(names):
            raise ValueError(f"expected names with commas between them, got {value!r}")
        return names

    @field_validator("models", "state", "host", "keys_file", "tls_certificate", "tls_key", mode="before")
    @classmethod
    def _is_not_empty(cls, value: object) -> object:
        # An empty path would be the current folder, an empty host every address.
        if value == "":
            raise ValueError("expected something")
        return value

    @model_validator(mode="after")
    def _a_certificate_needs_its_key(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("expected BONSAI_TLS_CERTIFICATE and BONSAI_TLS_KEY both, got one of them")
        return self
