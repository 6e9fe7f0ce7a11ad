"""Equality to the last bit."""

from typing import Any

import jax
import numpy as np


def same_bits(got: Any, want: Any) -> bool:
    """Say whether two trees of arrays and numbers are built alike, of leaves that are bit-equal.

    The sign of a zero counts, and so do the dtype and the shape of each leaf.
    """
    got, want = jax.tree.flatten(got), jax.tree.flatten(want)
    pairs = zip(map(np.asarray, got[0]), map(np.asarray, want[0]), strict=False)
    return got[1] == want[1] and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs
    )
