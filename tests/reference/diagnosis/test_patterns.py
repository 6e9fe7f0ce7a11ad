"""Mistakes of how an operation shares out, adds up or normalises are found, and named.

Axes: N rows, D inputs, H hidden units, G copies.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reference import Code, check_gradient
from tests.support.draws import normal

N, D, H, G = 5, 4, 3, 2


def first_cause(gradient: Any, loss: Callable[..., Any], *args: Any, argnums: Any = 0) -> Any:
    report = check_gradient(gradient, loss, *args, argnums=argnums, explain_seconds=np.inf)
    assert not report.ok
    return report.causes[0]


def test_what_is_not_shared_between_ties_is_named() -> None:
    x, t = np.array([[1.0, 3, 3], [2, 2, 2], [0, 5, 1]]), np.array([1.0, 2, 3])

    def of_rows(x: Any) -> Any:
        largest = x.max(axis=1)
        return (largest * t).sum()

    cause = first_cause((x == x.max(1, keepdims=True)) * t[:, None], of_rows, x)
    assert (cause.kind, cause.operand) == ("whole_to_each_tied", "`x`")
    assert cause.where.text == "largest = x.max(axis=1)"

    def of_columns(x: Any) -> Any:
        larger = jnp.minimum(x, x[::-1])
        return (larger * t[None, :]).sum()

    whole = np.where(x == x[::-1], 2.0, np.where(x < x[::-1], 2.0, 0.0)) * t
    cause = first_cause(np.where(x == x[::-1], 1.5 * t, whole), of_columns, x)
    assert cause.kind == "whole_to_both_tied"


def test_a_mask_that_is_inverted_is_named_though_some_of_it_ties() -> None:
    """At a tie the gradient may be any, so that nothing there speaks against it."""
    x, t = np.array([0.0, 1, -1, 2, -3]), normal(5)

    def loss(x: Any) -> Any:
        a = jnp.maximum(x, 0)
        return (a * t).sum()

    cause = first_cause(np.where(x < 0, t, 0), loss, x)
    assert (cause.kind, cause.operation) == ("inverted", "max")


def test_windows_that_overlap_are_told_from_places_that_are_read() -> None:
    x, t = normal(8), normal(6, seed=1)

    def loss(x: Any) -> Any:
        pooled = jax.lax.reduce_window(x, jnp.inf, jax.lax.min, (3,), (1,), "VALID")
        return (pooled * t).sum()

    d_x = np.zeros(8)
    for i in range(6):
        d_x[i + x[i : i + 3].argmin()] = t[i]
    cause = first_cause(d_x, loss, x)
    assert cause.kind == "last_window_only"
    assert "where windows overlap" in cause.sentence


def repeated(k: Any, t: Any) -> Any:
    copies = jnp.repeat(k, G, axis=0)
    return (jnp.sin(copies) * t).sum()


def tiled(k: Any, t: Any) -> Any:
    copies = jnp.tile(k, (G, 1))
    return (jnp.sin(copies) * t).sum()


def test_copies_that_are_added_up_in_the_order_of_another_function_are_named() -> None:
    k, t = normal(D, H), normal(D * G, H, seed=1)
    d_copies = np.cos(np.repeat(k, G, axis=0)) * t
    cause = first_cause(d_copies.reshape(G, D, H).sum(0), repeated, k, t)
    assert cause.kind == "copies_in_another_order_0"
    assert cause.where.text == "copies = jnp.repeat(k, G, axis=0)"
    cause = first_cause(d_copies.reshape(D, G, H)[:, -1].copy(), repeated, k, t)
    assert cause.kind == "last_copy_only"
    d_copies = np.cos(np.tile(k, (G, 1))) * t
    cause = first_cause(d_copies.reshape(D, G, H).sum(1), tiled, k, t)
    assert cause.kind == "repeated_not_tiled"
    assert cause.where.text == "copies = jnp.tile(k, (G, 1))"


def own_log_softmax(z: Any) -> Any:
    shifted = z - jax.lax.stop_gradient(z.max(1, keepdims=True))
    return shifted - jnp.log(jnp.exp(shifted).sum(1, keepdims=True))


@pytest.mark.parametrize("function", [jax.nn.log_softmax, jax.jit(own_log_softmax)])
def test_the_sum_of_a_log_softmax_is_named(function: Any) -> None:
    w, x, t = normal(D, H), normal(N, D, seed=1), normal(N, H, seed=2)

    def loss(w: Any) -> Any:
        z = x @ w
        log_p = function(z)
        return (t * log_p).sum()

    p = np.exp(np.asarray(function(x @ w)))
    for d_z, kind in (
        (t - p, "sum_forgotten"),
        (t + p, "sum_forgotten_and_added"),
        (t - p * t.sum(0), "summed_along_0"),
    ):
        cause = first_cause(x.T @ d_z, loss, w)
        assert (cause.code, cause.kind, cause.operand) == (Code.LOCAL_DERIVATIVE, kind, "`z`")
        assert cause.where.text == "log_p = function(z)"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_mistake_in_the_derivative_of_one_array_alone_is_named(dtype: Any) -> None:
    weight, bias = normal(D, H).astype(dtype), normal(H).astype(dtype)
    x, t = normal(N, D, seed=1).astype(dtype), normal(N, H, seed=2).astype(dtype)

    def loss(weight: Any, bias: Any, x: Any, t: Any) -> Any:
        z = x @ weight + bias[None, :]
        a = jax.nn.sigmoid(z)
        return (a * t).sum()

    a = 1 / (1 + np.exp(-(x @ weight + bias)))
    gradient = x.T @ (t * a * (1 - a)), t.sum(0)
    cause = first_cause(gradient, loss, weight, bias, x, t, argnums=(0, 1))
    assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, "identity")
    assert cause.where.text == "a = jax.nn.sigmoid(z)"
    assert cause.sentence.endswith("in ['bias'], and in no other array.")


def two_layers(W: Any, b: Any, V: Any, c: Any, x: Any, t: Any) -> Any:
    a = jnp.tanh(x @ W + b[None, :])
    out = jnp.tanh(a @ V + jnp.broadcast_to(c, t.shape))
    return ((out - t) ** 2).sum()


def of_two_layers() -> tuple[list[Any], list[Any]]:
    """Give arguments, and the gradient in the first four."""
    shapes = ((D, H), (H,), (H, H), (H,), (N, D), (N, H))
    W, b, V, c, x, t = args = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    a = np.tanh(x @ W + b)
    out = np.tanh(a @ V + c)
    d_out = 2 * (out - t) * (1 - out**2)
    d_a = d_out @ V.T * (1 - a**2)
    return args, [x.T @ d_a, d_a.sum(0), a.T @ d_out, d_out.sum(0)]


HIDDEN = "a = jnp.tanh(x @ W + b[None, :])"
LAST = "out = jnp.tanh(a @ V + jnp.broadcast_to(c, t.shape))"


def test_a_mean_for_the_sum_over_rows_is_told_where_each_bias_is_broadcast() -> None:
    """And not where both paths meet: what is handed down to the weights is right."""
    args, right = of_two_layers()
    gradient = [right[0], right[1] / N, right[2], right[3] / N]
    cause = first_cause(gradient, two_layers, *args, argnums=(0, 1, 2, 3))
    assert f"are broadcast over the {N} rows, but what is handed down to each is the mean" in (
        cause.sentence
    )
    assert {line.text: mark for line, mark in cause.marks} == {
        HIDDEN: "wrong",
        LAST: "wrong",
        "return ((out - t) ** 2).sum()": "right",
    }


def test_a_mean_for_the_sum_over_rows_is_told_there_though_no_weight_is_asked_for() -> None:
    args, right = of_two_layers()
    cause = first_cause([right[1] / N, right[3]], two_layers, *args, argnums=(1, 3))
    assert cause.where.text == HIDDEN
    assert "is handed down to it is the mean over them, not the sum, in ['b']." in cause.sentence
    assert LAST in cause.evidence, "which would give the same"
    assert {line.text for line, mark in cause.marks if mark == "wrong"} == {HIDDEN, LAST}


def test_one_factor_of_arrays_with_no_path_of_their_own_in_common_is_told_where_they_enter() -> (
    None
):
    args, right = of_two_layers()
    gradient = [right[0], 3 / 7 * right[1], right[2], 3 / 7 * right[3]]
    cause = first_cause(gradient, two_layers, *args, argnums=(0, 1, 2, 3))
    assert "What is handed down to `b` (" in cause.sentence
    assert cause.sentence.endswith(f"`{LAST}`) is multiplied by 3/7 in ['b'], ['c'].")


def test_a_mean_that_is_not_divided_names_the_number_of_elements() -> None:
    x, t = normal(N, D), normal(N, D, seed=1)
    cause = first_cause(t.copy(), lambda x: (x * t).mean(), x)
    assert cause.code == Code.SCALED
    assert "20, the number of elements" in cause.sentence


def test_parts_of_a_batch_are_named_though_some_rows_of_them_are_zero() -> None:
    x, counted = normal(6, D), np.array([1.0, 0, 1, 1, 0, 1])

    def loss(x: Any) -> Any:
        return (counted[:, None] * x**2).sum() / counted.sum()

    d_x = 2 * counted[:, None] * x / counted.sum()
    d_x[:3] *= 0.75
    d_x[3:] *= 1.25
    cause = first_cause(d_x, loss, x)
    assert cause.code == Code.SLICES_SCALED
    assert "rows 0 to 2 of 6 times 3/4; rows 3 to 5 of 6 times 5/4" in cause.sentence


def test_the_sigmoids_derivative_on_top_is_named_in_whatever_way_the_loss_is_written() -> None:
    w, x, y = normal(D), normal(N, D, seed=1), np.arange(N) % 2 * 1.0

    def by_exponentials(w: Any) -> Any:
        z = x @ w
        return (jnp.log(1 + jnp.exp(z)) - y * z).sum()

    def by_softplus(w: Any) -> Any:
        z = x @ w
        each = jax.nn.softplus(z) - y * z
        return each.sum()

    p = 1 / (1 + np.exp(-x @ w))
    for loss in (by_exponentials, by_softplus):
        cause = first_cause(x.T @ ((p - y) * p * (1 - p)), loss, w)
        assert (cause.kind, cause.operand) == ("sigmoid_on_top_of_all", "`z`")
        assert "the sigmoid's own derivative" in cause.sentence
        assert "times that" not in cause.sentence


def test_the_softmaxs_derivative_on_top_is_named_where_the_labels_are_read_beside_it() -> None:
    w, x, y = normal(D, H), normal(N, D, seed=1), np.eye(H)[np.arange(N) % H]

    def loss(w: Any) -> Any:
        z = x @ w
        normaliser = jnp.log(jnp.exp(z).sum(1))
        return normaliser.sum() - (y * z).sum()

    e = np.exp(x @ w)
    p = e / e.sum(1, keepdims=True)
    cause = first_cause(x.T @ ((p - y) * p * (1 - p)), loss, w)
    assert (cause.kind, cause.operand) == ("softmax_on_top_of_all", "`z`")
    report = check_gradient(x.T @ (p - y), loss, w)
    assert (report.ok, report.causes) == (True, ())
