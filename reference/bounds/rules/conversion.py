"""Conversion to another dtype; ROUNDING.md (R2)."""

from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding, exact, may_tie


@register_rule("convert_element_type")
def _convert_element_type(
    rounding: Rounding, x: Bounded, *, new_dtype: npt.DTypeLike, **_: Any
) -> Bounded:
    """Round once more, in the units of the other precision; ROUNDING.md (R2)."""
    new, old = jax.numpy.dtype(new_dtype), x.value.dtype
    if new.kind in "biu" and old.kind != "f":
        return Bounded(x.value.astype(new), x.error)
    if new.kind == "b":
        return rounding.opened(x.value != 0, may_tie(x, exact(0.0)))
    if new.kind in "iu":
        jumps = np.trunc(x.value - x.error) != np.trunc(x.value + x.error)
        return rounding.opened(x.value.astype(new), jumps)
    if old.kind != "f":
        value, error = rounding.given(x.value.astype(np.float64))
        x = Bounded(value, np.where(x.error, 1.0 if old.kind == "b" else np.inf, error))
    if new == np.float64:
        return x
    held = (x.value.astype(new) == x.value) & (x.error == 0)
    rounded = rounding.rounded(x.value, x.error, roundings=1)
    return Bounded(x.value, np.where(held, 0.0, rounded.error))
