"""python -m tests.fuzz run | replay | coverage (docs/fuzzing.md)."""

import argparse
import sys
from pathlib import Path

from tests.fuzz.inputs import shown

CACHE = Path(__file__).parent.parent.parent / ".cache" / "fuzz"


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the corpus and the findings are")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="fuzz, up to the first finding")
    running.add_argument("--seconds", type=int, default=60)
    replaying = commands.add_parser("replay", help="play inputs again, without the fuzzer")
    replaying.add_argument("inputs", type=Path, nargs="+")
    commands.add_parser("coverage", help="measure what the corpus reaches")
    given = parser.parse_args()
    if given.command == "run":
        return run(given.cache, given.seconds)
    if given.command == "replay":
        return replay(given.cache, given.inputs)
    return coverage(given.cache)


def run(cache: Path, seconds: int) -> int:
    from tests.fuzz.campaign import Campaign

    outcome = Campaign(cache).run(seconds)
    rate = outcome.executions / max(outcome.seconds, 1e-9)
    print(f"{outcome.executions} executions in {outcome.seconds:.0f} s, {rate:.0f}/s, {outcome.new_inputs} new inputs")
    if outcome.finding is None:
        print("nothing found")
        return 0
    data = outcome.finding.read_bytes()
    print(f"\nFOUND\n{outcome.report}\n\n{len(data)} bytes: {shown(data)}")
    print(f"\nplay it again: {sys.executable} -P -m tests.fuzz --cache {cache} replay {outcome.finding}")
    return 1


def replay(cache: Path, paths: list[Path]) -> int:
    """Raises what the input breaks."""
    from tests.fuzz.targets import Targets
    from tests.fuzz.world import world

    with world(cache) as opened:
        targets = Targets(opened)
        for path in paths:
            targets.run_file(path)
    print("nothing found")
    return 0


def coverage(cache: Path) -> int:
    from tests.fuzz.coverage_of import measure

    measure(cache, [path for folder in ("seeds", "corpus") for path in sorted((cache / folder).iterdir())])
    return 0


if __name__ == "__main__":
    sys.exit(main())
