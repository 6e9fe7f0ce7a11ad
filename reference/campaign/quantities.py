"""Everything that both packages compute, in groups: by JAX and, under the same names, by hand.

Axes: N rows in the batch.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import manual_nn
from reference import derivatives
from reference.models import mlp


def gradient_by_jax(params: Any, X: Any, y: Any, weight_decay: Any) -> dict[str, Any]:
    """Compute the network, its loss and its gradients; what is done twice by hand is here once."""
    value, gradient = mlp.loss_and_grad(params, X, y, weight_decay=weight_decay)
    d_weights, d_biases = zip(*gradient, strict=True)
    return {
        "logits": mlp.logits(params, X),
        "predict_proba": mlp.predict_proba(params, X),
        "predict": mlp.predict(params, X),
        "loss": mlp.loss(params, X, y, weight_decay=weight_decay),
        "loss_and_grad, loss": value,
        "loss_and_grad, weights": d_weights,
        "loss_and_grad, biases": d_biases,
        "rowwise, loss": value,
        "rowwise, weights": d_weights,
        "rowwise, biases": d_biases,
        "input_grad": mlp.input_grad(params, X, y, weight_decay=weight_decay),
    }


def gradient_by_hand(params: Any, X: Any, y: Any, weight_decay: Any) -> dict[str, Any]:
    """Compute the same with `manual_nn`."""
    value, gradient = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
    d_weights, d_biases = zip(*gradient, strict=True)
    row_value, row_gradient = manual_nn.rowwise.loss_and_grad(
        params, X, y, weight_decay=weight_decay
    )
    row_d_weights, row_d_biases = zip(*row_gradient, strict=True)
    return {
        "logits": manual_nn.logits(params, X),
        "predict_proba": manual_nn.predict_proba(params, X),
        "predict": manual_nn.predict(params, X),
        "loss": manual_nn.loss(params, X, y, weight_decay=weight_decay),
        "loss_and_grad, loss": value,
        "loss_and_grad, weights": d_weights,
        "loss_and_grad, biases": d_biases,
        "rowwise, loss": row_value,
        "rowwise, weights": row_d_weights,
        "rowwise, biases": row_d_biases,
        "input_grad": manual_nn.input_grad(params, X, y, weight_decay=weight_decay),
    }


def weighted_by_jax(
    params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any
) -> dict[str, Any]:
    """Compute the loss and gradient with weights on the rows, once for several ways by hand."""
    both = mlp.loss_and_grad(params, X, y, weight_decay=weight_decay, sample_weight=sample_weight)
    return {
        "loss, weighted": both[0],
        "loss_and_grad, weighted": both,
        "loss_and_grad, in blocks": both,
        "loss_and_grad, workspace": both,
        "rowwise, weighted": both,
    }


def weighted_by_hand(
    params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any
) -> dict[str, Any]:
    """Compute the same with `manual_nn`: at once, in blocks, into given arrays, row by row."""
    options = {"weight_decay": weight_decay, "sample_weight": sample_weight}
    half = -(-len(X) // 2)
    workspace = manual_nn.Workspace(params, len(X) + 1)
    return {
        "loss, weighted": manual_nn.loss(params, X, y, **options, chunk_size=half),
        "loss_and_grad, weighted": manual_nn.loss_and_grad(params, X, y, **options),
        "loss_and_grad, in blocks": manual_nn.loss_and_grad(
            params, X, y, **options, chunk_size=half
        ),
        "loss_and_grad, workspace": manual_nn.loss_and_grad(
            params, X, y, **options, workspace=workspace
        ),
        "rowwise, weighted": manual_nn.rowwise.loss_and_grad(params, X, y, **options),
    }


def rows_by_jax(params: Any, X: Any, y: Any, max_norm: Any) -> dict[str, Any]:
    """Compute what belongs to single rows.

    The norms are squared because a root has no finite error bound where its argument may be 0.
    """
    rows = derivatives.per_example_grads(params, X, y)
    return {
        "per_example_grads": rows,
        "per_example_grad_norms, squared": derivatives.squared_norms(rows),
        "clipped_grad": derivatives.clipped_grad(params, X, y, max_norm=max_norm),
    }


def rows_by_hand(params: Any, X: Any, y: Any, max_norm: Any) -> dict[str, Any]:
    """Compute the same with `manual_nn`."""
    return {
        "per_example_grads": manual_nn.per_example_grads(params, X, y),
        "per_example_grad_norms, squared": manual_nn.per_example_grad_norms(params, X, y) ** 2,
        "clipped_grad": manual_nn.clipped_grad(params, X, y, max_norm=max_norm),
    }


def products_by(package: Any) -> Callable[..., dict[str, Any]]:
    """Make the function that computes the products with a direction, by JAX or by hand."""

    def products(params: Any, tangents: Any, X: Any, y: Any, weight_decay: Any) -> dict[str, Any]:
        value, R_value = package.jvp(params, tangents, X, y, weight_decay=weight_decay)
        return {
            "jvp, loss": value,
            "jvp, d_loss": R_value,
            "hvp": package.hvp(params, tangents, X, y, weight_decay=weight_decay),
            "ggnvp": package.ggnvp(params, tangents, X, y, weight_decay=weight_decay),
        }

    return products


def matrices_by(package: ModuleType) -> Callable[..., dict[str, Any]]:
    """Make the function that computes the matrices of second derivatives, and their diagonals."""

    def matrices(params: Any, X: Any, y: Any, weight_decay: Any) -> dict[str, Any]:
        return {
            "hessian": package.hessian(params, X, y, weight_decay=weight_decay),
            "ggn": package.ggn(params, X, y, weight_decay=weight_decay),
            "fisher_diagonal": package.fisher_diagonal(params, X),
            "ggn_diagonal": package.ggn_diagonal(params, X, y, weight_decay=weight_decay),
        }

    return matrices


class Group(NamedTuple):
    """Quantities that need the same arguments."""

    arguments: tuple[str, ...]
    by_jax: Callable[..., dict[str, Any]]
    by_hand: Callable[..., dict[str, Any]]


GROUPS = {
    "gradient": Group(("params", "X", "y", "weight_decay"), gradient_by_jax, gradient_by_hand),
    "weighted": Group(
        ("params", "X", "y", "weight_decay", "sample_weight"), weighted_by_jax, weighted_by_hand
    ),
    "rows": Group(("params", "X", "y", "max_norm"), rows_by_jax, rows_by_hand),
    "products": Group(
        ("params", "tangents", "X", "y", "weight_decay"),
        products_by(derivatives),
        products_by(manual_nn),
    ),
    "matrices": Group(
        ("params", "X", "y", "weight_decay"),
        matrices_by(derivatives),
        matrices_by(manual_nn),
    ),
}
