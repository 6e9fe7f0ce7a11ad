"""Plant every mistake of the fault dictionary in random networks, and count those that are named.

python -m benchmarks.soundness.diagnosis

This runs the tests in tests/reference/diagnosis/test_fault_dictionary.py in the profile `deep`, and
keeps the line that they print at their end.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import Page, parser_of

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/reference/diagnosis/test_fault_dictionary.py"
ABOUT = """\
Every mistake of the fault dictionary that is of a network like ours, planted in random networks in
both precisions, and what the checker makes of it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests, print what they print, and write their count down."""
    parser = parser_of("python -m benchmarks.soundness.diagnosis", __doc__)
    args = parser.parse_args(argv)
    done = subprocess.run(  # noqa: S603, our own tests
        [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=deep", TESTS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout)
    if (counted := re.search("^diagnosis: (.*)$", done.stdout, re.MULTILINE)) is not None:
        page = Page("Planted faults, and how many are named", ABOUT)
        page.block(counted[0])
        page.write(args.results / "diagnosis.md", f"{counted[1]}.", parser.prog, argv)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
