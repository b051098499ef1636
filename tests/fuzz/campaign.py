"""Fuzzing for a while, and what came of it."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.seeds import seeds
from tests.fuzz.world import world

HANG_SECONDS = 10
"""Of one input, after which libFuzzer gives up; targets.py measures what is slow."""
LONGEST = 80_000
"""Bytes of an input: more than a body may have."""
MEMORY_MB = 4096
SPARE_SECONDS = 120
"""How much longer than asked for the process may take, to load and to read the corpus, before it is killed."""


@dataclass(frozen=True)
class Outcome:
    """`finding` is the file of the input that broke something, and `report` what was said of it."""

    executions: int
    seconds: float
    new_inputs: int
    finding: Path | None
    report: str


class Campaign:
    """Fuzzes with the corpus of a folder, which grows."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.corpus = cache / "corpus"
        self.findings = cache / "findings"
        for folder in (self.corpus, self.findings, cache / "seeds"):
            folder.mkdir(parents=True, exist_ok=True)

    def run(self, seconds: int) -> Outcome:
        """Ends at the first finding."""
        self._write_seeds()
        known = len(list(self.corpus.iterdir()))
        begun = time.monotonic()
        log = self.cache / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.fuzz.child", *self._options(seconds)], stderr=sink, stdout=sink
            )
            try:
                code: int | None = process.wait(seconds + SPARE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        took = time.monotonic() - begun
        text = log.read_text(errors="replace")
        finding = re.search(r"Test unit written to (\S+)", text)
        if code and finding is None:
            raise SystemExit(f"the fuzzer ended with {code}:\n{text[-4000:]}")
        return Outcome(
            _stat(text, "number_of_executed_units"),
            took,
            len(list(self.corpus.iterdir())) - known,
            Path(finding[1]) if finding else None,
            _report(text) if finding else "",
        )

    def _options(self, seconds: int) -> Sequence[str]:
        return (
            str(self.cache),
            f"-max_total_time={seconds}",
            f"-timeout={HANG_SECONDS}",
            f"-max_len={LONGEST}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={self.findings}/",
            "-print_final_stats=1",
            str(self.corpus),
            str(self.cache / "seeds"),
        )

    def _write_seeds(self) -> None:
        with world(self.cache) as opened:
            for number, seed in enumerate(seeds(opened.signatures)):
                (self.cache / "seeds" / f"{number:04}").write_bytes(seed)


def _stat(text: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", text)
    return int(found[1]) if found else 0


def _report(text: str) -> str:
    """From the exception on, or from where libFuzzer says what it is not content with."""
    start = max(text.find("=== Uncaught Python exception"), 0) or max(text.find("ERROR: libFuzzer"), 0)
    end = text.find("SUMMARY: libFuzzer", start)
    return text[start:end].strip()[:6000]
