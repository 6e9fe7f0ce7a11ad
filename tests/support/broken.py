"""Functions that are wrong whatever the numbers are, to be put in place of `manual_nn`'s."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import manual_nn

INPUT_GRAD = manual_nn.input_grad


def scaled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make everything of the result 1 part in 1,000 too large."""

    def faulty(*args: Any, **options: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * leaf.dtype.type(1.001), function(*args, **options))

    return faulty


def changing_its_input(params: Any, X: Any, *_: Any, **__: Any) -> Any:
    """Double the data that it was given."""
    result = INPUT_GRAD(params, X, *_, **__)
    if X.flags.writeable:
        X *= 2
    return result


def in_another_dtype(*args: Any, **options: Any) -> Any:
    """Return half precision."""
    return INPUT_GRAD(*args, **options).astype(np.float16)


def with_another_shape(*args: Any, **options: Any) -> Any:
    """Return one axis too many."""
    return INPUT_GRAD(*args, **options)[None]


def in_a_list(*args: Any, **options: Any) -> Any:
    """Return a list."""
    return [INPUT_GRAD(*args, **options)]


def failing(*_: Any, **__: Any) -> Any:
    """Raise an error that no bad argument explains."""
    raise IndexError("out of range")


def complaining(*_: Any, **__: Any) -> Any:
    """Raise a ValueError that speaks of no overflow."""
    raise ValueError("operands could not be broadcast together")


def refusing(*_: Any, **__: Any) -> Any:
    """Refuse as where something overflows."""
    raise ValueError("X must give something that does not exceed the largest float32")
