"""A mistake at one operation of any loss is found, and named with its line.

Axes: N rows, D inputs, H hidden units, T steps of time.
"""

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference import Code, check_gradient
from reference.arrays import Array
from reference.compare import Comparer, Verdict
from reference.diagnosis.codes import Cause
from reference.diagnosis.edges.mistakes import MISTAKES
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import FACTOR, Tap
from reference.layers import layer_norm as twin
from tests.conftest import part_for
from tests.support.draws import normal
from tests.support.mlp_faults import OF_OPERATIONS

N, D, H, T = 5, 4, 3, 4


def causes(gradient: Any, loss: Callable[..., Any], *args: Any, argnums: Any = 0) -> Any:
    report = check_gradient(gradient, loss, *args, argnums=argnums, explain_seconds=np.inf)
    assert not report.ok
    return report.causes


def layer_norm(x: Any, gain: Any, t: Any) -> Any:
    mu = x.mean(1, keepdims=True)
    c = x - mu
    var = (c**2).mean(1, keepdims=True)
    s = jnp.sqrt(var + 1e-5)
    out = gain[None, :] * c / s
    return (out * t).sum()


def of_layer_norm(d_x: Callable[[Array, Array, Array], Array], dtype: Any) -> Any:
    """Give the arguments and a gradient in which d_x is made of d_n, n and s."""
    x, gain, t = normal(N, D).astype(dtype), normal(D).astype(dtype), normal(N, D, seed=1)
    t = t.astype(dtype)
    c = x - x.mean(1, keepdims=True)
    s = np.sqrt((c**2).mean(1, keepdims=True) + dtype(1e-5))
    n, d_n = c / s, t * gain
    return (x, gain, t), (d_x(d_n, n, s).astype(dtype), (t * n).sum(0))


def mean(x: Array) -> Array:
    return x.mean(1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_paths_of_a_layer_norm_are_told_apart(dtype: type[np.floating]) -> None:
    mistakes: list[tuple[Any, str, str, float]] = [
        (lambda d_n, n, s: (d_n - n * mean(d_n * n)) / s, "c = x - mu", "`mu`", 0.0),
        (lambda d_n, n, s: (d_n - 2 * mean(d_n) - n * mean(d_n * n)) / s, "c = x - mu", "`mu`", 2),
        (lambda d_n, n, s: (d_n - mean(d_n) + n * mean(d_n * n)) / s, "out = ", "`s`", -1.0),
        (lambda d_n, _, s: (d_n - mean(d_n)) / s, "out = gain", "`s`", 0.0),
    ]
    for d_x, line, operand, factor in part_for(dtype, mistakes):
        args, gradient = of_layer_norm(d_x, dtype)
        cause, *_ = causes(gradient, layer_norm, *args, argnums=(0, 1))
        assert cause.code == (Code.PATH_SCALED if factor else Code.PATH_MISSING), cause
        assert cause.where is not None
        assert line in cause.where.text
        assert cause.operand == operand
        assert cause.factor == factor
        assert f"test_edges.py:{cause.where.number}, `{line}" in cause.sentence


def test_a_line_may_be_wrong_at_the_last_step_of_a_scan_alone() -> None:
    def loss(x: Any, u: Any, t: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            gate = jax.nn.sigmoid(x)
            return gate * h + (1 - gate) * u, None

        h, _ = lax.scan(step, jnp.ones_like(u), x)
        return (h * t).sum()

    x, u, t = normal(T, D), normal(D), normal(D, seed=1)
    gate, h = 1 / (1 + np.exp(-x)), [np.ones(D)]
    for step in range(T):
        h.append(gate[step] * h[-1] + (1 - gate[step]) * u)
    d_x, d_h = np.zeros_like(x), t
    for step in reversed(range(T)):
        of_old, of_new = (gate[step], 1 - gate[step]) if step == T - 1 else (h[step], u)
        d_x[step] = d_h * (of_old - of_new) * gate[step] * (1 - gate[step])
        d_h = d_h * gate[step]
    cause, *others = causes(d_x, loss, x, u, t)
    assert (cause.kind, cause.operand, others) == ("other_operand", "`gate` and `1 - gate`", [])
    assert cause.sentence.endswith(", at the last step.")


def two_layers(params: Any, x: Any, t: Any) -> Any:
    a = jnp.tanh(x @ params["below"] + params["bias"][None, :])
    return ((a @ params["above"] - t) ** 2).sum()


def of_two_layers(mistakes: set[str]) -> Any:
    params = {"below": normal(D, H), "bias": normal(H), "above": normal(H, H)}
    x, t = normal(N, D, seed=1), normal(N, H, seed=2)
    z = x @ params["below"] + params["bias"]
    a = np.tanh(z)
    d_out = 2 * (a @ params["above"] - t)
    d_above = a.T @ d_out * (3 if "three times" in mistakes else 1)
    back = params["above"] if "transposed" in mistakes else params["above"].T
    if "updated" in mistakes:
        back = (params["above"] - 0.3 * d_above).T
    d_a = d_out @ back
    d_z = d_a if "no derivative" in mistakes else d_a * (1 - a**2)
    if "at the result" in mistakes:
        d_z = d_a * (1 - np.tanh(a) ** 2)
    if "of z" in mistakes:
        d_z = d_a * (1 - z**2)
    d_bias = d_z[-1] if "last row" in mistakes else d_z.sum(0)
    return (params, x, t), {"below": x.T @ d_z, "bias": d_bias, "above": d_above}


def test_what_is_handed_down_in_place_of_a_derivative_is_named() -> None:
    for mistake, kind, line in (
        ("no derivative", "identity", "a = jnp.tanh"),
        ("at the result", "at_the_result", "a = jnp.tanh"),
        ("transposed", "transposed", "return ((a @"),
    ):
        args, gradient = of_two_layers({mistake})
        cause, *_ = causes(gradient, two_layers, *args)
        assert cause.code == Code.LOCAL_DERIVATIVE, (mistake, cause)
        assert cause.kind == kind
        assert line in cause.where.text
        assert MISTAKES[kind].sentence in cause.sentence


def test_two_mistakes_at_once_are_both_named() -> None:
    for mistakes, kinds in (
        ({"no derivative", "three times"}, {"identity", FACTOR}),
        ({"last row", "three times"}, {"last_row_only", FACTOR}),
        ({"transposed", "no derivative"}, {"transposed", "identity"}),  # on one path
        ({"of z", "three times"}, {"another_factor", FACTOR}),
        ({"of z", "transposed"}, {"another_factor", "transposed"}),
        ({"updated", "no derivative"}, {"updated_before", "identity"}),
    ):
        args, gradient = of_two_layers(mistakes)
        found = causes(gradient, two_layers, *args)
        assert {cause.kind for cause in found} == kinds
        if "three times" in mistakes:  # which is in the derivative of one matrix alone
            (thrice,) = (cause for cause in found if cause.kind == FACTOR)
            assert thrice.sentence.endswith(" in ['above'].")
        assert "both of these 2 mistakes" in found[0].evidence


def test_each_of_two_mistakes_is_named_where_its_path_branches_off() -> None:
    """As a single one is, with the lines further down its chain of operations beside it."""
    w, v, x = normal(D), normal(D, seed=1), normal(D, seed=2)

    def loss(w: Any, v: Any) -> Any:
        waves = jnp.sin(3 * w)
        data = (waves * x).sum()
        squares = v**2
        penalty = squares.sum()
        return data + penalty

    first, second = causes((-3 * np.cos(3 * w) * x, 4 * v), loss, w, v, argnums=(0, 1))
    assert {(c.operand, c.factor) for c in (first, second)} == {("`data`", -1), ("`penalty`", 2)}
    for cause in (first, second):
        assert cause.where.text == "return data + penalty"
        line = "waves = " if cause.operand == "`data`" else "squares = "
        assert f"`{line}" in cause.evidence
        assert "would give the same" in cause.evidence


def test_a_multiple_of_the_gradient_names_all_lines_that_would_give_it() -> None:
    x, t = normal(D), normal(D, seed=1)

    def loss(x: Any) -> Any:
        waves = jnp.sin(x)
        return (waves * t).sum()

    cause, *_ = causes(1.75 * np.cos(x) * t, loss, x)
    assert cause.code == Code.SCALED
    lines = ["return (waves * t).sum()", "waves = jnp.sin(x)"]
    assert cause.where.text in lines
    (other,) = (line for line in lines if line != cause.where.text)
    assert re.search(rf"; a mistake at \S+, `{re.escape(other)}` would .* same$", cause.evidence)


def test_the_verdict_stands_if_the_search_for_the_line_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("an operation that nobody knew")

    monkeypatch.setattr(Tapped, "taps", fails)
    report = check_gradient(np.ones(3), lambda x: jnp.sin(x).sum(), normal(3))
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]
    (warning,) = (text for text in report.warnings if "the search" in text)
    assert re.match("the verdict stands.*fault of the checker.*nobody knew", warning)


def test_where_the_right_gradient_is_exactly_0_a_mistake_rounds() -> None:
    """There the bound is 0, and the mistake's own rounding is measured."""
    x, t = normal(N, D).astype(np.float32), normal(N, D, seed=1).astype(np.float32)

    def loss(x: Any, t: Any) -> Any:
        a = jax.nn.relu(x)
        return (jnp.sin(a) * t).sum()

    cause, *_ = causes(np.cos(np.maximum(x, 0)) * t, loss, x, t)
    assert (cause.kind, cause.operand) == ("identity", "`x`")


def test_a_mistake_is_named_though_the_right_gradient_is_0_everywhere() -> None:
    """As that of a recurrent net in its weights is where it starts from a state of 0."""
    state, gate, t = np.zeros((N, D)), normal(N, D), normal(N, D, seed=1)

    def loss(gate: Any, state: Any, t: Any) -> Any:
        z = gate * state
        return (jnp.sin(z) * t).sum()

    cause, *_ = causes(t * gate / 4, loss, gate / 4, state, t)
    assert (cause.kind, cause.operand) == ("other_operand", "`gate`")


def test_a_mistake_that_is_infinite_hides_no_other() -> None:
    """x / x where 1 / x belongs is no number at x = 0, and is tried beside all others."""
    x, s, t = normal(N, D), normal(N, D, seed=1), normal(N, D, seed=2)
    x[0] = 0

    def loss(x: Any, s: Any) -> Any:
        out = x / s
        return (out * t).sum()

    cause, *_ = causes((3 * t / s, -t * x / s**2), loss, x, s, argnums=(0, 1))
    assert (cause.operand, cause.kind) == ("`x`", FACTOR)


def test_an_operation_that_jax_differentiates_in_reverse_alone_is_located_too() -> None:
    """As is the solution of a linear system, of which half of the tangents are missing."""
    matrix, t = np.eye(D) * D + normal(D, D), normal(D, D, seed=1)

    def loss(matrix: Any) -> Any:
        inverse = jnp.linalg.inv(matrix)
        return (inverse * t).sum()

    inverse = np.linalg.inv(matrix)
    cause, *_ = causes(inverse.T @ t @ inverse.T, loss, matrix)
    assert (cause.code, cause.factor) == (Code.SIGN, -1.0)


def test_a_function_may_change_the_precision() -> None:
    z = normal(N, D).astype(np.float32)

    def loss(z: Any) -> Any:
        p = softmax(z.astype(np.float64)).astype(np.float32)
        return (p**2).sum()

    p = np.asarray(jax.nn.softmax(z))
    right = p * (2 * p - (2 * p * p).sum(1, keepdims=True))
    cause, *_ = causes(-right, loss, z)
    assert (cause.code, cause.factor) == (Code.SIGN, -1.0)


def test_a_sum_along_the_wrong_axis_is_named() -> None:
    x, t = normal(D, D), normal(D, seed=1)

    def loss(x: Any) -> Any:
        sums = x.sum(0)
        return (sums * t).sum()

    cause, *_ = causes(np.broadcast_to(t[:, None], (D, D)).copy(), loss, x)
    assert cause.where.text == "sums = x.sum(0)"
    assert (cause.code, cause.kind) == (Code.TRANSPOSED, "other_axis")


def test_what_is_within_a_call_without_a_line_has_that_of_the_call() -> None:
    x, rows = normal(N, D), np.arange(N)[:, None] % D

    def loss(x: Any) -> Any:
        picked = jnp.take_along_axis(x**2, rows, axis=1)
        return picked.sum()

    read = rows == np.arange(D)
    cause, *_ = causes(2 * x * np.roll(read, 1, axis=0), loss, x)
    assert (cause.kind, cause.where.text[:9]) == ("index_too_high", "picked = ")


def softmax(z: Any) -> Any:
    e = jnp.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("function", [softmax, jax.nn.softmax], ids=["own", "library's"])
def test_the_diagonal_alone_of_a_softmax_is_named(function: Any) -> None:
    z, t = normal(N, D), normal(N, D, seed=1)

    def loss(z: Any) -> Any:
        p = function(z)
        return (p * t).sum()

    p = np.asarray(jax.nn.softmax(z))
    cause, *_ = causes(p * (1 - p) * t, loss, z)
    assert (cause.operation, cause.operand) == ("softmax", "`z`")
    assert cause.kind == "diagonal_alone"
    assert cause.where.text == "p = function(z)"


def test_the_derivative_of_softmax_or_sigmoid_on_top_of_itself_is_named() -> None:
    w, x, y = normal(D, H), normal(N, D, seed=1), np.arange(N) % H

    def of_softmax(w: Any) -> Any:
        z = x @ w
        log_p = jax.nn.log_softmax(z)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).sum()

    p = np.asarray(jax.nn.softmax(x @ w))
    cause, *_ = causes(x.T @ ((p - np.eye(H)[y]) * p * (1 - p)), of_softmax, w)
    assert (cause.kind, cause.operand) == ("softmax_on_top", "`z`")

    def of_sigmoid(w: Any) -> Any:
        z = (x @ w) * np.where(y % 2, 1.0, -1.0)[:, None]
        return jax.nn.softplus(z).sum()

    s = np.where(y % 2, 1.0, -1.0)[:, None]
    p = 1 / (1 + np.exp(-(x @ w) * s))
    cause, *_ = causes(x.T @ (s * p * p * (1 - p)), of_sigmoid, w)
    assert (cause.kind, cause.operand) == ("sigmoid_on_top", "`z`")


def test_statistics_that_are_taken_for_constants_are_two_paths_that_are_missing() -> None:
    """As where the backward pass is that of the running statistics."""
    x, d_out = normal(N, D), normal(N, D, seed=1)

    def loss(x: Any) -> Any:
        mu = x.mean(0)
        var = ((x - mu[None, :]) ** 2).mean(0)
        s = jnp.sqrt(var + 1e-5)
        out = (x - mu[None, :]) / s[None, :]
        return (out * d_out).sum()

    (cause,) = causes(d_out / np.sqrt(x.var(0) + 1e-5), loss, x)
    assert (cause.code, cause.operand) == (Code.PATH_MISSING, "`mu` and `s`")
    assert "times that the line is run" not in cause.sentence


def in_a_scan(w: Any, u: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ w + x @ u)
        return h, None

    return (lax.scan(step, jnp.zeros(H), xs)[0] ** 2).sum()


def unrolled(w: Any, u: Any, xs: Any) -> Any:
    h = jnp.zeros(H)
    for x in xs:
        h = jnp.tanh(h @ w + x @ u)
    return (h**2).sum()


def of_the_recurrence(
    derivative: Callable[[Array], Array], back: Callable[[int], float]
) -> tuple[Any, Any]:
    w, u, xs = normal(H, H), normal(D, H), normal(T, D, seed=1)
    states = [np.zeros(H)]
    for x in xs:
        states.append(np.tanh(states[-1] @ w + x @ u))
    d_w, d_u, d_h = np.zeros_like(w), np.zeros_like(u), 2 * states[-1]
    for step in reversed(range(T)):
        d_z = d_h * derivative(states[step + 1])
        d_w += np.outer(states[step], d_z)
        d_u += np.outer(xs[step], d_z)
        d_h = back(step) * (d_z @ w.T)
    return (w, u, xs), (d_w, d_u)


@pytest.mark.parametrize("loss", [in_a_scan, unrolled])
def test_a_mistake_of_every_step_is_found_in_a_loop(loss: Callable[..., Any]) -> None:
    args, gradient = of_the_recurrence(np.ones_like, lambda _: 1.0)
    cause, *_ = causes(gradient, loss, *args, argnums=(0, 1))
    assert cause.kind == "identity"
    assert "h = jnp.tanh" in cause.where.text


def test_a_recurrent_path_that_is_cut_is_named() -> None:
    args, gradient = of_the_recurrence(lambda h: 1 - h**2, lambda _: 0.0)
    cause, *_ = causes(gradient, in_a_scan, *args, argnums=(0, 1))
    assert cause.code == Code.PATH_MISSING
    assert "h = jnp.tanh" in cause.where.text


def test_a_mistake_of_the_last_step_is_told_from_one_of_every_step() -> None:
    args, gradient = of_the_recurrence(lambda h: 1 - h**2, lambda step: 1.0 + (step == T - 1))
    cause, *_ = causes(gradient, in_a_scan, *args, argnums=(0, 1))
    assert (cause.code, cause.factor) == (Code.PATH_SCALED, 2.0)
    assert "at the last step" in cause.sentence


def test_a_factor_near_1_is_not_said_to_be_1() -> None:
    w, x = normal(D), normal(D, seed=1)
    cause, *_ = causes(1.00002 * 2 * w * x, lambda w: (w**2 * x).sum(), w)
    assert "is multiplied by 1.00002 in " in cause.sentence


def test_an_embedding_that_is_written_over_is_named() -> None:
    table, t = normal(6, D), normal(4, D)
    rows = np.array([1, 3, 1, 5])

    def loss(table: Any) -> Any:
        out = table[rows]
        return (out * t).sum()

    d_table = np.zeros_like(table)
    d_table[rows] = t
    cause, *_ = causes(d_table, loss, table)
    assert cause.kind == "last_reader_only"
    assert cause.where.text == "out = table[rows]"
    plain = json.loads(json.dumps(check_gradient(d_table, loss, table).to_dict()))["causes"][0]
    assert plain["where"]["text"] == "out = table[rows]"
    assert (plain["operation"], plain["operand"]) == ("gather", "`table`")
    assert (plain["kind"], plain["factor"]) == ("last_reader_only", None)


def test_a_derivative_that_stands_on_top_of_itself_is_named() -> None:
    x, y, w = normal(N, D), (normal(N) > 0).astype(float), normal(D)

    def loss(w: Any) -> Any:
        p = jax.nn.sigmoid(x @ w)
        return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)).mean()

    p = 1 / (1 + np.exp(-x @ w))
    cause, *_ = causes(x.T @ ((p - y) * p * (1 - p)) / N, loss, w)
    assert cause.kind == "applied_twice"
    assert "p = jax.nn.sigmoid" in cause.where.text


def squares(weight: Any, bias: Any, x: Any, decay: Any) -> Any:
    out = x @ weight + bias[None, :]
    penalty = (weight * weight).sum()
    return (out**2).sum() + decay * penalty


def test_a_cause_of_the_whole_array_says_the_line_too() -> None:
    weight, bias, x = normal(D, H), normal(H), normal(N, D, seed=1)
    out = x @ weight + bias
    d_weight, d_bias = 2 * x.T @ out + 0.5 * weight, 2 * out.sum(0)
    proportional = Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER
    wrong: list[tuple[Any, Code, str, Any]] = [
        ((d_weight, 0 * d_bias), Code.ZERO, "`bias`", 0.0),
        ((d_weight, -d_bias), Code.SIGN, "`bias`", -1.0),
        ((d_weight, 2 * out[-1]), Code.LAST_ROW_ONLY, "`bias`", None),
        ((d_weight - 0.5 * weight, d_bias), proportional, "`penalty`", 0.0),
    ]
    for gradient, code, operand, factor in wrong:
        cause, *_ = causes(gradient, squares, weight, bias, x, 0.25, argnums=(0, 1))
        assert (cause.code, cause.operand, cause.factor) == (code, operand, factor), cause
        line = "out = " if operand == "`bias`" else "return (out**2).sum() + decay * penalty"
        assert cause.where.text.startswith(line)
        assert cause.sentence.startswith(code.description[:-1])
        assert str(cause.where) in cause.sentence


def test_a_mistake_without_a_number_comes_before_a_number_without_a_name() -> None:
    """Of one row a forgotten derivative is a factor, too."""
    x = normal(1, D)

    def loss(w: Any) -> Any:
        z = (x @ w)[0]
        a = jnp.tanh(z)
        return a**2

    w = normal(D, seed=3)
    first, second, *_ = causes(2 * np.tanh(x @ w)[0] * x[0], loss, w)
    assert (first.code, first.kind, first.operand) == (Code.LOCAL_DERIVATIVE, "identity", "`z`")
    assert second.code == Code.SCALED


def test_the_line_may_be_that_of_a_layer_in_this_package() -> None:
    x, d_out = normal(N, D), normal(N, D, seed=1)

    def loss(x: Any) -> Any:
        return (twin.forward((jnp.ones(D), jnp.zeros(D)), x) * d_out).sum()

    centred = x - mean(x)
    s = np.sqrt(mean(centred**2) + 1e-5)
    cause, *_ = causes((d_out - mean(d_out)) / s, loss, x)
    assert cause.where.file.endswith("layers/layer_norm.py")


def test_the_model_says_what_it_is_and_the_operation_where() -> None:
    """Of a network like ours, the line of a loss that is written in another way."""
    (mask,) = (fault for fault in OF_OPERATIONS if fault.code == Code.RELU_MASK_MISSING)

    def loss(params: Any, x: Any, y: Any) -> Any:
        (W, b), (V, c) = params
        a = jax.nn.relu(x @ W + b[None, :])
        log_p = jax.nn.log_softmax(a @ V + c[None, :])
        return -(log_p * jax.nn.one_hot(y, H, dtype=a.dtype)).sum(1).mean()

    params = ((normal(D, D), normal(D)), (normal(D, H), normal(H)))
    x, y = normal(N, D, seed=1), np.arange(N) % H
    gradient = tuple(map(tuple, mask(params, x, y, 0.0)))
    cause, *_ = causes(gradient, loss, params, x, y)
    assert (cause.code, cause.kind) == (mask.code, "identity")
    assert cause.where.text.startswith("a = jax.nn.relu")


def test_what_is_normalised_may_be_a_sum_with_what_was_made_of_it() -> None:
    """As in a transformer, where a residual branch ends before a layer norm."""
    w, x, t = normal(D, D), normal(N, D, seed=1), normal(N, D, seed=2)

    def loss(w: Any, x: Any) -> Any:
        h = jnp.tanh(x)
        y = h + h @ w
        c = y - y.mean(1, keepdims=True)
        return (c / jnp.sqrt((c * c).mean(1, keepdims=True)) * t).sum()

    noise = normal(D, D, seed=3), normal(N, D, seed=4)
    (cause,) = causes(noise, loss, w, x, argnums=(0, 1))
    assert cause.code == Code.UNKNOWN


def test_what_is_no_mistake_of_an_operation_has_none() -> None:
    args, gradient = of_two_layers(set())
    assert check_gradient(gradient, two_layers, *args).causes == ()
    gradient["below"] = gradient["below"] + normal(D, H, seed=9)
    assert [cause.code for cause in causes(gradient, two_layers, *args)][-1] in {
        Code.UNKNOWN,
        Code.LAYERS_ABOVE_ONLY,
    }


@functools.cache
def tapped() -> tuple[Tapped, list[Tap], Any]:
    found = Tapped(in_a_scan, (normal(H, H), normal(D, H), normal(T, D)), [0, 1])
    taps = found.taps()
    return found, taps, found.compiled(taps)


def test_taps_that_are_not_set_leave_the_gradient_as_it_is() -> None:
    found, taps, at = tapped()
    comparer = Comparer(jax.grad(in_a_scan, (0, 1)), *found.inputs, measured=True)
    got = tuple(at(np.zeros(len(taps))))
    assert comparer(got, *found.inputs, dtype=np.float64).verdict == Verdict.MATCH


def test_the_factors_of_the_last_operation_scale_the_whole_gradient() -> None:
    found, taps, at = tapped()
    last = max(edge for edge in found.edges)
    settings = np.zeros(len(taps))
    settings[taps.index(Tap(last))] = 3.0  # four times as much, and products with 4 are exact
    for got, want in zip(at(settings), at(np.zeros(len(taps))), strict=True):
        np.testing.assert_array_equal(got, 4 * want)


def test_a_cause_without_a_line_says_so() -> None:
    cause = Cause(Code.UNKNOWN, "", "")
    assert (cause.where, cause.operation, cause.operand, cause.kind) == (None, "", "", "")
    assert cause.factor is None


def test_two_fitted_factors_on_two_elements_are_chance() -> None:
    w, c = normal(2), normal(2, seed=1)

    def loss(w: Any, c: Any) -> Any:
        return (jnp.sin(w) * c).sum() + jnp.exp(w).sum()

    for seed in (2, 3):
        (cause,) = causes(normal(2, seed=seed), loss, w, c)
        assert cause.code == Code.UNKNOWN
    both = -np.cos(w) * c + 2 * np.exp(w)  # of numbers that have a name
    assert [cause.factor for cause in causes(both, loss, w, c)] == [-1.0, 2.0]


def test_a_factor_with_a_name_is_chance_on_one_element_of_half_precision() -> None:
    x = normal(8).astype(np.float16)

    def loss(a: Any, b: Any, x: Any) -> Any:
        h = jnp.tanh(a * x + b)
        return (h * jax.nn.sigmoid(x * a)).mean() + (h**2).mean()

    a, b = np.float16(0.7), np.float16(0.3)
    d_a, d_b = jax.grad(loss, (0, 1))(*map(np.float32, (a, b, x)))
    wrong = np.float16(1.1429 * d_a), np.float16(d_b)  # near 8/7, and 8 is a length
    found = causes(wrong, loss, a, b, x, argnums=(0, 1))
    assert not [cause for cause in found if cause.kind], found


def test_the_last_row_alone_is_named_for_a_factor_too() -> None:
    x, gain, bias = normal(N, D), normal(D, seed=1), normal(D, seed=2)

    def loss(x: Any, gain: Any, bias: Any) -> Any:
        return jnp.sin(x * gain[None, :] + bias[None, :]).sum()

    d = np.cos(x * gain + bias)
    wrong = d * gain, (d * x)[-1], d.sum(0)
    cause, *_ = causes(wrong, loss, x, gain, bias, argnums=(0, 1, 2))
    assert (cause.kind, cause.operand) == ("last_row_only", "`gain`")


def test_the_size_of_a_mean_over_two_axes_is_a_factor_with_a_name() -> None:
    """As where Bessel's n - 1 stands in the backward pass of a group norm alone."""
    x, t = normal(2, 5, 2), normal(2, 5, 2, seed=1)

    def loss(x: Any) -> Any:
        spread = (x**2).mean((1, 2), keepdims=True)
        return (t * spread).sum() + jnp.sin(x).sum()

    n = 5 * 2
    d_spread = t.sum((1, 2), keepdims=True)
    cause, *_ = causes(d_spread * 2 * x / (n - 1) + np.cos(x), loss, x)
    assert cause.factor == n / (n - 1)
    assert "is multiplied by 10/9" in cause.sentence


def test_a_factor_without_a_name_is_found_on_all_operations_of_a_line() -> None:
    def loss(x: Any) -> Any:
        total = x[:-2] + x[1:-1] + x[2:]
        return (total**3).sum()

    x = normal(N + 3)
    d_total, d_x = 3 * (x[:-2] + x[1:-1] + x[2:]) ** 2, np.zeros_like(x)
    for start, factor in ((0, 0.3**2), (1, 0.3), (2, 1)):  # the first one goes through both sums
        d_x[start : start + N + 1] += factor * d_total
    (cause, *others) = causes(d_x, loss, x)
    assert (cause.operation, others) == ("add", [])
    assert "`x[:-2]` and `x[:-2] + x[1:-1]`" in cause.sentence
    assert "is multiplied by 0.3 in the array" in cause.sentence
