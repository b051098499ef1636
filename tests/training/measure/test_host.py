"""What a host lacks is named."""

import pytest

from app.runtime import cpu
from training.measure.host import missing


def test_flags_that_are_not_there_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"avx2", "fma"}))
    assert missing(()) == ()
    assert missing(("fma", "avx2")) == ()
    assert missing(("avx512_vnni", "avx2", "amx_int8")) == ("amx_int8", "avx512_vnni")
