"""Inboxes of tests, and what comes in one turn handled without the fast path."""

import time
from collections.abc import Sequence

from app.api.busy_poll import BusyPoll
from app.api.connections import Arrival, Handle, Inbox
from app.turns import soon


def asleep() -> BusyPoll:
    """Busy polling without a loop that would poll."""
    return BusyPoll(lambda _: None, time.monotonic)


def one_by_one(arrived: Sequence[Arrival]) -> None:
    for connection, direct, body in arrived:
        connection.infer(direct, body)


def inbox(handle: Handle = one_by_one) -> Inbox:
    """Of whatever event loop runs when something is put into it."""
    return Inbox(handle, soon)
