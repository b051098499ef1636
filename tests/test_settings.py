"""Settings: BONSAI_* variables, read once, loud and frozen."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.access.keys import Keys
from app.errors import InvalidInput
from app.settings import Settings

ENTRY = {"sha256": "0" * 64, "scopes": ["infer"]}
READ: dict[str, tuple[str, object]] = {
    "models": ("/srv/models", Path("/srv/models")),
    "state": ("/srv/state", Path("/srv/state")),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("0", 0),
    "poll_seconds": ("0.5", 0.5),
    "max_body_bytes": ("1024", 1024),
    "memory_mb": ("512", 512),
    "read_seconds": ("2.5", 2.5),
    "max_connections": ("100", 100),
    "drain_seconds": ("5", 5),
    "keys": (json.dumps({"a": ENTRY}), Keys.of({"a": ENTRY})),
    "keys_file": ("/srv/keys.toml", Path("/srv/keys.toml")),
    "hosts": ("a.example.org, *.B.example.org", ("a.example.org", "*.b.example.org")),
    "log_format": ("json", "json"),
    "log_requests": ("true", True),
    "slow_request_ms": ("20", 20.0),
}
TLS = {"tls_certificate", "tls_key"}
"""Each needs the other."""
DEFAULTS = {
    "models": Path("models"),
    "host": "127.0.0.1",
    "port": 8000,
    "poll_seconds": 2.0,
    "max_body_bytes": 16 * 1024 * 1024,
    "memory_mb": None,
    "read_seconds": 30.0,
    "max_connections": 4096,
    "drain_seconds": 30,
    "keys": None,
    "keys_file": None,
    "hosts": None,
    "tls_certificate": None,
    "tls_key": None,
    "log_format": "auto",
    "log_requests": False,
    "slow_request_ms": 1000.0,
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """No BONSAI_* variable is set."""
    for name in os.environ:
        if name.startswith("BONSAI_"):
            monkeypatch.delenv(name)


def test_the_tables_here_hold_every_setting() -> None:
    assert READ.keys() | TLS == Settings.model_fields.keys()
    assert DEFAULTS.keys() | {"state"} == Settings.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items(), ids=DEFAULTS)
def test_defaults(name: str, value: object) -> None:
    assert getattr(Settings.load(), name) == value


@pytest.mark.parametrize(("name", "text", "value"), [(name, *read) for name, read in READ.items()], ids=READ)
def test_a_variable_is_read(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BONSAI_{name.upper()}", text)
    assert getattr(Settings.load(), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, value) in READ.items()], ids=READ)
def test_what_is_given_goes_before_the_variable(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONSAI_PORT", "1234")
    monkeypatch.setenv("BONSAI_HOST", "::1")
    assert getattr(Settings.load(**{name: value}), name) == value


def test_a_certificate_and_its_key_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONSAI_TLS_CERTIFICATE", "/srv/cert.pem")
    monkeypatch.setenv("BONSAI_TLS_KEY", "/srv/key.pem")
    assert Settings.load().tls_certificate == Path("/srv/cert.pem")
    assert Settings.load().tls_key == Path("/srv/key.pem")


@pytest.mark.parametrize("name", sorted(TLS))
def test_a_certificate_without_its_key_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BONSAI_{name.upper()}", "/srv/file.pem")
    with pytest.raises(InvalidInput, match=r"^settings: .*expected BONSAI_TLS_CERTIFICATE and BONSAI_TLS_KEY both"):
        Settings.load()


def test_what_is_given_as_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONSAI_PORT", "1234")
    assert Settings.load(port=None, host=None).port == 1234


@pytest.mark.parametrize("name", ["BONSAI_PROT", "BONSAI_", "BONSAI_PORT_", "bonsai_prot", "BONSAI_THREADS"])
def test_an_unknown_variable_is_refused_by_name_with_those_there_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(InvalidInput) as raised:
        Settings.load()
    assert str(raised.value).startswith(f"{name}: expected one of BONSAI_DATA, BONSAI_DRAIN_SECONDS, BONSAI_HOST, ")


def test_all_unknown_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONSAI_B", "1")
    monkeypatch.setenv("BONSAI_A", "1")
    with pytest.raises(InvalidInput, match=r"^BONSAI_A, BONSAI_B: "):
        Settings.load()


@pytest.mark.parametrize("name", ["BONSAI_DATA", "XBONSAI_PORT", "BONSAIPORT", "PORT"])
def test_a_variable_of_somebody_else_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "nonsense")
    assert Settings.load().port == 8000


WRONG: list[tuple[str, Any]] = [
    ("port", "x"),
    ("port", "-1"),
    ("port", "65536"),
    ("port", "80.5"),
    ("port", ""),
    ("host", ""),  # would listen on every address
    ("models", ""),  # would serve the current folder
    ("state", ""),
    ("poll_seconds", "0"),
    ("poll_seconds", "nan"),
    ("max_body_bytes", "0"),
    ("max_body_bytes", "64MB"),
    ("read_seconds", "0"),
    ("read_seconds", "-1"),
    ("max_connections", "0"),
    ("drain_seconds", "0"),
    ("keys", "no json"),
    ("keys", "null"),  # would open the server to everybody
    ("keys_file", ""),  # would be the current folder
    ("hosts", ""),
    ("hosts", "a,,b"),
    ("tls_certificate", ""),
    ("tls_key", ""),
    ("log_format", "xml"),
    ("log_requests", "perhaps"),
    ("slow_request_ms", "-1"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_refused_in_one_line_with_the_setting_and_what_came(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"BONSAI_{name.upper()}", text)
    with pytest.raises(InvalidInput) as raised:
        Settings.load()
    message = str(raised.value)
    assert name in message.lower()
    assert repr(text) in message or text in message
    assert "\n" not in message


@pytest.mark.parametrize("field", ["sha256", "scopes"])
def test_a_key_that_lacks_something_is_refused_by_its_name(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {name: value for name, value in ENTRY.items() if name != field}
    monkeypatch.setenv("BONSAI_KEYS", json.dumps({"alice": entry}))
    with pytest.raises(InvalidInput, match=rf"^BONSAI_KEYS.*alice\.{field}: "):
        Settings.load()


def test_a_wrong_variable_is_named_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONSAI_PORT", "x")
    with pytest.raises(InvalidInput, match="BONSAI_PORT"):
        Settings.load()


def test_an_unknown_setting_that_is_given_is_refused() -> None:
    with pytest.raises(InvalidInput, match="BONSAI_PROT"):
        Settings.load(prot=1)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings.load().port = 1


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load()
    monkeypatch.setenv("BONSAI_PORT", "1")
    assert settings.port == 8000


def test_state_lies_where_the_desktop_standard_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings.load().state == tmp_path / "bonsai"


@pytest.mark.parametrize("given", [None, ""])
def test_state_lies_at_home_by_default(given: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_STATE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.load().state == tmp_path / ".local" / "state" / "bonsai"
