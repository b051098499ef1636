"""Keys, names and rates at the doors of the whole application, under the plain ASGI carrier."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access.keys import Keys, Scope
from tests import graphs
from tests.api.application import Application, running
from tests.keys import DOCUMENT, KEY, KEYS, SCOPED, WITH_KEY
from tests.metrics import value
from tests.publishing import publish

PROBES = ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready"]
READING = [
    "/v2", "/v2/models", "/v2/models/m", "/v2/models/m/ready", "/v2/models/m/config", "/v2/models/m/stats",
    "/v2/models/stats", "/openapi.json", "/docs",
]  # fmt: skip
CHANGING = ["/v2/repository/models/m/load", "/v2/repository/models/m/unload"]
BODY = b'{"inputs": [[1, 2, 3, 4]]}'


def publish_m(models: Path, state: Path) -> None:
    publish(models / "m" / "1", graphs.linear(models.parent / "graph" / "model.onnx"), state / "graphs")


@pytest.fixture
def closed(models: Path, state: Path) -> Iterator[Application]:
    publish_m(models, state)
    with running(models, state, keys=KEYS) as application:
        yield application


def statuses(application: Application, **headers: str) -> dict[str, int]:
    """What each kind of door answers."""
    found = {path: application.request("GET", path, headers=headers).status_code for path in [*READING, "/metrics"]}
    found["/predict"] = application.post("/predict", BODY, **headers).status_code
    found["load"] = application.post(CHANGING[0], b"{}", **headers).status_code
    return found


def test_probes_need_no_key_and_no_name_of_ours(closed: Application) -> None:
    for path in PROBES:
        assert closed.request("GET", path, headers={"Host": "probe.example.org"}).status_code == 200


def test_without_a_key_every_other_door_is_401_and_says_which_scheme(closed: Application) -> None:
    assert set(statuses(closed).values()) == {401}
    for answer in (closed.get("/v2"), closed.post("/predict", BODY), closed.get("/nothing"), closed.post(CHANGING[1])):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json().keys() == {"error"}


def test_an_unknown_key_is_401_everywhere(closed: Application) -> None:
    assert set(statuses(closed, Authorization="Bearer bonsai_wrong").values()) == {401}


@pytest.mark.parametrize("headers", [WITH_KEY, {"Authorization": f"Bearer {KEY}"}], ids=["x-api-key", "bearer"])
def test_a_key_with_every_scope_opens_every_door(closed: Application, headers: dict[str, str]) -> None:
    assert set(statuses(closed, **headers).values()) == {200}


@pytest.mark.parametrize(
    ("scope", "opens"), [(Scope.INFER, "/predict"), (Scope.METRICS, "/metrics"), (Scope.ADMIN, "load")]
)
def test_a_scope_opens_its_doors_and_those_that_only_tell(closed: Application, scope: Scope, opens: str) -> None:
    found = statuses(closed, **{"X-API-Key": SCOPED[scope]})
    assert {door for door, status in found.items() if status == 200} == {*READING, opens}
    assert {status for status in found.values() if status != 200} == {403}


def test_open_control_plane(models: Path, state: Path) -> None:
    publish_m(models, state)
    with running(models, state) as application:
        found = statuses(application)
        assert found.pop("load") == 401
        assert set(found.values()) == {200}
        for path in CHANGING:
            assert application.post(path, b"no json").status_code == 401  # nothing of it is read
        assert application.get("/v2/models/m/ready").status_code == 200


def test_a_key_that_is_revoked_opens_nothing_any_more_also_for_heads_that_are_known(models: Path, state: Path) -> None:
    publish_m(models, state)
    file = models.parent / "keys.toml"
    file.write_text(KEYS.toml())
    with running(models, state, keys_file=file, poll_seconds=1e6) as application:
        for _ in range(3):
            assert application.post("/predict", BODY, **WITH_KEY).status_code == 200
        file.write_text(Keys.of({name: entry for name, entry in DOCUMENT.items() if name != "everything"}).toml())
        application.parts.inference.access.keyring.refresh()
        assert application.post("/predict", BODY, **WITH_KEY).status_code == 401
        assert application.post("/predict", BODY, **{"X-API-Key": SCOPED[Scope.INFER]}).status_code == 200


def test_a_rate_holds_over_all_doors_of_a_key_and_for_nobody_else(models: Path, state: Path) -> None:
    publish_m(models, state)
    slow = DOCUMENT["everything"] | {"requests_per_second": 0.01, "burst": 3}
    with running(models, state, keys=Keys.of(DOCUMENT | {"everything": slow})) as application:
        assert [application.post("/predict", BODY, **WITH_KEY).status_code for _ in range(2)] == [200, 200]
        assert application.request("GET", "/v2", headers=WITH_KEY).status_code == 200
        for refused in (
            application.post("/predict", BODY, **WITH_KEY),
            application.request("GET", "/v2", headers=WITH_KEY),
        ):
            assert refused.status_code == 429
            assert 90 <= int(refused.headers["retry-after"]) <= 100
            assert "at most 0.01 requests a second" in refused.json()["error"]
        assert application.post("/predict", BODY, **{"X-API-Key": SCOPED[Scope.INFER]}).status_code == 200
        exposition = application.parts.inference.access and application.request(
            "GET", "/metrics", headers={"X-API-Key": SCOPED[Scope.METRICS]}
        )
        assert value(exposition.text, "bonsai_requests_total", code="rate_limited", model="", version="") == 1


@pytest.mark.parametrize("path", [*READING, "/metrics", "/predict", *CHANGING])
def test_a_name_that_is_not_this_servers_is_refused(closed: Application, path: str) -> None:
    """DNS rebinding: a page of evil.example whose name points here now."""
    method = "POST" if path in ("/predict", *CHANGING) else "GET"
    answer = closed.request(method, path, headers=WITH_KEY | {"Host": "evil.example:8000"})
    assert answer.status_code == 403
    assert "(BONSAI_HOSTS), got 'evil.example'" in answer.json()["error"]


def test_names_that_are_listed(models: Path, state: Path) -> None:
    publish_m(models, state)
    with running(models, state, hosts=("bonsai.example",)) as application:
        for host, status in (("bonsai.example", 200), ("127.0.0.1:8000", 200), ("localhost", 403)):
            assert application.post("/predict", BODY, Host=host).status_code == status
            assert application.request("GET", "/v2", headers={"Host": host}).status_code == status


def test_a_browser_is_told_to_guess_frame_and_run_nothing(closed: Application) -> None:
    for path in ["/v2", "/nothing", *PROBES]:
        found = closed.request("GET", path, headers=WITH_KEY).headers
        assert found["x-content-type-options"] == "nosniff"
        assert found["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert found["referrer-policy"] == "no-referrer"
    page = closed.request("GET", "/docs", headers=WITH_KEY).headers["content-security-policy"]
    assert page.startswith("default-src 'none'; frame-ancestors 'none'; script-src")


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    return [record.__dict__["fields"] for record in caplog.records if record.name == "bonsai.audit"]


def test_every_administrative_act_and_attempt_is_in_the_log(
    closed: Application, caplog: pytest.LogCaptureFixture
) -> None:
    acts = [
        (WITH_KEY, "/v2/repository/models/m/unload", b"{}", 200, "everything", "ok"),
        (WITH_KEY, "/v2/repository/models/m/load", b"{}", 200, "everything", "ok"),
        (WITH_KEY, "/v2/repository/models/none/load", b"{}", 404, "everything", "not_found"),
        (WITH_KEY, "/v2/repository/models/m/load", b"no json", 400, "everything", "invalid_input"),
        ({"X-API-Key": SCOPED[Scope.INFER]}, CHANGING[0], b"{}", 403, "only-infer", "forbidden"),
        ({"X-API-Key": "bonsai_wrong"}, CHANGING[0], b"{}", 401, "none", "unauthorized"),
        ({}, CHANGING[0], b"{}", 401, "none", "unauthorized"),
    ]
    for headers, path, body, status, key, outcome in acts:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert closed.post(path, body, **headers).status_code == status
        assert audited(caplog) == [{"act": f"POST {path}", "key": key, "peer": "127.0.0.1", "outcome": outcome}]
        assert KEY not in caplog.text
