"""The command `check-gradient`, which is `python -m reference check` too."""

import argparse
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from manual_nn.checks.options import Parser
from reference.arguments import Argnums, places_of, precision
from reference.check import check_gradient
from reference.compare import Verdict
from reference.limit import SECONDS, Limit
from reference.report import GradientReport

DESCRIPTION = """\
Compare a gradient written by hand with JAX autodiff of a loss at one example, element by
element and up to rounding, which is measured and bounded, and say what is probably wrong."""

NOTHING_WRONG = "There is nothing to explain: the gradient is right."
NOT_EXPLAINED = "Lines are marked only where the gradient is a mismatch."
UNMARKED = "No operation of the loss explains the difference, so that its lines are not marked."
EXAMPLE = """\
example:
  check-gradient mine.py:d_layer_norm mine.py:loss --example mine.py:ARGS
where mine.py defines d_layer_norm(*ARGS), loss(*ARGS) and ARGS, a tuple of the arguments or
a function that returns one. The exit status is 0 if the gradient is right, 1 if it is not,
and 2 if the command is wrong."""


class UsageError(ValueError):
    """A mistake on the command line, as opposed to an error of a function that is checked."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if the gradient is right, and 1 if it is not."""
    parser = Parser(
        "check-gradient",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    try:
        return check(parser.parse_args(argv))
    except UsageError as error:
        parser.error(str(error))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the check takes."""
    place = "MODULE:NAME or FILE.py:NAME"
    parser.add_argument("grad", metavar="GRAD", help=f"the gradient function, {place}")
    parser.add_argument("loss", metavar="LOSS", help="the loss, traceable by JAX, likewise")
    parser.add_argument(
        "--example", required=True, metavar="ARGS", help="the arguments to check it at, likewise"
    )
    parser.add_argument(
        "--argnums",
        type=_number_or_name,
        nargs="+",
        default=[0],
        metavar="ARGUMENT",
        help="the arguments that it is the gradient in, counted from 0 or by name (default: 0)",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show the loss, each line marked: its backward is right, wrong, or downstream of the "
        "wrong one, which is to say handed a wrong derivative",
    )
    parser.add_argument(
        "--seconds",
        type=_limit,
        default=SECONDS,
        help="how long the causes of a mismatch are looked for, 0 for not at all (default: "
        f"{SECONDS:g})",
    )
    parser.add_argument(
        "--plot", type=_picture, metavar="FILE", help="write a picture of the errors, such as a.png"
    )


def _number_or_name(text: str) -> int | str:
    if text.isidentifier():
        return text
    try:
        return int(text)
    except ValueError as error:
        msg = f"must be the number or the name of an argument, got {text!r}"
        msg += "; separate several by spaces" if "," in text else ""
        raise argparse.ArgumentTypeError(msg) from error


def _picture(text: str) -> Path:
    """Refuse what cannot be written before anything is checked, which may take long."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: there is no folder {path.parent}")
    from matplotlib.backend_bases import FigureCanvasBase  # noqa: PLC0415, for pictures alone

    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        msg = f"{path}: a picture's name must end in one of .{', .'.join(sorted(formats))}"
        raise argparse.ArgumentTypeError(msg)
    return path


def _limit(text: str) -> float:
    try:
        return Limit(float(text)).seconds
    except ValueError as error:
        msg = f"must be a number of at least 0, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error


def check(options: argparse.Namespace) -> int:
    """Check what the options name."""
    sys.path.insert(0, "")  # modules of this folder, however the command was started
    grad, loss = named(options.grad), named(options.loss)
    if not callable(loss):
        msg = f"{options.loss} must be the loss, a function, got {type(loss).__name__}"
        raise UsageError(msg)
    args = _example(options.example)
    argnums: Argnums = options.argnums if len(options.argnums) > 1 else options.argnums[0]
    try:
        places = places_of(argnums, loss, args)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    try:
        precision(args, places)
    except TypeError as error:
        raise UsageError(f"--example {options.example}: {error}") from error
    report = check_gradient(grad, loss, *args, argnums=argnums, explain_seconds=options.seconds)
    print(report)
    if options.explain:
        print(f"\n{_explanation(report)}")
    if options.plot is not None and report.leaves:
        try:
            report.plot(options.plot)
        except OSError as error:
            raise UsageError(f"--plot {options.plot}: {error.strerror}") from error
        print(f"Wrote {options.plot}")
    return 0 if report.ok else 1


def _explanation(report: GradientReport) -> str:
    if report.verdict == Verdict.MISMATCH:
        return report.source or UNMARKED
    return NOTHING_WRONG if report.ok else NOT_EXPLAINED


def _example(place: str) -> tuple[Any, ...]:
    """Give the arguments that are named, or what the function that is named returns."""
    example = named(place)
    if callable(example):
        if not _needs_nothing(example):
            needs = inspect.signature(example)
            raise UsageError(f"--example {place} must take no arguments, it takes {needs}")
        example = example()
    if not isinstance(example, tuple):
        got = type(example).__name__
        raise UsageError(f"--example {place} must be a tuple of the arguments, got {got}")
    if not example:
        raise UsageError(f"--example {place} must be a tuple of the arguments, got an empty one")
    return example


def _needs_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # of a function that is not written in Python
        return True
    return True


def named(place: str) -> Any:
    """Import what MODULE:NAME or FILE.py:NAME names."""
    where, _, name = place.rpartition(":")
    if not (where and name):
        raise UsageError(f"expected MODULE:NAME or FILE.py:NAME, got {place!r}")
    try:
        module = _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise UsageError(f"{place}: {error}") from error
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"; it has {close[0]}" if close else ""
        raise UsageError(f"{place}: {where} has no {name}{hint}")
    return getattr(module, name)


def _file(path: Path) -> ModuleType:
    """Import a file, once, under a name that no other module has, beside its neighbours."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    path = path.resolve()
    name = f"{path.stem} of {path.parent}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec  # noqa: S101, it ends in .py
    assert spec.loader  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
