"""Numbers for tests whose subject is not the numbers."""

import numpy as np

from reference.arrays import Array


def normal(*shape: int, seed: int = 0) -> Array:
    """Draw normal numbers: the same ones for a shape and a seed, wherever they are asked for."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)
