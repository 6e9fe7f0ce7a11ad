"""`python -m benchmarks.soundness`."""

import sys

from benchmarks.soundness.evidence import main

if __name__ == "__main__":
    sys.exit(main())
