"""Derivatives by JAX beyond the gradient: of single rows, along directions, and second ones.

The names, arguments and results are those of `manual_nn`; no code is.
"""

from reference.derivatives.curvature import (
    fisher_diagonal,
    ggn,
    ggn_diagonal,
    ggnvp,
    hessian,
    hvp,
    jvp,
)
from reference.derivatives.per_example import (
    clipped_grad,
    per_example_grad_norms,
    per_example_grads,
    squared_norms,
)

__all__ = [
    "clipped_grad",
    "fisher_diagonal",
    "ggn",
    "ggn_diagonal",
    "ggnvp",
    "hessian",
    "hvp",
    "jvp",
    "per_example_grad_norms",
    "per_example_grads",
    "squared_norms",
]
