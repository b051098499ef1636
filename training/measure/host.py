"""What the CPU at hand can do, so that nothing is measured where its answers would be wrong."""

from collections.abc import Collection

from app.runtime import cpu


def missing(requires: Collection[str]) -> tuple[str, ...]:
    """The CPU flags among `requires` that this host does not have; all of them where its flags cannot be read."""
    return tuple(sorted(set(requires) - cpu.flags()))
