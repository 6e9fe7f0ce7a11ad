"""Test mutants, each in a process that has a copy of the tree, and remember what was found."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.mutation import runner
from benchmarks.mutation.mutants import Mutant
from benchmarks.mutation.selection import NotReadyError, is_compiled, select

COPIED = ("manual_nn", "reference", "benchmarks", "tests", "pyproject.toml", "README.md", "LICENSE")
SLOWER = 3.0  # times as long as without a mutant, and so many seconds
MORE = 10.0


class Result(NamedTuple):
    """What has become of a mutant."""

    state: str  # killed, timed out or survived
    seconds: float
    way: str  # that it was tested, as `runner.py` has them
    output: str  # of the tests, its end


class Session:
    """A file of results, a line of JSON each, from which the same command goes on."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a line that was being written in a kill does not count."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        lines = map(json.loads, whole.splitlines())
        self.results = {line.pop("identity"): Result(**line) for line in lines}

    def add(self, mutant: Mutant, result: Result) -> None:
        """Write down a result, which takes the place of an older one."""
        self.results[mutant.identity] = result
        line = json.dumps({"identity": mutant.identity} | result._asdict())
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Worker:
    """A process that tests one mutant after the other, in a copy of the tree."""

    def __init__(self, root: Path, folder: Path, *, compiled: bool = False) -> None:
        """Copy the tree and start the process, in which Numba compiles or Python runs all."""
        self._is_compiled = compiled
        tree = folder / "tree"
        for name in COPIED:
            if (root / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(root / name, tree / name, ignore=ignored)
            elif (root / name).exists():
                tree.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, tree / name)
        self.compiled = folder / "compiled"
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        jax = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        plain = {
            "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pandas imports pyarrow
            "MPLBACKEND": "agg",
            "NUMBA_DISABLE_JIT": str(int(not compiled)),
        }
        self._process = subprocess.Popen(  # noqa: S603, our own code
            [sys.executable, "-P", runner.__file__, *runner.IMPORTED],
            cwd=tree,
            env=os.environ | one | jax | plain,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for this process alone
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have tests run, on a mutant or on none, and wait for what has become of them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request["compiled"] = self._is_compiled
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that tests mutants has ended, for a reason given above")
        found: dict[str, Any] = json.loads(line)
        if found["status"] in {runner.FOREIGN, 5}:  # pytest found no test
            raise RuntimeError(f"the tests did not run:\n{found['output']}")
        return found

    def close(self) -> None:
        """End the process, and the tests that it runs."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Workers:
    """As many of them as there are threads that ask."""

    def __init__(self, root: Path, folder: Path, count: int, *, compiled: bool) -> None:
        """Start them, each in a part of the folder."""
        self._all: list[Worker] = []
        self._own = threading.local()
        try:
            for number in range(count):
                (folder / str(number)).mkdir()
                self._all.append(Worker(root, folder / str(number), compiled=compiled))
        except BaseException:
            self.close()
            raise
        self._free = self._all.copy()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask the worker of the calling thread."""
        if not hasattr(self._own, "worker"):
            self._own.worker = self._free.pop()
            # What is imported is compiled once; how the tests fare is seen later.
            self._own.worker.ask(tests=["--collect-only", "tests"], limit=None)
        found: dict[str, Any] = self._own.worker.ask(**request)
        return found

    def share(self) -> None:
        """Give each what the others have had XLA compile; none may be at work."""
        for one in self._all:
            for other in self._all:
                if one is not other and one.compiled.exists():
                    shutil.copytree(one.compiled, other.compiled, dirs_exist_ok=True)

    def close(self) -> None:
        """End them all."""
        for worker in self._all:
            worker.close()


def test_mutants(
    root: Path, mutants: Sequence[Mutant], session: Session, count: int, *, compiled: bool
) -> None:
    """Test mutants with so many processes, and keep each result as soon as it is there.

    Python runs what Numba would compile, which is far faster and finds nearly all; `compiled` has
    it compiled, each mutant anew.
    """
    if not mutants:
        return
    count = min(count, len(mutants))
    tests = {module: select(root, module) for module in dict.fromkeys(m.module for m in mutants)}
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(count) as pool,  # which waits for its threads, so they must be let go
        contextlib.closing(Workers(root, Path(folder), count, compiled=compiled)) as workers,
    ):
        try:
            limits = unmutated(tests, workers, pool)
            if compiled:  # a change of one file has all compiled anew, as for the first tests here
                limits = dict.fromkeys(limits, max(limits.values()))
            workers.share()
            futures = {
                pool.submit(
                    workers.ask,
                    module=m.module,
                    text=m.text,
                    tests=tests[m.module],
                    limit=limits[m.module],
                ): m
                for m in mutants
            }
            found: Counter[str] = Counter()
            with tqdm(total=len(mutants), unit="mutant") as bar:
                for future in as_completed(futures):
                    result = result_of(future.result())
                    session.add(futures[future], result)
                    found[result.state] += 1
                    bar.update()
                    bar.set_postfix(found)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def unmutated(
    tests: Mapping[str, Sequence[str]], workers: Workers, pool: ThreadPoolExecutor
) -> dict[str, float]:
    """Find how long the tests of each module may take, from how long they take without a mutant."""
    answers = pool.map(lambda selected: workers.ask(tests=selected, limit=None), tests.values())
    limits = {}
    for module, answer in zip(tests, answers, strict=True):
        print(f"{module}: its tests take {answer['seconds']:.1f} s", file=sys.stderr)
        if answer["status"] != 0:
            raise NotReadyError(f"{module}: its tests fail without a mutant\n{answer['output']}")
        limits[module] = SLOWER * answer["seconds"] + MORE
    return limits


def is_to_be_compiled(mutant: Mutant, result: Result | None) -> bool:
    """Say whether a mutant has survived as Python in a module that Numba compiles."""
    if result is None or not is_compiled(mutant.module):
        return False
    return result.state == "survived" and result.way != runner.COMPILED


def result_of(answer: Mapping[str, Any]) -> Result:
    """Say what an answer of a worker means for the mutant."""
    status = answer["status"]
    state = "timed out" if status is None else "survived" if status == 0 else "killed"
    return Result(state, round(answer["seconds"], 2), answer["way"], answer["output"])
