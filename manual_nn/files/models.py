"""A trained network in a file, with what it takes to use it: scaling, names, where its data are."""

import math
import os
from typing import Any, NamedTuple

from manual_nn.files.parameters import load_params, save_params
from manual_nn.files.scaling import Scaling, scaling_from_json
from manual_nn.files.sources import Source, source_from_json
from manual_nn.layers.dense import Params

CURVES = ("train_loss", "train_acc", "val_loss", "val_acc", "penalty")


class Model(NamedTuple):
    """A network, what its inputs and outputs mean, and how it came about."""

    params: Params
    scaling: Scaling
    classes: tuple[str, ...]  # the names of the K classes
    features: tuple[str, ...] | None  # those of the D inputs, if they have any
    image_shape: tuple[int, ...] | None  # if a row is an image; its product is D
    source: Source  # of the data trained on
    fingerprint: str | None  # that of the data, or None if it is not known
    settings: dict[str, Any]  # of the training
    curves: dict[str, list[float]]  # by the names of `History`, a value for each epoch
    stopped_early: bool


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Write a model, completely or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    facts = model._asdict()
    params = facts.pop("params")
    facts |= {"scaling": model.scaling.as_json(), "source": model.source._asdict()}
    save_params(path, params, **facts)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `save_model` has written.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or holds no model.
    """
    params, metadata = load_params(path)
    if "checkpoint" in metadata:
        how = "begin the same `manual-nn train --checkpoint FILE` with --resume, which writes one"
        raise ValueError(f"{os.fspath(path)}: it is a checkpoint, not a model: {how}")
    try:
        return _checked(params, metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: wrong metadata: {error}") from error


def _checked(params: Params, facts: dict[str, Any]) -> Model:
    missing = [name for name in Model._fields[1:] if name not in facts]
    if missing:
        raise ValueError(f"there is no {', '.join(missing)}: `manual-nn train` writes models")
    D, K = len(params[0].weight), params[-1].bias.size
    shape, curves = facts["image_shape"], facts["curves"]
    if shape is not None and not (
        _is_list(shape, int) and min(shape, default=0) > 0 and math.prod(shape) == D
    ):
        raise ValueError(f"image_shape must be sides that fit {D} inputs, got {shape!r}")
    if not isinstance(facts["settings"], dict):
        raise TypeError(f"settings must be a JSON object, got {facts['settings']!r}")
    if not isinstance(curves, dict) or tuple(curves) != CURVES:
        raise ValueError(f"curves must be {', '.join(CURVES)}, got {curves!r}")
    for name, curve in curves.items():
        if not _is_list(curve, float):
            raise ValueError(f"{name} must be a list of numbers, got {curve!r}")
    if type(facts["stopped_early"]) is not bool:
        raise ValueError(f"stopped_early must be true or false, got {facts['stopped_early']!r}")
    print_ = facts["fingerprint"]
    if print_ is not None and not isinstance(print_, str):
        raise ValueError(f"fingerprint must be a string, got {print_!r}")
    return Model(
        params,
        scaling_from_json(facts["scaling"], D),
        _names(facts["classes"], K, "classes"),
        None if facts["features"] is None else _names(facts["features"], D, "features"),
        None if shape is None else tuple(shape),
        source_from_json(facts["source"]),
        print_,
        facts["settings"],
        curves,
        facts["stopped_early"],
    )


def _names(value: Any, count: int, name: str) -> tuple[str, ...]:
    if not _is_list(value, str) or len(set(value)) != count or len(value) != count:
        raise ValueError(f"{name} must be {count} different names, got {value!r}")
    return tuple(value)


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
