"""Derivatives of a network in which nothing rounds, by hand and by JAX, against exact differences.

The logits of a network whose open units are given are linear in each weight and bias alone, so that
their differences over steps of 1 are their derivatives, and the mixed differences the second ones.
Inputs, parameters and tangents are whole numbers and the probabilities halves: everything is exact
in float32, too, and compared to the bit.
Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers, P parameters.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.derivatives import curvature
from manual_nn.layers.dense import Params
from tests.conftest import part_for
from tests.support import compiled

PACKAGES = [pytest.param(manual_nn, id="manual_nn"), pytest.param(reference, id="reference")]
DTYPES: tuple[type[np.floating], ...] = (np.float64, np.float32)
TARGETS = {
    "class numbers": np.array([0, 1, 3, 2, 2, 3, 0, 1]),
    "probabilities": np.array(
        [
            *([1, 0, 0, 3], [2, 1, 1, 0], [0, 0, 1, 3], [1, 1, 1, 1]),
            *([0, 4, 0, 0], [0, 2, 0, 2], [3, 0, 1, 0], [1, 0, 2, 1]),
        ]
    )
    / 4,
}
WEIGHT_DECAY = 0.25

# The units of the second layer are s, s - 1 and u. The logits of the first two classes differ by
# s - (s - 1) - 1 = 0, those of the others by twice that, and where u > 0 the first two are above
# the others by about 1000, at least, else below: p is (1/2, 1/2, 0, 0) or (0, 0, 1/2, 1/2). Here
# z_1 = ((1, 1, 2), (-7, 1, -6), (-1, -4, 0), (5, -1, 6)), s = (3, 2, 1, 2), u = (2, -1, 0, 11).
X = np.array([[1.0, 0], [-1, -2], [-2, 2], [1, 2]] * 2)  # each with two targets
PARAMS = (
    Dense(np.array([[2.0, 1, 2], [2, -1, 2]]), np.array([-1.0, 0, 0])),
    Dense(np.array([[-1.0, -1, 1], [1, 1, -1], [1, 1, 1]]), np.array([1.0, 0, 0])),
    Dense(
        np.array([[2.0, 1, -1, -3], [3, 4, -2, 0], [2048, 2048, 1, 1]]),
        np.array([-1.0, 0, 1026, 1028]),
    ),
)
TANGENTS = (
    Dense(np.array([[1.0, -2, 3], [0, 1, -1]]), np.array([2.0, -1, 1])),
    Dense(np.array([[1.0, 0, -1], [2, -2, 3], [-3, 1, 1]]), np.array([1.0, -2, 1])),
    Dense(np.array([[1.0, 2, -2, 0], [-1, 3, 1, -3], [1, -1, 2, 1]]), np.array([3.0, 1, -1, 0])),
)
P_BY_ROW = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]] * 2) / 2


def flat(params: Sequence[Any]) -> Array:
    """Write all layers into a vector, for each the weights row by row and then the biases."""
    return np.concatenate([np.ravel(array) for layer in params for array in layer])


def shaped(vector: Array) -> Params:
    """Read the layers from the vector again."""
    layers, start = [], 0
    for weight, bias in PARAMS:
        middle, end = start + weight.size, start + weight.size + bias.size
        layers.append(Dense(vector[start:middle].reshape(weight.shape), vector[middle:end]))
        start = end
    return tuple(layers)


def read_only(dtype: type[np.floating], params: Params) -> Params:
    """Give the parameters in a precision, where nothing can write to them."""
    layers = tuple(Dense(*(array.astype(dtype) for array in layer)) for layer in params)
    for array in (array for layer in layers for array in layer):
        array.setflags(write=False)
    return layers


class Exact(NamedTuple):
    """The derivatives of the logits."""

    first: Array  # (N, K, P)
    second: Array  # (N, K, P, P)


def open_units(params: Params) -> list[npt.NDArray[np.bool_]]:
    """Say which units let something through, (N, H) for each hidden layer."""
    is_open, a = [], X
    for weight, bias in params[:-1]:
        z = a @ weight + bias
        is_open.append(z > 0)
        a = z * (z > 0)
    return is_open


def linear_logits(params: Params, X: Array, is_open: Sequence[npt.NDArray[np.bool_]]) -> Array:
    """Compute the logits as if the units stayed as they are, whatever the numbers, (N, K)."""
    a = X
    *hidden, (weight, bias) = params
    for (hidden_weight, hidden_bias), open_l in zip(hidden, is_open, strict=True):
        a = (a @ hidden_weight + hidden_bias) * open_l
    return a @ weight + bias


@functools.cache
def exact() -> Exact:
    """Take the differences of the logits over steps of 1 in one parameter, and in two."""
    is_open = open_units(PARAMS)

    def logits(*places: int) -> Array:
        vector = flat(PARAMS)
        vector[list(places)] += 1
        return linear_logits(shaped(vector), X, is_open)

    places = range(flat(PARAMS).size)
    here, there = logits(), [logits(i) for i in places]
    second = [
        [
            np.zeros_like(here) if i == j else logits(i, j) - there[i] - there[j] + here
            for j in places
        ]
        for i in places
    ]
    first = np.moveaxis(np.array(there) - here, 0, -1)
    return Exact(first, np.moveaxis(np.array(second), (0, 1), (2, 3)))


IS_WEIGHT = flat([(np.ones(weight.shape), np.zeros(bias.shape)) for weight, bias in PARAMS])
DECAY = np.diag(2 * WEIGHT_DECAY * IS_WEIGHT)


def residuals(targets: str) -> Array:
    """p - y, (N, K)."""
    y = TARGETS[targets]
    return P_BY_ROW - (y if y.ndim == 2 else np.eye(4)[y])


def exact_gradient(targets: str) -> Array:
    """(p - y) J for each row, (N, P)."""
    return np.einsum("nk,nkp->np", residuals(targets), exact().first)


def exact_ggn() -> Array:
    """1/N sum_n J_n^T (diag(p) - p p^T) J_n, (P, P)."""
    J, p = exact().first, P_BY_ROW
    H_L = p[:, :, None] * (np.eye(4) - p[:, None, :])
    return np.einsum("nkp,nkj,njq->pq", J, H_L, J) / len(X)


def exact_hessian(targets: str) -> Array:
    """The same and 1/N sum_nk (p - y)_nk times the second derivatives of the logits."""
    return exact_ggn() + np.einsum("nk,nkpq->pq", residuals(targets), exact().second) / len(X)


def same(got: Any, want: Array, dtype: type[np.floating]) -> None:
    """Check the numbers, to the bit, and their precision."""
    array = flat(got) if isinstance(got, tuple) else np.asarray(got)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, want)


by_both = pytest.mark.parametrize("package", PACKAGES)
in_both_precisions = pytest.mark.parametrize("dtype", DTYPES)
of_every_kind = pytest.mark.parametrize(
    ("package", "dtype", "targets"),
    [
        pytest.param(package, dtype, targets, id=f"{package.__name__}-{targets}-{dtype.__name__}")
        for package, dtype in itertools.product((manual_nn, reference), DTYPES)
        for targets in (TARGETS if package is manual_nn else part_for(dtype, list(TARGETS)))
    ],
)


def data(targets: str, dtype: type[np.floating]) -> tuple[Array, Array]:
    """Give X and y, which nothing can write to."""
    y = TARGETS[targets]
    arrays = X.astype(dtype), y.astype(dtype if y.ndim == 2 else y.dtype)
    for array in arrays:
        array.setflags(write=False)
    return arrays


def computed(package: Any, function: Any, *args: Any) -> Any:
    """Compute something with a package, with JAX under one compilation."""
    by_package = functools.partial(function, package)
    return jax.jit(by_package)(*args) if package is reference else by_package(*args)


@of_every_kind
def test_products_are_those_of_exact_differences(
    package: Any, dtype: type[np.floating], targets: str
) -> None:
    check_products(package, dtype, targets)


@pytest.mark.parametrize("way", compiled.WAYS)
@in_both_precisions
def test_compiled_products_are_those_of_exact_differences(
    way: str, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.take(way, monkeypatch)
    for targets in TARGETS:
        check_products(compiled.PRODUCTS, dtype, targets)


def check_products(package: Any, dtype: type[np.floating], targets: str) -> None:
    """Compute them with decay and without."""

    def products(package: Any, params: Params, tangents: Params, X: Array, y: Array) -> Any:
        decay, network = {"weight_decay": WEIGHT_DECAY}, (params, tangents, X, y)
        return package.loss(params, X, y, **decay), {
            name: (getattr(package, name)(*network, **decay), getattr(package, name)(*network))
            for name in ("jvp", "hvp", "ggnvp")
        }

    network = read_only(dtype, PARAMS), read_only(dtype, TANGENTS), *data(targets, dtype)
    loss, got = computed(package, products, *network)
    direction, gradient = flat(TANGENTS), exact_gradient(targets).mean(axis=0)
    (value, with_decay), (_, without) = got["jvp"]
    same(value, loss, dtype)
    same(with_decay, (gradient + DECAY @ flat(PARAMS)) @ direction, dtype)
    same(without, gradient @ direction, dtype)
    for name, matrix in (("hvp", exact_hessian(targets)), ("ggnvp", exact_ggn())):
        with_decay, without = got[name]
        same(with_decay, (matrix + DECAY) @ direction, dtype)
        same(without, matrix @ direction, dtype)


@of_every_kind
def test_matrices_and_diagonals_are_those_of_exact_differences(
    package: Any, dtype: type[np.floating], targets: str
) -> None:
    def matrices(package: Any, params: Params, X: Array, y: Array) -> Any:
        decay, names = {"weight_decay": WEIGHT_DECAY}, ("hessian", "ggn", "ggn_diagonal")
        return package.fisher_diagonal(params, X), {
            name: (
                getattr(package, name)(params, X, y, **decay),
                getattr(package, name)(params, X, y),
            )
            for name in names
        }

    fisher, got = computed(package, matrices, read_only(dtype, PARAMS), *data(targets, dtype))
    same(fisher, np.diag(exact_ggn()), dtype)
    for name, matrix in (("hessian", exact_hessian(targets)), ("ggn", exact_ggn())):
        with_decay, without = got[name]
        same(with_decay, matrix + DECAY, dtype)
        same(without, matrix, dtype)
    with_decay, without = got["ggn_diagonal"]
    same(with_decay, np.diag(exact_ggn() + DECAY), dtype)
    same(without, np.diag(exact_ggn()), dtype)


@of_every_kind
def test_gradients_of_single_rows_are_those_of_exact_differences(
    package: Any, dtype: type[np.floating], targets: str
) -> None:
    def rows(package: Any, *network: Any) -> Any:
        return (
            package.per_example_grads(*network),
            package.clipped_grad(*network, max_norm=2.0**20),
        )

    gradients, mean = computed(package, rows, read_only(dtype, PARAMS), *data(targets, dtype))
    want = exact_gradient(targets)
    for n, row in enumerate(want):
        same(tuple(Dense(weight[n], bias[n]) for weight, bias in gradients), row, dtype)
    same(mean, want.mean(axis=0), dtype)


@by_both
@in_both_precisions
def test_a_gradient_above_the_largest_norm_is_scaled_down_to_it(
    package: Any, dtype: type[np.floating]
) -> None:
    """p - y = (1, 1, -1, -1) / 4, and the norms sqrt(x^2 + 1) / 2 are whole numbers."""

    def rows(package: Any, *network: Any) -> Any:
        return (
            package.per_example_grad_norms(*network),
            package.clipped_grad(*network, max_norm=2.0),
        )

    zero = (Dense(np.zeros((4, 4), dtype), np.zeros(4, dtype)),)
    X = np.array([[1, 1, 1, 0], [3, 2, 1, 1], [7, 3, 2, 1], [0, 1, -1, 1]], dtype)
    y = np.array([[0, 0, 0.5, 0.5]] * 4, dtype)
    norms, ((d_weight, d_bias),) = computed(package, rows, zero, X, y)
    same(norms, np.array([1, 2, 4, 1]), dtype)
    scale, residual = np.array([1, 1, 0.5, 1]) / 4, np.array([1, 1, -1, -1]) / 4
    same(d_weight, np.outer(scale @ X, residual), dtype)
    same(d_bias, scale.sum() * residual, dtype)


# The network itself. These logits are far apart: p is 0 or 1, and -ln p a difference of logits.

FAR = (
    *PARAMS[:-1],
    Dense(
        np.array([[2.0, 1, -1, -3], [3, 4, -2, 0], [512, 512, 1, 1]]),
        np.array([0.0, 2000, 4000, 6000]),
    ),
)
SAMPLE_WEIGHT = np.array([1, 0, 2, 1, 0.5, 1, 2, 0.5])


@of_every_kind
def test_the_network_and_its_gradients_are_exact(
    package: Any, dtype: type[np.floating], targets: str
) -> None:
    def everything(package: Any, params: Params, X: Array, y: Array, weights: Array) -> Any:
        options = {"weight_decay": WEIGHT_DECAY}
        return (
            (package.logits(params, X), package.predict_proba(params, X)),
            package.predict(params, X),
            (package.loss(params, X, y), package.loss(params, X, y, **options)),
            package.loss_and_grad(params, X, y),
            package.loss_and_grad(params, X, y, **options, sample_weight=weights),
            package.loss(params, X, y, **options, sample_weight=weights),
            (package.input_grad(params, X, y), package.input_grad(params, X, y, **options)),
        )

    is_open = open_units(FAR)
    z = linear_logits(FAR, X, is_open)
    y = TARGETS[targets]
    t = y if y.ndim == 2 else np.eye(4)[y]
    p = np.eye(4)[z.argmax(axis=1)]
    losses = (t * (z.max(axis=1, keepdims=True) - z)).sum(axis=1)
    penalty = WEIGHT_DECAY * sum((weight**2).sum() for weight, _ in FAR)

    def gradient(row_weight: Array) -> Array:
        """Sum the differences of the logits over steps of 1, by the weight of each row."""
        d_logits = (p - t) * row_weight[:, None]
        units = map(shaped, flat(FAR) + np.eye(flat(FAR).size))
        return np.array([(d_logits * (linear_logits(at, X, is_open) - z)).sum() for at in units])

    got = computed(
        package,
        everything,
        read_only(dtype, FAR),
        *data(targets, dtype),
        SAMPLE_WEIGHT.astype(dtype),
    )
    (logits, proba), classes, values, plain, weighted, weighted_loss, d_X = got
    same(logits, z, dtype)
    same(proba, p, dtype)
    np.testing.assert_array_equal(classes, z.argmax(axis=1))
    same(values[0], losses.mean(), dtype)
    same(values[1], losses.mean() + penalty, dtype)
    same(plain[0], losses.mean(), dtype)
    same(plain[1], gradient(np.full(len(X), 1 / len(X))), dtype)
    same(weighted[0], SAMPLE_WEIGHT @ losses / 8 + penalty, dtype)
    same(weighted[1], gradient(SAMPLE_WEIGHT / 8) + DECAY @ flat(FAR), dtype)
    same(weighted_loss, SAMPLE_WEIGHT @ losses / 8 + penalty, dtype)
    steps = [linear_logits(FAR, X + unit, is_open) - z for unit in np.eye(2)]
    want = np.stack([((p - t) / len(X) * step).sum(axis=1) for step in steps], axis=1)
    same(d_X[0], want, dtype)
    same(d_X[1], want, dtype)


# In the precision of the parameters. What rounds shows by its last bits that it is not computed in
# float64 and rounded at the end.


@pytest.mark.parametrize("seed", range(8))
def test_a_float32_derivative_is_computed_in_float32(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    N, sizes, K = 40, ((7, 8), (8, 9), (9, 6)), 6
    params, tangents = (tuple(Dense(normal(i, o), normal(o)) for i, o in sizes) for _ in range(2))
    X, y, weight_decay = normal(N, 7), rng.integers(K, size=N), 0.25
    target, row_weight = np.eye(K, dtype=np.float32)[y], np.float32(1 / N)

    a, is_open, R_a = [X], [], [np.zeros_like(X)]
    for (weight, bias), (R_weight, R_bias) in zip(params[:-1], tangents[:-1], strict=True):
        z = a[-1] @ weight + bias
        R_z = a[-1] @ R_weight + R_bias
        if len(a) > 1:
            R_z += R_a[-1] @ weight
        is_open.append(z > 0)
        a.append(z * is_open[-1])
        R_a.append(R_z * is_open[-1])
    (weight, bias), (R_weight, R_bias) = params[-1], tangents[-1]
    z, R_z = a[-1] @ weight + bias, a[-1] @ R_weight + R_bias + R_a[-1] @ weight
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d_z = [(p - target) * row_weight]
    R_d_z = [p * (R_z - (p * R_z).sum(axis=1, keepdims=True)) * row_weight]
    G_z = R_d_z.copy()
    for l in (2, 1):
        weight, R_weight, here = params[l].weight, tangents[l].weight, is_open[l - 1]
        R_d_z.insert(0, (R_d_z[0] @ weight.T + d_z[0] @ R_weight.T) * here)
        G_z.insert(0, G_z[0] @ weight.T * here)
        d_z.insert(0, d_z[0] @ weight.T * here)

    product = manual_nn.hvp(params, tangents, X, y, weight_decay=weight_decay)
    for l, (R_weight, _) in enumerate(tangents):
        rows = np.concatenate([a[l], R_a[l]]), np.concatenate([R_d_z[l], d_z[l]])
        R_d_weight = rows[0].T @ rows[1] if l else a[0].T @ R_d_z[0]
        same(product[l].weight, R_d_weight + 2 * weight_decay * R_weight, np.float32)
        same(product[l].bias, R_d_z[l].sum(axis=0), np.float32)
    penalty = [
        np.vdot(2 * weight_decay * weight, R_weight)
        for (weight, _), (R_weight, _) in zip(params, tangents, strict=True)
    ]
    _, slope = manual_nn.jvp(params, tangents, X, y, weight_decay=weight_decay)
    same(slope, (d_z[-1] * R_z).sum() + np.sum(penalty), np.float32)


def test_a_float32_diagonal_is_computed_in_float32() -> None:
    """With one layer: 1/N sum_n p_nk (p - e_k)_nj^2 x_ni^2, the classes k one after the other."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 7)).astype(np.float32)
    layer = Dense(*(rng.normal(size=size).astype(np.float32) for size in ((7, 6), 6)))
    p = manual_nn.predict_proba((layer,), X)
    squares = np.zeros_like(p)
    for k in range(6):
        squares += p[:, k, None] * (p - np.eye(6, dtype=np.float32)[k]) ** 2
    ((weight, bias),) = manual_nn.fisher_diagonal((layer,), X)
    same(weight, (X**2).T @ (squares / 40), np.float32)
    same(bias, (squares / 40).sum(axis=0), np.float32)


# What they leave alone, and where they end


def test_the_equations_leave_their_arguments_as_they_are() -> None:
    params, tangents = read_only(np.float64, PARAMS), read_only(np.float64, TANGENTS)
    z, R_z = (np.arange(8.0).reshape(2, 4) for _ in range(2))
    a: list[Array] = [np.ones((2, len(weight))) for weight, _ in params]
    d_z: list[Array] = [np.ones((2, bias.size)) for _, bias in params]
    p, R_a, R_d_logits = np.full((2, 4), 0.25), np.ones((2, 3)), np.ones((2, 4))
    for array in (*a, *d_z, p, z, R_z, R_a, R_d_logits):
        array.setflags(write=False)
    curvature.forward_tangents(params, tangents, a)
    curvature.softmax_tangent(p, R_z, np.float64(0.5))
    curvature.backward_tangents(params, tangents, a, d_z[1:], R_d_logits)
    curvature.dense_backward_tangent(
        R_d_logits, d_z[-1], R_a, a[-1], tangents[-1], weight_decay=WEIGHT_DECAY
    )
    list(curvature.softmax_curvature_factor(p))


@in_both_precisions
def test_a_derivative_whose_square_overflows_is_given(dtype: type[np.floating]) -> None:
    """R_z = (large, -large), p - y = (-1/2, 1/2): the loss falls by large."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp * 2 // 3)
    zero = (Dense(np.zeros((1, 2), dtype), np.zeros(2, dtype)),)
    steep = (Dense(np.array([[large, -large]], dtype), np.zeros(2, dtype)),)
    X, y = np.ones((1, 1), dtype), np.zeros(1, int)
    same(manual_nn.jvp(zero, steep, X, y)[1], -large, dtype)
    (product,) = manual_nn.hvp(zero, steep, X, y)
    same(product.bias, np.array([large, -large]) / 2, dtype)


def test_a_square_that_overflows_in_the_last_layer_alone_is_not_in_the_way_of_a_diagonal() -> None:
    """a_1 = 2^600, and p is (1, 2^-300) but for rounding: p_2 (a_1 (p_2 - 1))^2 is 2^900."""
    tiny = np.log(2.0) * -300
    params = (
        Dense(np.zeros((1, 1)), np.array([2.0**600])),
        Dense(np.zeros((1, 2)), np.array([0.0, tiny])),
    )
    X = np.ones((1, 1))
    _, last = manual_nn.fisher_diagonal(params, X)
    p = manual_nn.predict_proba(params, X)[0, 1]
    same(last.weight[0, 1], p * 2.0**600 * 2.0**600, np.float64)
    same(last.bias[1], p, np.float64)


@pytest.mark.parametrize("name", ["hessian", "ggn"])
def test_a_dense_matrix_may_have_as_many_parameters_as_is_said(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, params = getattr(manual_nn, name), (Dense(np.zeros((2, 2)), np.zeros(2)),)
    assert f"of at most {curvature.MAX_DENSE_PARAMETERS} weights and biases" in matrix.__doc__
    monkeypatch.setattr(curvature, "MAX_DENSE_PARAMETERS", 6)
    assert matrix(params, np.zeros((1, 2)), [0]).shape == (6, 6)
    monkeypatch.setattr(curvature, "MAX_DENSE_PARAMETERS", 5)
    with pytest.raises(ValueError, match=r"at most 5 weights and biases .* got 6"):
        matrix(params, np.zeros((1, 2)), [0])


@pytest.mark.parametrize(("matrix", "product"), [("hessian", "hvp"), ("ggn", "ggnvp")])
def test_a_column_of_a_matrix_is_the_product_with_a_unit_vector(matrix: str, product: str) -> None:
    """To the bit where it rounds, so that the matrix is not quite symmetric."""
    rng = np.random.default_rng(0)
    params = shaped(rng.normal(size=flat(PARAMS).size))
    X, y = rng.normal(size=(5, 2)), rng.integers(4, size=5)
    dense = getattr(manual_nn, matrix)(params, X, y)
    assert (dense != dense.T).any()
    for column, unit in zip(dense.T, np.eye(len(dense)), strict=True):
        same(getattr(manual_nn, product)(params, shaped(unit), X, y), column, np.float64)


@by_both
def test_a_matrix_has_the_products_in_its_columns(package: Any) -> None:
    """With p_2 = 2^-60, p_2 2^-100 is 0 in float32, but 2^100 p_2 2^-100 is not."""
    zero = np.zeros((2, 2), np.float32)
    params = (Dense(zero, np.array([0, -60 * np.log(2)], np.float32)),)
    X, y = np.array([[2.0**100, 2.0**-100]], np.float32), np.zeros(1, int)
    matrix = np.asarray(package.ggn(params, X, y))
    large, small = 1, 3  # the places of the weights of the second class
    assert matrix[large, small] == 0
    assert 2.0**-61 < matrix[small, large] < 2.0**-59


@pytest.mark.parametrize("function", [manual_nn.jvp, manual_nn.hvp, manual_nn.ggnvp])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_tangent_that_is_not_finite_is_named_though_its_unit_is_off(
    function: Any, layer: int
) -> None:
    """Times the 0 of a unit that is off it would be seen nowhere else."""
    params = (
        Dense(np.ones((1, 1)), np.full(1, -2.0)),
        Dense(np.ones((1, 2)), np.zeros(2)),
    )
    tangents = [Dense(np.ones_like(weight), np.ones_like(bias)) for weight, bias in params]
    tangents[layer].weight[0, 0] = np.nan
    with pytest.raises(ValueError, match=rf"tangents\[{layer}\]\.weight must be finite, got nan"):
        function(params, tuple(tangents), [[1.0]], [0])
