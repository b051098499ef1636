"""How much of app/ a corpus reaches: it is replayed under `coverage`, which counts lines and branches."""

import time
from collections.abc import Iterable
from pathlib import Path

import coverage

LONGEST_SECONDS = 120.0


def measure(cache: Path, corpus: Iterable[Path]) -> None:
    """Prints the modules that were reached. To be called before anything of app is imported, so that what runs at
    import counts as in any other report of coverage."""
    counted = coverage.Coverage(source=["app"], branch=True, data_file=None, config_file=False)
    counted.start()
    from tests.fuzz.targets import Targets
    from tests.fuzz.world import world

    replayed = 0
    end = time.monotonic() + LONGEST_SECONDS
    with world(cache) as opened:
        targets = Targets(opened)
        for path in corpus:
            if time.monotonic() > end:
                break
            targets.run_file(path)
            replayed += 1
    counted.stop()
    print(f"coverage of {replayed} inputs, lines and branches, start-up and load of the models included:")
    counted.report(skip_empty=True, omit=["*/__init__.py"])
