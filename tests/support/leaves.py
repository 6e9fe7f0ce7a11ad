"""Arrays beside the right ones, made by hand for the tests of what looks at such."""

import numpy as np
import numpy.typing as npt

from reference import Leaf


def leaf_of(
    want: npt.ArrayLike,
    got: npt.ArrayLike,
    bound: npt.ArrayLike = 0.0,
    path: str = "",
    *,
    dtype: npt.DTypeLike = np.float64,
    open_by: float = 0.0,
) -> Leaf:
    """Make an array of this precision beside the right one; open kinks leave open so much."""
    want = np.asarray(want, np.float64)
    bound = np.broadcast_to(np.asarray(bound, np.float64), want.shape)
    reach = bound + open_by
    with np.errstate(invalid="ignore"):  # of an infinite bound around what is infinite
        return Leaf(path, np.asarray(got, dtype), want, bound, want - reach, want + reach)


def off_by(
    path: str,
    want: npt.ArrayLike,
    *,
    off: npt.ArrayLike = 0.0,
    bound: npt.ArrayLike = 0.25,
    open_by: float = 0.0,
) -> Leaf:
    """Make an array that is off by so much, with kinks that leave open so much."""
    return leaf_of(want, np.add(want, off), bound, path, open_by=open_by)
