"""The source of a loss, each line marked: its backward is right, wrong or downstream."""

import itertools
import linecache
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reference.diagnosis.codes import Cause, Line, Mark

GAP = 6  # lines without a mark, of which more are left out
ABOVE = 3  # lines at most from `def` to the first that is marked


class Shown(NamedTuple):
    """A line as it is shown; without a number where it is a heading or stands for some left out."""

    text: str
    number: int | None = None
    mark: Mark | None = None

    def __str__(self) -> str:
        """Write the mark, the number and the text below each other in columns."""
        if self.number is None:
            return self.text
        return f"{self.mark or '':>10}  {self.number:>4}  {self.text}".rstrip()


def marks_of(causes: Sequence[Cause]) -> tuple[tuple[Line, Mark], ...]:
    """Give the marks of the first cause that has some: each knows those of the others beside it."""
    return next((cause.marks for cause in causes if cause.marks), ())


def shown(marks: Sequence[tuple[Line, Mark]]) -> Iterator[Shown]:
    """List the lines from the first that is marked to the last, file by file."""
    in_order = sorted(marks, key=lambda pair: pair[0][:2])
    for file, of_file in itertools.groupby(in_order, key=lambda pair: pair[0].file):
        marked = {line.number: mark for line, mark in of_file}
        yield Shown(Path(file).name)
        numbers = list(marked)
        before = _start(file, numbers[0])
        for number in numbers:
            if number - before > GAP:
                yield Shown("       ...")
                before = _start(file, number)
            for between in range(before, number):
                yield Shown(_text(file, between), between)
            yield Shown(_text(file, number), number, marked[number])
            before = number + 1


def _start(file: str, number: int) -> int:
    """Find the line of the `def` shortly above a line, or else take the line itself."""
    for start in range(number - 1, max(0, number - 1 - ABOVE), -1):
        if _text(file, start).lstrip().startswith("def "):
            return start
    return number


def _text(file: str, number: int) -> str:
    return linecache.getline(file, number).rstrip()
