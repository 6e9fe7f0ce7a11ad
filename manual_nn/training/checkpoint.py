"""Checkpoints: the state of a training in a file, from which another process can continue.

It is a file of parameters, as `manual_nn.files.parameters` writes them, whose metadata hold the
rest under `checkpoint`: the curves of the history, which are all that early stopping remembers; how
many steps were taken; the loss at the start; the state of the random generator; the settings;
fingerprints of the data; and a checksum over everything. Beside the parameters stand the best ones
so far, where the rule of stopping keeps them, and what the optimizer keeps. Nothing in it is a
pickle.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from manual_nn.checks.arguments import as_count, as_number
from manual_nn.files.parameters import (
    check_version,
    load_params,
    load_params_and_beside,
    remove_drafts,
    save_params_and_beside,
)
from manual_nn.layers.dense import Params
from manual_nn.training.history import History, Reached
from manual_nn.training.optimizer import OptimizerState, copy_of
from manual_nn.training.rows import Rows, is_sparse

CHECKPOINT_VERSION = 2

Curves: TypeAlias = dict[str, list[float]]  # by the names of `History`, a value for each epoch

# NumPy's generators use these as indices into the array named beside, without checking.
POSITIONS = {"pos": "key", "buffer_pos": "buffer"}


class CheckpointFile(NamedTuple):
    """The checkpoint of one training, which no other process writes at the same time."""

    path: Path
    settings: Mapping[str, Any]  # what determines the steps, with the data; JSON
    data: Mapping[str, Any]  # the fingerprint of each array

    def save(self, reached: Reached, rng: np.random.Generator) -> None:
        """Replace the file, whole or not at all."""
        facts = {
            "version": CHECKPOINT_VERSION,
            "settings": self.settings,
            "data": self.data,
            "curves": vars(reached.history),
            "steps": reached.state.steps,
            "start_loss": reached.start_loss,
            "rng": _as_json(rng.bit_generator.state),
        }
        beside = _beside(reached)
        facts["sha256"] = _checksum([reached.params, *beside.values()], facts)
        save_params_and_beside(self.path, reached.params, beside, checkpoint=facts)

    def load(self, start: Reached, rng: np.random.Generator) -> Reached:
        """Read the file, and put the generator into its state.

        Args:
            start: where the training would begin, with layers of the same sizes and dtype, and as
                many moments.
            rng: a generator of the same kind; changed only if all else is right.

        Returns:
            Where the training is.

        Raises:
            OSError: the file is missing or cannot be read.
            ValueError: the file is damaged, or is the checkpoint of another training.
        """
        params, metadata, beside = load_params_and_beside(self.path)
        try:
            facts = _checked([params, *beside.values()], metadata.get("checkpoint"))
            _check_layers(start.params, params)
            for name, value in self.settings.items():
                _check_setting(name, value, facts["settings"].get(name))
            for name, print_ in self.data.items():
                _check_fingerprint(name, print_, facts["data"].get(name))
            curves = {name: _curve(facts["curves"].get(name), name) for name in vars(start.history)}
            _check_lengths(curves, validated=self.data["X_val"] is not None)
            steps = as_count(facts.get("steps"), name="steps", minimum=0)
            start_loss = as_number(facts.get("start_loss"), name="start_loss", minimum=0)
            _check_labels(list(beside), list(_beside(start)))
            _set_state(rng, facts["rng"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(self.path)}: {error}") from error
        kept = {label: copy_of(layers) for label, layers in beside.items()}
        best = kept.pop("best", None)
        state = OptimizerState(steps, tuple(kept.values()))
        return Reached(copy_of(params), best, state, History(**curves), start_loss)

    def remove_drafts(self) -> None:
        """Remove the drafts of processes that were killed while writing the file."""
        remove_drafts(self.path)


def backend_of(path: str | os.PathLike[str]) -> str | None:
    """Say what computed the steps of a checkpoint, or None where no readable one says so."""
    try:
        _, metadata = load_params(path)
    except (OSError, ValueError):  # `CheckpointFile.load` says why
        return None
    facts = metadata.get("checkpoint")
    settings = facts.get("settings") if isinstance(facts, dict) else None
    backend = settings.get("backend") if isinstance(settings, dict) else None
    return backend if isinstance(backend, str) else None


def fingerprint(array: Rows | None) -> dict[str, Any] | None:
    """Identify an array by its shape, its dtype and the SHA-256 of its elements.

    That of a sparse one is of the numbers that it stores, and of their places.

    >>> fingerprint(np.zeros(2, np.float32))["sha256"][:8]  # of eight bytes 0
    'af5570f5'
    """
    if array is None:
        return None
    parts = [array.data, array.indices, array.indptr] if is_sparse(array) else [array]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest.hexdigest()}


def _beside(reached: Reached) -> dict[str, Params]:
    """Name what is kept beside the parameters, the best ones first."""
    best = {} if reached.best is None else {"best": reached.best}
    return best | {f"moment_{i}": layers for i, layers in enumerate(reached.state.moments, 1)}


def _check_labels(labels: list[str], expected: list[str]) -> None:
    if labels != expected:
        words, got = (", ".join(names) or "nothing" for names in (expected, labels))
        raise ValueError(f"beside the parameters there must be {words}, got {got}")


def _checksum(kept: Iterable[Params], facts: Mapping[str, Any]) -> str:
    leaves = [fingerprint(leaf) for params in kept for layer in params for leaf in layer]
    content = json.dumps([leaves, facts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _checked(kept: Iterable[Params], facts: Any) -> dict[str, Any]:
    """Check that the file holds what some version of `CheckpointFile.save` has written."""
    if not isinstance(facts, dict):
        raise ValueError("it holds parameters, but no checkpoint")  # noqa: TRY004, the file is wrong
    check_version(facts.get("version"), CHECKPOINT_VERSION)
    content = {name: value for name, value in facts.items() if name != "sha256"}
    if facts.get("sha256") != _checksum(kept, content):
        raise ValueError("its content has been altered: the checksum does not match")
    for name in ("settings", "data", "curves", "rng"):
        if not isinstance(facts.get(name), dict):
            got = type(facts.get(name)).__name__
            raise ValueError(f"{name} must be a JSON object, got {got}")  # noqa: TRY004, as above
    return facts


def _check_layers(params: Params, saved: Params) -> None:
    (text, saved_text) = (_layers_in_words(layers) for layers in (params, saved))
    if text != saved_text:
        raise ValueError(f"it is the checkpoint of a network {saved_text}, but params are {text}")


def _layers_in_words(params: Params) -> str:
    sizes = [len(params[0].weight), *(layer.bias.size for layer in params)]
    return f"{'-'.join(map(str, sizes))} in {params[0].weight.dtype}"


def _check_setting(name: str, value: object, saved: object) -> None:
    if value != saved:
        text, saved_text = map(_setting_in_words, (value, saved))
        remedy = f": choose backend={saved_text}" if name == "backend" else ""
        raise ValueError(f"it was written with {name} {saved_text}, now {name} is {text}{remedy}")


def _setting_in_words(value: object) -> str:
    """Write settings that have a kind as a call that makes them."""
    if not isinstance(value, Mapping) or "kind" not in value:
        return repr(value)
    rest = ", ".join(f"{key}={part!r}" for key, part in value.items() if key != "kind")
    return f"{value['kind']}({rest})"


def _check_fingerprint(name: str, now: Any, saved: Any) -> None:
    if now == saved:
        return
    raise ValueError(
        f"it was written with another {name}, {_array_in_words(saved)}; now it is "
        f"{_array_in_words(now)}: the data, or how they were divided or scaled, have changed"
    )


def _array_in_words(fingerprint: Any) -> str:
    if not isinstance(fingerprint, dict):
        return str(fingerprint)
    shape, dtype, digest = (fingerprint.get(key) for key in ("shape", "dtype", "sha256"))
    return f"{shape} in {dtype} with SHA-256 {str(digest)[:8]}..."


def _curve(values: object, name: str) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, float) for value in values):
        raise ValueError(f"{name} must be a list of floats, got {values!r}")
    return values


def _check_lengths(curves: Curves, *, validated: bool) -> None:
    epochs = len(curves["train_loss"])
    for name, values in curves.items():
        expected = epochs if validated or not name.startswith("val_") else 0
        if len(values) != expected:
            raise ValueError(f"{name} must have {expected} values, got {len(values)}")


def _as_json(state: Any) -> Any:
    """Turn a generator's state into what JSON can hold."""
    if isinstance(state, Mapping):
        return {name: _as_json(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def _set_state(rng: np.random.Generator, saved: Any) -> None:
    """Put the generator into the state, or leave it unchanged if that is not one of its kind."""
    before = rng.bit_generator.state
    if saved.get("bit_generator") != before["bit_generator"]:
        kind = saved.get("bit_generator")
        raise ValueError(f"its generator is {kind!r}, rng is a {before['bit_generator']!r}")
    try:
        rng.bit_generator.state = _from_json(saved, before)
    except (TypeError, ValueError, OverflowError) as error:
        rng.bit_generator.state = before
        raise ValueError(f"it holds no state of a generator: {error}") from error


def _from_json(value: Any, like: Any) -> Any:
    """Undo `_as_json`, with the structure and the dtypes of another state."""
    if isinstance(like, np.ndarray):
        array = np.array(value, like.dtype)
        if array.shape != like.shape:
            raise ValueError(f"expected an array of shape {like.shape}, got {array.shape}")
        return array
    if not isinstance(like, Mapping):
        if type(value) is not type(like):
            raise TypeError(f"expected something like {like!r}, got {value!r}")
        return value
    if not isinstance(value, dict) or value.keys() != like.keys():
        raise ValueError(f"expected {', '.join(like)}, got {value!r}")
    state = {name: _from_json(value[name], like[name]) for name in like}
    for name, beside in POSITIONS.items():
        if name in state and not 0 <= state[name] <= len(state[beside]):
            raise ValueError(f"{name} must be from 0 to {len(state[beside])}, got {state[name]}")
    return state
