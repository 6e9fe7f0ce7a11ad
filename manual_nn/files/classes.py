"""Classes have names in files and numbers in the network. Axes: N rows, K classes."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[np.int64]

MANY = 100  # different labels, which are suspect if rows hardly ever share one


def number_classes(labels: npt.NDArray[Any]) -> tuple[tuple[str, ...], Labels]:
    """Number the classes, in the order of the numbers or of the alphabet.

    Texts are ordered as numbers if they all are numbers, and stay what they are: 007 is not 7.

    Args:
        labels: the class of each row, (N,): whole numbers, booleans or strings.

    Returns:
        The names, K of them, and the class number of each row, (N,).

    Raises:
        ValueError: there are fewer than two classes, or so many different labels that they seem to
            be no classes, or fractions.

    >>> number_classes(np.array(["oak", "ash", "oak"]))
    (('ash', 'oak'), array([1, 0, 1]))
    >>> number_classes(np.array(["10", "007", "10"]))
    (('007', '10'), array([1, 0, 1]))
    """
    values, numbers = np.unique(_whole(labels), return_inverse=True)
    if values.dtype.kind in "US" and None not in (sizes := list(map(_number, values.tolist()))):
        _whole(np.array([_number(label) for label in labels.tolist()], float))
        order = sorted(range(len(values)), key=lambda k: (sizes[k], values[k]))
        values, numbers = values[order], np.argsort(order)[numbers]
    if len(values) < 2:
        raise ValueError(f"there must be two classes or more, got {values[0]} in every row")
    if len(values) > max(MANY, len(labels) // 2):
        msg = f"there are {len(values)} different labels in {len(labels)} rows"
        raise ValueError(f"{msg}, such as {values[0]} and {values[1]}, too many to be classes")
    return tuple(map(str, values.tolist())), numbers.astype(np.int64)


def class_numbers(labels: npt.NDArray[Any], classes: Sequence[str]) -> Labels:
    """Give each row the number of the class that it names, or that has this value alone.

    Raises:
        ValueError: a label is not among the classes.

    >>> class_numbers(np.array([7, 10]), ["007", "10"])
    array([0, 1])
    """
    numbers = {name: k for k, name in enumerate(classes)}
    sizes = list(map(_number, classes))
    names = list(map(str, _whole(labels).tolist()))
    for row, name in enumerate(names):
        if name in numbers:
            continue
        size = _number(name)
        if size is not None and not size.is_integer():
            msg = f"classes must be whole numbers or words, got {name} in row {row}"
            raise ValueError(f"{msg} (counted from 0)")
        if size is None or sizes.count(size) != 1:
            msg = f"row {row} (counted from 0) is of class {name!r}, which the model does not know"
            raise ValueError(f"{msg}: it has {', '.join(classes)}")
        numbers[name] = sizes.index(size)
    return np.array([numbers[name] for name in names], np.int64)


def _number(text: str) -> float | None:
    """Give the number that a text is, if it is a finite one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _whole(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Check that numbers are whole, and make integers of them."""
    if labels.dtype.kind != "f":
        return labels
    fractions = ~(np.isfinite(labels) & (labels == np.rint(labels)))
    if fractions.any():
        row = int(fractions.argmax())
        msg = f"classes must be whole numbers or words, got {labels[row]} in row {row}"
        raise ValueError(f"{msg} (counted from 0)")
    return labels.astype(np.int64)
