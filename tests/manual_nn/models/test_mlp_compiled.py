"""The compiled pass beside NumPy's: exact where that is, and as hard to please.

Its comparisons with JAX stand beside those of NumPy's pass, in test_against_jax.py and
test_rows.py. Axes: N rows in the batch, D inputs, K classes.
"""

import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense, Workspace
from manual_nn.compiled import mlp
from manual_nn.compiled.in_place import FEW
from manual_nn.compiled.reductions import BLOCK
from manual_nn.models.mlp_compiled import at_once
from manual_nn.training import evaluation
from manual_nn.training.evaluation import evaluate
from reference.campaign.draws import LAYOUTS
from tests.support import compiled
from tests.support.bits import same_bits
from tests.support.cases import each
from tests.support.exact import dyadic_network, integer_network
from tests.support.strategies import Shape, dtypes, make_network, seeds, shapes

DTYPES = (np.float32, np.float64)


def loss_and_grad(params: Any, X: Any, y: Any, **options: Any) -> Any:
    """Compute with what is compiled, in a workspace of its own."""
    workspace = Workspace(params, len(X), backend="numba")
    with np.errstate(over="ignore", invalid="ignore"):  # which Python warns of, and Numba does not
        return manual_nn.loss_and_grad(params, X, y, **options, workspace=workspace)


@pytest.fixture(params=compiled.WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: on the compiled functions, and on those that Python runs."""
    compiled.take(request.param, monkeypatch)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [1, 2, 8])
@pytest.mark.parametrize("hidden", [0, 3])
def test_exact_arithmetic_gives_the_bits_of_numpy_s_pass(
    hidden: int, N: int, dtype: type[np.floating]
) -> None:
    for seed in range(4):
        params, X, y = integer_network(seed, D=4, hidden=hidden, K=3, N=N, dtype=dtype)
        for weight_decay in (0.0, 0.25):
            got = loss_and_grad(params, X, y, weight_decay=weight_decay)
            want = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
            for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                assert one.dtype == other.dtype == dtype
                np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("way")
@each("soft", [False, True])
@each("options", [{}, {"sample_weight": [3.0, 1.0]}, {"chunk_size": 1}])
def test_three_layers_with_soft_targets_weights_and_blocks_have_the_gradient_of_numpy_s_pass(
    options: dict[str, Any], *, soft: bool
) -> None:
    params, X, y, weight_decay = dyadic_network(soft=soft)
    _, got = loss_and_grad(params, X, y, weight_decay=weight_decay, **options)
    _, want = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay, **options)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("way")
@each("soft", [False, True])
@each("weights", [None, [3.0, 1.0]])
@each("sparse", [False, True])
def test_an_evaluation_in_blocks_is_numpy_s(
    weights: list[float] | None, monkeypatch: pytest.MonkeyPatch, *, soft: bool, sparse: bool
) -> None:
    """The logits of a row are equal, so that the first class is the likeliest."""
    monkeypatch.setattr(evaluation, "BLOCK_SIZE", 1)
    params, X, y, weight_decay = dyadic_network(soft=soft)
    options: Any = {"weight_decay": weight_decay, "sample_weight": weights}
    rows = scipy.sparse.csr_array(X) if sparse else X
    got = evaluate(params, rows, y, **options, backend="numba")
    assert got == evaluate(params, rows, y, **options)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_right_where_its_largest_logit_is(dtype: type[np.floating]) -> None:
    for seed in range(4):
        params, X, y = integer_network(seed, D=4, hidden=3, K=3, N=8, dtype=dtype)
        want = evaluate(params, X, y)
        assert evaluate(params, X, y, backend="numba") == want
        _, accuracy = want
        assert accuracy == (manual_nn.predict(params, X) == y).mean()


def test_an_evaluation_that_overflows_on_the_way_ends_as_numpy_s() -> None:
    apart = (Dense(np.array([[1.0, -1.0]]), np.array([1e308, -1e308])),)
    with np.errstate(over="ignore", invalid="ignore"):
        for y in ([0], [1]):
            got = evaluate(apart, np.ones((1, 1)), y, backend="numba")
            assert got == evaluate(apart, np.ones((1, 1)), y)
        with pytest.raises(ValueError, match="those of layer 1 exceed the largest float64"):
            evaluate(apart, np.full((1, 1), 1e308), [0], backend="numba")


def test_sums_over_many_rows_keep_their_digits() -> None:
    """All rows are alike, and so is the loss of all, with its derivatives; the logits are 0."""
    N, eps = 2**19, float(np.finfo(np.float32).eps)
    one, two = np.ones((1, 1), np.float32), np.array([[1.0, 0.0]], np.float32)
    params = (Dense(0 * one, one[0]), Dense(two, np.array([-1.0, 0.0], np.float32)))
    X, target = np.ones((N, 1), np.float32), np.full((N, 2), [0.3, 0.7], np.float32)
    d_z = 0.5 - target[0].astype(np.float64)
    # a row's own arithmetic is a few roundings, and each sum in float32 has fewer than BLOCK
    loss, (lower, upper) = loss_and_grad(params, X, target)
    assert abs(loss - np.log(2)) <= 8 * eps
    np.testing.assert_allclose(upper.bias, d_z, rtol=8 * eps)
    np.testing.assert_allclose(lower.bias, d_z[:1], rtol=BLOCK * eps)
    _, (lower, upper) = manual_nn.loss_and_grad(params, X, target)  # with three levels of blocks
    np.testing.assert_allclose(upper.bias, d_z, rtol=3 * BLOCK * eps)
    np.testing.assert_allclose(lower.bias, d_z[:1], rtol=3 * BLOCK * eps)
    assert abs(np.cumsum(np.full(N, d_z[0] / N, np.float32))[-1] / d_z[0] - 1) > 8 * BLOCK * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_check_of_somebody_s_gradient_passes_it(dtype: type[np.floating]) -> None:
    """With more rows than are few, and weights on them."""
    params, X, y, _ = make_network(Shape((5, 6, 4, 3), FEW + 9, soft=True), dtype, seed=0)
    weights = np.random.default_rng(0).integers(0, 5, size=len(X)).astype(dtype)

    def gradient(params: Any, X: Any, y: Any, weights: Any) -> Any:
        return loss_and_grad(params, X, y, weight_decay=0.125, sample_weight=weights)[1]

    def loss(params: Any, X: Any, y: Any, weights: Any) -> Any:
        return reference.loss(params, X, y, weight_decay=0.125, sample_weight=weights)

    report = reference.check_gradient(gradient, loss, params, X, y, weights)
    assert report.ok, report
    without_weights = loss_and_grad(params, X, y, weight_decay=0.125)[1]
    args = params, X, y, weights
    assert not reference.check_gradient(without_weights, loss, *args, explain_seconds=0).ok


@given(seed=seeds, shape=shapes, dtype=dtypes, layout=st.sampled_from([*LAYOUTS]))
def test_any_memory_layout_gives_the_same_bits(
    seed: int, shape: Shape, dtype: type[np.floating], layout: str
) -> None:
    params, X, y, weight_decay = make_network(shape, dtype, seed=seed, weight_decay=0.1)
    laid = make_network(shape, dtype, seed=seed, trait=layout, weight_decay=0.1)
    got = loss_and_grad(*laid[:3], weight_decay=weight_decay)
    assert same_bits(got, loss_and_grad(params, X, y, weight_decay=weight_decay))
    again = make_network(shape, dtype, seed=seed, trait=layout)
    assert same_bits((laid.params, laid.X, laid.y), (again.params, again.X, again.y))


@given(seed=seeds, shape=shapes, dtype=dtypes, more=st.integers(0, 3))
def test_a_workspace_gives_the_same_bits_whatever_it_was_used_for_before(
    seed: int, shape: Shape, dtype: type[np.floating], more: int
) -> None:
    params, X, y, _ = make_network(shape, dtype, seed=seed)
    others = make_network(shape, dtype, seed=seed + 1)
    workspace = Workspace(params, len(X) + more, backend="numba")
    assert workspace.backend == "numba"
    manual_nn.loss_and_grad(*others[:3], workspace=workspace)
    got = manual_nn.loss_and_grad(params, X, y, workspace=workspace)
    assert same_bits(got, loss_and_grad(params, X, y))
    for array, own in zip(
        jax.tree.leaves(got[1]), jax.tree.leaves(workspace.gradient), strict=True
    ):
        assert np.shares_memory(array, own)


# What is kept for the next call


class Call(NamedTuple):
    """What a call takes."""

    params: Any
    X: Any
    y: Any
    weight_decay: Any


def plain_call() -> Call:
    """Make a network of two layers and three rows, of which nothing has to be converted."""
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([2, 3, 4], rng=rng)
    return Call(params, rng.normal(size=(3, 2)), np.array([3, 0, 2]), 0.125)


def made(call: Call, workspace: Workspace) -> Any:
    with np.errstate(over="ignore"):  # of which kernels that are not compiled warn
        return at_once(call.params, call.X, call.y, call.weight_decay, workspace)


def read_only(array: Any) -> Any:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def with_weight(c: Call, change: Any) -> Call:
    (weight, bias), last = c.params
    return c._replace(params=(Dense(change(weight), bias), last))


def with_bias(c: Call, change: Any) -> Call:
    first, (weight, bias) = c.params
    return c._replace(params=(first, Dense(weight, change(bias))))


OTHERS: dict[str, Any] = {  # what is not plain, made of what is
    "a list for X": lambda c: c._replace(X=c.X.tolist()),
    "another dtype of X": lambda c: c._replace(X=c.X.astype(np.float32)),
    "another order of X": lambda c: c._replace(X=np.asfortranarray(c.X)),
    "X read-only": lambda c: c._replace(X=read_only(c.X)),
    "X of one axis": lambda c: c._replace(X=c.X[:, 0].copy()),
    "X of three axes": lambda c: c._replace(X=c.X[:, :, np.newaxis].copy()),
    "X of no axis": lambda c: c._replace(X=np.array(1.0), y=np.array(1)),
    "other columns of X": lambda c: c._replace(X=c.X[:, :1].copy()),
    "more rows": lambda c: c._replace(X=np.ones((4, 2)), y=np.zeros(4, int)),
    "no rows": lambda c: c._replace(X=c.X[:0], y=c.y[:0]),
    "a list for y": lambda c: c._replace(y=c.y.tolist()),
    "another dtype of y": lambda c: c._replace(y=c.y.astype(np.int32)),
    "y not in order": lambda c: c._replace(y=np.repeat(c.y, 2)[::2]),
    "soft y": lambda c: c._replace(y=np.eye(4)[c.y]),
    "another length of y": lambda c: c._replace(y=c.y[:2].copy()),
    "a class below 0": lambda c: c._replace(y=c.y - 1),
    "a class above": lambda c: c._replace(y=c.y + 1),
    "an integer for decay": lambda c: c._replace(weight_decay=1),
    "a negative decay": lambda c: c._replace(weight_decay=-1.0),
    "an infinite decay": lambda c: c._replace(weight_decay=np.inf),
    "no number for decay": lambda c: c._replace(weight_decay=np.nan),
    "a list of params": lambda c: c._replace(params=list(c.params)),
    "plain tuples": lambda c: c._replace(params=tuple(map(tuple, c.params))),
    "fewer params": lambda c: c._replace(params=c.params[:1]),
    "a weight in another order": lambda c: with_weight(c, np.asfortranarray),
    "a bias read-only": lambda c: with_bias(c, read_only),
    "what is not finite": lambda c: c._replace(X=c.X * np.nan),
    "an infinite loss": lambda c: c._replace(weight_decay=1e308),
}


@each("name", OTHERS)
def test_a_call_is_made_at_once_only_if_nothing_has_to_be_converted(name: str) -> None:
    plain = plain_call()
    workspace = Workspace(plain.params, 3, backend="numba")
    want = loss_and_grad(*plain[:3], weight_decay=plain.weight_decay)
    other = OTHERS[name](plain)
    for _ in range(2):  # and so it stays after one that was made
        assert made(other, workspace) is None
        assert same_bits(made(plain, workspace), want)
    for params in (workspace.gradient, (plain.params[0], workspace.gradient[1])):  # overwritten
        assert made(plain._replace(params=params), workspace) is None


def test_what_is_kept_for_the_next_call_follows_what_changes_in_place() -> None:
    params, X, y, weight_decay = plain_call()
    workspace = Workspace(params, 3, backend="numba")

    def assert_right(params: Any, X: Any, y: Any) -> None:
        got = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay, workspace=workspace)
        assert same_bits(got, loss_and_grad(params, X, y, weight_decay=weight_decay))

    assert_right(params, X, y)
    for array in (*jax.tree.leaves(params), X):
        array *= 2
        assert_right(params, X, y)
    y[:] = [0, 1, 3]
    assert_right(params, X, y)
    assert_right(params, X[:2], y[:2])  # fewer rows, and all again
    assert_right(params, X, y)
    other = tuple(Dense(weight + 1, bias - 1) for weight, bias in params)
    assert_right(other, X, y)
    assert_right(params, X, y)
    params[0].weight.flags.writeable = False  # of which a copy is taken
    assert_right(params, X, y)
    params[0].weight.flags.writeable = True
    params[1].weight.shape = (4, 3)
    with pytest.raises(ValueError, match="must have the shapes"):
        assert_right(params, X, y)


@pytest.mark.usefixtures("way")
def test_targets_are_1_for_the_class_and_0_else() -> None:
    target = np.full((3, 2), np.nan)
    assert mlp.write_target(np.array([1, 0, 1]), target)
    np.testing.assert_array_equal(target, [[0, 1], [1, 0], [0, 1]])
    for wrong in (-1, 2):
        assert not mlp.write_target(np.array([0, wrong, 0]), target)


# What is not finite


def both(params: Any, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """Compute both ways."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (
            loss_and_grad(params, np.array(X), y, **options),
            manual_nn.loss_and_grad(params, X, y, **options),
        )


LARGE = 2.0**1023


@each(
    ("params", "X", "weight_decay"),
    [
        # d_a_1 overflows at a unit that is off
        (
            (
                Dense(np.zeros((1, 2)), np.array([-1.0, 1.0])),
                Dense(np.array([[-LARGE, LARGE], [-1.0, 1.0]]), np.array([64.0 + 4096, 0.0])),
            ),
            [[1.0]],
            0.0,
        ),
        # squares that overflow in a penalty that does not
        ((Dense(np.full((1, 2), 2.0**600), np.zeros(2)),), [[0.0]], 2.0**-600),
        # a difference of logits that overflows
        ((Dense(np.array([[1.0, -1.0]]), np.array([1e308, -1e308])),), [[1.0]], 0.0),
        # and a penalty that does
        ((Dense(np.full((1, 2), 2.0**600), np.zeros(2)),), [[0.0]], 1.0),
    ],
)
def test_what_overflows_on_the_way_ends_as_in_numpy_s_pass(
    params: Any, X: Any, weight_decay: float
) -> None:
    got, want = both(params, X, [1], weight_decay=weight_decay)
    assert same_bits(got, want)


@each("l", [0, 1, 2])
@each("part", ["weight", "bias"])
@each("value", [np.inf, np.nan])
def test_what_is_not_finite_in_the_parameters_is_refused_by_name(
    l: int, part: str, value: float
) -> None:
    params = manual_nn.init_params([3, 4, 4, 2], rng=np.random.default_rng(0))
    array = getattr(params[l], part)
    array.flat[1] = value
    said = re.escape(f"params[{l}].{part} must be finite, got {value} at ")
    with pytest.raises(ValueError, match=said):
        loss_and_grad(params, np.ones((2, 3)), [0, 1])


def test_what_is_not_finite_in_the_inputs_is_refused_by_name() -> None:
    params = manual_nn.init_params([2, 3, 2], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^X must be finite, got nan at \[1, 1\]$"):
        loss_and_grad(params, np.array([[1.0, 1.0], [1.0, np.nan]]), [0, 1])


@each("l", [1, 2, 3])
def test_the_layer_whose_pre_activations_overflow_is_named(l: int) -> None:
    params = [Dense(np.eye(2), np.zeros(2)) for _ in range(3)]
    params[l - 1] = Dense(np.full((2, 2), 1e200), np.zeros(2))
    with pytest.raises(ValueError, match=f"those of layer {l} exceed the largest float64"):
        loss_and_grad(params, np.array([[1e200, 0.0]]), [0])
