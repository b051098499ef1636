"""The keyring: finds who asks by the key that comes with a request, and follows the file of keys."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.access.bucket import Bottomless, TokenBucket
from app.access.keys import ANONYMOUS, Key, Keys, Scope, digest_of
from app.errors import Forbidden, InvalidInput, Unauthorized

logger = logging.getLogger("bonsai.access")

BOTTOMLESS = Bottomless()


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Whoever asks."""

    name: str
    """Empty where no key came."""
    scopes: frozenset[Scope]
    bucket: Bottomless = BOTTOMLESS
    has_key: bool = True

    def check_known(self) -> None:
        """Raises Unauthorized for NOBODY."""
        if not self.scopes:
            raise Unauthorized("key: expected an API key, got none")

    def check(self, scope: Scope) -> None:
        """Raises Unauthorized where a key has to come, Forbidden where the key that came does not open this."""
        if scope in self.scopes:
            return
        if self.has_key:
            raise Forbidden(f"key: expected one with the scope {scope}, got one with {', '.join(sorted(self.scopes))}")
        raise Unauthorized(f"key: expected an API key with the scope {scope}, got none")


ANYBODY = Caller("", frozenset({Scope.INFER, Scope.METRICS}), has_key=False)
"""Who asks where there are no keys at all."""
NOBODY = Caller("", frozenset(), has_key=False)
"""Who asks without a key where one is needed."""


class Keyring:
    """Callers by their keys. Where neither a key nor a file of keys is given, every request is of ANYBODY."""

    def __init__(self, fixed: Keys | None, file: Path | None) -> None:
        """The keys of the environment, and a file of more. Raises InvalidInput where the file is wrong."""
        self._fixed = {} if fixed is None else fixed.root
        self._file = file
        self._stamp = _stamp(file)
        self._keys: dict[str, Key] = {}
        self._callers: dict[str, Caller] = {}
        self._anonymous = self._nameless = ANYBODY if file is None and fixed is None else NOBODY
        self._listeners: list[Callable[[], None]] = []
        self._take(self._read())

    @property
    def is_open(self) -> bool:
        """Whether anybody may ask."""
        return Scope.INFER in self._anonymous.scopes

    @property
    def has_keys(self) -> bool:
        """Whether there is any key to ask with."""
        return bool(self._callers)

    def on_change(self, listener: Callable[[], None]) -> None:
        """`listener` is called whenever a request may mean another caller than before."""
        self._listeners.append(listener)

    def find(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Whose request this is, by `Authorization: Bearer` or `X-API-Key`. Raises Unauthorized for an unknown key."""
        key = _presented(headers)
        if key is None or not self._callers:  # a client may bring a key to a server that asks for none
            return self._anonymous
        asked = digest_of(key)
        found = None
        for digest, caller in self._callers.items():
            if hmac.compare_digest(digest, asked):
                found = caller
        if found is None:
            raise Unauthorized("key: expected one that is known here, got another")
        return found

    async def follow(self, poll_seconds: float) -> None:
        """Rereads the file whenever it has changed, until it is cancelled. A wrong one leaves the keys as they are."""
        while self._file is not None:
            await asyncio.sleep(poll_seconds)
            stamp = await asyncio.to_thread(_stamp, self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                self.refresh()

    def refresh(self) -> None:
        """Reads the file again."""
        try:
            self._take(self._read())
        except InvalidInput as error:
            logger.error("the keys stay as they were: %s", error)
            return
        logger.info("keys read", extra={"fields": {"keys": ", ".join(sorted(self._keys)) or "none"}})
        for listener in self._listeners:
            listener()

    def _read(self) -> dict[str, Key]:
        filed = {} if self._file is None else Keys.read(self._file).root
        if twice := sorted(filed.keys() & self._fixed.keys()):
            raise InvalidInput(f"keys: expected each name once, got {', '.join(twice)} in BONSAI_KEYS and in the file")
        return Keys.of(filed | self._fixed).root

    def _take(self, keys: dict[str, Key]) -> None:
        """Whoever is as before keeps the bucket."""
        before = {caller.name: caller for caller in self._callers.values()} | {ANONYMOUS: self._anonymous}
        callers = {
            name: before[name] if name in before and self._keys.get(name) == key else _caller(name, key)
            for name, key in keys.items()
        }
        self._keys = keys
        self._anonymous = callers.pop(ANONYMOUS, self._nameless)
        self._callers = {keys[name].sha256 or "": caller for name, caller in callers.items()}


def _caller(name: str, key: Key) -> Caller:
    rate = key.requests_per_second
    bucket = BOTTOMLESS if rate is None else TokenBucket(rate, key.burst or max(1, round(rate)))
    is_anonymous = name == ANONYMOUS
    return Caller("" if is_anonymous else name, key.scopes, bucket, has_key=not is_anonymous)


def _presented(headers: Mapping[bytes, bytes]) -> str | None:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    given = key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key")
    return None if given is None else given.decode(errors="surrogateescape")


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """What changes whenever the file is written anew; None where there is none."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
