"""What comes in one turn, handled without the fast path."""

from collections.abc import Sequence

from app.api.connections import Arrival


def one_by_one(arrived: Sequence[Arrival]) -> None:
    for connection, direct, body in arrived:
        connection.infer(direct, body)
