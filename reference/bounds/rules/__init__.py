"""The rounding-error bounds of JAX's primitives, one file a family, as ROUNDING.md derives them.

Each rule takes `Bounded` operands, computes the value with NumPy and, beside it, a bound on what an
implementation may make of it: what the operands' errors can do (the spread), and its own rounding.
Importing this package registers them all.
"""

from reference.bounds.rules import (
    arithmetic,
    bits,
    calls,
    choices,
    conversion,
    cumulative,
    discrete,
    elementary,
    hyperbolic,
    indexing,
    linear_algebra,
    movement,
    orders,
    products,
    steps,
    sums,
    trigonometry,
    windows,
)

__all__ = [
    "arithmetic",
    "bits",
    "calls",
    "choices",
    "conversion",
    "cumulative",
    "discrete",
    "elementary",
    "hyperbolic",
    "indexing",
    "linear_algebra",
    "movement",
    "orders",
    "products",
    "steps",
    "sums",
    "trigonometry",
    "windows",
]
