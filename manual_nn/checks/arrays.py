"""What a layer accepts: arrays of one precision, float32 or float64, whose shapes fit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.checks.arguments import DTYPES, name_of_kind


def check_floats(array: object, *, name: str, ndim: int) -> None:
    """Check that it is a float32 or float64 array of at least `ndim` axes, none of them empty.

    Raises:
        TypeError: it is not an array, or has another dtype.
        ValueError: it has too few axes, or no element.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype not in DTYPES:
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    if array.ndim < ndim or array.size == 0:
        axes = f"{ndim} {'axis' if ndim == 1 else 'axes'}"
        msg = f"{name} must have at least {axes} and no empty one, got shape {array.shape}"
        raise ValueError(msg)


def check_integers(array: object, *, name: str) -> None:
    """Check that it is an array of integers.

    Raises:
        TypeError: it is not an array, or has another dtype.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be a NumPy array of integers, got {got}")


def check_like(
    array: object, shape: tuple[int, ...], dtype: np.dtype[Any], *, name: str, like: str
) -> None:
    """Check that an array has this shape and dtype, which are those that `like` calls for.

    Raises:
        TypeError: it is not an array, or has another dtype.
        ValueError: it has another shape.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {dtype} like {like}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} to fit {like}, got {array.shape}")


def check_fields(value: object, kind: type[NamedTuple], *, name: str = "params") -> None:
    """Check that a value has the fields of its kind, which a plain tuple has not.

    Raises:
        TypeError: it has not.
    """
    if getattr(value, "_fields", None) != kind._fields or isinstance(value, type):
        wanted = f"{kind.__name__}({', '.join(kind._fields)})"
        raise TypeError(f"{name} must be {wanted}, got {name_of_kind(value, kind)}")


def check_params(
    params: NamedTuple,
    kind: type[NamedTuple],
    shapes: Sequence[tuple[int, ...]],
    dtype: np.dtype[Any],
) -> None:
    """Check that a layer's parameters are of its kind, and fit the shapes and dtype of its input.

    Raises:
        TypeError: they are of another kind, or one of them is not an array, or has another dtype.
        ValueError: one of them has another shape.
    """
    check_fields(params, kind)
    for name, array, shape in zip(kind._fields, params, shapes, strict=True):
        check_like(array, shape, dtype, name=f"params.{name}", like="x")


def check_scalar(number: object, *, name: str) -> None:
    """Check that it is a real number, or an array of one that has no axis.

    Raises:
        TypeError: it is something else, or an array of another dtype.
        ValueError: it is an array that has an axis.
    """
    if isinstance(number, np.ndarray) and number.ndim:
        raise ValueError(f"{name} must be one number, got an array of shape {number.shape}")
    known = isinstance(number, int | float | np.ndarray | np.generic)
    if not known or np.asarray(number).dtype.kind not in "iuf":
        what = number.dtype if isinstance(number, np.ndarray) else type(number).__name__
        raise TypeError(f"{name} must be a real number, got {what}")


def check_mask(mask: object, shape: tuple[int, ...], *, like: str, name: str = "mask") -> None:
    """Check that it is an array of booleans that broadcasts to this shape, which is that of `like`.

    Raises:
        TypeError: it is not an array, or has another dtype.
        ValueError: it does not broadcast.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != bool:
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"{name} must be a NumPy array of booleans, got {got}")
    check_broadcasts(mask, shape, name=name, like=like)


def check_broadcasts(
    array: npt.NDArray[Any], shape: tuple[int, ...], *, name: str, like: str
) -> None:
    """Check that an array broadcasts to this shape, which is that of `like`.

    Raises:
        ValueError: it does not.
    """
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        msg = f"{name} must have a shape that broadcasts to {shape}, that of {like}, got "
        raise ValueError(f"{msg}{array.shape}")
