"""The command line: compare the handwritten network with JAX, or check anybody's gradient."""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from manual_nn.checks.arguments import as_count, as_number
from manual_nn.checks.options import Parser
from reference import check_command
from reference.campaign import runner
from reference.campaign.agreement import Agreement, draw_example
from reference.campaign.cases import XLA, compare_cases, draw_case, is_compiled, plan_block
from reference.campaign.runner import Campaign, Log
from reference.check_command import UsageError
from reference.report import table

DESCRIPTION = """\
Draw random networks (depth 1 to 4, widths to 64, up to 128 rows, class numbers or
target probabilities, with and without weight decay), compute everything with manual_nn
in float32 and float64 and with JAX autodiff in float64, and compare every element
under an error bound derived from rounding analysis; in one case of twenty under measured
rounding, too.

`--campaign` draws many more, in every memory layout and from tiny to huge, with all
derivatives. It runs for --cases or --minutes, logs what it finds, and resumes from its
log when it is started again.

`python -m reference check --help` says how to check a gradient of your own."""

LEGEND = """\
match: every element is within its bound. ambig.: only if a kink within rounding of 0 is left
open. n.c.: not comparable, because the bound is infinite. ulps: the worst difference in units of
the last place of the leaf's largest entry; of bound: the worst difference over its bound. --seed
SEED --cases 1 draws a case again."""

CAMPAIGN_LEGEND = """\
match: every element is within its bound, which is measured where the proven one is infinite.
ambig.: only if a kink within rounding of 0 is left open. blind: rounding strays as far as the
result itself. n.c.: not comparable, because something overflows, because rounding decides between
classes, or because a measured difference hangs on more kinks than can be tried together. refused:
by manual_nn, because something overflows. of bound: the worst difference of a match over its bound.
--campaign --replay CASE shows a case again, given the --seed and --block of its campaign."""

CASES = 100
CAMPAIGN_CASES = 10_000
BLOCK = 100
OF_A_RUN = ("minutes", "workers", "block", "log")  # options of a campaign that is run
LOG = Path("output/campaign.jsonl")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if all agreed, 1 if not, 130 if interrupted."""
    parser = Parser(
        "python -m reference",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case (default: 0)")
    parser.add_argument(
        "--cases",
        type=int,
        help=f"how many (default: {CASES}; {CAMPAIGN_CASES:,} for a campaign without --minutes)",
    )
    _add_campaign(parser.add_argument_group("campaign"))
    parser.set_defaults(run=_agreement)
    _add_check(parser.add_subparsers(title="commands", metavar="check"))
    options = parser.parse_args(argv)
    try:
        status: int = _chosen(options)(options)
    except UsageError as error:
        parser.error(str(error))
    return status


def _chosen(options: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    """Choose what to run, and refuse the options of what is not run."""
    given = [name for name in (*OF_A_RUN, "replay") if getattr(options, name) is not None]
    if not options.campaign:
        if given:
            raise UsageError(f"--{given[0]} requires --campaign")
        chosen: Callable[[argparse.Namespace], int] = options.run
        return chosen
    if options.run is not _agreement:
        raise UsageError("--campaign cannot be combined with check")
    if options.replay is None:
        return _campaign
    others = [name for name in (*OF_A_RUN, "cases") if getattr(options, name) is not None]
    if others := [name for name in others if name != "block"]:
        raise UsageError(f"--replay shows a single case and cannot be combined with --{others[0]}")
    return _replay


def _agreement(options: argparse.Namespace) -> int:
    try:
        cases = as_count(CASES if options.cases is None else options.cases, name="--cases")
        seed = as_count(options.seed, name="--seed", minimum=0)
    except ValueError as error:
        raise UsageError(str(error)) from error
    agreement = Agreement()
    interrupted = False
    try:
        for case_seed in tqdm(range(seed, seed + cases), unit="case", leave=False, disable=None):
            agreement.add(draw_example(case_seed))
    except KeyboardInterrupt:
        interrupted = True
    print(agreement.table(), LEGEND, sep="\n\n")
    print(f"\n{agreement.cases} networks, {agreement.kinks} with a kink within rounding.", end=" ")
    print("All agree." if agreement.complete else "NOT all agree.")
    if interrupted:
        print("Interrupted.")
        return 130
    return 0 if agreement.complete else 1


def _add_campaign(group: Any) -> None:
    group.add_argument("--campaign", action="store_true", help="run a campaign")
    group.add_argument("--minutes", type=float, help="stop after this many minutes")
    group.add_argument("--workers", type=int, help="number of processes (default: one per core)")
    group.add_argument(
        "--block", type=int, help=f"networks of one shape compared at once (default: {BLOCK})"
    )
    group.add_argument(
        "--log", type=Path, metavar="FILE", help=f"log to write to and resume from (default: {LOG})"
    )
    group.add_argument("--replay", metavar="CASE", help="show a case again, given as BLOCK:NUMBER")


def _campaign(options: argparse.Namespace) -> int:
    path = options.log or LOG
    try:
        seed = as_count(options.seed, name="--seed", minimum=0)
        workers = os.cpu_count() or 1
        if options.workers is not None:
            workers = as_count(options.workers, name="--workers")
        networks = as_count(BLOCK if options.block is None else options.block, name="--block")
        cases, until = options.cases, math.inf
        if options.minutes is not None:
            minutes = as_number(options.minutes, name="--minutes", minimum=0, strict=True)
            until = time.monotonic() + 60 * minutes
        elif cases is None:
            cases = CAMPAIGN_CASES
        blocks = None if cases is None else math.ceil(as_count(cases, name="--cases") / networks)
        campaign = Campaign.here(seed, networks)
        log = Log(path, campaign)
    except OSError as error:
        raise UsageError(f"--log {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if cases is not None and cases % networks:
        count = "1 block" if blocks == 1 else f"{blocks:,} blocks"
        print(f"--cases {cases} takes {count} of {networks} networks, see --block", file=sys.stderr)
    if log.networks:
        print(f"Goes on from {log.networks:,} networks in {path}", file=sys.stderr)
    ended = ""
    with log:
        try:
            runner.run(log, campaign, blocks, until=until, workers=workers)
        except KeyboardInterrupt:
            ended = "Interrupted"
        except BrokenProcessPool:
            ended = "A process ended unexpectedly, for the reason given above"
    print(runner.table(log.records), CAMPAIGN_LEGEND, sep="\n\n")
    print("\n" + runner.summary(log, campaign))
    if ended:
        print(f"{ended}; the same command resumes from {path}.")
        return 130 if ended == "Interrupted" else 1
    return 1 if any(record.wrong for record in log.records) or not log.records else 0


def _replay(options: argparse.Namespace) -> int:
    """Compare a whole block again, as the campaign did, and show one of its cases."""
    try:
        seed = as_count(options.seed, name="--seed", minimum=0)
        networks = as_count(BLOCK if options.block is None else options.block, name="--block")
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        block, number = map(int, options.replay.split(":"))
        as_count(block, name="BLOCK", minimum=0)
        as_count(number, name="NUMBER", minimum=0)
    except ValueError as error:
        raise UsageError(f"--replay must be BLOCK:NUMBER, got {options.replay!r}") from error
    if number >= networks:
        raise UsageError(f"--replay {options.replay}: a block has {networks} cases, see --block")
    plan, (kind, _) = plan_block(seed, block), draw_case(seed, block, number)
    print(f"{plan.group}: {plan.shape}, {plan.dtype}; {', '.join(kind)}")
    compared = compare_cases(seed, block, range(networks), compiled=is_compiled(block))
    for quantity, verdicts in compared.verdicts.items():
        print(f"{quantity}: {verdicts[number]}")
    if number in compared.errors:
        print(compared.errors[number])
    print()
    leaves = [
        leaf for quantity, found in compared.leaves.items() if quantity != XLA for leaf in found
    ]
    print("\n".join(table([leaf.of_row(number) for leaf in leaves])))
    return 1 if number in compared.record.wrong else 0


def _add_check(commands: Any) -> None:
    command = commands.add_parser(
        "check",
        help="check a gradient of your own",
        description=check_command.DESCRIPTION,
        epilog=check_command.EXAMPLE.replace("check-gradient", "python -m reference check"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check_command.add_arguments(command)
    command.set_defaults(run=check_command.check)
