"""Runs the server with a wall clock that jumps by a day, to and fro, every few milliseconds."""

import itertools
import runpy
import sys
import time

JUMPS = itertools.cycle([0, 86_400, -86_400, 3_600, -1])
_true, _true_ns = time.time, time.time_ns
time.time = lambda: _true() + next(JUMPS)
time.time_ns = lambda: _true_ns() + next(JUMPS) * 10**9

sys.argv = ["app", "serve"]
runpy.run_module("app", run_name="__main__", alter_sys=True)
