"""Run `python -m reference` with the same arguments, and keep what it prints as a page.

python -m benchmarks.soundness.agreement --cases 100
python -m benchmarks.soundness.agreement --campaign --cases 1000000 --block 90

The second is the campaign, whose page is campaign.md.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import TextIO

from benchmarks.tables import Page, parser_of
from reference.command_line import main as reference

COMMAND = "python -m benchmarks.soundness.agreement"
PAGES = {
    "agreement": Page(
        "What agrees with JAX, to how many ulps",
        "Random networks, computed by manual_nn in float32 and float64 and by JAX autodiff in\n"
        "float64, and the worst difference of each quantity.",
    ),
    "campaign": Page(
        "A campaign of networks through every derivative",
        "Networks of one to four layers with class numbers or probabilities, with and without\n"
        "decay, in float32 and float64; arrays of every layout; values on the kink, all equal or\n"
        "0; magnitudes from so small that the product of all arrays is near the square root of\n"
        "the smallest number to so large that some results overflow. Every public derivative is\n"
        "compared with JAX, element by element: under the proven bound and, where it is infinite,\n"
        "mostly because logits are so large that it leaves open which class is the likeliest,\n"
        "under measured rounding. What is not comparable then overflows,\n"
        "has logits so large that rounding decides between classes, or hangs on more kinks than "
        "can be tried together.",
    ),
}


class Copied(io.StringIO):
    """Text that is printed as it comes, and kept."""

    def __init__(self, to: TextIO) -> None:
        """Print to this stream."""
        super().__init__()
        self._to = to

    def write(self, text: str) -> int:
        """Print and keep."""
        self._to.write(text)
        return super().write(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the command prints, and write it down if it came to its end."""
    args, arguments = parser_of(COMMAND, __doc__).parse_known_args(argv)
    with contextlib.redirect_stdout(Copied(sys.stdout)) as printed:
        status = reference(arguments)
    text = printed.getvalue().strip()
    name = "campaign" if "--campaign" in arguments else "agreement"
    if status in {0, 1} and "--replay" not in arguments:
        page = PAGES[name]
        page.block(text)
        page.write(args.results / f"{name}.md", summary(text), COMMAND, arguments)
    return status


def summary(text: str) -> str:
    """Say how many networks there were, and whether they agree."""
    rows, *_, last = text.split("\n\n")
    about, *more = last.splitlines()
    if not more:  # one line says it all
        return about
    quantities = f"{len(rows.splitlines()) - 1} quantities and precisions"
    return f"{about.partition(' of ')[0]}, {quantities}: {more[-1].replace('None', 'none')}"


if __name__ == "__main__":
    sys.exit(main())
