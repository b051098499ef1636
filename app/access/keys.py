"""API keys: the document that lists them by digest, and how one is made."""

import hashlib
import json
import secrets
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel, ValidationError, model_validator

from app.contract.manifest import NAME_PATTERN, Sha256, explain
from app.contract.tensors import Frozen
from app.errors import InvalidInput

ANONYMOUS = "anonymous"
"""The name that stands for requests without a key."""
PREFIX = "bonsai_"
"""Keys begin with it, so that whoever finds one knows what it is."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Scope(StrEnum):
    """What a key opens. Metadata, configuration and statistics are open to every key."""

    INFER = "infer"
    ADMIN = "admin"
    METRICS = "metrics"


class Key(Frozen):
    """One key: its digest and what it opens."""

    sha256: Sha256 | None = None
    """Of the key's bytes. A key has 256 random bits, so there is nothing that a slow or salted hash would add."""
    scopes: frozenset[Annotated[Scope, Field(strict=False)]] = Field(strict=False, min_length=1)
    requests_per_second: float | None = Field(default=None, gt=0)
    """By default no limit."""
    burst: int | None = Field(default=None, ge=1)
    """Requests that may come at once; by default those of one second."""

    @model_validator(mode="after")
    def _a_burst_needs_a_rate(self) -> "Key":
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst: expected requests_per_second beside it, got none")
        return self


class Keys(RootModel[dict[Name, Key]]):
    """Keys by the name of whoever holds them."""

    @model_validator(mode="after")
    def _anonymous_has_no_key(self) -> "Keys":
        for name, key in self.root.items():
            if (key.sha256 is None) != (name == ANONYMOUS):
                raise ValueError(f"{name}.sha256: expected {'none' if name == ANONYMOUS else 'the digest of a key'}")
            if name == ANONYMOUS and Scope.ADMIN in key.scopes:
                raise ValueError(f"{name}.scopes: expected no admin, what changes the server takes a key")
        return self

    @model_validator(mode="after")
    def _each_key_has_one_holder(self) -> "Keys":
        digests = [key.sha256 for key in self.root.values()]
        for name, key in self.root.items():
            if digests.count(key.sha256) > 1:
                raise ValueError(f"{name}.sha256: expected a key of its own, got that of another")
        return self

    @classmethod
    def of(cls, document: object, source: str = "keys") -> "Keys":
        """Raises InvalidInput: which field, what was expected, what came."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InvalidInput(explain(source, error)) from None

    @classmethod
    def read(cls, file: Path) -> "Keys":
        """The keys of a TOML file, a table each. Raises InvalidInput."""
        try:
            text = file.read_text(encoding="utf-8")
            return cls.of(tomllib.loads(text), file.name)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file.name}: {error}") from None
        except OSError as error:
            raise InvalidInput(f"{file.name} cannot be read: {error.strerror}") from None

    def toml(self) -> str:
        """As `read` takes it."""
        return "\n".join(_table(name, key) for name, key in self.root.items())


def _table(name: str, key: Key) -> str:
    fields = key.model_dump(mode="json", exclude_none=True)
    fields["scopes"].sort()
    lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items()]  # what these hold is TOML as well
    return "\n".join([f"[{json.dumps(name) if '.' in name else name}]", *lines, ""])


def append(keys: Keys, file: Path) -> None:
    """Adds keys to a file, which is there whole at every instant and is for its owner alone. Raises InvalidInput."""
    there = Keys.read(file) if file.exists() else Keys({})
    if twice := sorted(there.root.keys() & keys.root.keys()):
        raise InvalidInput(f"{file.name}: expected no key of that name, got {', '.join(twice)}")
    before = file.read_text(encoding="utf-8").rstrip("\n") if file.exists() else ""
    staged = file.with_name(f".{file.name}.new")
    try:
        staged.touch(mode=0o600)
        staged.write_text("\n\n".join(filter(None, [before, keys.toml()])), encoding="utf-8")
        staged.replace(file)
    except OSError as error:
        raise InvalidInput(f"{file.name} cannot be written: {error.strerror}") from None


def new() -> str:
    """A key of 256 random bits, as text that is safe in a header."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
