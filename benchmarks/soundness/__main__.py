"""`python -m benchmarks.soundness`."""

import sys

from benchmarks.soundness.right_gradients import main

if __name__ == "__main__":
    sys.exit(main())
