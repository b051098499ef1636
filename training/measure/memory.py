"""Memory: what a loaded graph that has answered takes of a server, measured in a process of its own.

Run: python -m training.measure.memory GRAPH.onnx ROWS.npy
"""

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtime import memory
from training.measure.served import open_served, runner

MB = 1 << 20
STATUS = Path("/proc/self/status")


def resident_mb(path: Path, rows: NDArray[Any]) -> float:
    """Megabytes (of 2^20 bytes) that a graph adds to a process that loads it and lets it answer these rows at once.

    A fresh process measures it, for this one has memory that others have given back and the next one takes. Raises
    CalledProcessError where that process fails, as it does where the server would not load the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "rows.npy")
        np.save(saved, rows)
        command = [sys.executable, "-P", "-m", "training.measure.memory", str(path), str(saved)]
        # In a session of its own: Ctrl-C is for the run, which ends behind this step.
        output = subprocess.run(  # noqa: S603
            command, check=True, stdout=subprocess.PIPE, text=True, start_new_session=True
        ).stdout
    return float(json.loads(output)["resident_mb"])


def anonymous_bytes() -> int:
    """Bytes of this process's memory that lie in no file: without code, which all models share. proc(5), RssAnon."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "RssAnon":
            return int(value.split()[0]) << 10
    raise OSError(f"{STATUS}: expected RssAnon, as Linux has had it since 4.5")


def main() -> None:
    path, saved = map(Path, sys.argv[1:])
    rows = np.load(saved)
    memory.return_large_blocks()  # as the server does
    memory.bound()  # the arena that all models share
    before = anonymous_bytes()
    session = open_served(path)
    answers = runner(session)(rows)
    gc.collect()
    added = anonymous_bytes() - before - answers.nbytes
    print(json.dumps({"resident_mb": added / MB}))  # noqa: T201


if __name__ == "__main__":
    main()
