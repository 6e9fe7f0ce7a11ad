"""The words of a command line: one that is misspelt is answered with the one that is meant."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any


class Parser(argparse.ArgumentParser):
    """Says which option, choice or command an unknown one may have been meant for."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is unknown at once, where the options of the command are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            hint = _hint(unknown[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, which a parser's commands are, too."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += _hint(str(value), map(str, action.choices or ()))
            raise


def _hint(word: str, known: Iterable[str]) -> str:
    meant = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {meant[0]}?" if meant else ""
