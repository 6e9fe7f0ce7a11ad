"""Commands, run here or in a process of their own, and what they print."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Output(NamedTuple):
    """What a command has printed, and its exit status."""

    status: Any
    out: str
    err: str


def run_apart(module: str, *arguments: str | Path) -> Output:
    """Run `python -m module`."""
    done = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return Output(done.returncode, done.stdout, done.stderr)


def run_here(
    main: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
    *arguments: str | Path,
) -> Output:
    """Run a command's main function; where it exits instead of returning, with that status."""
    try:
        status: Any = main([*map(str, arguments)])
    except SystemExit as exit_:
        status = exit_.code
    return Output(status, *capsys.readouterr())


def without_numbers(text: str) -> list[str]:
    """Split into words and forget the numbers, whose last digits depend on the machine's BLAS."""
    return re.sub(r"-?[0-9][0-9.e+-]*", "0", text).split()
