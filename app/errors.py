"""Everything that can go wrong, as one tree.

BonsaiError
├── InvalidInput          the request is wrong: which field, what was expected, what came
│   └── NotRepresentable  the answer holds a value that the format asked for cannot carry
├── Unauthorized          a key is missing, or is none that is known here
├── Forbidden             a door that is closed to this request
├── NotFound              no such model or version
├── TooLarge              over a size limit
├── UnsupportedMedia      a content type or encoding that this door does not read
├── Unsupported           part of a standard that this server does not offer
├── Unavailable           not now; `retry_after` says when to come back
│   ├── NotReady          the model is loading or could not be loaded
│   ├── RateLimited       this caller has asked too often
│   ├── Overloaded        the queue is full, or the answer would come after its deadline
│   └── Draining          the server is stopping
├── DeadlineExceeded      the request's time ran out before it was answered
├── ExecutionFailed       the graph raised while it ran
└── LoadFailed            a model version cannot be served: the message says why
    └── ManifestInvalid   manifest.json or deployments.toml is wrong

`code` is a protocol-free name; `app.api.status` maps it to HTTP. A message is written for the caller:
it never holds a path, an address or a traceback.
"""

from typing import ClassVar


def clip(text: str, limit: int = 200) -> str:
    """One printable line of at most `limit` characters: what a client sends may be neither."""
    short = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in short)


class BonsaiError(Exception):
    """Root of everything that Bonsai raises on purpose."""

    code: ClassVar[str] = "internal"

    @classmethod
    def of(cls, fault: Exception) -> "BonsaiError":
        """The fault itself where it is meant for the caller; else an error that tells nothing and has it as cause."""
        if isinstance(fault, BonsaiError):
            return fault
        error = BonsaiError("the server failed on this request")
        error.__cause__ = fault
        return error


class InvalidInput(BonsaiError):
    code = "invalid_input"

    @classmethod
    def field(cls, name: str, *, expected: str, got: str) -> "InvalidInput":
        """The one form of a complaint about a field."""
        return cls(f"{clip(name)}: expected {clip(expected, 400)}, got {clip(got)}")


class NotRepresentable(InvalidInput):
    code = "not_representable"


class Unauthorized(BonsaiError):
    code = "unauthorized"


class Forbidden(BonsaiError):
    code = "forbidden"


class NotFound(BonsaiError):
    code = "not_found"


class TooLarge(BonsaiError):
    code = "too_large"


class UnsupportedMedia(BonsaiError):
    code = "unsupported_media"


class Unsupported(BonsaiError):
    code = "unsupported"


class Unavailable(BonsaiError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which a new attempt makes sense."""


class NotReady(Unavailable):
    code = "not_ready"


class RateLimited(Unavailable):
    code = "rate_limited"


class Overloaded(Unavailable):
    code = "overloaded"

    def __init__(self, message: str, *, reason: str = "queue_full", retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason = reason
        """`queue_full`, `deadline` where the answer would come too late, or `connections` where there are too many."""


class Draining(Unavailable):
    code = "draining"


class DeadlineExceeded(BonsaiError):
    code = "deadline_exceeded"


class ExecutionFailed(BonsaiError):
    code = "execution_failed"


class LoadFailed(BonsaiError):
    code = "load_failed"


class ManifestInvalid(LoadFailed):
    code = "manifest_invalid"
