"""How many strings a tensor may have."""

from app.errors import TooLarge, clip

MOST_STRINGS = 1 << 17
"""Strings are read and written one by one, on the event loop: so many take some 50 ms, in which nobody else is served.
A body of empty ones would hold millions."""


def check(count: int, field: str) -> None:
    """Raises TooLarge."""
    if count > MOST_STRINGS:
        raise TooLarge(f"{clip(field)}: expected at most {MOST_STRINGS} strings, got {clip(str(count))}")
