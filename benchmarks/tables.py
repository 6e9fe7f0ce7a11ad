"""Tables in Markdown: printed row by row, and written to benchmarks/results with their date.

Each command that measures has a page there, which it writes when it is done: a heading, one
sentence that sums up what was found, what the figures are, the command, the date and the versions,
and then all that was printed.
"""

import argparse
import datetime as dt
import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
# What figures depend on: how it is written, by the name of the distribution and of the module.
LIBRARIES = {
    ("numpy", "numpy"): "NumPy",
    ("scipy", "scipy"): "SciPy",
    ("jax", "jax"): "JAX",
    ("scikit-learn", "sklearn"): "scikit-learn",
    ("autograd", "autograd"): "autograd",
    ("torch", "torch"): "PyTorch",
    ("pytest", "pytest"): "pytest",
    ("hypothesis", "hypothesis"): "Hypothesis",
    ("cosmic-ray", "cosmic_ray"): "Cosmic Ray",
}


def parser_of(command: str, doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a command that writes a page; its module's first line describes it."""
    parser = argparse.ArgumentParser(prog=command, description=(doc or "").partition("\n")[0])
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of its page (default: of the tree)"
    )
    return parser


class Page:
    """What a command prints, which becomes one of the files in benchmarks/results."""

    def __init__(self, title: str, about: str) -> None:
        """Begin with a heading, and with a paragraph that says what the figures are."""
        self._title, self._about = title, about
        self._lines: list[str] = []

    def line(self, text: str = "") -> None:
        """Print a line, or several."""
        print(text, flush=True)
        self._lines.append(text)

    def heading(self, headings: Sequence[str]) -> None:
        """Print the head of a table whose columns but the first hold numbers."""
        self.row(headings)
        self.row(["---", *["---:"] * (len(headings) - 1)])

    def row(self, cells: Sequence[str]) -> None:
        """Print a row of a table."""
        self.line(f"| {' | '.join(cells)} |")

    def block(self, text: str) -> None:
        """Keep text that has been printed, and is aligned by spaces, as a block of its own."""
        self._lines += ["```text", text, "```"]

    def write(
        self,
        path: Path,
        summary: str,
        command: str,
        arguments: Sequence[str] | None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Write the page.

        Args:
            path: where to; its folder is made.
            summary: one sentence with what was found.
            command: without its arguments.
            arguments: of the command, or None for those of this process.
            facts: more that the figures depend on, as the number of threads.
        """
        arguments = sys.argv[1:] if arguments is None else arguments
        facts = {
            "Command": f"`{' '.join([command, shlex.join(arguments)]).strip()}`",
            "Date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
            "Versions": versions(),
            **(facts or {}),
        }
        text = page(self._title, summary, self._about, facts, "\n".join(self._lines))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"\n{summary}\nWrote {path}")


def page(title: str, summary: str, about: str, facts: Mapping[str, str], body: str) -> str:
    """Put a page together."""
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"# {title}\n\n{summary}\n\n{about}\n\n{listed}\n\n{body.strip()}\n"


def versions() -> str:
    """Name Python and those of the libraries that are imported, with their versions."""
    found = [
        f"{name} {importlib.metadata.version(distribution)}"
        for (distribution, module), name in LIBRARIES.items()
        if module in sys.modules
    ]
    return ", ".join([f"Python {platform.python_version()}", *found])
