"""Inboxes of tests, and what comes in one turn handled without the fast path."""

from collections.abc import Sequence

from app.api.connections import Arrival, Handle, Inbox
from app.turns import soon


def one_by_one(arrived: Sequence[Arrival]) -> None:
    for connection, direct, body in arrived:
        connection.infer(direct, body)


def inbox(handle: Handle = one_by_one) -> Inbox:
    """Of whatever event loop runs when something is put into it."""
    return Inbox(handle, soon)
