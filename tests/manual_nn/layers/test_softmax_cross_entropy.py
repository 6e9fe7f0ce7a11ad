"""The softmax and its cross-entropy: values, invariants, and arguments that stay as they are.

Axes: N rows, K classes.
"""

from types import ModuleType
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.arrays import Array
from manual_nn.compiled.layers import softmax_cross_entropy as compiled
from manual_nn.layers import softmax_cross_entropy
from manual_nn.layers.softmax_cross_entropy import (
    Kept,
    backward,
    cross_entropy,
    forward,
    log_softmax,
    softmax,
)
from reference.compare import Comparer, Verdict
from reference.layers import softmax_cross_entropy as twin
from tests.support.compiled import in_python, of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute, watch
from tests.support.strategies import Shape, dtypes, make_network, seeds


def integers(rng: np.random.Generator, *shape: int, dtype: npt.DTypeLike) -> Array:
    """Draw small integers, which are exact, and whose sums are."""
    return rng.integers(-4, 5, size=shape).astype(dtype)


@given(seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, soft=st.booleans())
def test_the_rows_of_d_logits_sum_to_zero(
    seed: int, N: int, K: int, dtype: type[np.floating], soft: bool
) -> None:
    """Compared with JAX's own sum of its rows, which is 0 but for rounding, under its bound."""
    network = make_network(Shape((K, K), N, soft=soft), dtype, seed=seed)
    target = network.y if soft else np.eye(K, dtype=dtype)[network.y]
    _, kept = forward((), network.X, target=target, row_weight=dtype(1 / N))
    _, d_logits = backward((), kept)

    def row_sums_by_jax(z: Array, target: Array) -> object:
        def cross_entropy(z: Array) -> jax.Array:
            return -(target * jax.nn.log_softmax(z)).sum() / N

        return jax.grad(cross_entropy)(z).sum(axis=1)

    comparer = Comparer(row_sums_by_jax, network.X, target)
    comparison = comparer(d_logits.sum(axis=1), network.X, target)
    assert comparison.verdict == Verdict.MATCH
    assert (comparison.leaves[0].bound < np.sqrt(np.finfo(dtype).eps)).all()  # half the digits


@given(
    seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, shift=st.integers(-99, 99)
)
def test_shifting_all_logits_of_a_row_changes_nothing(
    seed: int, N: int, K: int, dtype: type[np.floating], shift: int
) -> None:
    """Bit for bit, because integers are shifted without rounding; nor does another axis before."""
    z = integers(np.random.default_rng(seed), N, K, dtype=dtype)
    shifts = shift * np.arange(1, N + 1, dtype=dtype)[:, None]
    for function in (softmax, log_softmax):
        np.testing.assert_array_equal(function((z + shifts)[np.newaxis]), [function(z)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, -7.0, 1e30])
def test_equal_logits_are_equally_likely(dtype: type[np.floating], value: float) -> None:
    log_p = log_softmax(np.full((3, 4), value, dtype))
    np.testing.assert_array_equal(log_p, np.full((3, 4), -np.log(dtype(4))))


@given(
    seed=seeds,
    N=st.integers(1, 9),
    K=st.integers(1, 9),
    dtype=dtypes,
    scale=st.sampled_from([1, 30, 1e4]),
)
def test_one_pass_for_both_gives_the_bits_of_two(
    seed: int, N: int, K: int, dtype: type[np.floating], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    z = (scale * rng.normal(size=(N, K))).astype(dtype)
    target = rng.dirichlet(np.ones(K), size=N).astype(dtype)
    row_weight = rng.dirichlet(np.ones(N)).astype(dtype)[:, None]
    loss, kept = forward((), z, target=target, row_weight=row_weight)
    np.testing.assert_array_equal(loss, cross_entropy(log_softmax(z), target, row_weight))
    np.testing.assert_array_equal(kept.p, softmax(z))
    assert kept.target is target
    assert kept.row_weight is row_weight


def test_the_passes_leave_their_arguments_alone() -> None:
    z, target, row_weight = np.array([[0.0, 4096.0]]), np.array([[0.5, 0.5]]), np.float64(0.5)
    loss, kept = forward((), z, target=target, row_weight=row_weight)
    assert loss == 1024
    _, d_logits = backward((), kept)
    np.testing.assert_array_equal(d_logits, [[-0.25, 0.25]])
    for d_out in (-2.0, 0.0, 2.0):
        np.testing.assert_array_equal(backward((), kept, d_out)[1], d_out * d_logits)
    np.testing.assert_array_equal(softmax(z), [[0, 1]])
    np.testing.assert_array_equal(log_softmax(z), [[-4096, 0]])
    log_p = np.array([[-4096.0, 0.0]])
    assert cross_entropy(log_p, target, row_weight) == 1024
    np.testing.assert_array_equal(log_p, [[-4096, 0]])
    np.testing.assert_array_equal(z, [[0, 4096]])
    np.testing.assert_array_equal(kept.p, [[0, 1]])
    np.testing.assert_array_equal(target, [[0.5, 0.5]])


def subject_of(N: int, K: int, seed: int, *, soft: bool = False, **options: Any) -> Subject:
    """Make logits against class numbers, or against probabilities that are whole eighths."""
    rng = np.random.default_rng(seed)
    target = rng.multinomial(8, np.ones(K) / K, size=N) / 8 if soft else rng.integers(K, size=N)
    return Subject(lambda draw, _: ((), draw(N, K)), {"target": target, **options})


def test_a_row_that_is_taken_in_parts_agrees_with_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = in_python(compiled)
    monkeypatch.setattr(layer, "WIDTH", 2)
    prove(layer, twin, subject_of(3, 5, 0, soft=True), seed=0)


@given(
    N=st.integers(1, 6),
    K=st.integers(1, 6),
    soft=st.booleans(),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    ignored=st.sampled_from([None, 0, -100]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    N: int, K: int, soft: bool, weighted: bool, smoothing: float, ignored: int | None, seed: int
) -> None:
    """Some classes have the weight 0, and sometimes no row counts."""
    weights = np.random.default_rng(seed).integers(4, size=K) / 2 if weighted else None
    subject = subject_of(N, K, seed, soft=soft, class_weight=weights, label_smoothing=smoothing)
    if not soft:
        subject.options["ignore_index"] = ignored
        subject.options["target"][1::2] = (
            subject.options["target"][1::2] if ignored is None else ignored
        )
    prove(softmax_cross_entropy, twin, subject, seed)


def without_the_mean(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = backward(params, kept, d_out)
    return (), d_x / kept.row_weight.max()


def with_the_diagonal_of_the_jacobian(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = backward(params, kept, d_out)
    of_its_class = np.eye(d_x.shape[1])[kept.target].astype(bool)
    return (), np.where(of_its_class, d_x, 0)


def with_a_mean_over_what_is_ignored(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Divide by all rows, as nobody sees where no row is ignored."""
    counted = kept.row_weight > 0
    return backward(params, kept._replace(row_weight=kept.row_weight * counted.mean()), d_out)


def with_a_gradient_for_what_is_ignored(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    row_weight = np.full_like(kept.row_weight, kept.row_weight.max())
    return backward(params, kept._replace(row_weight=row_weight), d_out)


def with_the_weight_of_each_entry(params: tuple[()], kept: Any, d_out: Any) -> Any:
    """Weigh p - u where the sum of u stands before p."""
    plain = kept._replace(class_weight=None)
    return (), backward(params, plain, d_out)[1] * kept.class_weight


def smoothed_over_the_other_classes(params: tuple[()], kept: Any, d_out: Any) -> Any:
    """Give each of the other K - 1 classes s / K, and the row's class 1 - s alone."""
    _, d_x = backward(params, kept, d_out)
    share = kept.label_smoothing / kept.p.shape[1] * kept.class_weight * kept.row_weight
    return (), d_x + d_out * share * np.eye(kept.p.shape[1], dtype=kept.p.dtype)[kept.target]


def with_the_jacobian_twice(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Go through the softmax with p - u, which has been through it."""
    _, d_x = backward(params, kept, d_out)
    return (), kept.p * (d_x - (kept.p * d_x).sum(axis=1, keepdims=True))


def test_the_mistakes_that_people_make_are_seen() -> None:
    subject = subject_of(
        4,
        5,
        0,
        class_weight=np.array([1, 0.5, 2, 3, 0.25]),
        label_smoothing=0.25,
        ignore_index=-100,
    )
    subject.options["target"][1] = -100
    refute(
        softmax_cross_entropy,
        twin,
        subject,
        Named(without_the_mean, "jnp.where(total > 0, total"),
        Named(with_the_diagonal_of_the_jacobian, "jax.nn.log_softmax("),
        Named(with_a_mean_over_what_is_ignored, "jnp.where(total > 0, total"),
        with_a_gradient_for_what_is_ignored,
        with_the_weight_of_each_entry,
        smoothed_over_the_other_classes,
        with_the_jacobian_twice,
    )


@of_each_implementation(softmax_cross_entropy)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_class_numbers_are_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Logits 1024 apart, so that p is 0 or 1; the weights of the rows' classes sum to 2 + 2."""
    x = np.array([[0, 1024, 0, 0], [1024, 0, 0, 0], [7, 7, 0, 0]], dtype)
    target, weights = np.array([1, 2, -1]), np.array([4, 2, 2, 8], dtype)
    loss, kept = layer.forward(
        (), x, target=target, class_weight=weights, label_smoothing=0.5, ignore_index=-1
    )
    # u = (0.5, 1.25, 0.25, 1) and (0.5, 0.25, 1.25, 1): against all but the likeliest class
    assert loss == 1024 * (1.75 + 2.5) / 4
    _, d_x = layer.backward((), kept, 2.0)
    want = np.array([[-0.5, 1.75, -0.25, -1], [2.5, -0.25, -1.25, -1], [0] * 4], dtype) / 2
    np.testing.assert_array_equal(d_x, want)
    assert loss.dtype == d_x.dtype == dtype


@of_each_implementation(softmax_cross_entropy)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_the_target_that_do_not_sum_to_one_scale_p(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The loss is 1.5 ln 2 + ln 2 for each; class weights of 1 change nothing."""
    x = np.zeros((2, 2), dtype)
    target = np.array([[0.5, 1], [0, 1]], dtype)
    for weights in (None, np.ones(2, dtype)):
        loss, kept = layer.forward((), x, target=target, class_weight=weights)
        assert loss == cross_entropy(log_softmax(x), target, dtype(0.5))
        _, d_x = layer.backward((), kept)
        np.testing.assert_array_equal(d_x, np.array([[0.125, -0.125], [0.25, -0.25]], dtype))


@of_each_implementation(softmax_cross_entropy)
def test_the_logits_of_an_ignored_row_may_be_anything(layer: ModuleType) -> None:
    for ignored in (np.nan, np.inf, -np.inf):
        x = np.array([[0.0, 1024.0], [ignored, ignored]])
        loss, kept = layer.forward((), x, target=np.array([0, -1]), ignore_index=-1)
        assert loss == 1024
        np.testing.assert_array_equal(layer.backward((), kept)[1], [[-1, 1], [0, 0]])


@of_each_implementation(softmax_cross_entropy)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_any_size_count_by_their_ratios(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Whether 1 over their sum overflows, their sum does, or a class that no row has weighs more.

    The first row, three times as heavy, is certain of its class, the second of the other.
    """
    x, target = np.array([[64, 0, 0], [64, 0, 0]], dtype), np.array([0, 1])
    tiny = np.finfo(dtype).smallest_subnormal
    huge = np.ldexp(dtype(1), np.finfo(dtype).maxexp - 2)  # a quarter of what overflows
    for unit, other in ((tiny, tiny), (tiny, dtype(1)), (huge, tiny), (dtype(1), huge)):
        weights = np.array([3 * unit, unit, other], dtype)
        loss, kept = layer.forward((), x, target=target, class_weight=weights)
        _, d_x = layer.backward((), kept)
        assert loss == 16
        p = kept.p[0, 1]
        np.testing.assert_array_equal(d_x, [[0, 0.75 * p, 0.75 * p], [0.25, -0.25, 0.25 * p]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_used_as_they_are_where_their_sum_and_1_over_it_are_normal_numbers(
    dtype: type[np.floating[Any]],
) -> None:
    x, target = np.array([[1, 2]], dtype), np.array([0])
    smallest = np.finfo(dtype).tiny
    largest = 1 / smallest
    below, above = np.nextafter(smallest, dtype(0)), np.nextafter(largest, dtype(np.inf))
    for total, as_they_are in ((below, False), (smallest, True), (largest, True), (above, False)):
        weights = np.array([total, 0], dtype)
        _, kept = softmax_cross_entropy.forward((), x, target=target, class_weight=weights)
        assert (kept.class_weight is weights) == as_they_are


def test_weights_of_classes_are_added_up_in_their_own_precision() -> None:
    """As large as they are, and multiplied by a power of 2 where their sum is subnormal."""
    x, target = watch(np.array([[1, 2, 3], [3, 2, 1]], np.float32)), np.array([0, 2])
    for unit in (1.0, 2.0**-140):
        weights = watch(np.array([1, 2, 3], np.float32) * np.float32(unit))
        options = {"class_weight": weights, "label_smoothing": 0.25}
        loss, kept = softmax_cross_entropy.forward((), x, target=target, **options)
        _, d_x = softmax_cross_entropy.backward((), kept)
        assert loss.dtype == d_x.dtype == np.float32


@of_each_implementation(softmax_cross_entropy)
def test_nothing_is_lost_where_no_row_counts(layer: ModuleType) -> None:
    x = np.array([[0.0, 1.0]])
    for logits, target, options in (
        (x, np.array([-100]), {"ignore_index": -100}),
        (x[:, :1], np.array([-100]), {"ignore_index": -100}),  # there is class 0 alone
        (x, np.array([0]), {"class_weight": np.array([0.0, 1.0]), "label_smoothing": 0.5}),
    ):
        loss, kept = layer.forward((), logits, target=target, **options)
        assert loss == 0
        np.testing.assert_array_equal(layer.backward((), kept)[1], 0 * logits)


@of_each_implementation(softmax_cross_entropy)
@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (
            TypeError,
            "target must be a NumPy array of integers, got float64",
            {"target": np.ones(2)},
        ),
        (TypeError, "target must be float64 like x, got int64", {"target": np.ones((2, 3), int)}),
        (ValueError, r"target must have shape \(2,\) or \(2, 3\) to", {"target": np.zeros(3, int)}),
        (ValueError, "numbers from 0 to 2, got 3", {"target": np.array([0, 3])}),
        (ValueError, "numbers from 0 to 2, got -1", {"target": np.array([-1, 3])}),
        (ValueError, "ignore_index must be None", {"target": np.eye(3)[:2], "ignore_index": 0}),
        (ValueError, "row_weight must have shape", {"row_weight": np.ones(2)}),
        (TypeError, "row_weight must be a real number, got str", {"row_weight": "mean"}),
        (ValueError, "row_weight must be .* at least 0, got nan", {"row_weight": np.nan}),
        (ValueError, "row_weight must be .* at least 0, got -1", {"row_weight": np.array(-1)}),
        (ValueError, "row_weight must hold", {"row_weight": np.array([[1], [-1.0]])}),
        (ValueError, "row_weight must hold", {"row_weight": np.array([[1], [np.inf]])}),
        (ValueError, r"class_weight must have shape \(3,\)", {"class_weight": np.ones(2)}),
        (ValueError, "class_weight must hold", {"class_weight": np.array([1, -1.0, 1])}),
        (ValueError, "class_weight must hold", {"class_weight": np.array([1, np.inf, 1])}),
        (ValueError, "label_smoothing must be at most 1, got 2", {"label_smoothing": 2}),
        (ValueError, "label_smoothing must be .* at least 0, got -1", {"label_smoothing": -1}),
        (TypeError, "label_smoothing must be a real number, got None", {"label_smoothing": None}),
        (TypeError, "label_smoothing must be a real number, got list", {"label_smoothing": []}),
        (TypeError, r"ignore_index must be a whole number, got 1\.0", {"ignore_index": 1.0}),
        (TypeError, "ignore_index must be a whole number, got True", {"ignore_index": True}),
        (TypeError, r"ignore_index must be a whole number, got \[1\]", {"ignore_index": [1]}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    layer: ModuleType, error: type[Exception], message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(error, match=message):
        layer.forward((), np.ones((2, 3)), **{"target": np.array([0, 1]), **options})


@of_each_implementation(softmax_cross_entropy)
def test_logits_that_are_no_matrix_of_real_numbers_are_refused(layer: ModuleType) -> None:
    target = np.array([0, 1])
    with pytest.raises(TypeError, match=r"^x must be float32 or float64, got int64$"):
        layer.forward((), np.ones((2, 3), int), target=target)
    with pytest.raises(ValueError, match=r"^x must have at least 2 axes and no empty one, got"):
        layer.forward((), np.ones(2), target=target)


@of_each_implementation(softmax_cross_entropy)
def test_a_derivative_that_is_no_number_is_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)), target=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"d_out must be one number, got an array of shape \(2,\)"):
        layer.backward((), kept, np.ones(2))


def test_the_twin_takes_class_numbers_for_probabilities_and_weighs_the_rows() -> None:
    """Of two rows and three classes one is certain of another class, and counts three times."""
    x = np.array([[0.0, 0.0, 0.0], [-1e3, 0.0, -1e3]])
    of_rows = np.log(3), 1e3
    for target in (np.array([1, 2]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])):
        for weights, loss in (
            (None, sum(of_rows) / 2),
            (np.array([1.0, 3.0]), np.log(3) / 4 + 750),
        ):
            value = twin.forward((), x, target=target, sample_weight=weights)
            assert value == pytest.approx(loss, rel=1e-6)  # of float32


@of_each_implementation(softmax_cross_entropy)
@pytest.mark.parametrize("factor", [0.0, 2.0**-7])
def test_a_row_s_cost_is_multiplied_before_it_is_added_up(layer: ModuleType, factor: float) -> None:
    """Two classes of probability 0 cost the largest number each, whose sum overflows."""
    x = np.array([[0, -np.inf, -np.inf]], np.float32)
    row_weight = np.array([[factor]], np.float32)
    loss, _ = layer.forward((), x, target=np.array([[0, 1, 1]], np.float32), row_weight=row_weight)
    assert loss == 2 * (np.finfo(np.float32).max * np.float32(factor))
