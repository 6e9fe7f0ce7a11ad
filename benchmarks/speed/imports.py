"""Time `import manual_nn` beside `import numpy`, each in fresh processes, in turn."""

import subprocess
import sys

from benchmarks.speed.timing import Timings, compare

MODULES = ("numpy", "manual_nn")
CODE = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def measure(rounds: int) -> Timings:
    """Import both in each round, after a first time that reads the files from disk."""
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for counts in range(rounds + 1):
        for module in MODULES:
            taken = seconds_to_import(module)
            if counts:
                seconds[module].append(taken)
    return compare(seconds, ("numpy",))


def seconds_to_import(module: str) -> float:
    """Time the import alone, without the start of the interpreter."""
    command = [sys.executable, "-c", CODE.format(module=module)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603, ours
    return float(finished.stdout)
