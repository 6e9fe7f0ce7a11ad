"""The options of the command line, and their help."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from manual_nn.checks.options import Parser
from manual_nn.compiled.backend import BACKENDS
from manual_nn.files.scaling import KINDS
from manual_nn.files.sources import DATA_SETS, TEST_FRACTION
from manual_nn.interfaces.experiment import Settings
from manual_nn.training.adam import Adam
from manual_nn.training.early_stopping import EarlyStopping, Patience
from manual_nn.training.sgd import SGD

DTYPES = ("float32", "float64")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")
WRONG_INPUT = 2  # as argparse exits


def parser_of(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """Describe the commands, each of which is run by the function that has its name."""
    parser = _Parser(
        prog="manual-nn",
        description="A neural network whose every derivative is derived by hand: train it on\n"
        "handwritten digits or on your own data, evaluate it, predict with it.",
        epilog="example:\n"
        "  manual-nn train\n"
        "  manual-nn evaluate --model output/model.npz --output output\n"
        "  manual-nn predict --model output/model.npz\n"
        "  manual-nn train --data iris.csv --target species\n\n"
        "`manual-nn COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands, run["train"])
    _add_evaluate(commands, run["evaluate"])
    _add_predict(commands, run["predict"])
    return parser


class _Parser(Parser):
    """Says what is wrong in one line, and where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"manual-nn: error: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, because that takes a while."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415, slow

        print(f"manual-nn {version('manual-nn')}")
        parser.exit()


def _width(text: str) -> int:
    try:
        width = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a width must be a whole number, got {text}") from None
    if width < 1:
        raise argparse.ArgumentTypeError(f"a width must be at least 1, got {text}")
    return width


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a fraction must be a number, got {text}") from None
    if not 0 <= fraction < 1:
        raise argparse.ArgumentTypeError(f"a fraction must be from 0 to below 1, got {text}")
    return fraction


def _add_command(commands: Any, name: str, run: Any, *, help: str, example: str) -> Any:  # noqa: A002, argparse's name
    command = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add(command: Any, option: str, type: Any, value: Any, text: str, **more: Any) -> None:  # noqa: A002, argparse's name
    """Add an option that has a default, and say what that is."""
    shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    command.add_argument(
        option, type=type, default=value, help=f"{text} (default: {shown})", **more
    )


def _add_train(commands: Any, run: Any) -> None:
    command = _add_command(
        commands,
        "train",
        run,
        help="train a network, draw its curves and save its parameters",
        example="manual-nn train --data mnist --data-dir mnist --hidden 256 128 --seed 1",
    )
    default = Settings()
    data = _add_data(command, default="digits", note="default: digits")
    data.add_argument(
        "--test-fraction",
        type=_fraction,
        metavar="FRACTION",
        help="fraction of a file's rows held out for the test, always the same rows "
        f"(default: {TEST_FRACTION})",
    )
    _add(
        data,
        "--validation-fraction",
        _fraction,
        default.validation_fraction,
        "fraction of the remaining rows held out for validation",
        metavar="FRACTION",
    )
    data.add_argument(
        "--scaling",
        choices=KINDS,
        help="divide all inputs by the smallest power of two that none exceeds, or standardise "
        "each to mean 0 and variance 1; the model remembers this and scales new inputs alike "
        "(default: divide images, standardise others)",
    )
    network = command.add_argument_group("network")
    _add(
        network,
        "--hidden",
        _width,
        list(default.hidden),
        "widths of the hidden layers; without a width there is no such layer, which is softmax "
        "regression",
        nargs="*",
        metavar="WIDTH",
    )
    _add(network, "--dtype", str, default.dtype, "precision of the parameters", choices=DTYPES)
    _add(
        network,
        "--backend",
        str,
        default.backend,
        "what computes the steps; numba compiles them, and auto takes it where it is installed, "
        "or what computed the checkpoint to resume from",
        choices=BACKENDS,
    )
    _add_training(command.add_argument_group("training"), default)
    results = command.add_argument_group("results")
    _add(results, "--output", Path, Path("output"), "folder for the results", metavar="FOLDER")
    results.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the state of the training in this file after each epoch (default: none)",
    )
    results.add_argument(
        "--resume",
        action="store_true",
        help="continue from the checkpoint, if it exists, to the same result as without the "
        "interruption",
    )


def _add_training(group: Any, default: Settings) -> None:
    stop = EarlyStopping()
    _add(group, "--batch-size", int, default.batch_size, "rows in a step", metavar="ROWS")
    _add(group, "--optimizer", str, "sgd", "how a gradient becomes a step", choices=OPTIMIZERS)
    group.add_argument(
        "--momentum",
        type=float,
        metavar="FACTOR",
        help="for sgd: what remains of the velocity after a step, from 0 to below 1 (default: 0)",
    )
    group.add_argument("--nesterov", action="store_true", help="for sgd: Nesterov's momentum")
    group.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="factor of each step "
        f"(default: {SGD.usual_learning_rate}, with adam and adamw {Adam.usual_learning_rate})",
    )
    _add(
        group,
        "--schedule",
        str,
        "constant",
        "the learning rate stays, or falls to 0 along half a cosine over all epochs",
        choices=SCHEDULES,
    )
    group.add_argument(
        "--max-grad-norm",
        type=float,
        metavar="NORM",
        help="shorten the gradient of a batch to this norm, if it is longer (default: no limit)",
    )
    _add(
        group,
        "--weight-decay",
        float,
        default.weight_decay,
        "factor of the penalty",
        metavar="FACTOR",
    )
    _add(group, "--epochs", int, default.epochs, "epochs at most", metavar="COUNT")
    group.add_argument(
        "--min-accuracy",
        type=float,
        metavar="FRACTION",
        help="stop early only when the validation accuracy is above this "
        f"(default: {stop.min_accuracy})",
    )
    group.add_argument(
        "--max-change",
        type=float,
        metavar="FRACTION",
        help="and only when it has changed by less than this since the epoch before "
        f"(default: {stop.max_change})",
    )
    group.add_argument(
        "--patience",
        type=int,
        metavar="EPOCHS",
        help="stop early when the validation accuracy has not risen by "
        f"{Patience().tol} for more epochs than this, and keep the best parameters "
        "(default: the rule of the two options above)",
    )
    group.add_argument(
        "--early-stopping",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,  # which is not said again: some versions add it to the help
        help="stop early by these rules, or run all epochs (default: stop early, unless there are "
        f"fewer than {math.floor(1 / stop.max_change) + 1} validation rows, which cannot tell)",
    )
    group.set_defaults(early_stopping=None)
    _add(group, "--seed", int, default.seed, "seed of the random generator", metavar="NUMBER")


def _add_evaluate(commands: Any, run: Any) -> None:
    command = _add_command(
        commands,
        "evaluate",
        run,
        help="print loss (mean cross-entropy) and accuracy of a network, draw its mistakes",
        example="manual-nn evaluate --model output/model.npz --output output",
    )
    _add_model(command)
    _add_data(command, default=None, note="default: those trained on, divided as they were")
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for pictures of the confusion matrix and, if the inputs are images, of the "
        "most confident mistakes, both of the test rows, and of the weights of the first layer "
        "(default: no pictures)",
    )
    command.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="a model card, .html or .md: data, settings, curves, confusion, mistakes "
        "(default: none)",
    )


def _add_predict(commands: Any, run: Any) -> None:
    command = _add_command(
        commands,
        "predict",
        run,
        help="print the class of each row, as CSV",
        example="manual-nn predict --model output/model.npz --input images.npy --proba",
    )
    _add_model(command)
    command.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="rows like those trained on, not scaled, in any format that `train` takes "
        "(default: the test rows of the data trained on)",
    )
    _add_data_dir(command)
    _add_columns(command)
    command.add_argument(
        "--proba",
        action="store_true",
        help="print the probabilities of all classes, too",
    )


def _add_model(command: Any) -> None:
    command.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="what `train` has saved"
    )


def _add_data(command: Any, *, default: str | None, note: str) -> Any:
    group = command.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="NAME|FILE",
        default=default,
        help=f"{' or '.join(DATA_SETS)}, or a file: CSV, Parquet, npz, npy or IDX ({note})",
    )
    _add_data_dir(group)
    group.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column of the classes in CSV and Parquet, by its name or number",
    )
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="the classes, if they are not in the same file: npy, IDX, or a CSV of one column",
    )
    _add_columns(group)
    group.add_argument(
        "--image-shape",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="the rows are images of this size (default: only if the file says so)",
    )
    return group


def _add_columns(command: Any) -> None:
    command.add_argument(
        "--drop",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="columns that are not inputs, such as the numbers of the rows",
    )
    command.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="the first line of CSV names the columns, or not (default: it does if it has words "
        "above numbers, or counts 0 1 2 and so on; an uncertain guess is printed)",
    )


def _add_data_dir(command: Any) -> None:
    command.add_argument(
        "--data-dir",
        type=Path,
        metavar="FOLDER",
        help="folder of the four MNIST files, IDX, gzipped or not; without it, MNIST is "
        "downloaded once, from OpenML",
    )
