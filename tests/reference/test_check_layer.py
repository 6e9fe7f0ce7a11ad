"""check_layer and check_vjp: what a layer may look like, and what is said of a wrong one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from reference import (
    Code,
    GradientReport,
    Verdict,
    check_gradient,
    check_hvp,
    check_jvp,
    check_layer,
    check_vjp,
)
from reference.arguments import Derivative
from reference.arrays import PRECISION, Array
from reference.directions import directions
from tests.support.cases import each


def twin(x: Any, weight: Any, bias: Any, activation: str) -> Any:
    """A dense layer and an activation, for JAX."""
    z = x @ weight + bias[None]
    return jnp.tanh(z) if activation == "tanh" else z


def forward(x: Array, weight: Array, bias: Array, activation: str) -> tuple[Array, Any]:
    """The same by hand, with what its backward pass needs."""
    z = x @ weight + bias
    out = np.tanh(z) if activation == "tanh" else z
    return out, (x, weight, out)


def backward(d_out: Array, kept: Any) -> tuple[Array, Array, Array]:
    """The gradients in x, weight and bias."""
    x, weight, out = kept
    d_z = d_out * (1 - out**2)
    return d_z @ weight.T, x.T @ d_z, d_z.sum(axis=0)


def from_arguments(d_out: Array, *args: Any) -> tuple[Array, Array, Array]:
    """The same without anything kept."""
    return backward(d_out, forward(*args)[1])


def example(dtype: Any = np.float64) -> tuple[Any, ...]:
    """Give the arguments of all of these."""
    rng = np.random.default_rng(0)
    shapes = (4, 3), (3, 2), (2,)
    return (*(rng.normal(size=shape).astype(dtype) for shape in shapes), "tanh")


def check(forward: Any = forward, backward: Any = backward, **rest: Any) -> GradientReport:
    """Check these passes at the example; all of them share one compiled program."""
    return check_layer(forward, backward, twin, *example(), **rest)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_right_passes_match_in_the_arguments_that_are_real(dtype: Any) -> None:
    report = check_layer(forward, backward, twin, *example(dtype))
    assert report.verdict == Verdict.MATCH
    assert report.dtype == np.dtype(dtype).name
    assert [leaf.path for leaf in report.leaves] == ["['x']", "['weight']", "['bias']"]
    assert [leaf.verdict for leaf in report.forward] == [Verdict.MATCH]
    assert report.startswith("layer check: match")
    assert "at d_out dense, seed 0 (the first of 4 tried, 4 of them right)" in report
    assert report.to_dict()["direction"] == str(report.direction)
    assert check_vjp(from_arguments, twin, *example(dtype)).verdict == Verdict.MATCH


def test_a_pass_may_be_written_in_several_ways() -> None:
    def out_alone(*args: Any) -> Array:
        return forward(*args)[0]

    def with_none(*args: Any) -> Any:
        return (*from_arguments(*args), None)

    def as_dict(*args: Any) -> Any:
        return dict(zip(("x", "weight", "bias"), from_arguments(*args), strict=True))

    assert check(out_alone, from_arguments).ok
    assert check(forward, from_arguments).ok
    assert check(out_alone, lambda *args: list(from_arguments(*args))).ok
    assert check(out_alone, with_none).ok
    assert check(out_alone, as_dict).ok
    for argnums in ("weight", 1, -3, ["weight"], (1,)):
        for parts in (slice(None), slice(1, 2)):  # all of them, or the one that is asked for
            report = check(out_alone, lambda *a, p=parts: from_arguments(*a)[p], argnums=argnums)
            assert report.ok, report
            assert [leaf.path for leaf in report.leaves] == ["['weight']"]
    swapped = check(out_alone, lambda *a: from_arguments(*a)[1::-1], argnums=("weight", "x"))
    assert swapped.ok
    assert check(out_alone, lambda *a: from_arguments(*a)[1], argnums="weight").ok


def test_a_residual_or_flattening_layer_may_return_its_d_out() -> None:
    x = np.ones((2, 3))
    assert check_vjp(lambda d_out, a, b: (d_out, d_out), lambda a, b: a + b, x, x + 1).ok  # noqa: ARG005
    assert check_vjp(lambda d_out, x: d_out.reshape(x.shape), jnp.ravel, x).ok
    report = check_vjp(lambda d_out, a, b: (b, a * d_out), lambda a, b: a * b, x[0, 0], x)
    assert report.verdict != Verdict.MATCH


def spoilt(change: Callable[[Array], Array]) -> Callable[..., Any]:
    """Give a backward pass that is right until its bias's gradient is changed."""

    def wrong(d_out: Array, kept: Any) -> Any:
        d_x, d_weight, d_bias = backward(d_out, kept)
        return d_x, d_weight, change(d_bias)

    return wrong


def test_a_wrong_gradient_is_named_and_diagnosed_without_a_loss() -> None:
    report = check(backward=spoilt(lambda d_bias: 2 * d_bias))
    assert report.verdict == Verdict.MISMATCH
    assert [leaf.path for leaf in report.leaves if leaf.wrong.any()] == ["['bias']"]
    assert report.causes[0].code == Code.SCALED

    def last_row(d_out: Array, kept: Any) -> Any:
        d_x, d_weight, _ = backward(d_out, kept)
        return d_x, d_weight, (d_out * (1 - kept[2] ** 2))[-1]

    assert check(backward=last_row).causes[0].code == Code.LAST_ROW_ONLY

    def local(d_out: Array, kept: Any) -> Any:
        return backward(np.ones_like(d_out), kept)

    (cause,) = check(backward=local).causes
    assert cause.code == Code.DIRECTION_UNUSED
    assert "(d_out is taken for 1)" in cause.sentence

    def without_tanh(d_out: Array, kept: Any) -> Any:
        return d_out @ kept[1].T, *backward(d_out, kept)[1:]

    (cause,) = check(backward=without_tanh).causes  # the arguments are no layers
    assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, "identity")


def test_what_fails_at_one_d_out_alone_is_shown_at_that_one() -> None:
    def needs_every_row(d_out: Array, kept: Any) -> Any:
        d_x, d_weight, d_bias = backward(d_out, kept)
        return d_x, d_weight, d_bias * (d_out.any(axis=1).all())

    report = check(backward=needs_every_row)
    assert report.verdict == Verdict.MISMATCH
    assert report.direction is not None
    assert report.direction.how != "dense, seed 0"
    tried = (
        "the worst of 4 tried, 2 of them right; wrong at sparse, seed 0; one-hot at [3, 0], seed 0"
    )
    assert report.direction.tried == tried
    d_bias = from_arguments(report.direction.value, *example())[2]
    np.testing.assert_array_equal(report.leaves[2].want.astype(np.float32), np.float32(d_bias))


@each(
    "change",
    [
        lambda out: out * 1.001,
        lambda out: out.T,
        lambda out: (out, out, out),
        lambda out: out.astype(np.int64),
        lambda out: np.where(out > 0, np.nan, out),
    ],
)
def test_a_wrong_forward_pass_is_told_as_that(change: Callable[[Array], Any]) -> None:
    def wrong(*args: Any) -> Any:
        out, kept = forward(*args)
        changed = change(out)
        return changed if isinstance(changed, tuple) else (changed, kept)

    report = check(wrong)
    assert not report.ok
    assert report.verdict == Verdict.WRONG_FORWARD
    assert report.causes[0].code == Code.WRONG_FORWARD
    assert report.causes[0].evidence
    assert all(leaf.verdict == Verdict.MATCH for leaf in report.leaves)


def test_both_passes_may_be_wrong_and_both_are_named() -> None:
    def negative(*args: Any) -> Any:
        out, kept = forward(*args)
        return -out, kept

    report = check(negative, spoilt(lambda d_bias: -d_bias))
    assert [cause.code for cause in report.causes] == [Code.WRONG_FORWARD, Code.SIGN]
    assert "\n  likely sign: " in report


@each(
    ("result", "words"),
    [
        ((1, 2), "expected a tuple of 3 gradients in x, weight, bias, got a tuple of 2; argnums"),
        (None, "expected a tuple of 3 gradients in x, weight, bias, got None"),
        ((None, 1, 2), "expected an array of shape (4, 3), the gradient in x, got None"),
    ],
)
def test_gradients_that_are_missing_are_named(result: Any, words: str) -> None:
    report = check(backward=lambda *_: result)
    assert report.verdict == Verdict.WRONG_STRUCTURE
    assert words in report.causes[0].evidence


def test_what_the_calls_show_is_said_of_layers_too() -> None:
    def mutating(d_out: Array, kept: Any) -> Any:
        d_out *= 1 - kept[2] ** 2
        return d_out @ kept[1].T, kept[0].T @ d_out, d_out.sum(axis=0)

    report = check(backward=mutating)
    assert report.verdict == Verdict.MUTATED_INPUT
    assert report.causes[0].evidence == "d_out"
    rng = np.random.default_rng()
    report = check(backward=spoilt(lambda d_bias: d_bias * rng.normal()))
    assert report.verdict == Verdict.NONDETERMINISTIC
    report = check(backward=spoilt(lambda d_bias: d_bias + np.inf))
    assert report.verdict == Verdict.NON_FINITE


class State(NamedTuple):
    """A state of two parts."""

    hidden: Any
    cell: Any


def cell(state: Any, scale: Any) -> Any:
    """Return a tree from a tree; one output does not depend on one input."""
    return State(state.hidden * scale["a"] + state.cell, state.cell * state.cell), [scale["a"]]


def cell_vjp(d_out: Any, state: Any, scale: Any) -> Any:
    """Its vjp by hand."""
    d_state, (d_a,) = d_out
    d_hidden = d_state.hidden * scale["a"]
    d_cell = d_state.hidden + 2 * state.cell * d_state.cell
    return State(d_hidden, d_cell), {"a": (d_state.hidden * state.hidden).sum() + d_a}


def test_any_tree_may_go_in_and_out() -> None:
    rng = np.random.default_rng(0)
    args = State(*rng.normal(size=(2, 3))), {"a": np.array(0.5)}
    report = check_vjp(cell_vjp, cell, *args)
    assert report.ok, report
    paths = ["['state'].hidden", "['state'].cell", "['scale']['a']"]
    assert [leaf.path for leaf in report.leaves] == paths

    def forgets_an_output(d_out: Any, state: Any, scale: Any) -> Any:
        (hidden, cell), _ = d_out
        return cell_vjp((State(hidden, cell), [0.0]), state, scale)

    report = check_vjp(forgets_an_output, cell, *args)
    assert report.verdict == Verdict.MISMATCH
    assert [cause.code for cause in report.causes] == [Code.DIRECTION_UNUSED]
    assert "(d_out[1][0] is taken for 0)" in report.causes[0].sentence


def test_directions_are_dense_sparse_and_one_hot_in_each_array() -> None:
    like = {"a": np.zeros((2, 3)), "b": np.zeros(0), "c": np.zeros(()), "d": np.zeros(4)}
    drawn = list(directions("d_out", like, np.float32))
    hows = [direction.how.partition(",")[0].partition("[")[0] for direction in drawn]
    assert hows == ["dense", "dense", "sparse", "one-hot at ", "one-hot at ", "one-hot at "]
    for direction in drawn:
        assert jax.tree.map(np.shape, direction.value) == jax.tree.map(np.shape, like)
        assert {leaf.dtype for leaf in jax.tree.leaves(direction.value)} == {np.dtype(np.float32)}
    first, second, sparse, *alone = [direction.value for direction in drawn]
    assert all(leaf.all() for leaf in jax.tree.leaves([first, second]))
    assert not np.array_equal(first["a"], second["a"])
    arguments = np.random.default_rng(0).normal(size=6).astype(np.float32)
    assert not np.isin(first["a"], arguments).any()  # who draws them so, draws other numbers
    for leaf in jax.tree.leaves(sparse):
        assert leaf.size == 0 or leaf.any()
    assert not all(leaf.all() for leaf in jax.tree.leaves(sparse))
    for name, value in zip("acd", alone, strict=True):
        assert value[name].sum() == value[name].max() == 1
        assert sum(leaf.sum() for leaf in jax.tree.leaves(value)) == 1
    again = [direction.value for direction in directions("d_out", like, np.float32)]
    jax.tree.map(np.testing.assert_array_equal, again, [first, second, sparse, *alone])


def power(x: Any, rate: float, how: str, flags: Any, apply: Any) -> Any:
    """Need values that JAX would trace."""
    y = apply(x.reshape(flags["rows"], -1)) if flags["on"] else x
    return jnp.sum(y * rate) if rate > 0 and how == "sum" else y


def test_what_is_no_array_is_passed_on_unchanged() -> None:
    flags = {"rows": 2, "on": True, "none": None, "axes": np.array([1, 0])}
    args = np.arange(1.0, 7.0), 0.5, "sum", flags, lambda x: x * x
    kinds: list[Any] = []

    def grad(x: Array, rate: float, how: str, flags: Any, apply: Any) -> Array:
        kinds.append((type(rate), how, type(flags["rows"]), flags["on"], apply is args[-1]))
        return 2 * x * rate

    assert check_gradient(grad, power, *args).ok
    assert check_gradient(grad, power, *args, argnums="x").ok
    assert set(kinds) == {(float, "sum", int, True, True)}
    assert check_vjp(lambda d, *a: d * grad(*a), power, *args).ok
    assert check_vjp(lambda d, *a: 1.5 * d * grad(*a), power, *args).verdict == Verdict.MISMATCH


def test_a_number_is_traced_unless_its_value_is_needed() -> None:
    x = np.ones(3)
    traced = Derivative(lambda x, rate: x * rate, (x, 0.1), traced=[0])
    assert len(traced.traced.jaxpr.in_avals) == 2
    known = Derivative(lambda x, rate: x * rate if rate > 0 else x, (x, 0.1), traced=[0])
    assert len(known.traced.jaxpr.in_avals) == 1
    assert known.arrays((x, 0.1)) == (x,)
    with pytest.raises(TypeError, match="this is wrong"):
        Derivative(_wrong, (x,), traced=[0])


def _wrong(_: Any) -> Any:
    raise TypeError("this is wrong")


@each(
    ("argnums", "words"),
    [
        (4, "argnums must be from 0 to 3 for 4 arguments, got 4"),
        ("w", "argnums names 'w', but the names of the arguments are: x, weight, bias, activation"),
        (("x", 0), "argnums must give each argument once"),
    ],
)
def test_arguments_that_there_are_not_are_refused(argnums: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(argnums=argnums)


def test_what_has_no_gradient_is_refused() -> None:
    with pytest.raises(TypeError, match=rf"args\[3\] {PRECISION}, got <U4"):
        check(argnums="activation")
    with pytest.raises(TypeError, match="none of the arguments is an array of real numbers"):
        check_vjp(backward, jnp.cumsum, np.arange(3))
    with pytest.raises(TypeError, match=rf"args\[0\] {PRECISION}, got float8_e4m3fn"):
        check_vjp(backward, jnp.cumsum, np.ones(3, ml_dtypes.float8_e4m3fn))
    with pytest.raises(TypeError, match=r"must return real numbers, got int64\[\]; leave"):
        check_vjp(backward, lambda x: (x, x.argmax()), np.ones(3))
    with pytest.raises(TypeError, match=r"backward must take \(d_out, kept\) or \(d_out, \*args\)"):
        check(backward=lambda d_out: d_out)
    with pytest.raises(TypeError, match=r"where the forward pass returns \(out, kept\)"):
        check(lambda *args: forward(*args)[0], backward)


def test_what_is_no_function_is_refused_by_name() -> None:
    functions = {"forward": forward, "backward": backward, "twin": jnp.tanh}
    for name in functions:
        with pytest.raises(TypeError, match=f"^{name} must be a function, got an array of shape"):
            check_layer(**functions | {name: np.ones(3)})  # type: ignore[arg-type]
    two_by_check: Any = {check_vjp: "vjp", check_jvp: "jvp", check_hvp: "hvp"}
    for two, first in two_by_check.items():
        with pytest.raises(TypeError, match=f"^{first} must be a function, got None"):
            two(None, jnp.sum, np.ones(3))
        last = "loss" if two is check_hvp else "function"
        with pytest.raises(TypeError, match=f"^{last} must be a function, got a float"):
            two(backward, 1.0, np.ones(3))


def test_a_twin_that_jax_cannot_trace_is_told_to_use_jax() -> None:
    with pytest.raises(TypeError, match="sin hands NumPy what JAX has to trace: write it with jax"):
        check_vjp(backward, np.sin, np.ones(3))
    with pytest.raises(TypeError, match=r"double hands something what .*numpy \(argument"):
        check_vjp(backward, double, np.ones(3))
    with pytest.raises(TypeError, match=r"^ours"):
        check_vjp(backward, ours, np.ones(3))


def double(x: Any) -> Any:
    """Double as a library does that takes its own arrays alone."""
    raise TypeError(f"argument 'input' must be Tensor, not {type(x).__name__}")


def ours(_: Any) -> Any:
    """Have a mistake of its own."""
    raise TypeError("ours")


def single(x: Any) -> Any:
    """Compute a third of x in float32, whatever x is."""
    return np.asarray(x).astype(np.float32) * np.float32(1 / 3)


@pytest.mark.parametrize("factor", [1, np.float32(1.00001)])
def test_float32_for_float64_is_compared_in_float32_along_directions(factor: Any) -> None:
    def third(x: Any) -> Any:
        return x / 3

    def loss(x: Any) -> Any:
        return (x * x / 3).sum() / 2

    def product(d: Any, x: Any) -> Any:  # noqa: ARG001
        return factor * single(d)

    x = np.array([0.1, 0.2, 0.7])
    reports = {
        "layer": check_layer(single, product, third, x),
        "vjp": check_vjp(product, third, x),
        "jvp": check_jvp(product, third, x),
        "hvp": check_hvp(product, loss, x),
    }
    for what, report in reports.items():
        assert report.startswith(f"{what} check: ")
        assert report.dtype == "float32"
        assert report.verdict == (Verdict.MATCH if factor == 1 else Verdict.MISMATCH)
        said = [note.partition(" is float32 for ")[0] for note in report.warnings]
        assert said == (["the output", "the result"] if what == "layer" else ["the result"])
    forward = check_layer(lambda x: factor * single(x), product, third, x)
    assert (forward.verdict == Verdict.WRONG_FORWARD) == (factor != 1)
    with jax.enable_x64(new_val=False):
        report = check_layer(jax.jit(third), jax.jit(lambda d, _: d / 3), third, x)
    assert report.ok
    assert ["jax_enable_x64" in note for note in report.warnings] == [True, True]


def test_arrays_of_jax_get_a_d_out_of_jax() -> None:
    def vjp(d_out: Any, x: Any) -> Any:
        return d_out.at[:].multiply(2 * x)

    assert check_vjp(vjp, jnp.square, jnp.arange(1.0, 4.0)).ok
