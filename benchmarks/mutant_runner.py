"""Test mutants, each in a forked process: benchmarks/mutants.py starts this, one for each core.

Run as a script, it reads requests from its standard input and writes answers to its standard
output, a line of JSON each. It stands in a copy of the tree, and has imported what the tests import
but nothing of the tree, so that a fork has the mutant to import, and the rest at once. No test runs
in this process, and nothing is computed by JAX: it has one thread, or a fork would not be safe.
"""

import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("manual_nn", "reference", "benchmarks", "tests")
IMPORTED = (  # what the tests import, but for what starts threads
    "autograd",
    "dask.array",
    "distributed",
    "hypothesis.extra.numpy",
    "jax.extend",
    "jax.flatten_util",
    "jax.numpy",
    "matplotlib.pyplot",
    "numpy",
    "pandas",
    "pytest",
    "scipy.special",
    "sklearn.datasets",
    "sklearn.utils.estimator_checks",
    "threadpoolctl",
    "tqdm.auto",
)
MEMORY = 8 << 30  # bytes that a test may have, for a mutant may ask for any number
FOREIGN = 90  # the exit status of a fork that has tested other code than its copy's
OUTPUT = 4000  # characters of a run that are kept
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutation"),
    # pytest wishes to import its plug-ins itself
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
)


def main() -> None:
    """Answer one request after the other until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import may print is no answer
    folder = Path.cwd()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what it has begun is ended too
    for name in IMPORTED:
        with contextlib.suppress(ImportError):  # what is optional for a test is so here
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), folder)), file=answers, flush=True)


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the tests of a request, on a mutant if there is one: its module's path and text."""
    module, text = request.get("module"), request.get("text")
    with contextlib.ExitStack() as stack:
        if module is not None and text is not None:
            stack.enter_context(replaced(folder / module, text))
        return run_tests(request["tests"], request["limit"], folder, caching=text is None)


@contextlib.contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """Put a mutant in the place of a module, whose cached bytecode must not be taken for its own.

    The bytecode is known by the source's time, in seconds, and size, which a mutant may share.
    """
    source, times = path.read_bytes(), path.stat()
    cached = {file: file.read_bytes() for file in path.parent.glob(f"__pycache__/{path.stem}.*")}
    try:
        for file in cached:
            file.unlink()
        path.write_text(text, encoding="utf-8")
        yield
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        for file, content in cached.items():
            file.write_bytes(content)


def run_tests(
    tests: Sequence[str], limit: float | None, folder: Path, *, caching: bool
) -> dict[str, Any]:
    """Run tests in a fork for at most so many seconds; `caching` lets it keep what it compiles."""
    if threading.active_count() > 1 or _threads() > 1:
        raise RuntimeError("a fork is not safe where there are threads")
    scratch = folder.parent / "scratch"
    scratch.mkdir()
    log = folder.parent / "output.txt"
    parent, begin = os.getppid(), time.monotonic()
    child = os.fork()
    if child == 0:
        _become_the_test(tests, folder, log, scratch, caching=caching)  # never returns
    status = None
    try:
        while status is None and (limit is None or time.monotonic() - begin < limit):
            pid, found = os.waitpid(child, os.WNOHANG)
            if pid:
                status = os.waitstatus_to_exitcode(found)
            elif os.getppid() != parent:
                sys.exit("nobody waits for the answer")
            else:
                time.sleep(0.005)
        seconds = time.monotonic() - begin
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # with whatever the tests have started
        if status is None:
            os.waitpid(child, 0)
        shutil.rmtree(scratch, ignore_errors=True)
    output = log.read_text(encoding="utf-8", errors="replace")[-OUTPUT:]
    return {"status": status, "seconds": seconds, "output": output}


def _threads() -> int:
    """Count the process's threads, those of libraries too, where the system says."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


def _become_the_test(
    tests: Sequence[str], folder: Path, log: Path, scratch: Path, *, caching: bool
) -> None:
    """Run the tests, and end the process with pytest's exit status."""
    status = FOREIGN
    try:
        os.setsid()  # a process group of its own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with log.open("wb") as file, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin = open(0, closefd=False)  # noqa: SIM115, for as long as the process is
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        sys.dont_write_bytecode = not caching
        sys.path.insert(0, str(folder))
        os.environ.pop("CI", None)
        os.environ |= {"PYTHONPATH": str(folder), "TMPDIR": str(scratch)}
        if not caching:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            _keep_nothing_compiled()
        tempfile.tempdir = None  # which may have been found before

        import pytest  # noqa: PLC0415, imported before the fork

        status = int(pytest.main([*PYTEST, *tests]))
        status = FOREIGN if foreign_modules(folder) else status
    except BaseException:  # a fork that went on would answer in its parent's place
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # the process that was forked ends here, whatever has happened


def _keep_nothing_compiled() -> None:
    """Have JAX read what XLA has compiled before, and add nothing: a test may be killed halfway."""
    seconds = 1_000_000  # that a compilation must take to be kept
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(seconds)
    if "jax" in sys.modules:  # which has read its settings when it was imported
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", seconds)


def foreign_modules(folder: Path) -> list[str]:
    """List what was imported of our packages that does not lie in this copy."""
    found = []
    for name, module in sys.modules.copy().items():
        path = getattr(module, "__file__", None)
        if path is None or name.partition(".")[0] not in PACKAGES:
            continue
        if not Path(path).is_relative_to(folder):
            found.append(name)
    if found:
        print("not of this copy:", *found)
    return found


if __name__ == "__main__":
    main()
