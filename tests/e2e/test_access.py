"""Access to a server process: keys that come and go, rates, names, TLS."""

import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme
from typer.testing import CliRunner

from app.access.keys import Keys
from app.cli import app as commands
from tests import graphs
from tests.http.carriers import COMMANDS
from tests.keys import DOCUMENT, ENVIRONMENT, KEY, KEYS, WITH_KEY
from tests.serving import serving, starting, wait_for

BODY = {"inputs": [[1, 2, 3, 4]]}
both_carriers = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access") / "models"
    graphs.linear(folder / "m" / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A certificate for 127.0.0.1, its key, and the certificate of who signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return folder / "certificate.pem", folder / "key.pem", folder / "authority.pem"


def post(client: httpx.Client, **headers: str) -> int:
    return client.post("/predict", json=BODY, headers=headers).status_code


@both_carriers
def test_a_key_that_is_added_or_revoked_counts_on_connections_that_are_there(
    command: tuple[str, ...], models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    with serving(models, command=command, BONSAI_STATE=str(tmp_path), BONSAI_KEYS_FILE=str(file)) as server:
        with httpx.Client(base_url=server.url) as client:
            assert post(client, **WITH_KEY) == 401
            file.write_text(KEYS.toml())
            wait_for(lambda: post(client, **WITH_KEY) == 200, "the key to be known")
            assert [post(client, **WITH_KEY) for _ in range(3)] == [200] * 3  # its head is known by now
            file.write_text("")
            wait_for(lambda: post(client, **WITH_KEY) == 401, "the key to be revoked")
            file.write_text("[broken")
            wait_for(lambda: any("stay as they were" in line["message"] for line in server.logs), "the complaint")
        assert not any(KEY in json.dumps(line) for line in server.logs)


@both_carriers
def test_no_more_requests_than_the_burst_among_connections(
    command: tuple[str, ...], models: Path, tmp_path: Path
) -> None:
    limited = {**DOCUMENT["everything"], "requests_per_second": 0.001, "burst": 20}
    keys = json.dumps(DOCUMENT | {"everything": limited})
    with serving(models, command=command, BONSAI_STATE=str(tmp_path), BONSAI_KEYS=keys) as server:

        def ask(_: int) -> list[int]:
            with httpx.Client(base_url=server.url) as client:
                return [post(client, **WITH_KEY) for _ in range(10)]

        with ThreadPoolExecutor(4) as pool:
            statuses = [status for found in pool.map(ask, range(4)) for status in found]
        assert (statuses.count(200), statuses.count(429), len(statuses)) == (20, 20, 40)


@both_carriers
def test_dns_rebinding(command: tuple[str, ...], models: Path, tmp_path: Path) -> None:
    with serving(models, command=command, BONSAI_STATE=str(tmp_path)) as server, httpx.Client() as client:
        for _ in range(2):
            for host, status in (("evil.example", 403), ("localhost", 200)):
                answer = client.post(f"{server.url}/predict", json=BODY, headers={"Host": host})
                assert answer.status_code == status
                assert answer.headers.get("x-content-type-options", "nosniff") == "nosniff"


def test_an_absolute_target_names_the_host(models: Path, tmp_path: Path) -> None:
    """RFC 9112, section 3.2.2: then the Host header does not count."""
    with serving(models, BONSAI_STATE=str(tmp_path)) as server, httpx.Client() as client:
        for target, status in ((b"http://evil.example/predict", 403), (b"http://localhost/predict", 200)):
            answer = client.request("POST", server.url, json=BODY, extensions={"target": target})
            assert answer.status_code == status


def test_https(models: Path, tmp_path: Path, certificate: tuple[Path, Path, Path]) -> None:
    cert, key, authority = certificate
    settings = {"BONSAI_TLS_CERTIFICATE": str(cert), "BONSAI_TLS_KEY": str(key), "BONSAI_KEYS": ENVIRONMENT}
    trusting = ssl.create_default_context(cafile=str(authority))
    with starting(models, BONSAI_STATE=str(tmp_path), **settings) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=server.url, verify=trusting) as client:
            wait_for(lambda: client.get("/readyz").status_code == 200, "/readyz to be 200")
            assert [post(client, **WITH_KEY) for _ in range(3)] == [200] * 3
            assert post(client) == 401
            large = client.post("/predict", json={"inputs": [[1, 2, 3, 4]] * 4_000}, headers=WITH_KEY)
            assert len(large.json()["outputs"]["y"]) == 4_000
            for _ in range(3):  # larger than what the socket gives at once; its head is known in the end
                larger = client.post("/predict", content=b" " * 900_000 + json.dumps(BODY).encode(), headers=WITH_KEY)
                assert larger.status_code == 200, larger.text
        with pytest.raises(httpx.HTTPError):  # not in clear
            httpx.get(server.url.replace("https", "http") + "/livez")
        with httpx.Client(base_url=server.url, verify=trusting) as client:
            assert client.get("/livez").status_code == 200
        assert server.stop() == 0


def test_a_certificate_that_is_none_stops_the_start(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "no.pem"
    file.write_text("no PEM")
    settings = {"BONSAI_TLS_CERTIFICATE": str(file), "BONSAI_TLS_KEY": str(file)}
    refused = pytest.raises(AssertionError, match="bonsai: BONSAI_TLS_CERTIFICATE, BONSAI_TLS_KEY: ")
    with refused, starting(models, BONSAI_STATE=str(tmp_path), **settings):
        pass


@pytest.mark.parametrize(
    ("host", "keys", "warning"),
    [
        ("127.0.0.1", None, None),
        ("0.0.0.0", None, "whoever reaches this address may ask: no API key is needed"),
        ("0.0.0.0", ENVIRONMENT, "API keys are sent in clear: serve TLS, or let a proxy do it"),
    ],
)
def test_what_an_operator_may_not_have_meant_is_said(
    host: str, keys: str | None, warning: str | None, models: Path, tmp_path: Path
) -> None:
    given = {} if keys is None else {"BONSAI_KEYS": keys}
    with serving(models, BONSAI_STATE=str(tmp_path), BONSAI_HOST=host, **given) as server:
        warnings = [line["message"] for line in server.logs if line["level"] == "warning"]
    assert warnings == ([] if warning is None else [warning])


def test_a_key_made_at_the_command_line_opens_the_server(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = CliRunner().invoke(commands, ["keys", "new", "alice", "--scope", "infer", "--file", str(file)])
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert key not in file.read_text()
    assert Keys.read(file).root["alice"].scopes == {"infer"}
    running = serving(models, BONSAI_STATE=str(tmp_path), BONSAI_KEYS_FILE=str(file))
    with running as server, httpx.Client(base_url=server.url) as client:
        assert post(client, Authorization=f"Bearer {key}") == 200
        assert post(client) == 401
