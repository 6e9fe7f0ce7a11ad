"""Many compiled steps in a call: as NumPy's one by one, and as JAX's within the derived bound.

A single step is compared with JAX and optax where NumPy's is, in test_descent.py. Axes: N rows to
train on, n of them in a batch; D inputs, K classes.
"""

import itertools
import math
from typing import Any

import jax
import numba
import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.compiled import backend, steps
from manual_nn.files.parameters import save_params
from manual_nn.layers.dense import Params
from manual_nn.training import descent_compiled, loop
from manual_nn.training.adam import Adam, AdamW
from manual_nn.training.checkpoint import backend_of
from manual_nn.training.clipping import clip_to_norm
from manual_nn.training.descent import Descent
from manual_nn.training.descent_compiled import CompiledDescent, as_vector
from manual_nn.training.loop import backend_to_take, train
from manual_nn.training.sgd import SGD
from reference import Comparer, Verdict
from tests.support import compiled
from tests.support.bits import same_bits
from tests.support.cases import each
from tests.support.strategies import Shape, make_network

DTYPES = (np.float32, np.float64)
OPTIMIZERS = [SGD(), SGD(0.5), SGD(0.5, nesterov=True), Adam(), AdamW()]
LEARNING_RATE = 0.125


@pytest.fixture(params=compiled.WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: on the compiled functions, and on those that Python runs."""
    compiled.take(request.param, monkeypatch)


def arrays_of(descent: Descent) -> list[Array]:
    """List the parameters and the moments."""
    return jax.tree.leaves((descent.params, descent.moments))


def options_of(optimizer: SGD | Adam, **options: Any) -> dict[str, Any]:
    return {
        "batch_size": 2,
        "optimizer": optimizer,
        "learning_rate": LEARNING_RATE,
        "weight_decay": 0.125,
    } | options


# Several steps


def three_steps_by_jax(params: Any, X: Any, target: Any, sample_weight: Any) -> Any:
    for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
        weights = None if sample_weight is None else sample_weight[rows]
        _, gradient = reference.loss_and_grad(
            params, X[rows], target[rows], weight_decay=0.125, sample_weight=weights
        )
        params = jax.tree.map(lambda array, d: array - LEARNING_RATE * d, params, gradient)
    return params


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("weighted", [False, True])
def test_three_steps_in_one_call_are_jax_s(weighted: bool) -> None:
    """The weights stand for a factor times themselves, until the last step."""
    shape = Shape((4, 5, 3), 6, soft=True)
    comparer = None
    for seed, dtype in itertools.product(range(3), DTYPES):
        params, X, target, _ = make_network(shape, dtype, seed=seed)
        weights = np.arange(1, 7, dtype=dtype) if weighted else None
        args = params, X, target, weights
        comparer = comparer or Comparer(three_steps_by_jax, *args)
        descent = CompiledDescent(params, X, target, **options_of(SGD(), sample_weight=weights))
        assert [*descent.take(np.arange(6))] == [3]
        comparison = comparer(descent.params, *args)
        assert comparison.verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}, comparison
        wrong = CompiledDescent(params, X, target, **options_of(SGD(), weight_decay=0.0))
        _ = [*wrong.take(np.arange(6))]
        assert comparer(wrong.params, *args).verdict is Verdict.MISMATCH


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_what_is_taken_in_one_call_is_what_is_taken_step_by_step(
    optimizer: SGD | Adam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit without decay, which plain steps put off to the end of a call."""
    monkeypatch.setattr(descent_compiled, "AT_ONCE", 2)
    params, X, target, _ = make_network(Shape((3, 4, 2), 11, soft=True), np.float64, seed=0)
    order = np.random.default_rng(1).permutation(11)
    options = options_of(optimizer, weight_decay=0.0)
    once, one_by_one = (CompiledDescent(params, X, target, **options) for _ in range(2))
    assert [*once.take(order)] == [2, 2, 1, 1]  # the last has one row
    for start in range(0, 11, 2):
        one_by_one.step(order[start : start + 2])
    assert once.steps == one_by_one.steps == 6
    assert same_bits(arrays_of(once), arrays_of(one_by_one))


@pytest.mark.usefixtures("way")
@each("rate", [1.0, 4.0, 5.0])
def test_a_decay_that_leaves_little_or_nothing_is_not_put_off(rate: float) -> None:
    """Of W remain 1 - 2 rate / 8: 3/4, nothing, and -1/4. With X = 0 nothing else moves it."""
    params = (Dense(np.array([[64.0, -32.0]]), np.zeros(2)),)
    X, target = np.zeros((6, 1)), np.full((6, 2), 0.5)
    descent = CompiledDescent(params, X, target, **options_of(SGD(), learning_rate=rate))
    assert [*descent.take(np.arange(6))] == [3]
    want = np.array([[64.0, -32.0]]) * (1 - rate / 4) ** 3
    np.testing.assert_array_equal(descent.params[0].weight, want)


def test_a_small_decay_is_not_lost_in_float32() -> None:
    """In each step W would stay as it is, for its decay is less than half of its last digit."""
    params = (Dense(np.full((1, 2), 1.0, np.float32), np.zeros(2, np.float32)),)
    X, target = np.zeros((64, 1), np.float32), np.full((64, 2), 0.5, np.float32)
    options = options_of(SGD(), batch_size=1, learning_rate=0.5, weight_decay=2.0**-27)
    descent = CompiledDescent(params, X, target, **options)
    assert [*descent.take(np.arange(64))] == [64]
    want = np.float32((1 - 2.0**-27) ** 64)
    assert want < 1
    np.testing.assert_array_equal(descent.params[0].weight, [[want, want]])


# What is not finite


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=str)
def test_a_step_that_is_not_finite_is_refused_as_numpy_s_is(optimizer: SGD | Adam) -> None:
    """The third batch has a row that overflows, and the steps before it are kept."""
    params, X, target, _ = make_network(Shape((3, 4, 2), 8, soft=True), np.float64, seed=0)
    params[0].weight[:] = 1.0
    X[5] = 1e308
    said = []
    numpys = Descent(params, X, target, **options_of(optimizer))
    ours = CompiledDescent(params, X, target, **options_of(optimizer))
    for descent in (numpys, ours):
        taken: list[int] = []
        with (
            np.errstate(over="ignore", invalid="ignore"),
            pytest.raises(ValueError, match="those of layer 1 exceed") as raised,
        ):
            taken.extend(descent.take(np.arange(8)))
        assert descent.steps == 2
        said.append(str(raised.value))
    assert said[0] == said[1]
    for one, other in zip(arrays_of(ours), arrays_of(numpys), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)  # two steps of some fifty roundings


@pytest.mark.usefixtures("way")
def test_the_weights_of_rows_whose_sum_overflows_count_alike() -> None:
    rows, largest = np.arange(4), np.finfo(np.float64).max
    X, target, row_weight = np.eye(4), np.eye(4), np.empty(4)
    X_batch, target_batch = np.empty((4, 4)), np.empty((4, 4))
    for weights, want in (
        (np.full(4, largest), [0.5] * 4),
        (np.array([1.0, 2.0, 4.0, 1.0]), [0.25, 0.5, 1.0, 0.25]),
        (np.empty(0), [0.5] * 4),
    ):
        steps.take_batch(
            rows[::-1].copy(), X, target, weights, 2.0, X_batch, target_batch, row_weight
        )
        np.testing.assert_array_equal(row_weight, want[::-1])
        np.testing.assert_array_equal(X_batch, X[::-1])
        np.testing.assert_array_equal(target_batch, target[::-1])


@pytest.mark.usefixtures("way")
@each("norm", [math.inf, 2.5, 5.0, 1e-300])
@each("unit", [1.0, 1e-200, 1e200, 1e-310, 0.0])
def test_a_gradient_is_clipped_as_by_numpy(norm: float, unit: float) -> None:
    gradient = np.array([3.0, 0.0, -4.0]) * unit
    want = (Dense(gradient.reshape(1, 3).copy(), np.zeros(3)),)
    with np.errstate(over="ignore", under="ignore"):
        clip_to_norm(want, norm)
        steps.clip(gradient, norm)
    np.testing.assert_allclose(gradient, want[0].weight[0], rtol=1e-15)


@pytest.mark.usefixtures("way")
def test_the_largest_number_is_clipped() -> None:
    largest = float(np.finfo(np.float64).max)
    gradient = np.array([0.0, -largest])
    with np.errstate(over="ignore"):
        steps.clip(gradient, largest / 4)
    np.testing.assert_array_equal(gradient, [0.0, -largest / 4])


@pytest.mark.usefixtures("way")
@each("value", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_not_clipped(value: float) -> None:
    gradient = np.array([1.0, value])
    with np.errstate(invalid="ignore"):
        steps.clip(gradient, 0.5)
    np.testing.assert_array_equal(gradient, [1.0, value])


# All parameters as one vector


def test_the_parameters_are_found_in_the_vector_by_both() -> None:
    params = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0))
    theta, layers = as_vector(params)
    sizes = np.array([3, 4, 2])
    assert same_bits(layers, params)
    for found in (
        [weight for weight, _ in layers] + [bias for _, bias in layers],
        steps.weights_in(theta, sizes) + steps.biases_in(theta, sizes),
    ):
        want = [weight for weight, _ in params] + [bias for _, bias in params]
        for array, other in zip(found, want, strict=True):
            np.testing.assert_array_equal(array, other)
            assert np.shares_memory(array, theta)
    assert theta.size == sum(array.size for layer in params for array in layer)


# A training


@each("backend", ["numpy", "numba"])
def test_a_decay_that_overflows_is_refused_without_a_warning(backend: str) -> None:
    params = manual_nn.init_params([3, 2], rng=np.random.default_rng(0), dtype=np.float32)
    with pytest.raises(ValueError, match="must give a finite loss with weight_decay, got inf"):
        trained(params, np.ones((2, 3), np.float32), [0, 1], weight_decay=1e39, backend=backend)


def trained(params: Params, X: Any, y: Any, **options: Any) -> Any:
    settings: dict[str, Any] = {"epochs": 3, "early_stopping": None, "backend": "numba"} | options
    return train(params, X, y, rng=np.random.default_rng(0), **settings)


@pytest.fixture(scope="module")
def task() -> tuple[Params, Array, npt.NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(70, 3))
    return manual_nn.init_params([3, 4, 2], rng=rng), X, (X[:, 0] > 0).astype(int)


def test_a_training_is_compiled_steps(task: Any) -> None:
    params, X, y = task
    descent = CompiledDescent(
        params, X, np.eye(2)[y], **options_of(SGD(), batch_size=32, weight_decay=1e-4)
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        for _ in descent.take(rng.permutation(70)):
            pass
    got = trained(params, X, y, learning_rate=LEARNING_RATE)
    # as in a training, each epoch begins with what the one before has left
    assert same_bits(got.params, descent.params)


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=str)
def test_a_training_that_resumes_ends_with_the_same_bits(
    task: Any, optimizer: SGD | Adam, tmp_path: Any
) -> None:
    whole = trained(*task, optimizer=optimizer)
    file = {"checkpoint": tmp_path / "run.npz", "resume": True}
    trained(*task, optimizer=optimizer, epochs=1, **file)
    resumed = trained(*task, optimizer=optimizer, **file)
    assert same_bits(resumed.params, whole.params)
    assert resumed.history == whole.history


def test_a_checkpoint_knows_what_computed_it_and_says_so_before_anything_is_computed(
    task: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = {"checkpoint": tmp_path / "run.npz", "resume": True}
    trained(*task, **file)
    monkeypatch.delattr(loop, "evaluate")
    with pytest.raises(ValueError, match=r"now backend is 'numpy': choose backend='numba'$"):
        trained(*task, **file, backend="numpy")


@each("begun", ["numpy", "numba"])
@each("first", ["numpy", "numba"])
def test_a_training_resumes_by_what_began_it_unless_something_else_is_asked_for(
    begun: str, first: str, task: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever "auto" would begin with: the bits are those of a training without a break."""
    monkeypatch.setattr(backend, "AUTOMATIC", (first, "numpy"))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    path = tmp_path / f"{begun}-{first}.npz"
    trained(*task, epochs=1, backend=begun, checkpoint=path)
    resumed = trained(*task, backend="auto", checkpoint=path, resume=True)
    whole = trained(*task, backend=begun)
    assert same_bits(resumed.params, whole.params)
    assert resumed.history == whole.history
    assert not same_bits(whole.params, trained(*task, backend=OTHER[begun]).params)


OTHER = {"numpy": "numba", "numba": "numpy"}


def test_where_what_began_it_is_not_there_or_is_not_known_a_training_takes_what_is(
    task: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.npz"
    trained(*task, epochs=1, checkpoint=path)
    assert backend_to_take("auto", path, resume=True) == "numba"
    for asked, resume in (("numpy", True), ("auto", False)):
        assert backend_to_take(asked, path, resume=resume) == "numpy"
    monkeypatch.setattr(loop, "obstacle_to_compiling", lambda: "it is not installed")
    assert backend_to_take("auto", path, resume=True) == "numpy"
    with pytest.raises(ValueError, match="now backend is 'numpy': choose backend='numba'"):
        trained(*task, backend="auto", checkpoint=path, resume=True)
    monkeypatch.setattr(loop, "backend_of", lambda _: "of another version")
    assert backend_to_take("auto", path, resume=True) == "numpy"


@each("content", [None, b"", b"PK"])
def test_a_file_that_is_no_checkpoint_says_nothing_of_what_computed_it(
    content: bytes | None, tmp_path: Any
) -> None:
    path = tmp_path / "run.npz"
    if content is not None:
        path.write_bytes(content)
    assert backend_of(path) is None
    params = manual_nn.init_params([1, 2], rng=np.random.default_rng(0))
    settings: list[Any] = [None, {}, {"backend": 1}]
    for facts in (None, {}, *({"settings": one} for one in settings)):
        save_params(path, params, checkpoint=facts)
        assert backend_of(path) is None


@pytest.mark.parametrize(("function", "optimizer"), [("sgd", SGD()), ("with_moments", Adam())])
@each("calls", [1, 2, 3])
def test_an_interruption_as_a_call_returns_loses_none_of_its_steps(
    task: Any, function: str, optimizer: SGD | Adam, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has three steps, in a call of two and one of the last."""
    params, X, y = task
    monkeypatch.setattr(descent_compiled, "AT_ONCE", 2)
    descent = CompiledDescent(
        *(params, X, np.eye(2)[y]),
        **options_of(optimizer, batch_size=32, weight_decay=1e-4),
    )
    rng, left = np.random.default_rng(0), (2, 3, 5)[calls - 1]
    while left > 0:
        for taken in descent.take(rng.permutation(70)):
            left -= taken
            if left == 0:
                break
    function_itself, called = getattr(steps, function), itertools.count(1)

    def interrupted(*arguments: Any) -> None:
        function_itself(*arguments)
        if next(called) == calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, function, interrupted)
    with pytest.warns(UserWarning, match=f"interrupted in epoch {(calls + 1) // 2}:"):
        result = trained(*task, optimizer=optimizer, learning_rate=LEARNING_RATE)
    assert result.optimizer_state.steps == descent.steps == (2, 3, 5)[calls - 1]
    assert same_bits(
        (result.params, result.optimizer_state.moments), (descent.params, descent.moments)
    )


def test_a_call_is_of_no_more_work_than_ctrl_c_can_wait_for(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is of 10 rows and of 26 parameters, and 70 rows make seven."""
    params, X, y = task
    for work, want in ((26 * 30, [3, 3, 1]), (26 * 30 - 1, [2, 2, 2, 1]), (1, [1] * 7)):
        monkeypatch.setattr(descent_compiled, "WORK", work)
        descent = CompiledDescent(params, X, np.eye(2)[y], **options_of(SGD(), batch_size=10))
        assert [*descent.take(np.arange(70))] == want


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 71)])
def test_sparse_rows_are_trained_on_as_dense_ones_are(
    task: Any, weights: Array | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, X, y = task
    monkeypatch.setattr(descent_compiled, "AT_ONCE", 1)
    options: dict[str, Any] = {"sample_weight": weights, "epochs": 1}
    dense = trained(params, X, y, **options)
    sparse = trained(params, scipy.sparse.csr_array(X), y, **options)
    assert same_bits(sparse.params, dense.params)


@pytest.mark.long
def test_rows_in_another_order_of_memory_are_trained_on_alike(task: Any) -> None:
    params, X, y = task
    read_only = np.asfortranarray(X)
    read_only.flags.writeable = False
    assert same_bits(trained(params, read_only, y).params, trained(params, X, y).params)
