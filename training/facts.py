"""What a step found out, beside what it made."""

import json
from pathlib import Path
from typing import Any

FILENAME = "facts.json"


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Leaves the facts in a step's folder; they are what JSON can hold."""
    (folder / FILENAME).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts that a step left."""
    facts: dict[str, Any] = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
    return facts
