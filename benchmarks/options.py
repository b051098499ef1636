"""The options that all benchmarks share."""

import argparse
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Pace(NamedTuple):
    """How often and how long each point is measured."""

    rounds: int
    seconds: int


QUICK = Pace(rounds=1, seconds=1)


def parser(description: str | None, pace: Pace) -> argparse.ArgumentParser:
    """`--rounds` and `--seconds` are those of `pace` unless given; `--quick` shows that the script works."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, help=f"rounds whose median counts, {pace.rounds} by default")
    options.add_argument("--seconds", type=int, help=f"length of one measurement, {pace.seconds} by default")
    options.add_argument(
        "--quick", action="store_const", const=QUICK, default=pace, dest="pace", help="one short round"
    )
    options.add_argument("--checkout", type=Path, default=ROOT, help="folder whose `app` is measured; by default ours")
    options.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the report")
    return options


def pace_of(options: argparse.Namespace) -> Pace:
    return Pace(options.rounds or options.pace.rounds, options.seconds or options.pace.seconds)
