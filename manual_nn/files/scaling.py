"""What is done to the inputs before the network sees them, in training and ever after.

    z = (x - offset) / divisor

It is fitted on the rows that a network is trained on, and saved with the network.
Axes: N rows, D inputs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array

Numbers: TypeAlias = npt.NDArray[Any]  # real, of any dtype

KINDS = ("none", "divide", "standardise")

ROWS_AT_ONCE = 1024  # so that few of them need float64 at a time
LARGEST_EXPONENT = 1023  # of a power of two that is finite in float64
FEW_VALUES = 20  # fewer may by chance all lie in the middle of what was trained on
TINY_PART = 10


class Scaling(NamedTuple):
    """An offset and a divisor, and where the values lay that they were fitted on.

    Each array is float64, with an element for each input, (D,), where every input has a scale of
    its own, as under `standardise`; else one for all of them, ().
    """

    kind: str
    offset: npt.NDArray[np.float64]
    divisor: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    def apply(self, X: Numbers, *, dtype: npt.DTypeLike) -> Array:
        """Scale rows, in float64, and round the results.

        Args:
            X: the inputs, (N, D), as they are in the files.
            dtype: float32 or float64.

        Returns:
            z = (x - offset) / divisor, (N, D), in this dtype.

        Raises:
            ValueError: a result is not finite in this dtype.
        """
        scaled = np.empty(X.shape, dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            for start in range(0, len(X), ROWS_AT_ONCE):
                rows = X[start : start + ROWS_AT_ONCE].astype(np.float64)
                rows -= self.offset
                rows /= self.divisor
                scaled[start : start + ROWS_AT_ONCE] = rows
        finite = np.isfinite(scaled)
        if not finite.all():
            n, d = (int(i) for i in np.argwhere(~finite)[0])
            msg = f"after scaling, inputs must be finite in {np.dtype(dtype)}, got {scaled[n, d]}"
            raise ValueError(f"{msg} for {X[n, d]} in row {n}, column {d}")
        return scaled

    def unlike_training(self, X: Numbers, *, features: Sequence[str] | None = None) -> str | None:
        """Say in a sentence how rows differ from those trained on, if they do much.

        A value is far away if it is farther from where the training values lay, from low to high,
        than high from low. Of an input that was constant, what counts is how far the network sees
        it go, beside how far the others went: the median of (high - low) / divisor of these, if
        there are any. Values are all too close together if none, but of a constant input, is
        farther from the offset than a tenth of how far the training values were: they may have been
        scaled already. This is said first, as it is about all of them.

        Args:
            X: the inputs, (N, D), as they are in the files, before they are scaled.
            features: the names of the inputs.

        Returns:
            The sentence, or None.
        """
        per_input = self.offset.shape != ()
        least, most = (
            np.asarray(end(axis=0 if per_input else None), np.float64) for end in (X.min, X.max)
        )
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            width = self.high - self.low
            varied = width > 0
            if varied.any():
                width = np.where(varied, width, np.median((width / self.divisor)[varied]))
            beyond = np.maximum(self.low - least, most - self.high)
            widths_away = np.where(beyond > 0, beyond / width, 0.0)
        reach = np.maximum(abs(self.high - self.offset), abs(self.low - self.offset))
        found = np.maximum(abs(most - self.offset), abs(least - self.offset))
        close = (found <= reach / TINY_PART) & (reach > 0)
        if X.size >= FEW_VALUES and (close | ~varied).all() and close.any():
            what = "their mean" if per_input else "0"
            msg = f"all values are ten times as close to {what} as they were in training, or closer"
            return f"{msg}; give them as they were there: the model scales them itself"
        if (widths_away > 1).any():
            return self._far_away(X, int(widths_away.argmax()), features)
        return None

    def _far_away(self, X: Numbers, place: int, features: Sequence[str] | None) -> str:
        """Name the value that is the farthest outside."""
        per_input = self.offset.shape != ()
        column = X[:, place] if per_input else X.ravel()
        low, high = (float(np.ravel(end)[place]) for end in (self.low, self.high))
        outside = np.maximum(low - column.astype(np.float64), column.astype(np.float64) - high)
        at = int(outside.argmax())
        row, d = (at, place) if per_input else divmod(at, X.shape[1])
        name = f"input {d}" if features is None else features[d]
        was = "were all" if low == high else f"went from {low:.6g} to"
        return (
            f"inputs lie far from those trained on: {name} is {float(X[row, d]):.6g} in row {row} "
            f"(counted from 0), in training values {was} {high:.6g}"
        )

    def as_json(self) -> dict[str, Any]:
        """Turn it into what JSON can hold, to the bit."""
        kind, *arrays = self
        numbers = [array.tolist() for array in arrays]
        return dict(zip(self._fields, [kind, *numbers], strict=True))


def fit_scaling(kind: str, X: Numbers) -> Scaling:
    """Find the scaling of this kind for the rows to train on.

    - `none`: z = x.
    - `divide`: all inputs by one number, the smallest power of two that no value exceeds in
      magnitude, which rounds nothing: 256 for bytes, as of MNIST, and 16 for the digits.
    - `standardise`: each input has mean 0 and variance 1 in these rows, or is 0 in all of them if
      it is constant.

    Args:
        kind: one of `KINDS`.
        X: the inputs, (N, D), finite.

    Returns:
        The scaling.

    Raises:
        ValueError: the kind is none of these, or the inputs are too large, or too close to each
            other, to be standardised in float64.

    >>> scaling = fit_scaling("divide", np.array([[1.0, 200.0], [3.0, 4.0]]))
    >>> scaling.divisor
    array(256.)
    >>> fit_scaling("standardise", np.array([[1.0, 7.0], [3.0, 7.0]])).apply(
    ...     np.array([[3.0, 7.0]]), dtype=np.float64
    ... )
    array([[1., 0.]])
    """
    if kind not in KINDS:
        raise ValueError(f"scaling must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "standardise":
        return _standardising(X)
    low, high = (np.array(float(end)) for end in (X.min(), X.max()))
    divisor = _power_of_two(max(abs(float(low)), abs(float(high)))) if kind == "divide" else 1.0
    return Scaling(kind, np.zeros(()), np.array(divisor), low, high)


def scaling_from_json(facts: Any, D: int) -> Scaling:
    """Read what `Scaling.as_json` has made, for so many inputs.

    Raises:
        ValueError: it is not that.
    """
    if not isinstance(facts, dict) or facts.keys() != set(Scaling._fields):
        raise ValueError(f"scaling must have {', '.join(Scaling._fields)}, got {facts!r}")
    kind = facts["kind"]
    if kind not in KINDS:
        raise ValueError(f"scaling must be one of {', '.join(KINDS)}, got {kind!r}")
    shape = (D,) if kind == "standardise" else ()
    arrays = [_numbers(facts[name], name, shape) for name in Scaling._fields[1:]]
    scaling = Scaling(kind, *arrays)
    if not (scaling.divisor > 0).all():
        raise ValueError("each divisor must be above 0")
    return scaling


def _standardising(X: Numbers) -> Scaling:
    low, high = (end(axis=0).astype(np.float64) for end in (X.min, X.max))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        offset = X.mean(axis=0, dtype=np.float64)
        divisor = X.std(axis=0, dtype=np.float64)
    constant = low == high
    offset[constant], divisor[constant] = low[constant], 1.0
    wrong = ~(np.isfinite(offset) & np.isfinite(divisor) & (divisor > 0))
    if wrong.any():
        d = int(wrong.argmax())
        msg = f"the values of input {d}, from {low[d]:g} to {high[d]:g}, cannot be standardised"
        raise ValueError(f"{msg} in float64: divide them by a number first")
    return Scaling("standardise", offset, divisor, low, high)


def _power_of_two(magnitude: float) -> float:
    """Give the smallest power of two that is not below, or the largest that is finite; 1 for 0."""
    if magnitude == 0:
        return 1.0
    fraction, exponent = np.frexp(magnitude)  # from 1/2, and below 1
    return float(np.ldexp(1.0, min(int(exponent) - (fraction == 0.5), LARGEST_EXPONENT)))


def _numbers(value: Any, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    flat = value if shape else [value]
    if not isinstance(flat, list) or not all(type(number) is float for number in flat):
        raise ValueError(f"{name} of the scaling must be numbers, got {value!r}")
    if shape and len(flat) != shape[0]:
        raise ValueError(f"{name} of the scaling must have {shape[0]} numbers, got {len(flat)}")
    if not np.isfinite(flat).all():
        raise ValueError(f"{name} of the scaling must be finite, got {value!r}")
    return np.array(flat).reshape(shape)
