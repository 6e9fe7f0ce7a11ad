"""Change the code in thousands of small ways, one at a time: does a test fail for each of them?

python -m benchmarks.mutation.mutants --module manual_nn/layers/dense.py

A mutant is a module with one change, made by an operator: Cosmic Ray's own, which know Python, or
those of benchmarks/mutation/gradient_operators.py, which know the mistakes of a backward pass. It
is killed if a test fails, times out if the tests take more than three times as long as they should,
and else survives: it shows what no test would notice. pyproject.toml says which operators there are
and which tests are about which module. A survivor that computes the same is listed in
benchmarks/equivalent_mutants.toml, with the reason.

Each of the processes at work has a copy of the tree. What is found is kept in a Cosmic Ray session
after each mutant, from which the same command goes on; a module that has changed begins anew. What
survives or times out is written beside the session, in the form that the list has. The exit
status is 1 if any survives, times out or is untested, but for those listed, which must have been
tested too, and 2 if something must be put right first.
"""

import argparse
import ast
import contextlib
import difflib
import functools
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from tqdm import tqdm

from benchmarks.mutation import runner
from benchmarks.mutation.gradient_operators import OPERATORS, Code
from benchmarks.tables import print_heading, print_row

ROOT = Path(__file__).resolve().parents[2]
SESSION = Path("build/mutants.sqlite")
EQUIVALENT = Path("benchmarks/equivalent_mutants.toml")
COPIED = ("manual_nn", "reference", "benchmarks", "tests", "pyproject.toml", "README.md", "LICENSE")
ENTRY = ("module", "function", "operator", "before", "after")  # of the list, without the reason
OURS = "gradient"  # before the names of our operators
SLOWER = 3.0  # times as long as without a mutant, and so many seconds
MORE = 10.0
GROUPS = {"core": "Cosmic Ray's own", OURS: "of gradients"}
STATES = ("killed", "timed out", "survived", "equivalent", "untested")


class Config(NamedTuple):
    """What pyproject.toml says of mutants, under tool.cosmic-ray."""

    operators: list[str]  # patterns of the names of Cosmic Ray's own
    numerical: list[str]  # the modules that all operators of gradients are for
    tests: dict[str, list[str]]  # of each module, for pytest


class Changed(NamedTuple):
    """A module with one change, which may or may not be a mutant."""

    operator: str
    occurrence: int  # which of its places in the module
    start: int  # of the change, in characters
    text: str  # the whole module


class Mutant(NamedTuple):
    """A module with one change."""

    module: str
    function: str  # with those and the classes that it is in; "" for the module itself
    operator: str
    line: int
    before: str  # the changed lines, each without the space around it
    after: str
    text: str  # the whole module
    item: WorkItem  # as the session has it, by an id that the module and the change make

    @property
    def group(self) -> str:
        """Say whose operator it is."""
        return self.operator.partition("/")[0]

    @property
    def key(self) -> tuple[str, ...]:
        """Say what an entry of the list of equivalent ones must have."""
        return self.module, self.function, self.operator, self.before, self.after


class NotReadyError(Exception):
    """Something must be put right before mutants can be judged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Test the mutants that have not been, and print what is known of all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutation.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--module", action="append", help="only of this one; may be repeated")
    parser.add_argument("--operator", help="only by operators whose name this pattern finds")
    parser.add_argument("--session", type=Path, default=SESSION, help=f"default: {SESSION}")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: the cores")
    parser.add_argument(
        "--again", choices=("survivors", "timed-out", "all"), help="test these once more"
    )
    parser.add_argument("--report", action="store_true", help="test nothing")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, got {args.workers}")
    try:
        return run(
            ROOT,
            args.session,
            modules=args.module,
            operator=args.operator,
            workers=0 if args.report else args.workers,
            again=args.again,
        )
    except NotReadyError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Interrupted; the same command goes on from {args.session}.", file=sys.stderr)
        return 130


def run(
    root: Path,
    session: Path,
    *,
    modules: Sequence[str] | None = None,
    operator: str | None = None,
    workers: int = 1,
    again: str | None = None,
) -> int:
    """Do what the command does, for a tree; no worker only reports."""
    config = read_config(root)
    entries = read_equivalents(root)
    if modules is None:
        modules = list(config.tests)
    else:
        entries = [entry for entry in entries if entry["module"] in modules]
    if unknown := set(modules) - set(config.tests):
        raise NotReadyError(f"no tests are named for {', '.join(sorted(unknown))}")
    mutants = [mutant for module in modules for mutant in make_mutants(root, module, config)]
    reasons = match_equivalents(mutants, entries)
    if operator is not None:
        mutants = [mutant for mutant in mutants if re.search(operator, mutant.operator)]
    session.parent.mkdir(parents=True, exist_ok=True)
    with use_db(session) as database:
        results = begin(database, mutants)
        if workers:
            left = [
                m
                for m in mutants
                if is_due(results.get(m.item.job_id), again, listed=m.key in reasons)
            ]
            test_mutants(root, left, config, database, workers)
            results = dict(database.results)
    report(mutants, results, reasons)
    found = [(m, state_of(m, results, reasons)) for m in mutants]
    failed = [m for m, state in found if state in {"survived", "timed out"}]
    path = session.with_name("survivors.toml")
    path.write_text("\n".join(entry_of(mutant) for mutant in failed), encoding="utf-8")
    print(f"\nWrote what survived or timed out, {len(failed):,}, to {path}")
    wrong = [m for m, state in found if m.key in reasons and state == "killed"]
    untested = [m for m, state in found if state == "untested"]
    for mutant in wrong:
        print(f"listed as equivalent, but killed: {where(mutant)}", file=sys.stderr)
    return 2 if wrong else 1 if failed or untested else 0


def is_due(result: WorkResult | None, again: str | None, *, listed: bool) -> bool:
    """Say whether a mutant is to be tested; one listed as equivalent is, once, to see if it is."""
    state = _state(result)
    if again == "all" or state == "untested":
        return True
    return not listed and (again, state) in {("survivors", "survived"), ("timed-out", "timed out")}


def read_config(root: Path) -> Config:
    """Read what pyproject.toml says."""
    with (root / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["cosmic-ray"]
    return Config(table["operators"], table["numerical"], table["tests"])


# Making


def make_mutants(root: Path, module: str, config: Config) -> list[Mutant]:
    """Make all mutants of a module that differ from it and from each other, and compile."""
    original = (root / module).read_text(encoding="utf-8")
    known: dict[int, set[str]] = {}
    mutants = []
    for changed in all_changes(original, module, config):
        # of a long module the statement that differs is looked at, which is much faster
        start, statement, *_ = next(
            chunk for chunk in _chunks(original) if changed.start < chunk.start + len(chunk.text)
        )
        end = start + len(statement) + len(changed.text) - len(original)
        if start not in known:
            known[start] = {ast.dump(ast.parse(statement))}
        try:
            tree = ast.parse(changed.text[start:end])
            compile(tree, module, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if (dumped := ast.dump(tree)) not in known[start]:
            known[start].add(dumped)
            mutants.append(_mutant(module, original, changed))
    return mutants


def all_changes(original: str, module: str, config: Config) -> Iterator[Changed]:
    """Give each change by each operator that there is for the module.

    Operators of gradients come first: a change that one of Cosmic Ray's own makes too is theirs.
    """
    code = Code(original)
    for name, operator in OPERATORS.items():
        if operator.numerical and module not in config.numerical:
            continue
        if operator.lowers and not module.startswith("manual_nn/"):
            continue
        for occurrence, (start, end, new) in enumerate(operator().changes(code)):
            text = original[:start] + new + original[end:]
            yield Changed(f"{OURS}/{name}", occurrence, start, text)
    for name in cosmic_ray.plugins.OPERATOR_PROVIDERS["core"]:
        if any(re.fullmatch(pattern, name) for pattern in config.operators):
            yield from _changes_by_cosmic_ray(code, f"core/{name}")


class _Chunk(NamedTuple):
    """A statement of a module, which is parsed for each mutant anew, and so alone."""

    start: int
    text: str
    tree: bytes  # pickled, for an operator changes the tree that it is given
    nodes: list[Any]


@functools.lru_cache(maxsize=1)
def _chunks(text: str) -> list[_Chunk]:
    chunks, start = [], 0
    for node in get_ast(text).children:
        chunk = node.get_code()
        tree = get_ast(chunk)
        chunks.append(_Chunk(start, chunk, pickle.dumps(tree), list(ast_nodes(tree))))
        start += len(chunk)
    return chunks


def _changes_by_cosmic_ray(code: Code, name: str) -> Iterator[Changed]:
    """Give the changes by one of Cosmic Ray's own operators, but for those of annotations."""
    operator = cosmic_ray.plugins.get_operator(name)()
    occurrence = 0
    for start, text, tree, nodes in _chunks(code.text):
        positions = [
            (node, position) for node in nodes for position in operator.mutation_positions(node)
        ]
        for place, (node, ((line, column), _)) in enumerate(positions):
            offset = start + _offset(text, line, column)
            if not _is_untested(node, offset, code):
                visitor = MutationVisitor(place, operator)
                mutated = visitor.walk(pickle.loads(tree)).get_code()  # noqa: S301
                rest = code.text[start + len(text) :]
                yield Changed(name, occurrence, offset, code.text[:start] + mutated + rest)
            occurrence += 1


def _offset(text: str, line: int, column: int) -> int:
    return sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column


def _is_untested(node: Any, offset: int, code: Code) -> bool:
    """Say whether a place is in an annotation, or the * or / among a function's parameters."""
    mark = node.type == "operator" and node.parent.type in {"parameters", "lambdef"}
    return mark or any(start <= offset < end for start, end in code.untested)


def _mutant(module: str, original: str, changed: Changed) -> Mutant:
    operator, occurrence, start, text = changed
    line = original.count("\n", 0, start) + 1
    column = start - (original.rfind("\n", 0, start) + 1)
    function = _function_at(original, line)
    lines = list(difflib.unified_diff(original.splitlines(), text.splitlines(), n=0))[2:]
    before, after = (
        "\n".join(changed_line[1:].strip() for changed_line in lines if changed_line[0] == sign)
        for sign in "-+"
    )
    spec = MutationSpec(
        module_path=Path(module),
        operator_name=operator,
        occurrence=occurrence,
        start_pos=(line, column),
        end_pos=(line, column + 1),
        definition_name=function,
    )
    identity = hashlib.sha256("\0".join([module, original, text]).encode()).hexdigest()[:32]
    item = WorkItem.single(identity, spec)
    return Mutant(module, function, operator, line, before, after, text, item)


def _function_at(text: str, line: int) -> str:
    """Name the function or class that a line is in, decorators included."""
    names: list[str] = []
    body: list[Any] = [_tree_of(text)]
    while body:
        node = body.pop()
        for child in ast.iter_child_nodes(node):
            at: Any = child
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                first = min([at.lineno, *(d.lineno for d in child.decorator_list)])
                if first <= line <= at.end_lineno:
                    names.append(child.name)
                    body = [child]
                    break
            elif isinstance(child, ast.stmt) and at.lineno <= line <= at.end_lineno:
                body.append(child)
    return ".".join(names)


@functools.lru_cache(maxsize=1)
def _tree_of(text: str) -> ast.Module:
    return ast.parse(text)


# What computes the same


def read_equivalents(root: Path) -> list[dict[str, str]]:
    """Read the list of equivalent mutants."""
    with (root / EQUIVALENT).open("rb") as file:
        entries = tomllib.load(file).get("equivalent", [])
    for entry in entries:
        missing = {*ENTRY, "reason"} - set(entry)
        if missing or not entry["reason"].strip():
            what = ", ".join(sorted(missing)) or "reason"
            raise NotReadyError(f"{EQUIVALENT}: {what} is missing from {entry}")
    return entries


def match_equivalents(
    mutants: Iterable[Mutant], entries: Iterable[Mapping[str, str]]
) -> dict[tuple[str, ...], str]:
    """Find the reason of each equivalent mutant, by its key; an entry of none is an error."""
    keys = {mutant.key for mutant in mutants}
    reasons = {}
    for entry in entries:
        key = tuple(entry[name] for name in ENTRY)
        if key not in keys:
            raise NotReadyError(f"{EQUIVALENT}: no mutant is\n{entry_text(*key, entry['reason'])}")
        if key in reasons:
            raise NotReadyError(f"{EQUIVALENT}: twice\n{entry_text(*key, entry['reason'])}")
        reasons[key] = entry["reason"]
    return reasons


def entry_text(*values: str) -> str:
    """Write an entry of the list of equivalent mutants; a string of JSON is one of TOML."""
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in zip((*ENTRY, "reason"), values, strict=True)
    ]
    return "\n".join(["[[equivalent]]", *lines, ""])


def entry_of(mutant: Mutant) -> str:
    """Write the entry of a mutant, without the reason, which nobody knows yet."""
    return f"# {where(mutant)}\n{entry_text(*mutant.key, '')}"


def where(mutant: Mutant) -> str:
    """Say which mutant this is, in a line."""
    before, after = (text.replace("\n", " ⏎ ") for text in (mutant.before, mutant.after))
    return f"{mutant.module}:{mutant.line} {mutant.operator}: {before}  ->  {after}"


# Testing


class Worker:
    """A process that tests one mutant after the other, in a copy of the tree."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Copy the tree and start the process."""
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
        self._process = subprocess.Popen(  # noqa: S603, our own code
            [sys.executable, "-P", runner.__file__],
            cwd=tree,
            env=os.environ | one | jax | {"MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for this process alone
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have tests run, on a mutant or on none, and wait for what has become of them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
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

    def __init__(self, root: Path, folder: Path, count: int) -> None:
        """Start them, each in a part of the folder."""
        self._all: list[Worker] = []
        self._own = threading.local()
        try:
            for number in range(count):
                (folder / str(number)).mkdir()
                self._all.append(Worker(root, folder / str(number)))
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
    root: Path, mutants: Sequence[Mutant], config: Config, database: WorkDB, count: int
) -> None:
    """Test mutants with so many processes, and keep each result as soon as it is there."""
    if not mutants:
        return
    count = min(count, len(mutants))
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(count) as pool,  # which waits for its threads, so they must be let go
        contextlib.closing(Workers(root, Path(folder), count)) as workers,
    ):
        try:
            limits = unmutated(dict.fromkeys(m.module for m in mutants), config, workers, pool)
            workers.share()
            futures = {
                pool.submit(
                    workers.ask,
                    module=m.module,
                    text=m.text,
                    tests=config.tests[m.module],
                    limit=limits[m.module],
                ): m
                for m in mutants
            }
            found: Counter[str] = Counter()
            with tqdm(total=len(mutants), unit="mutant") as bar:
                for future in as_completed(futures):
                    mutant = futures[future]
                    result = result_of(mutant, future.result())
                    database.set_result(mutant.item.job_id, result)
                    found[_state(result)] += 1
                    bar.update()
                    bar.set_postfix(found)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def unmutated(
    modules: Iterable[str],
    config: Config,
    workers: Workers,
    pool: ThreadPoolExecutor,
) -> dict[str, float]:
    """Find how long the tests of each module may take, from how long they take without a mutant."""
    modules = list(modules)
    tests = [config.tests[module] for module in modules]
    answers = list(pool.map(lambda selected: workers.ask(tests=selected, limit=None), tests))
    for module, answer in zip(modules, answers, strict=True):
        print(f"{module}: its tests take {answer['seconds']:.1f} s", file=sys.stderr)
        if answer["status"] != 0:
            raise NotReadyError(f"{module}: its tests fail without a mutant\n{answer['output']}")
    return {
        module: SLOWER * answer["seconds"] + MORE
        for module, answer in zip(modules, answers, strict=True)
    }


def result_of(mutant: Mutant, answer: Mapping[str, Any]) -> WorkResult:
    """Say it in Cosmic Ray's terms."""
    status = answer["status"]
    return WorkResult(
        worker_outcome=WorkerOutcome.NORMAL if status is not None else WorkerOutcome.ABNORMAL,
        test_outcome=TestOutcome.SURVIVED if status == 0 else TestOutcome.KILLED,
        output=f"{answer['seconds']:.1f} s, {answer['way']}\n{answer['output']}",
        diff="\n".join([f"-{mutant.before}", f"+{mutant.after}"]),
    )


# What is known


def begin(database: WorkDB, mutants: Iterable[Mutant]) -> dict[str, WorkResult]:
    """Put new mutants into the session, and give the results that it has."""
    known = {item.job_id for item in database.work_items}
    database.add_work_items(m.item for m in mutants if m.item.job_id not in known)
    return dict(database.results)


def state_of(
    mutant: Mutant, results: Mapping[str, WorkResult], reasons: Mapping[tuple[str, ...], str]
) -> str:
    """Say what has become of a mutant: one of STATES."""
    state = _state(results.get(mutant.item.job_id))
    listed = mutant.key in reasons and state in {"survived", "timed out"}
    return "equivalent" if listed else state


def _state(result: WorkResult | None) -> str:
    if result is None:
        return "untested"
    if result.worker_outcome == WorkerOutcome.ABNORMAL:
        return "timed out"
    return "killed" if result.test_outcome == TestOutcome.KILLED else "survived"


@dataclass(frozen=True)
class Row:
    """How many mutants there are of a kind, and what has become of them."""

    name: str
    made: int
    states: Mapping[str, int]

    @classmethod
    def of(cls, name: str, states: Sequence[str]) -> "Row":
        """Count."""
        return cls(name, len(states), Counter(states))

    def print(self) -> None:
        """Print it as a row of a table."""
        counts = [self.made, *(self.states.get(state, 0) for state in STATES)]
        print_row([self.name, *(f"{count:,}" for count in counts)])


def rows_of(
    mutants: Sequence[Mutant], states: Sequence[str], kind: Callable[[Mutant], str]
) -> list[Row]:
    """Count the mutants of each kind, in the order in which the kinds come first."""
    groups: dict[str, list[str]] = {}
    for mutant, state in zip(mutants, states, strict=True):
        groups.setdefault(kind(mutant), []).append(state)
    return [Row.of(name, group) for name, group in groups.items()]


def report(
    mutants: Sequence[Mutant],
    results: Mapping[str, WorkResult],
    reasons: Mapping[tuple[str, ...], str],
) -> None:
    """Print the tables."""
    states = [state_of(mutant, results, reasons) for mutant in mutants]
    print_heading(["module: operators", "made", *STATES])
    for row in rows_of(mutants, states, lambda m: f"{m.module}: {GROUPS[m.group]}"):
        row.print()
    for row in rows_of(mutants, states, lambda m: f"all: {GROUPS[m.group]}"):
        row.print()
    Row.of("all", states).print()
    ours = [(m, state) for m, state in zip(mutants, states, strict=True) if m.group == OURS]
    print()
    print_heading(["operator of gradients", "made", *STATES])
    of_operator = rows_of([m for m, _ in ours], [s for _, s in ours], lambda m: m.operator)
    for row in sorted(of_operator, key=lambda row: row.name):
        row.print()
    if equivalent := [m for m, state in zip(mutants, states, strict=True) if state == "equivalent"]:
        print()
        print_heading(["equivalent", "why it computes the same"])
        for mutant in equivalent:
            print_row([where(mutant).replace("|", "\\|"), reasons[mutant.key]])


if __name__ == "__main__":
    sys.exit(main())
