"""Inboxes of tests, and what comes in one turn handled without the fast path."""

import asyncio
from collections.abc import Callable, Sequence

from app.api.connections import Arrival, Handle, Inbox


def one_by_one(arrived: Sequence[Arrival]) -> None:
    for connection, direct, body in arrived:
        connection.infer(direct, body)


def inbox(handle: Handle = one_by_one) -> Inbox:
    """Of whatever event loop runs when something is put into it."""

    def soon(callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    return Inbox(handle, soon)
