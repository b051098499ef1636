"""The least that a Python server can do: bare ASGI on uvicorn, which sends a request's body back.

Run: python -m benchmarks.servers.echo PORT
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.servers.stock import serve

Message = MutableMapping[str, Any]


async def echo(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    serve(echo, int(sys.argv[1]))
