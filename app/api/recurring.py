"""What clients send over and over, remembered so that it is read once."""

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recurring(dict[K, V]):
    """Remembers what came a second time. What is new with every request, such as a head with an id or a trace in it,
    comes once, and must not push out what does come again."""

    MOST = 1024
    LONGEST = 2 << 10
    """Bytes of a key."""

    def __init__(self) -> None:
        super().__init__()
        self._once: set[int] = set()
        """Hashes of the keys that came once."""

    def keep(self, key: K, size: int, value: V) -> None:
        """To be called where `key`, of `size` bytes, was not known."""
        if size > self.LONGEST:
            return
        mark = hash(key)
        if mark not in self._once:
            if len(self._once) >= self.MOST:
                self._once.clear()
            self._once.add(mark)
            return
        self._once.remove(mark)
        if len(self) >= self.MOST:
            self.clear()
        self[key] = value
