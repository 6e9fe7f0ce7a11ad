"""`python -m reference`."""

import sys

from reference.command_line import main

if __name__ == "__main__":
    sys.exit(main())
