"""Numbers that are made of bits, as random ones are."""

from typing import Any

import numpy as np
import numpy.typing as npt
from jax import lax

from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding


@register_rule("bitcast_convert_type")
def _bitcast_convert_type(
    rounding: Rounding, x: Bounded, *, new_dtype: npt.DTypeLike, **_: Any
) -> Bounded:
    """A number that has no error but that of a precision which does not hold it; (R5).

    Raises:
        NotImplementedError: the bits of a real number are asked for, whose errors reach anywhere.
    """
    if x.value.dtype.kind == "f":
        raise NotImplementedError("no error bound is known for the bits of a real number")
    value = np.asarray(lax.bitcast_convert_type(x.value, np.dtype(new_dtype)))
    unsure = x.error.any()
    if value.dtype.kind in "biu":
        return Bounded(value, np.full(value.shape, unsure))
    given = rounding.given(value)
    return Bounded(given.value, np.where(unsure, np.inf, given.error))
