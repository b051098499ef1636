"""The process that fuzzes: atheris and the targets. Run by campaign.py, with libFuzzer's options."""

import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app"]):
    from tests.fuzz.mutations import Mutator
    from tests.fuzz.targets import Targets
    from tests.fuzz.world import world

ROOM = 1 << 30
"""Bytes that an input may have the process allocate, beside what it has once all models are loaded."""


def main(cache: Path, options: list[str]) -> None:
    """Fuzzes until libFuzzer ends the process."""
    with world(cache) as opened:
        targets = Targets(opened)
        _bound_memory()
        # atheris puts the working Mutate in the place of the imported one once it fuzzes.
        mutator = Mutator(targets.maker, lambda data, size: atheris.Mutate(data, size))
        atheris.Setup([sys.argv[0], *options], targets.run, custom_mutator=mutator)
        atheris.Fuzz()


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
