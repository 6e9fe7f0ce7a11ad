"""The command line: train, evaluate, predict."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_number
from manual_nn.files.data_sets import (
    CLASSES,
    Dataset,
    load_digits,
    load_mnist,
    read_idx,
    split_validation,
)
from manual_nn.files.parameters import load_params, read_npy, save_params
from manual_nn.interfaces.pictures import (
    plot_confusion_matrix,
    plot_first_layer,
    plot_history,
    plot_mistakes,
)
from manual_nn.layers.dense import Params
from manual_nn.models.mlp import init_params, predict, predict_proba
from manual_nn.training.early_stopping import EarlyStopping
from manual_nn.training.evaluation import evaluate
from manual_nn.training.history import History, TrainingDiverged, TrainingResult
from manual_nn.training.loop import train_epochs

DATA_SETS = ("digits", "mnist")
DTYPES = ("float32", "float64")
NPY_MAGIC = b"\x93NUMPY"

WRONG_INPUT = 2  # as argparse exits
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are those of the command line."""

    hidden: Sequence[int] = (256,)
    batch_size: int = 32
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    epochs: int = 30
    early_stopping: EarlyStopping | None = EarlyStopping()  # noqa: RUF009, it cannot be changed
    seed: int = 0
    dtype: str = "float32"


class Model(NamedTuple):
    """Parameters from a file, and what they were trained on."""

    path: Path
    params: Params
    data: str
    pixel_scale: float
    image_shape: tuple[int, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, or None for those of the process.

    Returns:
        The exit status: 0, 2 after wrong input or when training diverged, 130 after an
        interruption, 141 when the reader of the output has closed it.
    """
    args = parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the pipe has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, ImportError, MemoryError, TrainingDiverged) as error:
        print(f"manual-nn: error: {_in_one_line(error)}", file=sys.stderr)
        return WRONG_INPUT
    return status


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = _Parser(
        prog="manual-nn",
        description="A neural network whose every derivative is derived by hand, on handwritten\n"
        "digits: train it, evaluate it, predict with it.",
        epilog="example:\n"
        "  manual-nn train\n"
        "  manual-nn evaluate --model output/model.npz --output output\n"
        "  manual-nn predict --model output/model.npz\n\n"
        "`manual-nn COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    return parser


def load_data(name: str, folder: Path | None, dtype: npt.DTypeLike) -> Dataset:
    """Load the data set with this name, from the folder if it is not an embedded one."""
    if name == "mnist":
        return load_mnist(folder, dtype=dtype)
    if folder is not None:
        raise ValueError(f"the data set {name} is embedded and takes no --data-dir")
    return load_digits(dtype=dtype)


def start_training(
    dataset: Dataset,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Iterator[TrainingResult]:
    """Train on a data set, and yield the result after each epoch.

    One generator, seeded, draws the validation rows, the initial weights and the batches.

    Args:
        dataset: its training rows are split into those trained on and those held out.
        settings: how to train.
        checkpoint: the file that holds the state of the training, or None for no file.
        resume: continue from the checkpoint, if it exists.
        progress: show a progress bar.

    Returns:
        An iterator over the results after each epoch.

    Raises:
        OSError, TrainingDiverged: as for `train`.
        ValueError: as for `train`, or a setting is out of range.
    """
    rng = np.random.default_rng(as_count(settings.seed, name="seed", minimum=0))
    split = split_validation(dataset.X_train, dataset.y_train, rng=rng)
    sizes = _sizes(dataset, settings)
    return train_epochs(
        init_params(sizes, rng=rng, dtype=settings.dtype),
        *split,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        epochs=settings.epochs,
        early_stopping=settings.early_stopping,
        rng=rng,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )


def _train(args: argparse.Namespace) -> int:
    settings = _settings(args)
    _check_output(args.output)
    if args.resume and args.checkpoint is None:
        raise ValueError("--resume needs --checkpoint, the file to resume from")
    last: TrainingResult | None = None
    interrupted, diverged = False, None
    try:
        dataset = load_data(args.data, args.data_dir, settings.dtype)
        _say(
            f"{dataset.name}: {len(dataset.X_train)} training and {len(dataset.X_test)} test rows, "
            f"layers {'-'.join(map(str, _sizes(dataset, settings)))}, {settings.dtype}"
        )
        if args.resume:
            found = args.checkpoint.exists()
            _say(f"Resuming from {args.checkpoint}" if found else "No checkpoint yet: beginning")
        for last in start_training(
            dataset,
            settings,
            checkpoint=args.checkpoint,
            resume=args.resume,
            progress=sys.stderr.isatty(),
        ):
            _say(_epoch_line(last.history, settings.epochs))
    except KeyboardInterrupt:
        interrupted = True
    except TrainingDiverged as error:
        diverged = error
    if last is not None:
        if interrupted or diverged:
            what = "Interrupted" if interrupted else "Diverged"
            _say(f"{what}: continuing with the result of epoch {len(last.history)}")
        elif last.stopped_early:
            _say("Stopping early")
        _report(dataset, last, args.output)
    elif interrupted:
        _say("Interrupted before the first epoch was complete: no model is written")
    if diverged is not None:
        raise diverged
    return INTERRUPTED if interrupted else 0


def _report(dataset: Dataset, result: TrainingResult, output: Path) -> None:
    """Print how good the parameters are, and write them and the picture."""
    for name, X, y in _parts(dataset):
        _, accuracy = evaluate(result.params, X, y)
        _say(f"{name} accuracy {accuracy:.5f} ({len(X)} rows)")
    output.mkdir(parents=True, exist_ok=True)
    save_params(
        output / "model.npz",
        result.params,
        data=dataset.name,
        pixel_scale=dataset.pixel_scale,
        image_shape=dataset.image_shape,
    )
    plot_history(result.history, output / "epoch_plots.png", stopped_early=result.stopped_early)
    _say(f"Wrote {output / 'epoch_plots.png'}")
    _say(f"Wrote {output / 'model.npz'}")


def _evaluate(args: argparse.Namespace) -> int:
    if args.output is not None:
        _check_output(args.output)
    model = _load_model(args.model)
    dataset = _data_for(model, args)
    for name, X, y in _parts(dataset):
        value, accuracy = evaluate(model.params, X, y)
        _say(f"{name + ':':10} loss {value:.4f}  accuracy {accuracy:.5f}  ({len(X)} rows)")
    if args.output is not None:
        _draw(model.params, dataset, args.output)
    return 0


def _draw(params: Params, dataset: Dataset, output: Path) -> None:
    """Write the pictures of what the parameters make of the test rows, and of the parameters."""
    X, y, shape = dataset.X_test, dataset.y_test, dataset.image_shape
    proba = predict_proba(params, X)
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / f"{name}.png" for name in ("confusion_matrix", "mistakes", "first_layer")]
    plot_confusion_matrix(y, proba.argmax(axis=1), paths[0], classes=CLASSES)
    plot_mistakes(X, y, proba, paths[1], image_shape=shape)
    plot_first_layer(params, paths[2], image_shape=shape)
    for path in paths:
        _say(f"Wrote {path}")


def _predict(args: argparse.Namespace) -> int:
    if args.input is not None and (args.data, args.data_dir) != (None, None):
        raise ValueError("--input takes the place of --data and --data-dir, give one or the other")
    model = _load_model(args.model)
    X = _data_for(model, args).X_test if args.input is None else _read_input(args.input, model)
    if args.proba:
        lines = ["\t".join(map(str, row)) for row in predict_proba(model.params, X)]
    else:
        lines = [str(number) for number in predict(model.params, X)]
    _say("\n".join(lines))
    return 0


def _parts(dataset: Dataset) -> list[tuple[str, Array, npt.NDArray[np.int64]]]:
    return [
        ("In-sample", dataset.X_train, dataset.y_train),
        ("Test", dataset.X_test, dataset.y_test),
    ]


def _epoch_line(history: History, epochs: int) -> str:
    return (
        f"Epoch {len(history):{len(str(epochs))}}"
        f"  Train_loss {history.train_loss[-1]:.4f}  Train_acc {history.train_acc[-1]:.5f}"
        f"  Val_loss {history.val_loss[-1]:.4f}  Val_acc {history.val_acc[-1]:.5f}"
    )


def _sizes(dataset: Dataset, settings: Settings) -> list[int]:
    return [dataset.X_train.shape[1], *settings.hidden, CLASSES]


def _settings(args: argparse.Namespace) -> Settings:
    stop = EarlyStopping(min_accuracy=args.min_accuracy, max_change=args.max_change)
    return Settings(
        hidden=args.hidden,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        epochs=args.epochs,
        early_stopping=stop if args.early_stopping else None,
        seed=args.seed,
        dtype=args.dtype,
    )


def _check_output(folder: Path) -> None:
    """Find out before the training, not after it, that the folder cannot be written to."""
    existing = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"--output {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"--output {folder}: {existing} is not writable")


def _load_model(path: Path) -> Model:
    params, metadata = load_params(path)
    try:
        return _checked_model(path, params, metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: wrong metadata: {error}") from error


def _checked_model(path: Path, params: Params, metadata: dict[str, Any]) -> Model:
    data, scale, sides = (metadata.get(key) for key in ("data", "pixel_scale", "image_shape"))
    if data not in DATA_SETS:
        raise ValueError(f"data must be one of {', '.join(DATA_SETS)}, got {data!r}")
    scale = as_number(scale, name="pixel_scale", minimum=0, strict=True)
    if not isinstance(sides, list) or not sides:
        raise ValueError(f"image_shape must be a list of numbers, got {sides!r}")
    shape = tuple(as_count(side, name="image_shape") for side in sides)
    if math.prod(shape) != len(params[0].weight):
        raise ValueError(f"image_shape {shape} does not fit the {len(params[0].weight)} inputs")
    return Model(path, params, data, scale, shape)


def _data_for(model: Model, args: argparse.Namespace) -> Dataset:
    name = args.data or model.data
    dataset = load_data(name, args.data_dir, model.params[0].weight.dtype)
    if (dataset.image_shape, dataset.pixel_scale) != (model.image_shape, model.pixel_scale):
        msg = (
            f"{model.path} takes images of shape {model.image_shape} divided by "
            f"{model.pixel_scale:g}, {name} has {dataset.image_shape} by {dataset.pixel_scale:g}"
        )
        raise ValueError(msg)
    return dataset


def _read_input(path: Path, model: Model) -> Array:
    """Read images from an npy file, (N, D), or an IDX file, and scale them for the model."""
    with path.open("rb") as file:
        is_npy = file.read(len(NPY_MAGIC)) == NPY_MAGIC
    pixels: npt.NDArray[Any]
    if is_npy:
        try:
            pixels = read_npy(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        expected: tuple[int, ...] = (len(model.params[0].weight),)
    else:
        pixels, expected = read_idx(path), model.image_shape
    if pixels.shape[1:] != expected or len(pixels) == 0:
        msg = f"{path}: the model takes an array of shape {('N', *expected)}, got {pixels.shape}"
        raise ValueError(msg.replace("'", ""))
    dtype = model.params[0].weight.dtype
    if pixels.dtype.kind not in "fiub":
        raise ValueError(f"{path}: pixels must be real numbers, got dtype {pixels.dtype}")
    with np.errstate(over="ignore"):  # what overflows in the model's dtype is refused, too
        X: Array = pixels.reshape(len(pixels), -1).astype(dtype)
        X /= dtype.type(model.pixel_scale)
    if not np.isfinite(X).all():
        raise ValueError(f"{path}: pixels must be finite real numbers in {dtype}")
    return X


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece, whenever an interruption comes
    sys.stdout.flush()


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"manual-nn: error: {message} (see {self.prog} --help)\n")


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


def _add_train(commands: Any) -> None:
    command = _add_command(
        commands,
        "train",
        _train,
        help="train a network, draw its curves and save its parameters",
        example="manual-nn train --data mnist --data-dir mnist --hidden 256 128 --seed 1",
    )
    _add_data(command, default="digits", note="default: digits")
    default, stop = Settings(), EarlyStopping()

    def add(option: str, type: Any, value: Any, text: str, **more: Any) -> None:  # noqa: A002
        shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        text = f"{text} (default: {shown})"
        command.add_argument(option, type=type, default=value, help=text, **more)

    add(
        "--hidden",
        int,
        list(default.hidden),
        "widths of the hidden layers; without a number there is none, which is softmax regression",
        nargs="*",
        metavar="WIDTH",
    )
    add("--batch-size", int, default.batch_size, "rows in a step", metavar="ROWS")
    add("--learning-rate", float, default.learning_rate, "factor of the gradient", metavar="RATE")
    add("--weight-decay", float, default.weight_decay, "factor of the penalty", metavar="FACTOR")
    add("--epochs", int, default.epochs, "epochs at most", metavar="COUNT")
    add(
        "--min-accuracy",
        float,
        stop.min_accuracy,
        "stop early only when the validation accuracy is above this",
        metavar="FRACTION",
    )
    add(
        "--max-change",
        float,
        stop.max_change,
        "and has changed by less than this since the epoch before",
        metavar="FRACTION",
    )
    command.add_argument(
        "--no-early-stopping",
        dest="early_stopping",
        action="store_false",
        help="run all epochs",
    )
    add("--seed", int, default.seed, "seed of the random generator", metavar="NUMBER")
    add("--dtype", str, default.dtype, "precision of the parameters", choices=DTYPES)
    add("--output", Path, Path("output"), "folder for the results", metavar="FOLDER")
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the state of the training in this file after each epoch (default: none)",
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="continue from the checkpoint, if it exists, to the same result as without the "
        "interruption",
    )


def _add_evaluate(commands: Any) -> None:
    command = _add_command(
        commands,
        "evaluate",
        _evaluate,
        help="print loss (mean cross-entropy) and accuracy of a network, draw its mistakes",
        example="manual-nn evaluate --model output/model.npz --output output",
    )
    _add_model(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for pictures of the confusion matrix and the most confident mistakes, both "
        "of the test rows, and of the weights of the first layer (default: no pictures)",
    )


def _add_predict(commands: Any) -> None:
    command = _add_command(
        commands,
        "predict",
        _predict,
        help="print the class of each image, one a line",
        example="manual-nn predict --model output/model.npz --input images.npy --proba",
    )
    _add_model(command)
    command.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="raw pixels: an npy file of shape (N, D), or images in an IDX file, gzipped or not "
        "(default: the test rows of the data set)",
    )
    command.add_argument(
        "--proba",
        action="store_true",
        help="print the probabilities of all classes instead, separated by tabs",
    )


def _add_model(command: Any) -> None:
    command.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="what `train` has saved"
    )
    _add_data(command, default=None, note="default: the one trained on")


def _add_data(command: Any, *, default: str | None, note: str) -> None:
    command.add_argument("--data", choices=DATA_SETS, default=default, help=f"data set ({note})")
    command.add_argument(
        "--data-dir",
        type=Path,
        metavar="FOLDER",
        help="folder of the four MNIST files, IDX, gzipped or not; without it, MNIST is "
        "downloaded once, from OpenML",
    )
