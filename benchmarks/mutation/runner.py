"""Test mutants, each in a forked process: `workers.py` starts this, one for each core.

Run as a script, it reads requests from its standard input and writes answers to its standard
output, a line of JSON each. It stands in a copy of the tree, and has imported the modules that its
arguments name, which the tests import, but nothing of the tree, so that a fork has the mutant to
import, and the rest at once. No test runs in this process, and nothing is computed by JAX: it has
one thread, or a fork would not be safe.

Importing the tree and collecting its tests may take longer than the tests that find a mutant, and a
fork that has done both can be forked again for each mutant: the fast way. In that fork the mutant's
code takes the place of the original's in the functions that are there, which tells the truth if the
mutant differs in functions alone, and none of these has run before. Any other mutant is tested by
the slow way, and so is one that survives the fast one. A worker that lets Numba compile has the
slow way alone: what is compiled is not to be replaced.
"""

import contextlib
import gc
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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType
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
COMPILED = "slow, compiled"  # the way of a worker that lets Numba compile
FOREIGN = 90  # the exit status of a fork that has tested other code than its copy's
OUTPUT = 4000  # characters of a run that are kept
PATIENCE = 5.0  # seconds that a fork has to end what it has begun
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutation", "-m", "not long"),
    *("-p", "no:manual_nn"),  # the plugin: a mutant that cannot be imported is for a test to find
    # pytest wishes to import its plug-ins itself
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
)


def main() -> None:
    """Answer one request after the other until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import may print is no answer
    folder = Path.cwd()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what it has begun is ended too
    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # what is optional for a test is so here
            importlib.import_module(name)
    with contextlib.closing(Runner(folder)) as runner:
        for line in sys.stdin:
            print(json.dumps(runner.answer(json.loads(line))), file=answers, flush=True)


class Runner:
    """Answers requests, and keeps the fork for the fast way while they are for the same tests."""

    def __init__(self, folder: Path) -> None:
        """Begin without such a fork."""
        self._folder = folder
        self._warm: Warm | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the tests of a request, on a mutant if there is one: its module's path and text."""
        module, text = request.get("module"), request.get("text")
        tests, limit = request["tests"], request["limit"]
        if module is None or text is None:
            self.close()
            return run_tests(tests, limit, self._folder, caching=True) | {"way": "slow"}
        path = self._folder / module
        if request["compiled"]:
            with replaced(path, text):
                slow = run_tests(tests, limit, self._folder, caching=False)
            return slow | {"way": COMPILED}
        warm = self._warm_for(tests, limit)
        original = path.read_text(encoding="utf-8")
        with replaced(path, text):
            fast = warm.ask(module=module, original=original, text=text, limit=limit)
            if _is_found(fast):
                return fast | {"way": "fast"}
            slow = run_tests(tests, limit, self._folder, caching=False)
        way = f"slow: {fast['unfit']}" if "unfit" in fast else "slow, after the fast one"
        return slow | {"seconds": fast.get("seconds", 0.0) + slow["seconds"], "way": way}

    def _warm_for(self, tests: Sequence[str], limit: float) -> "Warm":
        """Give the fork for these tests, in which they pass without a mutant."""
        if self._warm is None or self._warm.tests != tests:
            self.close()
            self._warm = Warm(tests, self._folder)
            self._warm.prove(limit)
        return self._warm

    def close(self) -> None:
        """End the fork, if there is one."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None


def _is_found(answer: Mapping[str, Any]) -> bool:
    """Say whether a test has failed, has ended the process or has taken too long."""
    status = answer.get("status", 0)
    return status is None or status == 1 or status < 0


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
    scratch = folder.parent / "scratch"
    log = folder.parent / "output.txt"
    found = _forked(limit, scratch)
    if found is None:
        _become_the_test(tests, folder, log, scratch, caching=caching)  # never returns
    return _told(found, log)


def _forked(limit: float | None, scratch: Path) -> tuple[int | None, float] | None:
    """Fork, and give the fork's exit status and seconds, or in the fork itself None.

    The status is None if the time was over. The fork has a folder for what it writes.
    """
    if threading.active_count() > 1 or _threads() > 1:
        raise RuntimeError("a fork is not safe where there are threads")
    scratch.mkdir()
    parent, begin = os.getppid(), time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()  # a process group of its own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return None
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
        return status, time.monotonic() - begin
    finally:
        _kill_all(child, ended=status is not None)
        shutil.rmtree(scratch, ignore_errors=True)


def _kill_all(child: int, *, ended: bool) -> None:
    """End a fork, if it has not ended, and whatever the tests have started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.kill(child, signal.SIGKILL)  # which may not have its process group yet
        os.waitpid(child, 0)


def _told(found: tuple[int | None, float] | None, log: Path) -> dict[str, Any]:
    assert found is not None
    output = log.read_text(encoding="utf-8", errors="replace")[-OUTPUT:]
    return {"status": found[0], "seconds": found[1], "output": output}


def _threads() -> int:
    """Count the process's threads, those of libraries too, where the system says."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


def _become_the_test(
    tests: Sequence[str],
    folder: Path,
    log: Path,
    scratch: Path,
    *,
    caching: bool,
    plugins: Sequence[object] = (),
) -> None:
    """Run the tests, and end the process with pytest's exit status."""
    status = FOREIGN
    try:
        log.unlink(missing_ok=True)
        with log.open("ab") as file, Path(os.devnull).open("rb") as nothing:
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

        sys.argv = ["pytest", *PYTEST, *tests]  # as a module that runs as a program would see it
        status = int(pytest.main([*PYTEST, *tests], plugins=[EachSelects(), *plugins]))
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


class EachSelects:
    """A plug-in of pytest, to which it is an error if a part of the selection selects nothing."""

    def pytest_collection_finish(self, session: Any) -> None:
        """Look for a test that each argument has selected."""
        import pytest  # noqa: PLC0415, as above

        for selected in session.config.args:
            within = tuple(f"{selected}{mark}" for mark in ("::", "[", "/"))
            ids = (item.nodeid for item in session.items)
            if not any(one == selected or one.startswith(within) for one in ids):
                raise pytest.UsageError(f"{selected} selects no test")


# The fast way


class Warm:
    """A fork that has collected tests, and forks for each mutant, as this side sees it."""

    def __init__(self, tests: Sequence[str], folder: Path) -> None:
        """Start it, and wait until the tests are collected."""
        self.tests = tests
        self._folder = folder
        self._lacking = ""
        self._scratch = folder.parent / "warm"  # of what is collected; then of each fork of it
        requests, answers = os.pipe(), os.pipe()
        self._scratch.mkdir()
        self._pid = os.fork()
        if self._pid == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(requests[1])
            os.close(answers[0])
            log = folder.parent / "warm.txt"
            plugin = ForkForEach(folder, log, self._scratch, requests[0], answers[1])
            _become_the_test(tests, folder, log, self._scratch, caching=False, plugins=[plugin])
        os.close(requests[0])
        os.close(answers[1])
        self._requests = os.fdopen(requests[1], "w")
        self._answers = os.fdopen(answers[0])
        self._lacking = self._read().get("unfit", "")

    def prove(self, limit: float) -> None:
        """Have the tests run without a mutant: if they fail, nothing follows for one with it."""
        found = self.ask(limit=limit)
        if not self._lacking and found.get("status") != 0:
            self._lacking = "without a mutant the tests do not pass the fast way"

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have a mutant tested, if it is fit for that."""
        if self._lacking:
            return {"unfit": self._lacking}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._requests, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._lacking = "the fork with the collected tests has ended"
            return {"unfit": self._lacking}
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)  # it ends the fork that is testing
        begin = time.monotonic()
        ended = 0
        while not ended and time.monotonic() - begin < PATIENCE:
            ended, _ = os.waitpid(self._pid, os.WNOHANG)
            time.sleep(0.005)
        _kill_all(self._pid, ended=bool(ended))
        shutil.rmtree(self._scratch, ignore_errors=True)


class ForkForEach:
    """A plug-in of pytest, for which the tests that are collected once run in forks."""

    def __init__(self, folder: Path, log: Path, scratch: Path, requests: int, answers: int) -> None:
        """Note what has run from here on: nothing of the tree has been imported."""
        self._folder, self._log, self._scratch = folder, log, scratch
        self._requests, self._answers = os.fdopen(requests), os.fdopen(answers, "w")
        self._ran: dict[int, CodeType] = {}
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._ran[id(frame.f_code)] = frame.f_code

    def pytest_runtestloop(self, session: Any) -> None:
        """Answer requests until there are no more; a fork returns, and pytest runs the tests."""
        sys.setprofile(None)
        in_fork = False
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            in_fork = self._serve(session)
        except BaseException:  # to pytest it would be the tests' own
            traceback.print_exc()
        finally:
            if not in_fork:
                os._exit(0)

    def _serve(self, session: Any) -> bool:
        shutil.rmtree(self._scratch, ignore_errors=True)
        if session.testsfailed or not session.items:
            return self._answer({"unfit": "the tests cannot be collected"})
        if threading.active_count() > 1 or _threads() > 1:
            return self._answer({"unfit": "collecting the tests has started threads"})
        gc.unfreeze()  # what a plug-in of the tests has frozen cannot be found
        gc.collect()
        swapping = Swapping(self._folder, self._ran.values())
        gc.freeze()  # a fork that looks through it all would copy it all
        self._answer({})
        capture = session.config.pluginmanager.getplugin("capturemanager")
        for line in self._requests:
            request = json.loads(line)
            try:
                swaps = swapping.swaps(request) if "text" in request else []
            except UnfitError as error:
                self._answer({"unfit": str(error)})
                continue
            capture.read_global_capture()  # what a fork has left there
            os.ftruncate(1, 0)  # a fork writes where this process does
            found = _forked(request["limit"], self._scratch)
            if found is None:
                self._requests.close()
                self._answers.close()
                for function, code in swaps:
                    function.__code__ = code
                return True
            self._answer(_told(found, self._log))
        return False

    def _answer(self, found: dict[str, Any]) -> bool:
        print(json.dumps(found), file=self._answers, flush=True)
        return False


class UnfitError(Exception):
    """A mutant that must be tested the slow way."""


class Swapping:
    """Finds the functions whose code a mutant changes, among all that there are."""

    def __init__(self, folder: Path, ran: Iterable[CodeType]) -> None:
        """Look for the functions of a tree; `ran` has run, and so has done what it does."""
        self._folder = folder
        prefix = f"{folder}{os.sep}"
        self._ran = {
            (code.co_filename, code) for code in ran if code.co_filename.startswith(prefix)
        }
        self._live: dict[tuple[str, CodeType], list[FunctionType]] = {}
        for found in gc.get_objects():
            if type(found) is FunctionType and found.__code__.co_filename.startswith(prefix):
                key = (found.__code__.co_filename, found.__code__)
                self._live.setdefault(key, []).append(found)

    def swaps(self, request: Mapping[str, Any]) -> list[tuple[FunctionType, CodeType]]:
        """Give each function that a mutant changes with its new code."""
        path = str(self._folder / request["module"])
        old = compile(request["original"], path, "exec", dont_inherit=True)
        new = compile(request["text"], path, "exec", dont_inherit=True)
        alike = Counter(_all_within(old))
        return list(self._of(old, new, alike, inside=False))

    def _of(
        self, old: CodeType, new: CodeType, alike: Mapping[CodeType, int], *, inside: bool
    ) -> Iterator[tuple[FunctionType, CodeType]]:
        """Give those of a code object and of the ones within, `inside` such a function or not."""
        if _whole(old) == _whole(new):
            return
        name, key = old.co_qualname, (old.co_filename, old)
        functions = self._live.get(key, [])
        if functions and _seen_from_outside(old) != _seen_from_outside(new):
            raise UnfitError(f"{name} looks different from outside")
        yield from ((function, new) for function in functions)
        inside = inside or bool(functions)
        if _own(old) != _own(new):
            if not inside:
                raise UnfitError(f"{name} is no function that could be changed")
            if key in self._ran:
                raise UnfitError(f"{name} has run")
            if alike[old] > 1:
                raise UnfitError(f"{name} is there more than once")
        olds, news = _within(old), _within(new)
        if [code.co_name for code in olds] == [code.co_name for code in news]:
            for before, after in zip(olds, news, strict=True):
                yield from self._of(before, after, alike, inside=inside)
        elif any((code.co_filename, code) in self._live for code in _all_within(old)):
            raise UnfitError(f"{name} has made functions, and makes others")


def _within(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def _all_within(code: CodeType) -> Iterator[CodeType]:
    for inner in _within(code):
        yield inner
        yield from _all_within(inner)


def _own(code: CodeType) -> tuple[object, ...]:
    """Give all that a code object is, but for its lines and the code objects within."""
    # 0.0 and -0.0 and False are equal, and are not written alike
    consts = ["code" if isinstance(const, CodeType) else repr(const) for const in code.co_consts]
    return (
        *(code.co_name, code.co_qualname, code.co_code, consts, code.co_names, code.co_varnames),
        *(code.co_cellvars, code.co_exceptiontable, *_seen_from_outside(code)),
    )


def _whole(code: CodeType) -> tuple[object, ...]:
    return (*_own(code), *map(_whole, _within(code)))


def _seen_from_outside(code: CodeType) -> tuple[object, ...]:
    """Give what a function or a decorator may have kept of a code object."""
    count = code.co_argcount + code.co_kwonlyargcount
    cells = tuple(CellType() for _ in code.co_freevars)
    return (
        *(code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        *(code.co_varnames[: count + 2 * bool(code.co_flags & 12)], code.co_freevars),
        FunctionType(code, {}, None, None, cells).__doc__,
    )


if __name__ == "__main__":
    main()
