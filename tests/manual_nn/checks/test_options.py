"""What a command line says of an option, a command or a choice that it does not know."""

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


@each(
    ("words", "hint"),
    [
        (("trian",), "; did you mean train?"),
        (("dance",), ""),
        (("train", "--optimizer", "AdmaW"), "; did you mean adamw?"),
        (("train", "--optimizer", "lion"), ""),
        (("train", "--layers", "2"), ""),
    ],
)
def test_an_unknown_command_or_choice_is_answered_likewise(
    words: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser("command")
    train = parser.add_subparsers().add_parser("train")
    train.add_argument("--optimizer", choices=("sgd", "adam", "adamw"))
    train.add_argument("--layers", choices=(1, 3), type=int)
    assert parser.parse_args(["train", "--optimizer", "sgd"]).optimizer == "sgd"
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(words)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "invalid choice: " in said
    assert said.partition(")")[2] == hint
