"""The names that a server answers to."""

from collections.abc import Sequence

import pytest

from app.access.hosts import Hosts
from app.errors import Forbidden


def allows(hosts: Hosts, host: str | None) -> bool:
    try:
        hosts.check(None if host is None else host.encode("latin-1"))
    except Forbidden:
        return False
    return True


LISTED = Hosts(["api.example.org", "*.models.example.org"])


@pytest.mark.parametrize(
    "host",
    [
        "api.example.org", "api.example.org:8000", "API.example.org", "api.example.org.", "a.models.example.org",
        "127.0.0.1", "127.0.0.1:8000", "10.1.2.3", "[::1]", "[::1]:8000", "[2001:db8::1]:443", None, "",
    ],
)  # fmt: skip
def test_names_that_are_listed_and_addresses_pass(host: str | None) -> None:
    assert allows(LISTED, host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.org", "api.example.org.evil.org", "xapi.example.org", "models.example.org", "localhost",
        "127.0.0.1.evil.org", "[evil.org]", "api.example.org@evil.org", "evil.org:80:api.example.org", "é", "0x7f.1",
    ],
)  # fmt: skip
def test_others_do_not(host: str) -> None:
    with pytest.raises(Forbidden, match=r"^host: expected a name that this server answers to"):
        LISTED.check(host.encode("latin-1"))


@pytest.mark.parametrize(
    ("listed", "bound", "local", "other"),
    [
        (None, "127.0.0.1", True, False),
        (None, "::1", True, False),
        (None, "localhost", True, False),
        (None, "0.0.0.0", True, True),
        (None, "10.0.0.1", True, True),
        (None, "::", True, True),
        (["*"], "127.0.0.1", True, True),
        (["bonsai"], "0.0.0.0", False, False),
    ],
)
def test_what_is_allowed_without_a_list_depends_on_where_the_server_is_bound(
    listed: Sequence[str] | None, bound: str, local: bool, other: bool
) -> None:
    hosts = Hosts.of(listed, bound)
    assert [allows(hosts, host) for host in ("localhost:8000", "app.localhost", "evil.org")] == [local, local, other]
