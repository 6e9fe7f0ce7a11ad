"""Change the code in thousands of small ways, one at a time: does a test fail for each of them?

python -m benchmarks.mutation --module manual_nn/models/mlp.py

A mutant is killed if a test fails, times out if the tests take more than three times as long as
they should, and else survives: it shows what no test would notice. `selection.py` says which tests
are about which module. What Numba compiles is run by Python, and compiled if the mutant survives
that. A survivor that computes the same is listed in equivalent_mutants.toml, with the reason.

Each of the processes at work has a copy of the tree. Each result is written to a session at once,
from which the same command goes on; a module whose code has changed begins anew. What survives or
times out is written beside the session, in the form that the list has. The table of all modules,
once none of their mutants is untested, goes to benchmarks/results, and so does that of the
numerical ones, as far as they are tested; any other goes beside the session. The exit status is 1
if any survives, times out or is untested, but for those listed, which must have been tested too,
and 2 if something must be put right first.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.mutation.mutants import (
    EQUIVALENT,
    Mutant,
    entry_text,
    make_mutants,
    match_equivalents,
    read_equivalents,
)
from benchmarks.mutation.selection import NotReadyError, is_numerical, modules, select
from benchmarks.mutation.workers import Result, Session, is_to_be_compiled, test_mutants
from benchmarks.tables import Page

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "python -m benchmarks.mutation"
SESSION = Path("build/mutants.jsonl")
STATES = ("killed", "timed out", "survived", "equivalent", "untested")
NUMERICAL = "--numerical"
EARLIER = "\n## The last run of all modules\n\n"
GROUPS = {True: "of gradients", False: "Cosmic Ray's own"}
ABOUT = """\
The code is changed in one place at a time, and the tests of the changed module are run: a mutant
that fails no test is a hole. The changes are Cosmic Ray's, for what goes wrong in any Python, and
our own, for what goes wrong in a backward pass."""
LEGEND = f"""
*equivalent*: computes the same for whatever can reach it; each is listed with the reason in
[`{EQUIVALENT.name}`](../mutation/{EQUIVALENT.name})."""


def main(argv: Sequence[str] | None = None) -> int:
    """Test the mutants that have not been, and print what is known of all."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").partition("\n")[0])
    modules_of = parser.add_mutually_exclusive_group()
    modules_of.add_argument("--module", action="append", help="only of this one; may be repeated")
    modules_of.add_argument(NUMERICAL, action="store_true", help="only of the numerical modules")
    parser.add_argument("--operator", help="only by operators whose name this pattern finds")
    parser.add_argument("--session", type=Path, default=SESSION, help=f"default: {SESSION}")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: the cores")
    parser.add_argument(
        "--again", choices=("survived", "timed out", "all"), help="test these once more"
    )
    parser.add_argument("--report", action="store_true", help="test nothing")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, got {args.workers}")
    try:
        return run(
            ROOT,
            args.session,
            only=args.module,
            numerical=args.numerical,
            operator=args.operator,
            workers=0 if args.report else args.workers,
            again=args.again,
            arguments=argv,
        )
    except NotReadyError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Interrupted; the same command resumes from {args.session}.", file=sys.stderr)
        return 130


def run(
    root: Path,
    path: Path,
    *,
    only: Sequence[str] | None = None,
    numerical: bool = False,
    operator: str | None = None,
    workers: int = 1,
    again: str | None = None,
    arguments: Sequence[str] | None = (),
) -> int:
    """Do what the command does, for a tree; no worker only reports."""
    entries, mutated = read_equivalents(root), modules(root)
    if only is not None and (unknown := set(only) - set(mutated)):
        raise NotReadyError(f"not mutated: {', '.join(sorted(unknown))}")
    if only is not None or numerical:
        entries = [e for e in entries if is_chosen(e["module"], only)]
        mutated = [module for module in mutated if is_chosen(module, only)]
    mutants = [mutant for module in mutated for mutant in make_mutants(root, module)]
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        select(root, module)  # before an hour has gone by
    reasons = match_equivalents(mutants, entries)
    if operator is not None:
        mutants = [mutant for mutant in mutants if re.search(operator, mutant.operator)]
    session = Session(path)
    if workers:
        left = [m for m in mutants if is_due(session.results.get(m.identity), again, m, reasons)]
        test_mutants(root, left, session, workers, compiled=False)
        unlisted = [m for m in mutants if m.key not in reasons]
        left = [m for m in unlisted if is_to_be_compiled(m, session.results.get(m.identity))]
        test_mutants(root, left, session, workers, compiled=True)
    states = [state_of(m, session.results, reasons) for m in mutants]
    known = any(state != "untested" for state in states) if numerical else "untested" not in states
    public = only is None and operator is None and known
    results = root / "benchmarks" / "results" if public else path.parent
    earlier = last_of_all(results / "mutants.md") if numerical else ""
    report(mutants, states, results / "mutants.md", arguments, earlier)
    found = list(zip(mutants, states, strict=True))
    failed = [m for m, state in found if state in {"survived", "timed out"}]
    survivors = path.with_name("survivors.toml")
    survivors.write_text("\n".join(map(entry_of, failed)), encoding="utf-8")
    print(f"Wrote what survived or timed out, {len(failed):,}, to {survivors}")
    wrong = [m for m, state in found if m.key in reasons and state == "killed"]
    for mutant in wrong:
        print(f"listed as equivalent, but killed: {mutant}", file=sys.stderr)
    return 2 if wrong else 1 if failed or "untested" in states else 0


def is_chosen(module: str, only: Sequence[str] | None) -> bool:
    """Say whether a module is one of those named, or of the numerical ones if none are."""
    return is_numerical(module) if only is None else module in only


def is_due(
    result: Result | None, again: str | None, mutant: Mutant, reasons: Mapping[tuple[str, ...], str]
) -> bool:
    """Say whether a mutant is to be tested; one listed as equivalent is, once, to see if it is."""
    if result is None or again == "all":
        return True
    return result.state == again and mutant.key not in reasons


def state_of(
    mutant: Mutant, results: Mapping[str, Result], reasons: Mapping[tuple[str, ...], str]
) -> str:
    """Say what has become of a mutant: one of STATES."""
    if (result := results.get(mutant.identity)) is None:
        return "untested"
    listed = mutant.key in reasons and result.state != "killed"
    return "equivalent" if listed else result.state


def entry_of(mutant: Mutant) -> str:
    """Write the entry of a mutant, without the reason, which nobody knows yet."""
    return f"# {mutant}\n{entry_text(*mutant.key, '')}"


def last_of_all(path: Path) -> str:
    """Give what a page says of all modules, as a section of the page that takes its place."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, mark, section = text.partition(EARLIER)
    if not mark and f"{COMMAND} {NUMERICAL}" not in before:
        section = before.partition("\n\n")[2]  # without its title
    section = section.replace("- Command:", "- Command of that run:")  # a page names one of its own
    return f"{EARLIER}{section}" if section else ""


def report(
    mutants: Sequence[Mutant],
    states: Sequence[str],
    path: Path,
    arguments: Sequence[str] | None,
    earlier: str,
) -> None:
    """Print the tables, and write them, with an earlier page below."""
    page = Page("Mutants of the code, and how many the tests kill", ABOUT)
    found = list(zip(mutants, states, strict=True))
    page.heading(["module: operators", "made", *STATES])
    print_rows(page, found, lambda mutant: f"{mutant.module}: {GROUPS[mutant.is_ours]}")
    print_rows(page, found, lambda mutant: f"all: {GROUPS[mutant.is_ours]}")
    print_rows(page, found, lambda _: "all")
    page.line()
    page.heading(["operator of gradients", "made", *STATES])
    ours = sorted((pair for pair in found if pair[0].is_ours), key=lambda pair: pair[0].operator)
    print_rows(page, ours, lambda mutant: mutant.operator)
    page.line(LEGEND)
    page.line(earlier)
    count = Counter(states)
    parts = ", ".join(f"{count[state]:,} {state}" for state in STATES)
    page.write(path, f"{len(mutants):,} mutants: {parts}.", COMMAND, arguments)


def print_rows(
    page: Page, found: Sequence[tuple[Mutant, str]], kind: Callable[[Mutant], str]
) -> None:
    """Print a row for each kind of mutants, in the order in which the kinds come first."""
    groups: dict[str, Counter[str]] = {}
    for mutant, state in found:
        groups.setdefault(kind(mutant), Counter())[state] += 1
    for name, count in groups.items():
        page.row([name, f"{count.total():,}", *(f"{count[state]:,}" for state in STATES)])


if __name__ == "__main__":
    sys.exit(main())
