"""The doorkeeper before every door but inference, which has its own: who asks, and what a browser may do with the
answer."""

from collections.abc import Callable

from app.access.access import Access
from app.access.keyring import Caller
from app.api.admin import ADMIN, audit
from app.api.asgi import Application, Message, Receive, Scope, Send, write
from app.api.health import PROBES
from app.api.scopes import CALLER
from app.api.status import answer_to
from app.errors import BonsaiError

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_DOCS = "/docs"
_DOCS_POLICY = (
    _POLICY + b"; script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' "
    b"https://cdn.jsdelivr.net; img-src data: https://fastapi.tiangolo.com; connect-src 'self'"
)
"""What FastAPI's page loads."""


class Doorkeeper:
    """An ASGI application in front of another. Without a key that is known nobody gets past it, except to PROBES; which
    scope a door takes, its route says. HEAD is answered wherever GET is (RFC 9110, section 9.1)."""

    def __init__(self, access: Access, application: Application, clock: Callable[[], float]) -> None:
        self._access = access
        self._application = application
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        guarded = _with_policy(scope["path"], send)
        if scope["path"] not in PROBES:
            try:
                scope.setdefault("state", {})[CALLER] = self._admit(scope)
            except BonsaiError as error:
                if scope["path"].startswith(ADMIN):
                    audit(scope, "", error.code)
                await write(answer_to(error), guarded)
                return
        await self._application(scope, receive, guarded)

    def _admit(self, scope: Scope) -> Caller:
        caller = self._access.identify(dict(scope["headers"]))
        caller.check_known()
        caller.bucket.take(self._clock())
        return caller


def _without_body(send: Send) -> Send:
    async def head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return head


def _with_policy(path: str, send: Send) -> Send:
    """Adds headers that tell a browser to run, frame and guess nothing (https://www.w3.org/TR/CSP3/)."""
    policy = _DOCS_POLICY if path == _DOCS else _POLICY
    added = [NO_SNIFFING, (b"content-security-policy", policy), (b"referrer-policy", b"no-referrer")]

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return guarded
