"""The command line: train, evaluate, predict."""

import argparse
import contextlib
import csv
import dataclasses
import logging
import os
import re
import sys
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_number
from manual_nn.files.classes import Labels
from manual_nn.files.data_sets import Dataset
from manual_nn.files.models import Model, load_model, save_model
from manual_nn.files.rows import TABLES, format_of, naming, read_inputs
from manual_nn.files.scaling import Numbers
from manual_nn.files.sources import (
    Source,
    files_fingerprint,
    fingerprint,
    load_data,
    load_rows,
)
from manual_nn.interfaces.advice import of_dead_units, of_loss, of_sizes
from manual_nn.interfaces.experiment import Prepared, Settings, prepare, start_training
from manual_nn.interfaces.options import WRONG_INPUT, parser_of
from manual_nn.interfaces.pictures import (
    plot_confusion_matrix,
    plot_first_layer,
    plot_history,
    plot_mistakes,
)
from manual_nn.interfaces.report import IN_SAMPLE, Part, check_report, write_report
from manual_nn.models.mlp import predict_proba
from manual_nn.training.adam import Adam, AdamW
from manual_nn.training.early_stopping import EarlyStopping, Patience, StoppingRule, kept_epoch
from manual_nn.training.evaluation import evaluate
from manual_nn.training.history import (
    History,
    TrainingDiverged,
    TrainingInterrupted,
    TrainingResult,
)
from manual_nn.training.loop import backend_to_take
from manual_nn.training.optimizer import Optimizer
from manual_nn.training.schedule import CosineSchedule
from manual_nn.training.settings import as_json
from manual_nn.training.sgd import SGD

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE

ROWS_AT_ONCE = 1024
RESULTS = ("model.npz", "epoch_plots.png")
PICTURES = ("confusion_matrix.png", "mistakes.png", "first_layer.png")


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
        with _logged():
            status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the pipe has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, ImportError, MemoryError, TrainingDiverged) as error:
        given = {name for name, value in vars(args).items() if value not in (None, ())}
        line = _with_options(_in_one_line(error), given)
        print(f"manual-nn: error: {line}", file=sys.stderr)
        return WRONG_INPUT
    return status


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    return parser_of({"train": _train, "evaluate": _evaluate, "predict": _predict})


def _train(args: argparse.Namespace) -> int:
    backend = backend_to_take(args.backend, args.checkpoint, resume=args.resume)
    settings = dataclasses.replace(_settings(args), backend=backend)
    _check_output(args.output, RESULTS)
    if args.validation_fraction == 0 and _asks_to_stop_early(args):
        raise ValueError("--validation-fraction 0 leaves no rows by which to stop early")
    if args.resume and args.checkpoint is None:
        raise ValueError("--resume needs --checkpoint, the file to resume from")
    if args.checkpoint is not None:
        what = f"--checkpoint {args.checkpoint}"
        _check_output(args.checkpoint.parent, [args.checkpoint.name], what=what)
        if not args.checkpoint.parent.is_dir():
            raise FileNotFoundError(f"{what}: there is no folder {args.checkpoint.parent}")
    source = _source(args)
    dataset = load_data(source)
    prepared = prepare(dataset, settings)
    _say(
        f"{dataset.name}: {len(dataset.X_train)} training and {len(dataset.X_test)} test rows, "
        f"layers {'-'.join(map(str, prepared.sizes))}, {settings.dtype}"
    )
    if not _asks_to_stop_early(args):
        settings = _without_a_rule_that_cannot_tell(settings, prepared)
    if prepared.scaling.kind != "standardise" and dataset.image_shape is None:
        advice = of_sizes(abs(prepared.X_train).max(axis=0), dataset.features)
        _warn(None if advice is None else f"{advice}: --scaling standardise makes them alike")
    if args.resume:
        found = args.checkpoint.exists()
        _say(f"Resuming from {args.checkpoint}" if found else "No checkpoint yet: beginning")
    last, error = _reach_the_end(prepared, settings, args)
    if last is not None:
        _say_how_it_ended(last, error, settings.early_stopping)
        if not isinstance(error, TrainingDiverged):
            _advise(last, prepared, settings.early_stopping)
        _report(_model(last, prepared, dataset, source, settings), dataset, args.output)
    elif isinstance(error, KeyboardInterrupt):
        _say("Interrupted before the first step: no model is written")
    if isinstance(error, TrainingDiverged):
        error.advice = _advice_in_options(error.advice, prepared)
        raise error
    return 0 if error is None else INTERRUPTED


def _reach_the_end(
    prepared: Prepared, settings: Settings, args: argparse.Namespace
) -> tuple[TrainingResult | None, KeyboardInterrupt | TrainingDiverged | None]:
    """Train, and give what was reached, and what has ended it before its time."""
    last: TrainingResult | None = None
    try:
        for last in start_training(
            prepared,
            settings,
            checkpoint=args.checkpoint,
            resume=args.resume,
            progress=sys.stderr.isatty(),
        ):
            _say(_epoch_line(last.history, settings.epochs))
    except TrainingInterrupted as interruption:
        return interruption.result if _has_begun(interruption.result) else None, interruption
    except (KeyboardInterrupt, TrainingDiverged) as error:
        return last, error
    return last, None


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Pass on what the package logs, as that it compiles, or what it guesses of a table."""
    logger, handler = logging.getLogger("manual_nn"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("manual-nn: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _say_how_it_ended(
    last: TrainingResult,
    error: KeyboardInterrupt | TrainingDiverged | None,
    rule: StoppingRule | None,
) -> None:
    epochs = len(last.history)
    if isinstance(error, KeyboardInterrupt):
        _say(f"Interrupted in epoch {epochs + 1}: continuing with what it has reached")
    elif error is not None:
        _say(f"Diverged: continuing with the result of epoch {epochs}")
    elif last.stopped_early:
        _say("Stopping early")
    if isinstance(rule, Patience) and epochs > 0:
        best = kept_epoch(rule, last.history)
        _say(f"Keeping the parameters of epoch {best}, the best on the validation rows")


def _advise(last: TrainingResult, prepared: Prepared, rule: StoppingRule | None) -> None:
    """Warn of what has gone wrong without an error, in the parameters that are kept."""
    epoch, X = kept_epoch(rule, last.history), prepared.X_train
    loss = last.history.train_loss[epoch - 1] if epoch > 0 else last.start_loss
    blocks = (X[start : start + ROWS_AT_ONCE] for start in range(0, len(X), ROWS_AT_ONCE))
    remedy = _advice_in_options("choose a smaller learning_rate", prepared)
    for advice in (
        of_loss(last.start_loss, loss),
        of_dead_units(last.params, blocks),
    ):
        _warn(None if advice is None else f"{advice}: {remedy}")


def _advice_in_options(advice: str, prepared: Prepared) -> str:
    """Say what to try in the words of the command line, which scales, too."""
    advice = advice.replace("learning_rate", "--learning-rate").replace("X_train", "the inputs")
    if prepared.scaling.kind == "standardise":
        return advice
    return f"{advice}{':' if 'scale' in advice else ' or'} --scaling standardise"


def _has_begun(result: TrainingResult) -> bool:
    """Say whether a step was taken."""
    return result.optimizer_state is not None and result.optimizer_state.steps > 0


def _report(model: Model, dataset: Dataset, output: Path) -> None:
    """Write the parameters and the picture, and print how good the parameters are."""
    model_path, picture_path = (output / name for name in RESULTS)
    output.mkdir(parents=True, exist_ok=True)
    save_model(model_path, model)  # before anything else can fail or be interrupted
    for name, X, y in _parts(dataset, trained_on=True):
        _, accuracy = evaluate(model.params, _scaled(model, X, dataset.name), y)
        _say(f"{name} accuracy {accuracy:.5f} ({len(X)} rows)")
    history = History(**model.curves)
    if len(history) > 0:
        plot_history(history, picture_path, stopped_early=model.stopped_early)
        _say(f"Wrote {picture_path}")
    _say(f"Wrote {model_path}")


def _evaluate(args: argparse.Namespace) -> int:
    if args.output is not None:
        _check_output(args.output, PICTURES)
    if args.report is not None:
        check_report(args.report)
        _check_output(args.report.parent, [args.report.name], what=f"--report {args.report}")
    model = load_model(args.model)
    dataset = _data_for(model, args)
    source = model.source if args.data is None else _source(args)
    trained_on = fingerprint(source, dataset) == model.fingerprint
    parts = [_evaluated(model, dataset, *part) for part in _parts(dataset, trained_on=trained_on)]
    if trained_on and len(dataset.X_train) == 0:  # the whole file that was divided then
        _warn(
            f"{dataset.name} holds the rows that the model was trained on; without --data, those "
            "that were held out for the test are evaluated by themselves"
        )
        parts = [part._replace(trained_on=True) for part in parts]
    for part in parts:
        _warn(model.scaling.unlike_training(part.X, features=model.features))
        _say(
            f"{part.name + ':':10} loss {part.loss:.4f}  accuracy {part.accuracy:.5f}  "
            f"({len(part.y)} rows)"
        )
    if args.output is None and args.report is None:
        return 0
    probabilities = predict_proba(model.params, _scaled(model, parts[-1].X, dataset.name))
    if args.output is not None:
        _draw(model, parts[-1], probabilities, args.output)
    if args.report is not None:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        for path in write_report(args.report, model, parts, probabilities):
            _say(f"Wrote {path}")
    return 0


def _evaluated(model: Model, dataset: Dataset, name: str, X: Numbers, y: Labels) -> Part:
    loss, accuracy = evaluate(model.params, _scaled(model, X, dataset.name), y)
    rows = dataset.test_rows if X is dataset.X_test else None
    return Part(name, X, y, loss, accuracy, rows)


def _draw(model: Model, part: Part, proba: Array, output: Path) -> None:
    """Write the pictures of what the network makes of some rows, and of its first layer."""
    X, y = part.X, part.y
    shape = model.image_shape
    output.mkdir(parents=True, exist_ok=True)
    confusion, mistakes, first_layer = (output / name for name in PICTURES)
    plot_confusion_matrix(y, proba.argmax(axis=1), confusion, classes=model.classes)
    _say(f"Wrote {confusion}")
    if shape is not None and len(shape) == 2:  # only images in grey can be drawn
        plot_mistakes(X, y, proba, mistakes, image_shape=shape, classes=model.classes)
        _say(f"Wrote {mistakes}")
        plot_first_layer(model.params, first_layer, image_shape=shape, classes=model.classes)
        _say(f"Wrote {first_layer}")


def _predict(args: argparse.Namespace) -> int:
    if args.input is not None and args.data_dir is not None:
        raise ValueError(
            "--input takes the place of the data set, which --data-dir is the folder of"
        )
    model = load_model(args.model)
    X = _inputs_for(model, args)
    proba = predict_proba(model.params, _scaled(model, X, args.input or model.source.data))
    _warn(model.scaling.unlike_training(X, features=model.features))
    names = [model.classes[k] for k in proba.argmax(axis=1)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if args.proba:
        writer.writerow(["class", *model.classes])
        rows = zip(names, proba, strict=True)
        writer.writerows([name, *map(str, row)] for name, row in rows)
    else:
        writer.writerow(["class"])
        writer.writerows([name] for name in names)
    return 0


def _inputs_for(model: Model, args: argparse.Namespace) -> Numbers:
    """Read the rows to predict for: of a file, or those to test with of the data trained on."""
    if args.input is not None:
        return read_inputs(
            args.input,
            D=len(model.params[0].weight),
            features=model.features,
            image_shape=model.image_shape,
            drop=tuple(args.drop),
            header=model.source.header if args.header is None else args.header,
        ).X
    _check_not_given(args, ("drop", "header"), without="input")
    X = _data_trained_on(model, args.data_dir).X_test
    if len(X) == 0:
        raise ValueError(
            f"{args.model} was trained without rows to test with: give some with --input"
        )
    return X


def _data_for(model: Model, args: argparse.Namespace) -> Dataset:
    """Load the rows to evaluate."""
    if args.data is None:
        _check_not_given(
            args, ("labels", "target", "drop", "header", "image_shape"), without="data"
        )
        return _data_trained_on(model, args.data_dir)
    given = _source(args)
    if given.is_file:
        return _file_for(model, given)
    dataset = load_data(given)
    if (dataset.image_shape, dataset.classes) != (model.image_shape, model.classes):
        msg = f"the model takes images of shape {model.image_shape} and knows the classes"
        raise ValueError(
            f"{msg} {', '.join(model.classes)}; {given.data} has {dataset.image_shape} and "
            f"{', '.join(dataset.classes)}"
        )
    return dataset


def _check_not_given(args: argparse.Namespace, names: Iterable[str], *, without: str) -> None:
    """Refuse options that are about a file which is not given."""
    for name in names:
        if getattr(args, name) not in (None, ()):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is about --{without}, which is not given")


def _file_for(model: Model, given: Source) -> Dataset:
    """Load all rows of a file; the columns of a table are what they were unless told."""
    was, source = model.source, given
    if format_of(Path(given.data)) in TABLES:
        source = given._replace(
            target=given.target or (None if given.labels else was.target),
            drop=given.drop or was.drop,
            header=was.header if given.header is None else given.header,
        )
    D = len(model.params[0].weight)
    dataset = load_rows(
        source, model.classes, features=model.features, D=D, drop_is_remembered=not given.drop
    )
    shape = dataset.image_shape
    if None not in (shape, model.image_shape) and shape != model.image_shape:
        msg = f"the model takes images of shape {model.image_shape}"
        raise ValueError(f"{given.data}: {msg}, got {shape}")
    return dataset


def _data_trained_on(model: Model, data_dir: Path | None) -> Dataset:
    """Load the data again that a model was trained on, divided in the same way."""
    source = model.source
    if data_dir is not None:
        source = source._replace(data_dir=str(data_dir))
    if source.is_file and files_fingerprint(source) != model.fingerprint:
        msg = (
            f"{source.data} has changed since the training, so that the rows held out for the test"
        )
        raise ValueError(f"{msg} are not known; give it as --data to evaluate all of its rows")
    return load_data(source)


def _parts(dataset: Dataset, *, trained_on: bool) -> list[tuple[str, Numbers, Labels]]:
    """List the parts of the data that are not empty."""
    parts = [
        (IN_SAMPLE if trained_on else "Training", dataset.X_train, dataset.y_train),
        ("Test" if len(dataset.X_train) else dataset.name, dataset.X_test, dataset.y_test),
    ]
    return [part for part in parts if len(part[1])]


def _scaled(model: Model, X: Numbers, name: str | Path) -> Array:
    """Scale the inputs from a file or data set of this name as the model's were."""
    with naming(Path(name)):
        return model.scaling.apply(X, dtype=model.params[0].weight.dtype)


def _model(
    result: TrainingResult,
    prepared: Prepared,
    dataset: Dataset,
    source: Source,
    settings: Settings,
) -> Model:
    return Model(
        result.params,
        prepared.scaling,
        dataset.classes,
        dataset.features,
        dataset.image_shape,
        source.absolute(),
        fingerprint(source, dataset),
        {name: as_json(value) for name, value in vars(settings).items()}
        | {"scaling": prepared.scaling.kind},
        vars(result.history),
        result.stopped_early,
    )


def _epoch_line(history: History, epochs: int) -> str:
    """Write the last values of the curves; both losses are without the penalty, to be compared."""
    line = (
        f"Epoch {len(history):{len(str(epochs))}}"
        f"  Train_loss {history.loss_of_rows[-1]:.4f}  Train_acc {history.train_acc[-1]:.5f}"
    )
    if history.val_loss:
        line += f"  Val_loss {history.val_loss[-1]:.4f}  Val_acc {history.val_acc[-1]:.5f}"
    return f"{line}  Penalty {history.penalty[-1]:.4f}" if any(history.penalty) else line


def _source(args: argparse.Namespace) -> Source:
    """Say where the data are."""
    return Source(
        args.data,
        data_dir=None if args.data_dir is None else str(args.data_dir),
        labels=None if args.labels is None else str(args.labels),
        target=args.target,
        drop=tuple(args.drop),
        header=args.header,
        image_shape=None if args.image_shape is None else tuple(args.image_shape),
        test_fraction=getattr(args, "test_fraction", None),
    )


def _settings(args: argparse.Namespace) -> Settings:
    optimizer, rate = _optimizer(args), args.learning_rate
    if rate is None:
        rate = optimizer.usual_learning_rate
    rate = as_number(rate, name="learning_rate", minimum=0, strict=True)
    epochs = as_count(args.epochs, name="epochs")
    return Settings(
        hidden=args.hidden,
        batch_size=args.batch_size,
        optimizer=optimizer,
        learning_rate=CosineSchedule(rate, epochs) if args.schedule == "cosine" else rate,
        weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm,
        epochs=epochs,
        early_stopping=_stopping_rule(args),
        validation_fraction=args.validation_fraction,
        scaling=args.scaling,
        seed=args.seed,
        dtype=args.dtype,
        backend=args.backend,
    )


def _optimizer(args: argparse.Namespace) -> Optimizer:
    if args.optimizer == "sgd":
        if args.nesterov and not args.momentum:
            raise ValueError("--nesterov needs --momentum above 0")
        return SGD(momentum=args.momentum or 0.0, nesterov=args.nesterov)
    if args.momentum is not None or args.nesterov:
        option = "--nesterov" if args.momentum is None else "--momentum"
        raise ValueError(f"{option} needs --optimizer sgd, got {args.optimizer}")
    return Adam() if args.optimizer == "adam" else AdamW()


def _stopping_rule(args: argparse.Namespace) -> StoppingRule | None:
    options = {name: getattr(args, name) for name in ("min_accuracy", "max_change")}
    rule = {name: value for name, value in options.items() if value is not None}
    if args.early_stopping is False:
        for name in ("patience", *rule):
            if getattr(args, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} and --no-early-stopping contradict each other")
        return None
    if args.patience is not None:
        if rule:
            option = f"--{next(iter(rule)).replace('_', '-')}"
            raise ValueError(f"--patience and {option} belong to different rules: give one of them")
        return Patience(as_count(args.patience, name="--patience"))
    return EarlyStopping(**rule)


def _asks_to_stop_early(args: argparse.Namespace) -> bool:
    options = ("early_stopping", "patience", "min_accuracy", "max_change")
    given = (getattr(args, name) for name in options)
    return any(value is not None and value is not False for value in given)


def _without_a_rule_that_cannot_tell(settings: Settings, prepared: Prepared) -> Settings:
    """Run all epochs where the validation rows are too few for the rule that nobody asked for."""
    rule, rows = settings.early_stopping, 0 if prepared.y_val is None else len(prepared.y_val)
    if not isinstance(rule, EarlyStopping) or rule.can_tell(rows):
        return settings
    few = "no validation rows" if rows == 0 else f"only {rows} validation rows"
    remedy = "" if rows == 0 else " (--early-stopping turns it on)"
    _say(f"Early stopping is off, because there are {few}{remedy}")
    return dataclasses.replace(settings, early_stopping=None)


def _check_output(folder: Path, names: Iterable[str], *, what: str | None = None) -> None:
    """Find out before the work, not after it, that the folder cannot be written to."""
    what = what or f"--output {folder}"
    existing = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{what}: {existing} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(1))
    except OSError as error:
        msg = f"{what}: {existing} cannot be written to: {error.strerror}"
        raise type(error)(msg) from error
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{what}: {folder / name} is a folder")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece, whenever an interruption comes
    sys.stdout.flush()


def _warn(line: str | None) -> None:
    if line is not None:
        sys.stderr.write(f"manual-nn: warning: {line}\n")


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _with_options(line: str, names: Container[str]) -> str:
    """Name an argument that must be something by its option, if that was given."""

    def option(found: re.Match[str]) -> str:
        return f"--{found[0].replace('_', '-')}" if found[0] in names else found[0]

    line = re.sub(r"(?:^|(?<=: ))\w+(?= must )", option, line)
    what = "--data, --hidden and --dtype make one"  # a network, which the checkpoint is not of
    line = re.sub(r"(?<=, but )params are(?= \S+ in float\d\d$)", what, line)
    return re.sub(r"(?<=: choose )backend='(\w+)'", r"--backend \1", line)
