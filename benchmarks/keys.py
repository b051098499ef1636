"""The API key that requests carry: Bonsai is measured with keys, rates and the check of host names on."""

import json

from app.access.keys import digest_of, new

KEY = new()
_NEVER_REACHED = 1e6
ENVIRONMENT = json.dumps(
    {
        "load": {"sha256": digest_of(KEY), "scopes": ["infer"], "requests_per_second": _NEVER_REACHED},
        "anonymous": {"scopes": ["metrics"]},
    }
)
"""BONSAI_KEYS: inference takes the key, what the benchmarks read beside it takes none."""
