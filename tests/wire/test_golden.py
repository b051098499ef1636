"""The golden bytes, sent and compared as they are, and held against what tritonclient sends."""

import http.client

import numpy as np
import pytest

from tests.wire.golden import EXCHANGES, LENGTH, Exchange


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
def test_these_bytes_are_answered_with_those(address: str, exchange: Exchange) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", exchange.path, exchange.request, exchange.request_headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert (answer.status, body) == (exchange.status, exchange.answer)
    for name, value in exchange.answer_headers.items():
        assert answer.getheader(name) == value
    assert (answer.getheader(LENGTH) is None) == (LENGTH not in exchange.answer_headers)


def test_tritonclient_sends_the_golden_bytes() -> None:
    triton = pytest.importorskip(
        "tritonclient.http", reason="tritonclient is not installed here: make wire", exc_type=ImportError
    )
    inputs = []
    for name, values in (("a", [[1, 2, 3, -1]]), ("b", [[10, 20, 30, 40]])):
        inputs.append(triton.InferInput(name, [1, 4], "INT32"))
        inputs[-1].set_data_from_numpy(np.array(values, np.int32))
    body, length = triton.InferenceServerClient.generate_request_body(inputs, request_id="7")
    golden = EXCHANGES["tritonclient"]
    assert (body, str(length)) == (golden.request, golden.request_headers[LENGTH])
