"""The options of a command line: one that is misspelt is answered with the one that is meant."""

import argparse
import difflib
from typing import Any


class Parser(argparse.ArgumentParser):
    """Says which option an unknown one may have been meant for."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is unknown at once, where the options of the command are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            meant = difflib.get_close_matches(unknown[0].partition("=")[0].lower(), options, n=1)
            hint = f"; did you mean {meant[0]}?" if meant else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown
