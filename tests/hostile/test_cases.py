"""Hostile and careless requests on real sockets: what each is answered, and that it harms nobody.

Every case runs on its own connection, while a neighbour goes on asking. What is a matter of framing runs under
`bonsai serve` alone: under another ASGI server it is that server's.
"""

import pytest

from tests.hostile.case import Case
from tests.hostile.cases import CASES
from tests.hostile.witness import Witness, assert_answered, assert_goes_on_or_ends, memory
from tests.http.wire import Wire

MOST_GROWTH = 30
"""Megabytes, over the whole list and from the first request on."""


_REQUESTS = {name: case for name, case in CASES.items() if not case.is_framing}
_FRAMING = {name: case for name, case in CASES.items() if case.is_framing}


@pytest.mark.parametrize("case", _REQUESTS.values(), ids=_REQUESTS)
def test_a_request_is_answered_and_harms_nobody(case: Case, witness: Witness, wire: Wire) -> None:
    _play(case, witness, wire)


@pytest.mark.parametrize("witness", ["protocol"], indirect=True)
@pytest.mark.parametrize("case", _FRAMING.values(), ids=_FRAMING)
def test_bytes_are_answered_and_harm_nobody(case: Case, witness: Witness, wire: Wire) -> None:
    _play(case, witness, wire)


def _play(case: Case, witness: Witness, wire: Wire) -> None:
    reply = wire.send(case.sent).reply(case.method)
    assert_answered(case, reply)
    assert_goes_on_or_ends(reply, wire)
    witness.assert_unharmed()


def test_afterwards_memory_has_not_grown(witness: Witness) -> None:
    assert memory(witness.carrier) - witness.memory_at_first <= MOST_GROWTH
    assert witness.answered > len(CASES) / 10
