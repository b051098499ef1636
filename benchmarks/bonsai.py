"""Bonsai's own server processes: by `bonsai serve`, and the same application under a stock uvicorn."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import keys
from benchmarks.processes import Server, free_port, serving

CARRIER = Path(__file__).parent / "servers" / "carrier.py"


@contextlib.contextmanager
def bonsai(checkout: Path, models: Path, cores: str) -> Iterator[Server]:
    """`bonsai serve` of a checkout, with a folder of models, with default settings but for the log and API keys."""
    with _serving("bonsai", ["-m", "app", "serve"], checkout, models, cores) as server:
        yield server


@contextlib.contextmanager
def asgi_carrier(checkout: Path, models: Path, cores: str) -> Iterator[Server]:
    """The same application as plain ASGI, as any ASGI server would run it."""
    with _serving("bonsai (ASGI)", [str(CARRIER)], checkout, models, cores) as server:
        yield server


@contextlib.contextmanager
def _serving(name: str, script: Sequence[str], checkout: Path, models: Path, cores: str) -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory() as state:
        environment = {
            "PYTHONPATH": str(checkout),
            "BONSAI_MODELS": str(models),
            "BONSAI_STATE": state,
            "BONSAI_PORT": str(port),
            "BONSAI_LOG_FORMAT": "text",
            "BONSAI_KEYS": keys.ENVIRONMENT,
        }
        # -P: the checkout's `app` is meant, not one that happens to lie in the working folder.
        command = [sys.executable, "-P", *script]
        ready = ["/readyz", *(f"/v2/models/{folder.name}/ready" for folder in models.iterdir() if folder.is_dir())]
        with serving(name, command, port, cores, environment, ready) as server:
            yield server
