"""Derivatives along a direction, and second derivatives: Hessian, Gauss-Newton, Fisher.

`R_name` is the derivative of `name` along the tangents, R{name} in the notation of Pearlmutter
(1994): d/dr of `name` where the parameters are params + r tangents, at r = 0; so R_W and R_b are
the tangents themselves. Each equation for `R_name` is that of `name` differentiated once more, by
eq. (1), (2). The ReLU's derivative is constant to either side of 0, so R of it is 0.
Axes: N rows in the batch, D inputs, K classes, L layers, P parameters.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_number
from manual_nn.checks.finite import check_finite_params
from manual_nn.layers import dense, relu, softmax_cross_entropy
from manual_nn.layers.dense import Dense, Params
from manual_nn.layers.softmax_cross_entropy import softmax
from manual_nn.models import mlp, penalty
from manual_nn.models.arguments import (
    as_batch,
    as_inputs,
    as_params,
    as_row_weight,
    as_tangents,
    as_targets,
)
from manual_nn.models.workspace import Workspace, arrays_of, checked_params
from manual_nn.sums import sum_rows

MAX_DENSE_PARAMETERS = 4096  # of a dense (P, P) matrix, which then takes 128 MiB in float64


def forward_tangents(params: Params, tangents: Params, a: list[Array]) -> tuple[list[Array], Array]:
    """Go up: R_z_l = R_a_{l-1} W_l + a_{l-1} R_W_l + R_b_l, R_a_l = R_z_l where z_l > 0.

    Returns [R_a_1, ..., R_a_{L-1}], because R_a_0 = R_X = 0, and R_z_L; eq. (1) to (4).
    """
    R_a: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        R_z = dense.affine(tangents[0], a[0])
        for layer, R_layer, a_below in zip(params[1:], tangents[1:], a[1:], strict=True):
            _check_tangents(R_z, tangents)
            R_a.append(relu.masked(R_z, a_below, out=R_z))
            R_z = dense.affine(R_layer, a_below)
            R_z += R_a[-1] @ layer.weight
    _check_tangents(R_z, tangents)
    if not np.isfinite(R_z).all():
        msg = (
            "X, params and tangents must give finite derivatives of the logits, but those "
            f"exceed the largest {R_z.dtype}, {np.finfo(R_z.dtype).max:.3g}"
        )
        raise ValueError(msg)
    return R_a, R_z


def _check_tangents(R_z: Array, tangents: Params) -> None:
    """Check the tangents if R_z_l, (N, fan_out), is not finite, before a mask hides it."""
    if not math.isfinite(np.vdot(R_z, R_z)):
        check_finite_params(tangents, name="tangents")


def softmax_tangent(p: Array, R_z: Array, row_weight: RowWeight) -> Array:
    """R_d_logits = H_L R_z with H_L = (diag(p) - p p^T) / N in each row, (N, K).

    eq. (6), softmax_cross_entropy.md (3).
    """
    return p * (R_z - (p * R_z).sum(axis=1, keepdims=True)) * row_weight


def backward_tangents(
    params: Params, tangents: Params, a: list[Array], d_z: list[Array], R_d_logits: Array
) -> list[Array]:
    """Go down: R_d_z_{l-1} = R_d_z_l W_l^T + d_z_l R_W_l^T where z_{l-1} > 0; eq. (2), (7).

    It takes [d_z_2, ..., d_z_L], and returns [R_d_z_1, ..., R_d_z_L].
    """
    R_d_z = [R_d_logits]
    for layer, R_layer, a_below, d_z_l in zip(
        params[:0:-1], tangents[:0:-1], a[:0:-1], d_z[::-1], strict=True
    ):
        R_d_a = dense.input_backward(layer, R_d_z[-1])
        R_d_a += dense.input_backward(R_layer, d_z_l)
        R_d_z.append(relu.masked(R_d_a, a_below, out=R_d_a))
    return R_d_z[::-1]


def dense_backward_tangent(
    R_d_z: Array,
    d_z: Array,
    R_a: Array,
    a: Array,
    R_layer: Dense,
    *,
    weight_decay: float,
    out: Dense | None = None,
) -> Dense:
    """Compute R_d_W and R_d_b; eq. (2), (8).

    R_d_W = a^T R_d_z + R_a^T d_z + 2 weight_decay R_W, R_d_b = column sums of R_d_z. The sum of the
    two products is one product of twice as many rows.
    """
    weight_out, bias_out = out or (None, None)
    rows, d_rows = np.concatenate([a, R_a]), np.concatenate([R_d_z, d_z])
    R_d_weight = np.matmul(rows.T, d_rows, out=weight_out)
    penalty.add_backward(R_d_weight, R_layer.weight, weight_decay)
    return Dense(R_d_weight, sum_rows(R_d_z, out=bias_out))


def jvp(
    params: Params,
    tangents: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    workspace: Workspace | None = None,
) -> tuple[np.floating[Any], np.floating[Any]]:
    """Compute the loss and its derivative along the tangents, in one pass up.

    R_L = 1/N sum_nk (p - y)_nk (R_z_L)_nk + 2 weight_decay sum_l <W_l, R_W_l>, with R_z_L from
    `forward_tangents`; eq. (5). It is the inner product of the gradient with the tangents.

    Args:
        params: the layers, float32 or float64.
        tangents: the direction, shaped like `params` and of its dtype.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        workspace: what computes: NumPy, or the loops that Numba compiles, the same up to rounding;
            None for NumPy.

    Returns:
        The loss, as `loss` gives it, and its derivative, scalars of the dtype of the parameters.

    Raises:
        TypeError, ValueError: as for `loss`, or the tangents are not like the parameters, or the
            workspace does not fit.

    >>> zero, ones = Dense(np.zeros((1, 2)), np.zeros(2)), Dense(np.ones((1, 2)), np.arange(2.0))
    >>> jvp((zero,), (ones,), [[3.0]], [0])[1]  # (p - y) R_z = (-1/2, 1/2) (3, 4)
    np.float64(0.5)
    """
    params, tangents, X, target, weight_decay = _checked(
        params, tangents, X, y, weight_decay, workspace=workspace
    )
    _, compiled = _room_and_choice(workspace, params, X)
    if compiled is not None:
        both: tuple[Any, Any] | None = compiled.jvp(params, tangents, X, target, weight_decay)
        if both is not None:
            return both
    z, a = mlp.forward(params, X)
    _, R_z = forward_tangents(params, tangents, a)
    row_weight = as_row_weight(params, len(X), None)
    data_loss, kept = softmax_cross_entropy.forward((), z, target=target, row_weight=row_weight)
    _, d_logits = softmax_cross_entropy.backward((), kept)
    value = data_loss + penalty.forward(params, weight_decay)
    return value, (d_logits * R_z).sum() + penalty.jvp(params, tangents, weight_decay)


def hvp(
    params: Params,
    tangents: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    workspace: Workspace | None = None,
) -> Params:
    """Compute the product of the loss's Hessian with the tangents, by Pearlmutter's R-operator.

    R_d_W_l = a_{l-1}^T R_d_z_l + R_a_{l-1}^T d_z_l + 2 weight_decay R_W_l, R_d_b_l = column sums of
    R_d_z_l; eq. (1) to (8). The penalty adds 2 weight_decay R_W_l to weights alone. It costs
    8 L - 6 products of matrices (3 of a single layer), where a gradient costs 3 L - 1.

    Args:
        params: the layers, float32 or float64.
        tangents: the direction, shaped like `params` and of its dtype.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        workspace: where to write the result, in the place of a gradient, and what computes, as for
            `loss_and_grad`; None for new arrays, and NumPy.

    Returns:
        The derivative of the gradient along the tangents, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `jvp`.

    >>> zero, unit = Dense(np.zeros((1, 2)), np.zeros(2)), Dense(np.zeros((1, 2)), np.eye(2)[0])
    >>> ((R_d_weight, R_d_bias),) = hvp((zero,), (unit,), [[3.0]], [0])
    >>> R_d_bias  # (diag(p) - p p^T) (1, 0) with p = (1/2, 1/2)
    array([ 0.25, -0.25])
    >>> R_d_weight
    array([[ 0.75, -0.75]])
    """
    params, tangents, X, target, weight_decay = _checked(
        params, tangents, X, y, weight_decay, workspace=workspace
    )
    out, compiled = _room_and_choice(workspace, params, X)
    _check_apart(tangents, out)
    if compiled is not None:
        product: Params | None = compiled.hvp(params, tangents, X, target, weight_decay, out=out)
        if product is not None:
            return product
    return _hessian_product(params, X, target, weight_decay)(tangents, out)


def ggnvp(
    params: Params,
    tangents: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    workspace: Workspace | None = None,
) -> Params:
    """Compute the product of the generalised Gauss-Newton matrix with the tangents.

    G = J^T H_L J + 2 weight_decay on the weights, where J is the Jacobian of the logits and H_L the
    Hessian of the loss in them, (diag(p) - p p^T) / N in each row: the whole Hessian without the
    curvature of the logits, eq. (9). R_z_L = J v by a pass up, and J^T by the pass down of the
    gradient; eq. (3), (6), (10), after Schraudolph (2002). It costs 5 L - 2 products of matrices,
    where a gradient costs 3 L - 1.

    Args:
        params: the layers, float32 or float64.
        tangents: the direction, shaped like `params` and of its dtype.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K): without effect on this matrix.
        weight_decay: the factor of the penalty; biases are not penalised.
        workspace: as for `hvp`.

    Returns:
        The product, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `jvp`.

    >>> zero, unit = Dense(np.zeros((1, 2)), np.zeros(2)), Dense(np.zeros((1, 2)), np.eye(2)[0])
    >>> ggnvp((zero,), (unit,), [[3.0]], [0])[0].bias  # with one layer, the Hessian's
    array([ 0.25, -0.25])
    """
    params, tangents, X, _, weight_decay = _checked(
        params, tangents, X, y, weight_decay, workspace=workspace
    )
    out, compiled = _room_and_choice(workspace, params, X)
    _check_apart(tangents, out)
    if compiled is not None:
        product: Params | None = compiled.ggnvp(params, tangents, X, weight_decay, out=out)
        if product is not None:
            return product
    return _ggn_product(params, X, weight_decay)(tangents, out)


def hessian(
    params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0
) -> Array:
    """Compute the loss's Hessian as a dense matrix, a column for each product with a unit vector.

    H e_i by `hvp`, with one pass up and one down without tangents for all columns; eq. (12).

    Args:
        params: the layers, float32 or float64, of at most 4096 weights and biases in all.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.

    Returns:
        The matrix, (P, P), with the parameters in the order of the layers, for each the weights row
        by row and then the biases.

    Raises:
        TypeError, ValueError: as for `loss`, or there are more than 4096 parameters.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))
    >>> hessian((zero,), [[2.0]], [0])
    array([[ 1.  , -1.  ,  0.5 , -0.5 ],
           [-1.  ,  1.  , -0.5 ,  0.5 ],
           [ 0.5 , -0.5 ,  0.25, -0.25],
           [-0.5 ,  0.5 , -0.25,  0.25]])
    """
    params, X, target, weight_decay = as_batch(params, X, y, weight_decay)
    _check_small(params)
    return _dense_matrix(params, _hessian_product(params, X, target, weight_decay))


def ggn(params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0) -> Array:
    """Compute the generalised Gauss-Newton matrix, a column for each product with a unit vector.

    G e_i by `ggnvp`, with one pass up without tangents for all columns; eq. (12).

    Args:
        params: the layers, float32 or float64, of at most 4096 weights and biases in all.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K): without effect on this matrix.
        weight_decay: the factor of the penalty; biases are not penalised.

    Returns:
        The matrix, (P, P), positive semi-definite, eq. (11), in the order that `hessian` has.

    Raises:
        TypeError, ValueError: as for `hessian`.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))
    >>> ggn((zero,), [[2.0]], [0])[:2]
    array([[ 1. , -1. ,  0.5, -0.5],
           [-1. ,  1. , -0.5,  0.5]])
    """
    params, X, _, weight_decay = as_batch(params, X, y, weight_decay)
    _check_small(params)
    return _dense_matrix(params, _ggn_product(params, X, weight_decay))


def fisher_diagonal(params: Params, X: npt.ArrayLike) -> Params:
    """Compute the diagonal of the Fisher information of the model's predictive distribution.

    1/N sum_n sum_k p_nk (g_nk)^2, where g_nk is the gradient of -ln p_nk: the exact expectation
    over the classes that the model itself predicts, without labels and without a penalty, by a
    pass down for each class; eq. (13), (15) and softmax_cross_entropy.md (4). It costs
    L + K (L - 1) + L products of matrices.

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).

    Returns:
        The diagonal, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `logits`.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))
    >>> fisher_diagonal((zero,), [[2.0]])
    (Dense(weight=array([[1., 1.]]), bias=array([0.25, 0.25])),)
    """
    params = as_params(params)
    X = as_inputs(params, X)
    z, a = mlp.forward(params, X)
    p = softmax(z)

    def passes() -> Iterator[tuple[Array, list[Array]]]:
        for k, p_k in enumerate(p.T):
            d_logits = p.copy()
            d_logits[:, k] -= 1  # of -ln p_k
            yield p_k[:, None], mlp.backward(params, a, d_logits)

    return _mean_squares(params, a, passes)


def ggn_diagonal(
    params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0
) -> Params:
    """Compute the diagonal of the generalised Gauss-Newton matrix.

    With a factor diag(p) - p p^T = S S^T, which has K - 1 columns, it is 1/N times the sum of the
    squares of J^T S, a pass down for each column, plus 2 weight_decay for the weights;
    eq. (16), (17), (18). Without decay it equals `fisher_diagonal`, eq. (14). It costs
    L + (K - 1) (L - 1) + L products of matrices.

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K): without effect on this matrix.
        weight_decay: the factor of the penalty; biases are not penalised.

    Returns:
        The diagonal, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `loss`.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))
    >>> ggn_diagonal((zero,), [[2.0]], [0], weight_decay=0.5)
    (Dense(weight=array([[2., 2.]]), bias=array([0.25, 0.25])),)
    """
    params, X, _, weight_decay = as_batch(params, X, y, weight_decay)
    z, a = mlp.forward(params, X)
    p = softmax(z)
    ones = np.ones((len(X), 1), X.dtype)

    def passes() -> Iterator[tuple[Array, list[Array]]]:
        for d_logits in softmax_curvature_factor(p):
            yield ones, mlp.backward(params, a, d_logits)

    diagonal = _mean_squares(params, a, passes)
    for d_weight, _ in diagonal:
        d_weight += 2 * weight_decay
    return diagonal


def softmax_curvature_factor(p: Array) -> Iterator[Array]:
    """Give the K - 1 columns of S, (N, K) each, where S S^T = diag(p) - p p^T; eq. (17).

    S is lower triangular: with q_k = p_k + ... + p_K, S_kk = sqrt(p_k q_{k+1} / q_k) and below it
    S_ik = -S_kk p_i / q_{k+1}. No two numbers of similar size are subtracted.
    """
    q = np.cumsum(p[:, ::-1], axis=1)[:, ::-1]  # (N, K)
    for k in range(p.shape[1] - 1):
        above = np.where(q[:, k + 1] > 0, q[:, k + 1], 1)  # where it is 0 so is the column
        column = np.zeros_like(p)
        column[:, k] = np.sqrt(p[:, k] * (q[:, k + 1] / np.where(q[:, k] > 0, q[:, k], 1)))
        column[:, k + 1 :] = -column[:, k, None] * (p[:, k + 1 :] / above[:, None])
        yield column


def _checked(
    params: Params,
    tangents: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weight_decay: float,
    *,
    workspace: Workspace | None,
) -> tuple[Params, Params, Array, Array, float]:
    """Check what `jvp`, `hvp` and `ggnvp` take."""
    params = checked_params(params, workspace)
    X, weight_decay = as_inputs(params, X), as_number(weight_decay, name="weight_decay", minimum=0)
    target = as_targets(params, len(X), y)
    return params, as_tangents(params, tangents), X, target, weight_decay


def _room_and_choice(
    workspace: Workspace | None, params: Params, X: Array
) -> tuple[Params | None, Any]:
    """Give where to write what is shaped like params, and the compiled functions, or None."""
    if workspace is None:
        return None, None
    out = arrays_of(workspace, params, len(X)).gradient
    if workspace.backend == "numpy":
        return out, None
    from manual_nn.derivatives import curvature_compiled  # noqa: PLC0415, it needs Numba

    return out, curvature_compiled


def _check_apart(tangents: Params, out: Params | None) -> None:
    """Check that writing the result does not change the tangents, which are needed to the end."""
    for R_layer, out_layer in zip(tangents, out or tangents, strict=True):
        for R_array, out_array in zip(R_layer, out_layer, strict=True):
            if out is not None and np.may_share_memory(R_array, out_array):
                msg = "tangents must not be the workspace's own gradient, which is overwritten"
                raise ValueError(msg)


def _hessian_product(
    params: Params, X: Array, target: Array, weight_decay: float
) -> Callable[..., Params]:
    """Go up and down once; returns the function of tangents that goes up and down with them."""
    z, a = mlp.forward(params, X)
    p = softmax(z)
    row_weight = as_row_weight(params, len(X), None)
    kept = softmax_cross_entropy.Kept(p, target, row_weight)
    _, d_logits = softmax_cross_entropy.backward((), kept)
    # [d_z_2, ..., d_z_L]; d_z_1 is in no term, for R_a_0 = 0
    d_z = mlp.backward(params[1:], a[1:], d_logits) if len(params) > 1 else []

    def product(tangents: Params, out: Params | None = None) -> Params:
        R_a, R_z = forward_tangents(params, tangents, a)
        R_d_z = backward_tangents(params, tangents, a, d_z, softmax_tangent(p, R_z, row_weight))
        to = out or [None] * len(params)
        # R_a_0 = 0
        first = mlp.layer_backward(tangents[0], a[0], R_d_z[0], weight_decay, out=to[0])
        others = (
            dense_backward_tangent(
                R_d_z[l],
                d_z[l - 1],
                R_a[l - 1],
                a[l],
                tangents[l],
                weight_decay=weight_decay,
                out=to[l],
            )
            for l in range(1, len(params))
        )
        return (first, *others)

    return product


def _ggn_product(params: Params, X: Array, weight_decay: float) -> Callable[..., Params]:
    """Go up once; returns the function of tangents that goes up with them, and down; eq. (10)."""
    z, a = mlp.forward(params, X)
    p = softmax(z)
    row_weight = as_row_weight(params, len(X), None)

    def product(tangents: Params, out: Params | None = None) -> Params:
        _, R_z = forward_tangents(params, tangents, a)
        d_z = mlp.backward(params, a, softmax_tangent(p, R_z, row_weight))
        layers = zip(tangents, a, d_z, out or [None] * len(params), strict=True)
        return tuple(
            mlp.layer_backward(R_layer, a_below, d_z_l, weight_decay, out=to)
            for R_layer, a_below, d_z_l, to in layers
        )

    return product


def _mean_squares(
    params: Params, a: list[Array], passes: Callable[[], Iterator[tuple[Array, list[Array]]]]
) -> Params:
    """1/N sum_n weight_n (a_ni d_z_nj)^2 of every layer, and of the biases, where a_ni is 1.

    Summed over passes, each of which gives a weight for each row, (N, 1), and [d_z_1, ..., d_z_L];
    eq. (15), (18).
    """
    N = len(a[0])
    squares = [np.zeros((N, bias.size), bias.dtype) for _, bias in params]
    with np.errstate(over="ignore", invalid="ignore"):
        for weight, d_z in passes():
            for squares_l, d_z_l in zip(squares, d_z, strict=True):
                squares_l += weight * d_z_l**2
        means = [squares_l / N for squares_l in squares]
        diagonal = tuple(
            Dense((a_below**2).T @ mean_l, sum_rows(mean_l))
            for a_below, mean_l in zip(a, means, strict=True)
        )
    # the biases need no check: where theirs is infinite, its product with a^2 is not finite
    if all(np.isfinite(d_weight).all() for d_weight, _ in diagonal):
        return diagonal
    # a^2 or d_z^2 exceeds the largest float: multiply first and square then, row by row
    diagonal = tuple(Dense(*map(np.zeros_like, layer)) for layer in params)
    for weight, d_z in passes():
        rows = np.flatnonzero(weight)  # 0 times an infinite product is not 0
        for (d_weight, d_bias), a_below, d_z_l in zip(diagonal, a, d_z, strict=True):
            for factor, a_n, d_z_n in zip(
                weight[rows] / N, a_below[rows], d_z_l[rows], strict=True
            ):
                d_weight_n = np.outer(a_n, d_z_n)
                d_weight += factor * d_weight_n * d_weight_n
                d_bias += factor * d_z_n * d_z_n
    return diagonal


def _check_small(params: Params) -> None:
    P = sum(array.size for layer in params for array in layer)
    if P > MAX_DENSE_PARAMETERS:
        msg = (
            f"params must have at most {MAX_DENSE_PARAMETERS} weights and biases for a dense "
            f"matrix, got {P}; take products with hvp or ggnvp"
        )
        raise ValueError(msg)


def _dense_matrix(params: Params, product: Callable[[Params], Params]) -> Array:
    """Write the product with the i-th unit vector into column i, (P, P), eq. (12)."""
    unit = tuple(Dense(*map(np.zeros_like, layer)) for layer in params)
    columns = []
    for array in (array for layer in unit for array in layer):
        for index in np.ndindex(array.shape):
            array[index] = 1
            column = product(unit)
            array[index] = 0
            columns.append(np.concatenate([leaf.ravel() for layer in column for leaf in layer]))
    return np.stack(columns, axis=1)
