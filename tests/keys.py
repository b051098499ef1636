"""API keys for tests: one that opens every door, one for each scope, and the document that lists them."""

import json
from typing import Any

from app.access.keys import Keys, Scope, digest_of, new

KEY = new()
"""Opens every door."""
SCOPED = {scope: new() for scope in Scope}
"""Open one kind of door each."""
DOCUMENT: dict[str, Any] = {
    "everything": {"sha256": digest_of(KEY), "scopes": list(Scope)},
    **{f"only-{scope}": {"sha256": digest_of(key), "scopes": [scope]} for scope, key in SCOPED.items()},
}
KEYS = Keys.of(DOCUMENT)
ENVIRONMENT = json.dumps(DOCUMENT)
"""As BONSAI_KEYS has it."""
ONLY_ADMIN = json.dumps(DOCUMENT | {"anonymous": {"scopes": ["infer", "metrics"]}})
"""The same, where only what changes the server takes a key."""
WITH_KEY = {"X-API-Key": KEY}
