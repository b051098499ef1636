"""deployments.toml: read, its defaults, and refused with a reason."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.contract.deployment import FILENAME, Deployment, Deployments, Limits
from app.errors import ManifestInvalid

WHOLE = """
schema_version = 1
default_model = "flowers"

[defaults]
instances = 2

[defaults.limits]
max_batch_rows = 16

[models.flowers]
provider = "cuda"
device = 1
allow_fallback = true
instances = 3
threads = 4
default_version = 7
limits = { max_batch_rows = 8, max_queue_rows = 64, max_queue_delay_ms = 2, max_padded_size = 512, slo_ms = 50 }
"""


def read(folder: Path, text: str) -> Deployments:
    (folder / FILENAME).write_text(text, encoding="utf-8")
    return Deployments.read(folder)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ManifestInvalid) as raised:
        read(folder, text)
    assert str(folder) not in str(raised.value)
    return str(raised.value)


def test_every_key_is_read(tmp_path: Path) -> None:
    deployments = read(tmp_path, WHOLE)
    assert deployments.default_model == "flowers"
    assert deployments.of("flowers") == Deployment(
        provider="cuda",
        device=1,
        allow_fallback=True,
        instances=3,
        threads=4,
        default_version=7,
        limits=Limits(max_batch_rows=8, max_queue_rows=64, max_queue_delay_ms=2.0, max_padded_size=512, slo_ms=50.0),
    )


def test_a_model_without_a_table_is_run_as_the_defaults_say(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE).of("trees") == Deployment(instances=2, limits=Limits(max_batch_rows=16))


def test_a_models_table_does_not_inherit_from_the_defaults(tmp_path: Path) -> None:
    """What it leaves out is the built-in default: a table stands for itself."""
    assert read(tmp_path, "[defaults]\ninstances = 2\n[models.flowers]\ndevice = 1\n").of("flowers").instances is None


@pytest.mark.parametrize("text", [None, "", "# nothing\n"], ids=["no file", "empty", "a comment"])
def test_without_a_word_everything_is_default(tmp_path: Path, text: str | None) -> None:
    deployments = Deployments.read(tmp_path) if text is None else read(tmp_path, text)
    assert deployments == Deployments()
    assert deployments.of("any") == Deployment()
    assert deployments.is_blank


@pytest.mark.parametrize("text", ["schema_version = 1", "[defaults]", "[models]"])
def test_a_file_that_says_the_defaults_is_not_blank(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Deployments()
    assert not read(tmp_path, text).is_blank


@pytest.mark.parametrize("live", [{"instances": 2}, {"default_version": 2}, {"limits": Limits(slo_ms=5)}], ids=str)
def test_what_applies_live_does_not_reload(live: dict[str, object]) -> None:
    assert not Deployment(threads=2, **live).reloads(Deployment(threads=2))  # type: ignore[arg-type]
    assert Deployment(threads=2, **live).reloads(Deployment(threads=1, **live))  # type: ignore[arg-type]


def test_a_file_that_cannot_be_read_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / FILENAME).mkdir()
    with pytest.raises(ManifestInvalid) as raised:
        Deployments.read(tmp_path)
    assert str(raised.value) == f"{FILENAME} cannot be read: Is a directory"


WRONG = {
    "unknown key": ("instance = 1", "instance"),
    "unknown table": ("[flowers]", "flowers"),
    "unknown key of a model": ("[models.flowers]\nthread = 1", "models.flowers.thread"),
    "unknown limit": ("[defaults.limits]\nmax_batch = 1", "defaults.limits.max_batch"),
    "provider": ("[defaults]\nprovider = 'tpu'", "defaults.provider"),
    "no instance": ("[defaults]\ninstances = 0", "defaults.instances"),
    "no thread": ("[defaults]\nthreads = 0", "defaults.threads"),
    "negative device": ("[defaults]\ndevice = -1", "defaults.device"),
    "version 0": ("[defaults]\ndefault_version = 0", "defaults.default_version"),
    "no rows": ("[defaults.limits]\nmax_batch_rows = 0", "defaults.limits.max_batch_rows"),
    "no queue": ("[defaults.limits]\nmax_queue_rows = 0", "defaults.limits.max_queue_rows"),
    "a negative delay": ("[defaults.limits]\nmax_queue_delay_ms = -1", "defaults.limits.max_queue_delay_ms"),
    "a delay of inf": ("[defaults.limits]\nmax_queue_delay_ms = inf", "defaults.limits.max_queue_delay_ms"),
    "no padded size": ("[defaults.limits]\nmax_padded_size = 0", "defaults.limits.max_padded_size"),
    "no time for a run": ("[defaults.limits]\nmax_run_ms = 0", "defaults.limits.max_run_ms"),
    "no output": ("[defaults.limits]\nmax_output_mb = 0", "defaults.limits.max_output_mb"),
    "no time": ("[defaults.limits]\nslo_ms = 0", "defaults.limits.slo_ms"),
    "time nan": ("[defaults.limits]\nslo_ms = nan", "defaults.limits.slo_ms"),
    "half a row": ("[defaults.limits]\nmax_batch_rows = 1.5", "defaults.limits.max_batch_rows"),
    "instances as text": ("[defaults]\ninstances = '2'", "defaults.instances"),
    "instances as bool": ("[defaults]\ninstances = true", "defaults.instances"),
    "bool as integer": ("[defaults]\nallow_fallback = 1", "defaults.allow_fallback"),
    "model name": ("[models.'../x']", "models.../x"),
    "default model": ("default_model = 'a/b'", "default_model"),
    "schema version": ("schema_version = 2", "schema_version"),
    "no table": ("models = 1", "models"),
}


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_key_or_value_is_refused_with_its_field(tmp_path: Path, text: str, field: str) -> None:
    reason = refusal(tmp_path, text)
    assert reason.startswith(f"{FILENAME}: {field}")
    assert "\n" not in reason


@pytest.mark.parametrize("text", ["[defaults", "a = ", "a = 1\na = 2", "x"], ids=repr)
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith(f"{FILENAME}: ")


def test_what_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_bytes(b'default_model = "\xff"')
    with pytest.raises(ManifestInvalid, match="utf-8"):
        Deployments.read(tmp_path)


def test_deployments_are_immutable() -> None:
    with pytest.raises(ValidationError):
        Deployments().default_model = "x"
    with pytest.raises(ValidationError):
        Limits().slo_ms = 1.0
