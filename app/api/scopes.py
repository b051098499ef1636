"""What a route takes: a key with a scope."""

from fastapi import Request

from app.access.keyring import Caller
from app.access.keys import Scope

CALLER = "caller"
"""Under this name the doorkeeper leaves who asks."""


def caller_of(request: Request) -> Caller:
    """Whoever the doorkeeper has let in."""
    caller: Caller = getattr(request.state, CALLER)
    return caller


class Needs:
    """A dependency of a route. Raises what `Caller.check` raises."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, request: Request) -> None:
        caller_of(request).check(self._scope)
