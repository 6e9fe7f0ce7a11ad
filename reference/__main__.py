"""`python -m reference`: compare the handwritten network with JAX on random networks."""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from manual_nn.validation import as_count
from reference.agreement import Agreement, draw_case

DESCRIPTION = """\
Draw random networks (depth 1 to 4, widths to 64, up to 128 rows, class numbers or
target probabilities, with and without weight decay), compute everything once with
manual_nn in float32 and float64 and once with JAX autodiff in float64, and compare
every element under an error bound derived from rounding-error analysis."""

LEGEND = """\
match: every element within its bound. ambig.: only if a kink within rounding of 0 is left
open. n.c.: not comparable, the bound is infinite. ulps: the worst difference in units of the
last place of the leaf's largest entry; of bound: in parts of its bound. A case is drawn again
by --seed SEED --cases 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; returns 0 if all agreed, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        "python -m reference",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first case (default: 0)")
    parser.add_argument("--cases", type=int, default=100, help="how many (default: 100)")
    options = parser.parse_args(argv)
    try:
        cases = as_count(options.cases, name="--cases")
        seed = as_count(options.seed, name="--seed", minimum=0)
    except ValueError as error:
        parser.error(str(error))
    agreement = Agreement()
    interrupted = False
    try:
        for case_seed in tqdm(range(seed, seed + cases), unit="case", leave=False, disable=None):
            agreement.add(draw_case(case_seed))
    except KeyboardInterrupt:
        interrupted = True
    print(agreement.table(), LEGEND, sep="\n\n")
    print(f"\n{agreement.cases} networks, {agreement.kinks} with a kink within rounding.", end=" ")
    print("All agree." if agreement.complete else "NOT all agree.")
    if interrupted:
        print("Interrupted.")
        return 130
    return 0 if agreement.complete else 1


if __name__ == "__main__":
    sys.exit(main())
