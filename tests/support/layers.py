"""What the tests of several layers have in common."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from manual_nn.arrays import Array


def arrays_in(arguments: Any) -> list[Array]:
    """List the arrays in nested tuples."""
    if isinstance(arguments, np.ndarray):
        return [arguments]
    return [array for part in arguments for array in arrays_in(part)]


def check_out(piece: Callable[..., Array], arguments: tuple[Any, ...], want: npt.ArrayLike) -> None:
    """Check that a result is the same in a new array and in `out`, and arguments stay as they are.

    A new array shares no memory with an argument.
    """
    given = arrays_in(arguments)
    before = [array.copy() for array in given]
    new = piece(*arguments)
    out = np.full_like(new, np.nan)
    assert piece(*arguments, out=out) is out
    for result in (new, out):
        np.testing.assert_array_equal(result, want)
    for array, copied in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not np.shares_memory(new, array)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """Draw the shape of an input, of one or two axes of places, and options of a pool on it."""
    axes = draw(st.integers(1, 2))
    window = [draw(st.integers(1, 3)) for _ in range(axes)]
    size = [width + draw(st.integers(0, 3)) for width in window]
    stride = draw(st.sampled_from([None, 1, [draw(st.integers(1, 3)) for _ in range(axes)]]))
    pairs = [tuple(draw(st.integers(0, width - 1)) for _ in range(2)) for width in window]
    padding = draw(st.sampled_from(["valid", "same", pairs]))
    shape = [draw(st.integers(1, 2)), *size, draw(st.integers(1, 2))]
    return shape, {"window": window, "stride": stride, "padding": padding}
