"""The names that this server answers to."""

import ipaddress
from collections.abc import Sequence

from app.errors import Forbidden, clip

ANY = "*"
LOCAL = ("localhost", "*.localhost")


class Hosts:
    """An allow-list of host names, against DNS rebinding: a page of another site whose name has been made to point here
    can ask like a page of this one, but says its own name. An address is always allowed: it cannot be rebound."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Names in lower case; `*.example.org` stands for every name below it, `*` for every name."""
        self._any = ANY in allowed
        self._names = {name for name in allowed if not name.startswith("*.")}
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    @classmethod
    def of(cls, listed: Sequence[str] | None, bound: str) -> "Hosts":
        """Those that are listed. Without a list: local names for a server that is bound to this machine, else all."""
        return cls(listed or (LOCAL if _is_local(bound) else (ANY,)))

    def check(self, host: bytes | None) -> None:
        """Holds a Host header against the list; whoever names none is no browser and may pass. Raises Forbidden."""
        if not host or self._any:
            return
        name = _name(host.decode("latin-1"))
        if name in self._names or _is_address(name) or (self._suffixes and name.endswith(self._suffixes)):
            return
        raise Forbidden(f"host: expected a name that this server answers to (BONSAI_HOSTS), got '{clip(name, 80)}'")


def _name(host: str) -> str:
    """Without port, brackets and the dot of the root."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(bound: str) -> bool:
    return bound == "localhost" or (_is_address(bound) and ipaddress.ip_address(bound).is_loopback)
