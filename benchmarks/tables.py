"""Tables in Markdown, printed row by row."""

from collections.abc import Sequence


def print_heading(headings: Sequence[str]) -> None:
    """Print the head of a table whose columns but the first hold numbers."""
    print_row(headings)
    print_row(["---", *["---:"] * (len(headings) - 1)])


def print_row(cells: Sequence[str]) -> None:
    """Print a row."""
    print(f"| {' | '.join(cells)} |", flush=True)
