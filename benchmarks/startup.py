"""Start-up and idle memory of `bonsai serve` with the committed models, beside a bare interpreter's.

Run: make startup. Prints the median of several starts, with versions and machine.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy
import onnxruntime

from app import __version__
from training.measure.machine import this_machine

ROOT = Path(__file__).parent.parent
STARTS = 7
IDLE_SECONDS = 2.0


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        start(state)  # the first start fills the page cache and the graph cache
        runs = [start(state) for _ in range(STARTS)]
    print(f"bonsai {__version__}, onnxruntime {onnxruntime.__version__}, numpy {numpy.__version__}")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, {this_machine().cpu}")
    print(f"bare interpreter:       {median([bare() for _ in range(STARTS)]):6.3f} s")
    print(f"start to /readyz 200:   {median([seconds for seconds, _ in runs]):6.3f} s, worst {max(runs)[0]:.3f} s")
    print(f"idle RSS:               {median([megabytes for _, megabytes in runs]):6.1f} MB")


def start(state: str) -> tuple[float, float]:
    """Seconds from the start of the process to readiness, and its resident memory in MB when idle."""
    command = [sys.executable, "-P", "-m", "app", "serve", "--models", str(ROOT / "models"), "--port", "8009"]
    environment = os.environ | {"BONSAI_STATE": state}
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready():
                if process.poll() is not None:
                    raise SystemExit("the server did not start; is port 8009 free?")
                time.sleep(0.005)
            seconds = time.perf_counter() - began
            time.sleep(IDLE_SECONDS)
            return seconds, resident_megabytes(process.pid)
        finally:
            process.terminate()


def is_ready() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8009/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def bare() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


median = statistics.median

if __name__ == "__main__":
    main()
