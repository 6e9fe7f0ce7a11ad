"""A step of stochastic gradient descent is the gradient's, from JAX, under the derived bound.

Axes: N rows in the batch, D inputs, K classes.
"""

import copy
import functools
import itertools
import math
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import SGD, Adam, AdamW, CosineSchedule, Dense, OptimizerState
from manual_nn.training.clipping import norm_of
from manual_nn.training.descent import Descent
from manual_nn.training.descent_compiled import CompiledDescent
from manual_nn.training.sgd import sgd_step
from reference import Comparer, Verdict
from tests.conftest import depth
from tests.support.bits import same_bits
from tests.support.strategies import Shape, dtypes, make_network, seeds, shapes

FEWER = settings(max_examples=depth().compilations)  # each compiles for a second

LEARNING_RATE = 0.125
KINDS = (Descent, CompiledDescent)


def jax_step(params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any) -> Any:
    _, gradient = reference.loss_and_grad(
        params, X, y, weight_decay=weight_decay, sample_weight=sample_weight
    )
    return jax.tree.map(lambda array, d_array: array - LEARNING_RATE * d_array, params, gradient)


@FEWER
@given(shape=shapes, dtype=dtypes, weighted=st.booleans(), data=st.data())
def test_a_step_is_jax_s_gradient_and_update(
    shape: Shape, dtype: type[np.floating], *, weighted: bool, data: st.DataObject
) -> None:
    comparer = None
    for seed in data.draw(st.lists(seeds, min_size=4, max_size=4)):
        params, X, y, weight_decay = make_network(shape, dtype, seed=seed)
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 9, size=len(X)).astype(dtype) if weighted else None
        args = params, X, y, weight_decay, weights
        comparer = comparer or Comparer(jax_step, *args)
        for kind in KINDS:
            descent = kind(
                params,
                X,
                y if shape.soft else np.eye(shape.sizes[-1], dtype=dtype)[y],
                batch_size=len(X) + 2,
                optimizer=SGD(),
                learning_rate=LEARNING_RATE,
                weight_decay=weight_decay,
                sample_weight=weights,
            )
            descent.step(rng.permutation(len(X)))
            comparison = comparer(descent.params, *args)
            assert comparison.verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}, (kind, comparison)


class Case(NamedTuple):
    """An optimizer, and optax's of the same mathematics."""

    optimizer: SGD | Adam
    theirs: Callable[[Any, float], Any]  # of the learning rate and 2 weight_decay
    max_grad_norm: float | None = None


def weights_alone(params: Any) -> Any:
    return tuple(Dense(weight=True, bias=False) for _ in params)  # type: ignore[arg-type] # a mask


CASES = {
    "momentum": Case(SGD(0.75), lambda rate, _: optax.sgd(rate, momentum=0.75)),
    "Nesterov": Case(
        SGD(0.75, nesterov=True), lambda rate, _: optax.sgd(rate, momentum=0.75, nesterov=True)
    ),
    "Adam": Case(
        Adam(0.75, 0.875, 1e-3), lambda rate, _: optax.adam(rate, b1=0.75, b2=0.875, eps=1e-3)
    ),
    "AdamW": Case(
        AdamW(0.75, 0.875, 1e-3),
        lambda rate, decay: optax.adamw(
            rate, b1=0.75, b2=0.875, eps=1e-3, weight_decay=decay, mask=weights_alone
        ),
    ),
    "clipped": Case(
        SGD(),
        lambda rate, _: optax.chain(optax.clip_by_global_norm(0.25), optax.sgd(rate)),
        max_grad_norm=0.25,
    ),
    "clipped Adam": Case(
        Adam(0.75, 0.875, 1e-3),
        lambda rate, _: optax.chain(
            optax.clip_by_global_norm(0.25), optax.adam(rate, b1=0.75, b2=0.875, eps=1e-3)
        ),
        max_grad_norm=0.25,
    ),
}


def with_moments(node: Any, state: OptimizerState) -> Any:
    """Put our state in the places of optax's."""
    if isinstance(node, optax.TraceState):
        return node._replace(trace=state.moments[0])
    if isinstance(node, optax.ScaleByAdamState):
        mean, square = state.moments
        return node._replace(count=jnp.int32(state.steps), mu=mean, nu=square)
    if type(node) is tuple:
        return tuple(with_moments(part, state) for part in node)
    return node


def moments_in(node: Any) -> tuple[Any, ...]:
    """Find the moments among all that optax keeps."""
    if isinstance(node, optax.TraceState):
        return (node.trace,)
    if isinstance(node, optax.ScaleByAdamState):
        return node.mu, node.nu
    if type(node) is tuple:
        return tuple(itertools.chain.from_iterable(map(moments_in, node)))
    return ()


def optax_step(case: Case, steps: int, params: Any, moments: Any, X: Any, y: Any) -> Any:
    """Take optax's step from where we are; gives the parameters and the moments after it."""
    coupled, decoupled = (0.0, 0.125) if case.optimizer.decoupled else (0.125, 0.0)
    _, gradient = reference.loss_and_grad(params, X, y, weight_decay=coupled)
    theirs = case.theirs(LEARNING_RATE, 2 * decoupled)
    state = with_moments(theirs.init(params), OptimizerState(steps, moments))
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
        updates, state = theirs.update(gradient, state, params)
    return optax.apply_updates(params, updates), moments_in(state)


def drawn_state(optimizer: SGD | Adam, params: Any) -> OptimizerState:
    """Draw moments above 0: at 0 a root has no finite derivative, and so rounding no bound."""
    rng = np.random.default_rng(2)
    return OptimizerState(
        3,
        tuple(
            tuple(
                Dense(*(rng.uniform(0.25, 1, a.shape).astype(a.dtype) for a in layer))
                for layer in params
            )
            for _ in range(optimizer.moments)
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_each_step_is_optax_s_and_so_is_what_the_optimizer_remembers(
    name: str, kind: type[Descent]
) -> None:
    case = CASES[name]
    dtype: type[np.floating] = np.float32 if "Adam" in name else np.float64
    params, X, y, _ = make_network(Shape((3, 4, 2), 5, soft=False), dtype, seed=1)
    descent = kind(
        params,
        X,
        np.eye(2, dtype=dtype)[y],
        batch_size=5,
        optimizer=case.optimizer,
        learning_rate=LEARNING_RATE,
        weight_decay=0.125,
        max_grad_norm=case.max_grad_norm,
        state=drawn_state(case.optimizer, params),
    )
    for steps in range(3, 6):
        before = copy.deepcopy((descent.params, descent.moments))
        assert descent.state.steps == steps
        if case.max_grad_norm is not None:
            _, gradient = manual_nn.loss_and_grad(descent.params, X, y, weight_decay=0.125)
            assert norm_of(gradient) > case.max_grad_norm, "nothing is clipped"
        descent.step(np.arange(5))
        comparer = Comparer(functools.partial(optax_step, case, steps), *before, X, y)
        comparison = comparer((descent.params, descent.moments), *before, X, y)
        assert comparison.verdict is Verdict.MATCH, comparison


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plain_steps_of_exact_numbers_are_the_gradient_and_the_plain_update_to_the_bit(
    dtype: npt.DTypeLike,
) -> None:
    """Two equal logits: p is 1/2, and small dyadic numbers make every product and sum exact."""
    X = np.array([[1, 2, -1], [0, 3, 2], [4, 0, 1], [2, 1, -3]], dtype)
    target = np.eye(2, dtype=dtype)[[0, 1, 1, 0]]
    weight = np.array([[1, 1], [2, 2], [-3, -3]], dtype)
    params = (Dense(weight, np.array([1, 1], dtype)),)
    descent = Descent(
        params, X, target, batch_size=4, optimizer=SGD(), learning_rate=0.5, weight_decay=0.25
    )
    descent.step(np.arange(4))
    _, gradient = manual_nn.loss_and_grad(params, X, target, weight_decay=0.25)
    for got, want in zip(
        itertools.chain(*descent.params),
        itertools.chain(*sgd_step(params, gradient, 0.5)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want, strict=True)


def wide_descent() -> Descent:
    """Start a descent of many inputs and few classes: beside a batch all else is small."""
    params = (Dense(np.zeros((1000, 2)), np.zeros(2)),)
    X, target = np.ones((500, 1000)), np.full((500, 2), 0.5)
    return Descent(
        params, X, target, batch_size=500, optimizer=SGD(), learning_rate=0.5, weight_decay=0.0
    )


def test_a_step_takes_its_batch_into_an_array_that_is_there() -> None:
    descent, rows = wide_descent(), np.arange(500)
    descent.step(rows)
    tracemalloc.start()
    descent.step(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < descent.X.nbytes


def test_a_step_goes_up_and_down_in_arrays_that_are_there() -> None:
    params = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0))
    X, target = np.ones((5, 3)), np.full((5, 2), 0.5)
    descent = Descent(
        params, X, target, batch_size=5, optimizer=SGD(), learning_rate=0.5, weight_decay=0.25
    )
    arrays = descent._workspace.arrays(5)
    for array in (*arrays.z, *arrays.d_z):
        array.fill(np.nan)
    descent.step(np.arange(5))
    for array in (*arrays.z, *arrays.d_z):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("optimizer", [SGD(0.5), SGD(0.5, nesterov=True), Adam(), AdamW()], ids=str)
def test_a_step_of_any_optimizer_makes_no_array_as_large_as_a_weight(
    optimizer: SGD | Adam,
) -> None:
    params = (Dense(np.zeros((100, 100)), np.zeros(100)),)
    descent = Descent(
        params,
        X=np.ones((1, 100)),
        target=np.eye(1, 100),
        batch_size=1,
        optimizer=optimizer,
        learning_rate=0.5,
        weight_decay=0.25,
        max_grad_norm=0.5,
    )
    descent.step(np.array([0]))
    tracemalloc.start()
    descent.step(np.array([0]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < params[0].weight.nbytes / 2


def still(kind: type[Descent], optimizer: SGD | Adam, weight: float, **options: Any) -> Descent:
    """Start a descent in which nothing but the decay moves a weight, and nothing a bias of 8."""
    params = (Dense(np.array([[weight, weight]]), np.array([8.0, 8.0])),)
    settings: dict[str, Any] = {"learning_rate": 0.25, "weight_decay": 0.5} | options
    X, target = np.zeros((3, 1)), np.full((3, 2), 0.5)
    return kind(params, X, target, batch_size=1, optimizer=optimizer, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("optimizer", "options", "weights"),
    [
        (SGD(), {}, [6.0, 4.5]),  # W - W / 4
        (SGD(0.5), {}, [6.0, 8 - 2 - 2.5]),  # v = 8, then 4 + 6
        (SGD(0.5, nesterov=True), {}, [8 - 12 / 4, 5 - (5 + 4.5) / 4]),  # v = 8, then 4 + 5
        (Adam(0.5, 0.75, 2.0), {}, [8 - 0.25 * 8 / (8 + 2)]),
        (AdamW(0.5, 0.75, 2.0), {}, [6.0, 4.5]),  # the decay alone, past both means
        (SGD(), {"max_grad_norm": np.sqrt(32.0)}, [8 - 0.25 * 4]),  # the norm was sqrt(128)
        (AdamW(), {"max_grad_norm": 1e-3}, [6.0, 4.5]),  # no gradient, nothing to clip
        (AdamW(), {"weight_decay": 0.0}, [8.0]),
    ],
)
def test_where_the_decay_goes(
    kind: type[Descent], optimizer: SGD | Adam, options: dict[str, Any], weights: list[float]
) -> None:
    descent = still(kind, optimizer, 8.0, **options)
    for weight in weights:
        descent.step(np.array([0]))
        (layer,) = descent.params
        np.testing.assert_array_equal(layer.weight, [[weight, weight]])
        np.testing.assert_array_equal(layer.bias, [8, 8])


def test_the_decay_of_a_step_is_of_the_weight_before_it() -> None:
    """d_W = x / 2 (1, -1) = 4 and -4, and Adam makes 4 / (4 + 4) of it: W - 1/4 (1/2 + W)."""
    optimizer = AdamW(0.5, 0.75, 4.0)
    params = (Dense(np.array([[8.0, 8.0]]), np.zeros(2)),)
    X, target = np.array([[8.0]]), np.array([[0.0, 1.0]])
    descent = Descent(
        params,
        X,
        target,
        batch_size=1,
        optimizer=optimizer,
        learning_rate=0.25,
        weight_decay=0.5,
    )
    descent.step(np.array([0]))
    np.testing.assert_array_equal(
        descent.params[0].weight, [[8 - 0.25 * (0.5 + 8), 8 - 0.25 * (-0.5 + 8)]]
    )
    bias = 0.25 * 0.5 / (0.5 + 4)  # which does not decay
    np.testing.assert_allclose(descent.params[0].bias, [-bias, bias], rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.5), AdamW()])
def test_each_step_has_the_learning_rate_of_the_schedule(
    optimizer: SGD | Adam, kind: type[Descent]
) -> None:
    """Ten rows in batches of four are three steps an epoch."""
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([3, 4, 2], rng=rng)
    X, target = rng.normal(size=(10, 3)), np.eye(2)[rng.integers(2, size=10)]
    schedule = CosineSchedule(0.5, epochs=2, final=0.125)
    options: dict[str, Any] = {"batch_size": 4, "optimizer": optimizer, "weight_decay": 0.25}
    descent = kind(params, X, target, learning_rate=schedule, **options)
    by_hand = kind(params, X, target, learning_rate=1.0, **options)
    for steps in range(7):
        rows = rng.permutation(10)[:4]
        descent.step(rows)
        s = min(1, steps / 6)
        by_hand.learning_rate = 0.125 + 0.375 * (1 + math.cos(math.pi * s)) / 2
        by_hand.step(rows)
        for array, want in zip(
            itertools.chain(*descent.params), itertools.chain(*by_hand.params), strict=True
        ):
            np.testing.assert_array_equal(array, want)


@pytest.mark.parametrize("n", [4, 5])
def test_rows_are_taken_in_batches_of_which_the_last_may_have_fewer(n: int) -> None:
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([3, 4, 2], rng=rng)
    X, target = rng.normal(size=(5, 3)), np.eye(2)[rng.integers(2, size=5)]
    options: dict[str, Any] = {"batch_size": 2, "learning_rate": 0.5, "weight_decay": 0.25}
    once, one_by_one = (Descent(params, X, target, optimizer=SGD(), **options) for _ in range(2))
    order = np.array([3, 0, 4, 1, 2])[:n]
    batches = [order[:2], order[2:4], order[4:]][: math.ceil(n / 2)]
    assert [*once.take(order)] == [1] * len(batches)
    for rows in batches:
        one_by_one.step(rows)
    assert same_bits(once.params, one_by_one.params)


def test_descents_at_the_same_time_do_not_share_the_arrays_of_their_batches() -> None:
    one, other = wide_descent(), wide_descent()
    assert not np.shares_memory(one._X, other._X)
    assert not np.shares_memory(one._target, other._target)
    assert not np.shares_memory(one._spare[0].weight, other._spare[0].weight)


def test_a_small_decay_is_not_lost_in_float32() -> None:
    """From a factor 1 - 2e-8 float32 would make 1. With X = 0 nothing else moves the weights."""
    params = (Dense(np.full((1, 2), 1e-30, np.float32), np.zeros(2, np.float32)),)
    X, target = np.zeros((1, 1), np.float32), np.full((1, 2), 0.5, np.float32)
    descent = Descent(
        params, X, target, batch_size=1, optimizer=SGD(), learning_rate=0.1, weight_decay=1e-7
    )
    descent._workspace.gradient[0].weight[:] = np.nan  # must be written to
    descent.step(np.array([0]))
    step = descent._workspace.gradient[0].weight
    np.testing.assert_array_equal(step, np.float32(2 * (0.1 * 1e-7)) * params[0].weight)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds, exponent=st.floats(-7, 0), small=st.sampled_from([1e-12, 1e-6, 1.0]))
@example(seed=64, exponent=-5.0, small=1e-6)
def test_a_step_of_decay_alone_is_within_the_bound_of_jax_s_formula(
    kind: type[Descent], seed: int, exponent: float, small: float
) -> None:
    """Large weights and a small gradient: all rounding is that of the update."""
    rng = np.random.default_rng(seed)
    params = (
        Dense(
            rng.uniform(0.5, 1, size=(60, 2)).astype(np.float32),
            rng.uniform(0.5, 1, size=2).astype(np.float32),
        ),
    )
    X, y = (small * rng.normal(size=(1, 60))).astype(np.float32), rng.integers(2, size=1)
    target, weight_decay = np.eye(2, dtype=np.float32)[y], 10.0**exponent
    descent = kind(
        params,
        X,
        target,
        batch_size=1,
        optimizer=SGD(),
        learning_rate=LEARNING_RATE,
        weight_decay=weight_decay,
    )
    descent.step(np.array([0]))
    args = params, X, y, weight_decay, None
    assert decay_comparer(*args)(descent.params, *args).verdict is Verdict.MATCH


@functools.cache
def _compiled() -> list[Comparer]:
    return []


def decay_comparer(*args: Any) -> Comparer:
    """Compile the one shape once."""
    if not _compiled():
        _compiled().append(Comparer(jax_step, *args))
    return _compiled()[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_steps_leave_where_they_start_as_it_is(order: Any, kind: type[Descent]) -> None:
    rng = np.random.default_rng(0)
    params = tuple(
        Dense(np.array(weight, order=order), bias)
        for weight, bias in manual_nn.init_params([3, 5, 4], rng=rng)
    )
    before = [array.copy() for array in itertools.chain(*params)]
    X, target = rng.normal(size=(6, 3)), np.eye(4)[rng.integers(4, size=6)]
    for array in (X, target, *itertools.chain(*params)):
        array.flags.writeable = False
    descent = kind(
        params, X, target, batch_size=6, optimizer=SGD(), learning_rate=0.1, weight_decay=0.1
    )
    descent.step(np.arange(6))
    for array, copied, moved in zip(
        itertools.chain(*params), before, itertools.chain(*descent.params), strict=True
    ):
        np.testing.assert_array_equal(array, copied)
        assert not np.array_equal(moved, copied)
        assert not np.shares_memory(moved, array)
