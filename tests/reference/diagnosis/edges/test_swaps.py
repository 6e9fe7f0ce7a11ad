"""Another array in the place of one that a derivative is made of is found, and named.

Axes: N rows, D inputs, H hidden units, K outputs.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference import Code, check_gradient
from reference.arrays import Array
from reference.diagnosis.edges.flow import Flow
from reference.diagnosis.edges.substitutes import Substitutes
from reference.diagnosis.edges.swaps import FORMULAS, written
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Value
from tests.conftest import part_for
from tests.support.draws import normal

N, D, H, K = 5, 3, 4, 2


def first_cause(gradient: Any, loss: Any, *args: Any, argnums: Any = 0) -> Any:
    report = check_gradient(gradient, loss, *args, argnums=argnums, explain_seconds=np.inf)
    assert not report.ok
    return report.causes[0]


def step(W: Any, c: Any, x: Any) -> Any:
    i, f, g, o = jnp.split(x @ W, 4, axis=1)
    i, f, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
    g = jnp.tanh(g)
    new = f * c + i * g
    h = o * jnp.tanh(new)
    return (h**2).sum()


def of_step(args: Any, mistake: str = "") -> tuple[Array, Array]:
    W, c, x = args
    i, f, g, o = np.split(x @ W, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
    g = np.tanh(g)
    new = f * c + i * g
    t = np.tanh(new)
    d_h = 2 * o * t
    d_new = d_h * o * (1 - (new if mistake == "new for tanh(new)" else t) ** 2)
    d_i = d_new * (c if mistake == "c for g" else g)
    d_f = d_new * (i if mistake == "i for c" else c)
    d_c = d_new * (i if mistake == "i for f" else f)
    d_g = d_new * i
    slope = {"1 - g": 1 - g, "g (1 - g)": g * (1 - g)}.get(mistake, 1 - g**2)
    d_i = d_i * (f * (1 - f) if mistake == "f's slope for i's" else i * (1 - i))
    d_o = d_h * t * o * (1 - o) * (1 - g**2 if mistake == "1 - g^2 too much" else 1)
    d_z = np.concatenate([d_i, d_f * f * (1 - f), d_g * slope, d_o], axis=1)
    return x.T @ d_z, d_c


IN_STEP = {
    "i for f": ("another_value", "`c`", "In place of `f`", "uses `i` in ['c']", "new = f"),
    "i for c": ("another_value", "`f`", "In place of `c`", "uses `i` in ['W']", "new = f"),
    "c for g": ("another_value", "`i`", "In place of `g`", "uses `c` in ['W']", "new = f"),
    "1 - g": ("another_factor", "`g`", "`tanh`", "replaced by `1 - g`", "g = jnp.tanh(g)"),
    "g (1 - g)": ("another_factor", "`g`", "`tanh`", "by `g * (1 - g)`", "g = jnp.tanh(g)"),
    "f's slope for i's": ("another_value", "`i`", "`logistic`", "is taken at `f`", "i, f, o ="),
    "1 - g^2 too much": ("factor_too_many", "`o`", "multiplied", "`1 - g**2`", "h = o *"),
    "new for tanh(new)": ("another_factor", "`new`", "`tanh`", "by `1 - new**2`", "h = o *"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_arrays_of_a_step_of_an_lstm_are_told_apart(dtype: Any) -> None:
    args = [x.astype(dtype) for x in (normal(D, 4 * H), normal(N, H), normal(N, D))]
    for mistake, (kind, operand, *words, line) in part_for(dtype, list(IN_STEP.items())):
        gradient = tuple(x.astype(dtype) for x in of_step(args, mistake))
        cause = first_cause(gradient, step, *args, argnums=(0, 1))
        assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, kind), (mistake, cause)
        assert cause.operand == operand
        assert cause.where.text.startswith(line)
        assert all(part in cause.sentence for part in words), cause.sentence
    report = check_gradient(of_step(args), step, *args, argnums=(0, 1))
    assert (report.ok, report.causes) == (True, ())


def three_layers(params: Any, x: Any, t: Any) -> Any:
    a = jnp.tanh(x @ params["below"])
    b = jnp.tanh(a @ params["middle"])
    out = b @ params["above"]
    return ((out - t) ** 2).sum()


def of_three_layers(params: Any, x: Array, t: Array, how: str, rate: float) -> Any:
    a = np.tanh(x @ params["below"])
    b = np.tanh(a @ params["middle"])
    d_out = 2 * (b @ params["above"] - t)
    d_above = (np.arctanh(b) if how == "before tanh" else b).T @ d_out
    above = params["above"] - rate * d_above * (how in {"above", "both"})
    d_b = d_out @ above.T * (1 - b**2)
    d_middle = (b if how == "b for a" else a).T @ d_b
    middle = params["middle"] - rate * d_middle * (how in {"middle", "both"})
    d_a = d_b @ middle.T * (1 - a**2)
    return {"below": x.T @ d_a, "middle": d_middle, "above": d_above}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_factors_of_products_of_matrices_are_told_apart(dtype: Any) -> None:
    """A weight is updated before the derivative goes through it, or another array stands there."""
    params = {"below": normal(D, H), "middle": normal(H, H), "above": normal(H, K)}
    params = {name: x.astype(dtype) for name, x in params.items()}
    x, t = normal(N, D, seed=1).astype(dtype), normal(N, K, seed=2).astype(dtype)
    of_rate = "less 0.125 times its gradient"
    for how, kind, words, line in part_for(
        dtype,
        [
            ("above", "updated_before", f"uses `params['above']` {of_rate}", "out = "),
            ("both", "updated_before", f"uses `params['middle']` {of_rate}, as", "b = jnp.tanh"),
            ("middle", "updated_before", f"uses `params['middle']` {of_rate}", "b = jnp.tanh"),
            ("b for a", "another_value", "In place of `a`", "b = jnp.tanh"),
            ("before tanh", "another_value", "In place of `b`", "out = "),
        ],
    ):
        gradient = of_three_layers(params, x, t, how, 0.125)
        cause = first_cause(gradient, three_layers, params, x, t)
        assert (cause.kind, cause.code) == (kind, Code.LOCAL_DERIVATIVE), (how, cause)
        assert cause.where.text.startswith(line)
        assert words in cause.sentence, cause.sentence


def test_one_number_in_single_precision_is_no_evidence_for_one_of_many_arrays() -> None:
    """It is near one of some thousand candidates by chance."""
    bias, x = np.full((1, 1), 0.3, np.float32), normal(N, H).astype(np.float32)

    def loss(bias: Any, x: Any) -> Any:
        a = jnp.tanh(x + bias)
        b = jax.nn.sigmoid(a * x)
        return (b * jnp.cos(a)).sum()

    want = np.asarray(jax.grad(loss)(bias, x))
    for factor in np.linspace(1.1, 1.9, 5, dtype=np.float32):
        report = check_gradient(want * factor, loss, bias, x, explain_seconds=np.inf)
        assert {cause.kind for cause in report.causes}.isdisjoint(
            {"another_value", "another_factor", "factor_too_many"}
        )


def test_two_mistakes_are_found_though_another_search_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> Any:
        raise KeyError("an operation that nobody knew")

    monkeypatch.setattr(Substitutes, "candidates", fails)
    x, t = normal(N, D), normal(N, D, seed=1)
    d_x = 2 * np.cos(x) * t - 3 * np.sin(x)
    report = check_gradient(
        d_x, lambda x: (jnp.sin(x) * t).sum() + jnp.cos(x).sum(), x, explain_seconds=np.inf
    )
    (warning,) = (text for text in report.warnings if "the search" in text)
    assert re.match("the verdict stands.*stands in for.*nobody knew", warning)
    assert {cause.factor for cause in report.causes} == {2.0, 3.0}


def test_what_is_no_array_of_its_precision_ends_no_search() -> None:
    """A print has no result, a key of jax.random no numbers, and some arrays are coarser."""
    x, w, c, v = np.random.default_rng(0).normal(size=(4, 6, 5))

    def loss(x: Any) -> Any:
        z = x * w
        jax.debug.callback(lambda _: None, z.sum())
        s = jnp.sin(z).astype(jnp.float32).astype(z.dtype)
        n = (c.astype(jnp.float16) * 2).astype(z.dtype)
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, c.shape)
        h = jnp.exp(z) * c
        return (jnp.tanh(h) * jnp.where(kept, v, 0)).sum() + 0 * (n.sum() + s.sum())

    kept = jax.random.bernoulli(jax.random.key(0), 0.5, c.shape)
    z = x * w
    d_h = np.where(kept, v, 0) * (1 - np.tanh(z) ** 2)  # z in place of h
    cause = first_cause(d_h * c * np.exp(z) * w, loss, x)
    assert "is taken at `z`, not at `h`" in cause.sentence


def test_the_same_operations_in_other_functions_have_other_paths() -> None:
    def product(x: Any, u: Any, v: Any) -> Any:
        y = x * u
        return y * v

    def called(x: Any, u: Any, v: Any) -> Any:
        return jnp.tanh(product(x, u, v)).sum()

    def inline(x: Any, u: Any, v: Any) -> Any:
        y = x * u
        z = y * v
        return jnp.tanh(z).sum()

    args = normal(H), normal(H, seed=1), normal(H, seed=2)
    one, again, other = (Tapped(loss, args, (0,)).known_by for loss in (called, called, inline))
    assert one is not None
    assert one == again != other


def test_it_is_known_which_arguments_an_array_is_made_of() -> None:
    def loss(x: Any, y: Any) -> Any:
        a = jnp.sin(x)
        b = a * y
        total, _ = lax.scan(lambda c, u: (c * u, c), b.sum(), a)
        return total + jnp.cos(y).sum()

    tapped = Tapped(loss, (normal(H), normal(H, seed=1)), (0, 1))
    depends, names = Flow(tapped).depends(tapped.active), {"sin": {0}, "cos": {1}, "scan": {0, 1}}
    found = {operation.name: path for path, operation in tapped.operations.items()}
    for name, places in names.items():
        assert depends[Value(found[name], 0)] == places
    in_loop = next(path for path in tapped.operations if len(path) > 1)
    assert depends[Value(in_loop, 0)] == {0, 1}


def test_a_formula_is_written_with_the_name_of_its_array_or_else_with_a_letter() -> None:
    assert written("1 - {}**2", "`g`") == "`1 - g**2`"
    assert written("{}", "a constant of the loss") == "a constant of the loss"
    assert written("1 / {}", "a constant").startswith("`1 / x` with x a constant")
    assert written("1 - {}**2", "`x @ W + b`") == "`1 - (x @ W + b)**2`"
    assert written("1 - {}", "`a * b`") == "`1 - a * b`"
    assert written("1 - {}", "`a - b`") == "`1 - (a - b)`"
    assert written("tanh'({})", "`a + b`") == "`tanh'(a + b)`"
    assert written("{}.mT", "`-w`") == "`(-w).mT`"
    assert written("{0} * (1 - {0})", "`a + b`") == "`(a + b) * (1 - (a + b))`"
    assert written("1 / {}", "`0's x`") == "`1 / 0's x`", "no Python"
    for formula, of in FORMULAS.items():
        text = formula.replace("tanh'", "dtanh").replace("sigmoid'", "dsigmoid").format("v")
        v = jnp.array([[0.3, -0.2], [0.7, 1.1]])
        slopes = {f.__name__: jnp.vectorize(jax.grad(f)) for f in (jnp.tanh, jax.nn.sigmoid)}
        names = {"v": v, "sign": jnp.sign, **{f"d{name}": slope for name, slope in slopes.items()}}
        expected = eval(text, names)  # noqa: S307, what it says is what it computes
        # On either side of tanh' and sigmoid' less than 8 numbers round, none of which is above 2.
        few = formula.startswith(("tanh", "sigmoid"))
        reach = 2 * 8 * 2 * float(jnp.finfo(v.dtype).eps) / 2 * few
        np.testing.assert_allclose(of(v), expected, rtol=0, atol=reach)
