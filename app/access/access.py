"""Access to the doors, by the headers of a request alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.access.hosts import ANY, Hosts
from app.access.keyring import Caller, Keyring


@dataclass(frozen=True, slots=True)
class Access:
    """What every door asks of a request before it looks at anything else of it."""

    keyring: Keyring
    hosts: Hosts

    @classmethod
    def unrestricted(cls) -> "Access":
        """No keys, any name."""
        return cls(Keyring(None, None), Hosts([ANY]))

    def identify(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Whose request this is. Raises Forbidden for a name that is not this server's, Unauthorized for an unknown
        key."""
        self.hosts.check(headers.get(b"host"))
        return self.keyring.find(headers)
