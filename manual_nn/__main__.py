"""`python -m manual_nn`: the command line."""

import sys

from manual_nn.interfaces.command_line import main

if __name__ == "__main__":
    sys.exit(main())
