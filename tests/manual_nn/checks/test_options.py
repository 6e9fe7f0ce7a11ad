"""What a command line says of an option that it does not know."""

import pytest

from manual_nn.checks.options import Parser
from tests.support.cases import each


@each(
    ("words", "said"),
    [
        (("--epocs", "3"), "unrecognized arguments: --epocs 3; did you mean --epochs?"),
        (("--EPOCS=3",), "unrecognized arguments: --EPOCS=3; did you mean --epochs?"),
        (("--zebra",), "unrecognized arguments: --zebra"),
        (("more",), "unrecognized arguments: more"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_that_there_is(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser("command")
    parser.add_argument("--epochs", type=int)
    assert parser.parse_args(["--epochs", "3"]).epochs == 3
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(words)
    assert capsys.readouterr().err.endswith(f"command: error: {said}\n")
