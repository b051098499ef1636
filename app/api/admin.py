"""The administrator's doors: who may change what the server does, and a line in the log for whoever tried."""

import logging
from collections.abc import AsyncIterator

from fastapi import Request

from app.access.keys import Scope
from app.api.asgi import Scope as Connection
from app.api.scopes import caller_of
from app.errors import BonsaiError, UnsupportedMedia, clip

logger = logging.getLogger("bonsai.audit")

ADMIN = "/v2/repository/models/"
"""Below this path lie the doors that change what the server does."""
BROWSERS = ("origin", "sec-fetch-site")
"""Headers that a browser sends with every POST and no script can take away (https://fetch.spec.whatwg.org)."""


async def admin(request: Request) -> AsyncIterator[None]:
    """Stands before every door that changes the server's state, and says afterwards what came of it.

    Raises Unauthorized and Forbidden as `Caller.check` does, UnsupportedMedia for what a page of another site could
    send: it can have a browser post a form, text or bytes, but no JSON. Other clients may name any type or none.
    """
    caller = caller_of(request)
    outcome = "ended early"
    try:
        caller.check(Scope.ADMIN)
        _check_origin(request)
        yield
        outcome = "ok"
    except BonsaiError as error:
        outcome = error.code
        raise
    finally:
        audit(request.scope, caller.name, outcome)


def audit(scope: Connection, name: str, outcome: str) -> None:
    """Logs an act, or an attempt at one: whose it was, what, and what came of it, by error code."""
    client = scope.get("client")
    fields = {"act": f"{scope['method']} {clip(scope['path'])}", "key": name or "none"}
    fields |= {"peer": client[0] if client else "", "outcome": outcome}
    logger.info("admin", extra={"fields": fields})


def _check_origin(request: Request) -> None:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and any(name in request.headers for name in BROWSERS):
        raise UnsupportedMedia(f"content-type: expected application/json, got {clip(media_type) or 'none'}")
