"""What a step found out, beside what it made."""

import json
from pathlib import Path
from typing import Any

FILENAME = "facts.json"


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Leaves the facts in a step's folder; they are what JSON can hold."""
    (folder / FILENAME).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def refuse(folder: Path, reason: object) -> None:
    """Leaves the reason why a step made nothing: no other rank, and no later run, has to find out again."""
    write_facts(folder, {"refused": str(reason)})


def refusal(folder: Path) -> str | None:
    """Why a step made nothing; None where it made something."""
    refused: str | None = read_facts(folder).get("refused")
    return refused


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts that a step left."""
    facts: dict[str, Any] = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
    return facts
