"""check_gradient: verdicts, preflight, the report as text, data and picture."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
import scipy.special

import manual_nn
import reference
from reference import GradientReport, Verdict, check_gradient
from reference.arrays import PRECISION, Array
from reference.compare import Comparer
from reference.diagnosis.causes import diagnose
from reference.diagnosis.codes import Code
from reference.diagnosis.difference import Difference
from reference.limit import Limit
from tests.support.cases import each

Gradient = Callable[[Array, Array, Array], Array]


def loss(w: Any, X: Any, y: Any) -> Any:
    """Half the mean squared error."""
    return jnp.mean((X @ w - y) ** 2) / 2


def gradient(w: Array, X: Array, y: Array) -> Array:
    """Its gradient in w."""
    return X.T @ (X @ w - y) / X.dtype.type(len(X))


def example(dtype: npt.DTypeLike = np.float64) -> tuple[Array, Array, Array]:
    """Give arguments for both."""
    rng = np.random.default_rng(0)
    w, X, y = rng.normal(size=4), rng.normal(size=(6, 4)), rng.normal(size=6)
    return w.astype(dtype), X.astype(dtype), y.astype(dtype)


def check(wrong: Any) -> GradientReport:
    """Check another gradient at the example."""
    return check_gradient(wrong, loss, *example())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_right_gradient_matches_and_has_no_cause(dtype: npt.DTypeLike) -> None:
    for grad in (gradient, gradient(*example(dtype))):
        report = check_gradient(grad, loss, *example(dtype))
        assert report.ok
        assert report.verdict == Verdict.MATCH
        assert report.causes == ()
        assert report.warnings == ()  # no kink, nothing lost
        assert report.dtype == np.dtype(dtype).name


def test_one_wrong_element_is_a_mismatch_and_is_named() -> None:
    def wrong(*args: Array) -> Array:
        result = gradient(*args)
        result[2] *= 1 + 1e-9
        return result

    report = check(wrong)
    assert not report.ok
    assert report.verdict == Verdict.MISMATCH
    assert report.leaves[0].worst_index == (2,)


def test_jax_settings_of_the_caller_do_not_matter() -> None:
    """With x64 off the check still computes in float64, and leaves the setting as it was."""
    with jax.enable_x64(False):  # noqa: FBT003, JAX's way
        assert check_gradient(gradient, loss, *example(np.float64)).ok
        assert jnp.zeros(1, float).dtype == np.float32


def test_several_arguments_and_any_tree() -> None:
    params = {"w": example()[0], "b": [np.array(0.5)]}

    def tree_loss(X: Any, params: Any, y: Any) -> Any:
        return loss(params["w"], X, y - params["b"][0])

    def tree_gradient(X: Array, params: Any, y: Array) -> Any:
        residual = (X @ params["w"] - y + params["b"][0]) / len(X)
        d_params = {"w": X.T @ residual, "b": [residual.sum()]}
        return d_params, np.outer(residual, params["w"])

    _, X, y = example()
    report = check_gradient(tree_gradient, tree_loss, X, params, y, argnums=(1, 0))
    assert report.ok, report
    assert [leaf.path for leaf in report.leaves] == [
        "['params']['b'][0]",
        "['params']['w']",
        "['X']",
    ]


def test_arrays_are_named_as_the_arguments_of_the_loss_or_else_numbered_as_these() -> None:
    def of_named(x: Any, w: Any, *rest: Any) -> Any:
        return (x * w).sum() + sum((array**2).sum() for array in rest)

    x, w, a, b = np.arange(1.0, 9).reshape(4, 2)
    for argnums, paths in (
        (("w", "x"), ["['w']", "['x']"]),
        ((1, 3), ["['w']", "[3]"]),
        ([2], ["[2]"]),
        (None, ["['x']", "['w']", "[2]", "[3]"]),
    ):
        right = {"['x']": w, "['w']": x, "[2]": 2 * a, "[3]": 2 * b}
        results = tuple(right[path] for path in paths)
        report = check_gradient(results, of_named, x, w, a, b, argnums=argnums)
        assert (report.ok, [leaf.path for leaf in report.leaves]) == (True, paths)
    for kind in (dict, OrderedDict):  # by their names, in any order
        assert check_gradient(kind(x=w, w=x), of_named, x, w, argnums=("w", "x")).ok
    report = check_gradient({"x": w}, of_named, x, w, argnums=("w", "x"))
    assert report.causes[0].evidence == "got a dict of 'x', expected a tuple of 2"
    report = check_gradient((x, w[:1]), of_named, x, w, argnums=("w", "x"))
    assert report.causes[0].evidence == "gradient['x'] has shape (1,), expected (2,)"
    report = check_gradient(([x], w), of_named, x, w, argnums=("w", "x"))
    assert report.verdict == Verdict.WRONG_STRUCTURE
    report = check_gradient((x, None), of_named, x, w, argnums=("w", "x"))
    assert report.causes[0].evidence.startswith("None is returned for gradient['x']; ")


BUFFER = np.zeros(4)


def into_one_buffer(w: Array, X: Array, y: Array) -> Array:
    """Return the same array every time."""
    BUFFER[:] = gradient(w, X, y)
    return BUFFER


def mutating(w: Array, X: Array, y: Array) -> Array:
    """Change the arguments."""
    result = gradient(w, X, y)
    w -= 0.5 * result
    return result


def random(w: Array, X: Array, y: Array) -> Array:
    """Change from call to call."""
    return gradient(w, X, y) * np.random.default_rng().normal(size=4)


class Stale:
    """Returns the gradient of the call before."""

    def __init__(self) -> None:
        """Begin with the right one."""
        self.before: Array | None = None

    def __call__(self, w: Array, X: Array, y: Array) -> Array:
        """Give out what was computed last time."""
        now = gradient(w, X, y)
        result = now if self.before is None else self.before
        self.before = now
        return result


PREFLIGHT = [
    (Code.WRONG_STRUCTURE, lambda *args: (gradient(*args),)),
    (Code.WRONG_SHAPE, lambda *args: gradient(*args)[:, None]),
    (Code.WRONG_DTYPE, lambda *args: gradient(*args).astype(np.float16)),
    (Code.NON_FINITE, lambda *args: gradient(*args) / [1, 1, np.inf, np.nan]),
    (Code.MUTATED_INPUT, mutating),
    (Code.NONDETERMINISTIC, random),
    (Code.STALE, Stale()),
    (Code.ALIASED_OUTPUT, into_one_buffer),
    (Code.ALIASED_OUTPUT, lambda w, *_: w),
]


@pytest.mark.parametrize(("code", "wrong"), PREFLIGHT)
def test_what_makes_a_comparison_pointless_has_a_verdict_of_its_own(
    code: Code, wrong: Gradient
) -> None:
    with np.errstate(invalid="ignore"):
        report = check(wrong)
    assert not report.ok
    assert report.verdict == Verdict[code.name]
    assert report.causes[0].code == code
    assert code.value in str(report)


def half_square(w: Any, *_: Any) -> Any:
    """Have the gradient w."""
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w)) / 2


def test_the_gradient_is_called_at_the_example_a_sixteenth_further_and_there_again() -> None:
    points: list[Any] = []

    def noting(*args: Any) -> Any:
        points.append((args[0].copy(), args[1].copy(), args[2]))
        assert isinstance(args[2], float)
        return args[0] + 0, args[2] + 0

    args = np.array([2, -4], np.float32), np.array([8.0]), 2.0

    def loss_of_both(w: Any, _: Any, scale: Any) -> Any:
        return half_square((w, scale))

    assert check_gradient(noting, loss_of_both, *args, argnums=(0, 2)).ok
    for point in points:
        assert [arg.dtype for arg in point[:2]] == [np.float32, np.float64]
    for w, unmoved, scale in points:
        np.testing.assert_array_equal(unmoved, [8])
        np.testing.assert_array_equal(w, np.array([2, -4]) * scale / 2)
    assert [point[2] for point in points] == [2, 2.125, 2]


def test_a_kink_may_be_decided_one_way_and_then_the_other() -> None:
    """A match and then an ambiguous result at the same arguments are both right."""
    x, w = np.array([0.1, 0.2, -0.3]), np.ones(3)
    slopes = iter([0.0, 0.0, 1.0])
    report = check_gradient(lambda _w, x: next(slopes) * x, lambda w, x: jax.nn.relu(w @ x), w, x)
    assert report.ok


def test_what_changes_from_call_to_call_is_named_with_the_largest_difference() -> None:
    calls = iter([0.0, 7.0, 0.5])

    def jumping(ws: Any) -> Any:
        jump = next(calls)
        return [ws[0] + jump * np.array([1, 0.5]), ws[1] + 0]

    report = check_gradient(jumping, half_square, [np.array([-8.0, 8.0]), np.ones(2)])
    assert report.verdict == Verdict.NONDETERMINISTIC
    assert report.causes[0].evidence == "gradient[0] differs by up to 0.5"


def test_arguments_that_were_changed_are_named_and_only_arrays_of_their_shape_are_put_back() -> (
    None
):
    params = {"array": np.ones(2), "number": 1.0, "shape": np.ones(2), "untouched": np.ones(2)}

    def changing(params: Any) -> Any:
        result = jax.tree.map(np.ones_like, params)
        params["array"] *= 2
        params["number"] = 3.0
        params["shape"] = np.ones(1)
        return result

    report = check_gradient(changing, half_square, params)
    assert report.verdict == Verdict.MUTATED_INPUT
    named = "args[0]['array'], args[0]['number'], args[0]['shape']"
    assert report.causes[0].evidence == named
    np.testing.assert_array_equal(params["array"], [1, 1])
    assert params["number"] == 3

    def removing(params: Any) -> Any:
        params.pop("array", None)
        return {"array": np.ones(2), "other": np.ones(2)}

    report = check_gradient(removing, half_square, {"array": np.ones(2), "other": np.ones(2)})
    assert report.causes[0].evidence == "the structure of the arguments"


def test_of_several_faults_the_first_is_the_verdict_and_all_are_listed() -> None:
    def both(w: Array) -> Array:
        w += 0.5
        return w

    report = check_gradient(both, half_square, np.ones(2))
    assert report.verdict == Verdict.MUTATED_INPUT
    assert [(cause.code, cause.evidence) for cause in report.causes] == [
        (Code.MUTATED_INPUT, "args[0]"),
        (
            Code.ALIASED_OUTPUT,
            "a later call wrote into the arrays that an earlier one had returned",
        ),
        (Code.ALIASED_OUTPUT, "gradient and args[0]"),
    ]


def test_a_view_of_a_jax_array_is_no_alias_for_nobody_can_write_to_it() -> None:
    assert check_gradient(np.asarray, half_square, jnp.ones(3)).ok


def test_what_is_not_finite_is_counted_and_the_first_named() -> None:
    wrong = np.ones((2, 3)), np.ones(2), np.ones(2)
    wrong[0][0, 2] = wrong[0][1, 0] = np.nan
    wrong[1][1] = np.inf
    report = check_gradient(wrong, half_square, tuple(map(np.ones_like, wrong)))
    assert report.verdict == Verdict.NON_FINITE
    evidence = "gradient[0]: 2 of 6, the first at (0, 2); gradient[1]: 1 of 2, the first at (1,)"
    assert report.causes[0].evidence == evidence


def test_what_overflows_in_jax_too_cannot_be_compared() -> None:
    with np.errstate(over="ignore"):
        report = check_gradient(np.exp, lambda w: jnp.exp(w).sum(), np.array([1000.0, 0.0]))
    assert report.verdict == Verdict.NOT_COMPARABLE
    (cause,) = report.causes
    assert cause.code == Code.NOT_COMPARABLE
    assert "that of exp at test_check.py" in cause.evidence


def test_a_gradient_that_was_computed_once_and_for_all_is_stale() -> None:
    once = gradient(*example())
    report = check(lambda *_: once.copy())
    assert report.verdict == Verdict.STALE
    assert report.causes[0].code == Code.STALE


def test_the_gradient_of_a_linear_function_is_the_same_everywhere() -> None:
    X = example()[1]
    assert check_gradient(lambda _: X.sum(axis=0), lambda w: (X @ w).sum(), np.ones(4)).ok


def test_arguments_counted_from_the_end_are_moved_too() -> None:
    def last(y: Array, X: Array, w: Array) -> Array:
        return gradient(w, X, y)

    def loss_of_last(y: Any, X: Any, w: Any) -> Any:
        return loss(w, X, y)

    args = example()[::-1]
    assert check_gradient(last, loss_of_last, *args, argnums=-1).ok
    once = last(*args)
    report = check_gradient(lambda *_: once.copy(), loss_of_last, *args, argnums=-1)
    assert report.verdict == Verdict.STALE
    assert check_gradient(lambda *args: (gradient(*args[::-1]),), loss_of_last, *args, argnums=[-1])
    assert check_gradient(gradient, loss, *example(), argnums=-3)
    for place in (3, -4):
        words = f"argnums must be from 0 to 2 for 3 arguments, got {place}"
        with pytest.raises(ValueError, match=words):
            check_gradient(last, loss_of_last, *args, argnums=place)


def test_numbers_reach_the_gradient_as_numbers() -> None:
    params = manual_nn.init_params([3, 2], rng=np.random.default_rng(0))
    X, y = example()[1][:, :3], np.array([0, 1, 0, 1, 1, 0])

    def by_hand(params: Any, X: Array, y: Array, weight_decay: float) -> Any:
        return manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)[1]

    def by_jax(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
        return reference.loss(params, X, y, weight_decay=weight_decay)

    assert check_gradient(by_hand, by_jax, params, X, y, 0.01).ok


def test_a_gradient_may_have_a_domain() -> None:
    """Only the point that was asked for counts: p = 0.99 has a neighbour beyond 1."""

    def d_entropy(p: Array) -> Array:
        if (p >= 1).any():
            raise ValueError("p must be below 1")
        return -np.log(p) - 1

    def entropy(p: Any) -> Any:
        return -jnp.sum(p * jnp.log(p))

    assert check_gradient(d_entropy, entropy, np.array([0.5, 0.99])).ok


def test_the_precision_is_that_of_what_the_gradient_is_taken_in() -> None:
    w, X, y = example()
    X = X.astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):
        report = check_gradient(lambda *args: gradient(*args) * (1 + 1e-9), loss, w, X, y)
    assert report.dtype == "float64"
    assert report.verdict == Verdict.MISMATCH


def test_an_empty_array_has_nothing_wrong(tmp_path: Path) -> None:
    args = np.zeros((0, 3)), np.ones(2)
    report = check_gradient(
        lambda a, b: (0 * a, 2 * b), lambda a, b: (a**2).sum() + (b**2).sum(), *args, argnums=(0, 1)
    )
    assert report.ok
    assert report.to_dict()["leaves"][0]["verdict"] == "match"
    report.plot(tmp_path / "picture.png")
    with pytest.raises(TypeError, match="have no arrays"):
        check_gradient([], lambda _: 0.0, [])


def test_jax_arrays_are_taken_and_given_back_as_such() -> None:
    args = tuple(map(jnp.asarray, example()))
    report = check_gradient(lambda w, X, y: w.at[:].set(X.T @ (X @ w - y) / 6), loss, *args)
    assert report.ok


def test_one_array_may_be_two_gradients_for_that_does_no_harm() -> None:
    def both(w: Array, v: Array, X: Array, y: Array) -> tuple[Array, Array]:
        result = gradient(w + v, X, y)
        return result, result

    w, X, y = example()

    def loss_of_sum(w: Any, v: Any, X: Any, y: Any) -> Any:
        return loss(w + v, X, y)

    assert check_gradient(both, loss_of_sum, w, w, X, y, argnums=(0, 1)).ok


def test_modified_arguments_are_put_back() -> None:
    args = example()
    check_gradient(mutating, loss, *args)
    for now, before in zip(args, example(), strict=True):
        np.testing.assert_array_equal(now, before)


def test_calls_that_differ_by_rounding_alone_are_right() -> None:
    """Atomic additions on a GPU add up in another order each time."""
    rng = np.random.default_rng(1)

    def reordered(w: Array, X: Array, y: Array) -> Array:
        order = rng.permutation(len(X))
        return gradient(w, X[order], y[order])

    assert check(reordered).ok


def test_an_element_on_a_kink_is_ambiguous_and_is_listed() -> None:
    """The pre-activation 0.1 + 0.2 - 0.3 is 0 or 5e-17, whatever the order of the additions."""
    x, w = np.array([0.1, 0.2, -0.3]), np.ones(3)

    def relu_loss(w: Any, x: Any) -> Any:
        return jax.nn.relu(w @ x)

    for slope in (0.0, 1.0):
        report = check_gradient(slope * x, relu_loss, w, x)
        assert report.ok
    verdicts = {check_gradient(slope * x, relu_loss, w, x).verdict for slope in (0.0, 1.0)}
    assert verdicts == {Verdict.MATCH, Verdict.AMBIGUOUS}
    texts = [str(check_gradient(slope * x, relu_loss, w, x)) for slope in (0.0, 1.0)]
    assert (
        sum("3 elements hang on a kink within rounding: (0,), (1,), (2,)" in t for t in texts) == 1
    )
    assert check_gradient(0.5 * x, relu_loss, w, x).ok  # between the two, as a subgradient is
    for slope in (-1e-9, 1 + 1e-9, -1.0, 2.0):
        wrong = check_gradient(slope * x, relu_loss, w, x, explain_seconds=0)
        assert wrong.verdict == Verdict.MISMATCH
    assert any("100.0% of gradient hangs on kinks" in text for text in report.warnings)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=rf"args\[0\] {PRECISION}, got int64"):
        check_gradient(gradient, loss, np.arange(4), *example()[1:])
    words = (
        r"must return a scalar, got an array of shape \(6,\); .* by check_layer, or by check_vjp"
    )
    with pytest.raises(TypeError, match=words):
        check_gradient(gradient, lambda w, X, y: X @ w - y, *example())
    with pytest.raises(TypeError, match="must return a scalar, got 2 arrays"):
        check_gradient(gradient, lambda w, *_: (w.sum(), w), *example())


def test_what_has_no_bound_is_checked_by_measured_rounding_alone() -> None:
    def gamma_loss(w: Any) -> Any:
        return jax.lax.lgamma(w).sum()

    w = np.array([1.5, 3.0])
    assert check_gradient(scipy.special.digamma, gamma_loss, w).verdict == Verdict.MATCH
    report = check_gradient(lambda w: 1.001 * scipy.special.digamma(w), gamma_loss, w)
    assert report.verdict == Verdict.MISMATCH
    assert all(leaf.proven is None for leaf in report.leaves)


@each(
    ("given", "evidence"),
    [
        ([np.nan, 1.0], "w has a NaN at [0], so that nothing is compared that depends on it; "),
        ([1.0, np.inf], "w has an infinity at [1]; check where all are finite"),
        ([-np.inf, np.nan], "w has a NaN at [1], so"),
    ],
)
def test_an_argument_that_is_not_finite_is_named_with_its_place(
    given: list[float], evidence: str
) -> None:
    report = check_gradient(lambda w: w.copy(), half_square, np.array(given), explain_seconds=0)
    (cause,) = report.causes
    assert cause.code == Code.NOT_COMPARABLE
    assert cause.evidence.startswith(evidence)


def test_an_operation_that_leaves_the_range_is_named_with_the_infinity_that_it_may_get() -> None:
    def of_all(*args: Any) -> Any:
        return jnp.sum(args[0] * (args[1]["c"][0] - args[1]["c"][0]))

    given = np.ones(2), {"c": [np.array(-np.inf)]}
    (cause,) = check_gradient(lambda *_: np.full(2, np.nan), of_all, *given).causes
    assert cause.code == Code.NOT_COMPARABLE
    assert "is that of sub at test_check.py" in cause.evidence
    assert "(args[1]['c'][0] is an infinity); rewrite it" in cause.evidence


def test_a_gradient_without_an_element_is_right_and_said_not_to_be_compared() -> None:
    report = check_gradient(lambda w: w + 0, half_square, np.ones((0, 3)))
    assert report.ok
    assert report.warnings == ("there is nothing to compare: the gradient has no elements",)


def test_a_gradient_that_comes_after_the_loss_is_told_to_come_first() -> None:
    first = "; the loss returns what the gradient should: the gradient comes first, "
    for argnums in (0, (0, 1)):

        def both(*args: Array) -> Any:
            found = gradient(*args), args[1]
            return found[0] if argnums == 0 else found  # noqa: B023, called at once

        (cause,) = check_gradient(loss, both, *example(), argnums=argnums).causes
        assert first in cause.evidence
    (cause,) = check_gradient(loss, loss, *example()).causes
    assert cause.evidence == "gradient has shape (), expected (4,)"


def test_what_is_no_loss_and_no_example_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="loss must be a function, got a float"):
        check_gradient(gradient, 3.0, *example())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^\*args must be the arguments to check at, got none$"):
        check_gradient(gradient, loss)


def test_sensitivity_is_the_smallest_scale_error_that_is_seen() -> None:
    right = gradient(*example())
    (seen,) = check(right).sensitivity.values()
    assert 0 < seen < 1e-12
    assert check(right * (1 + seen / 2)).verdict == Verdict.MATCH
    assert check(right * (1 + 4 * seen)).verdict == Verdict.MISMATCH


def test_the_array_that_most_of_is_right_is_described_first() -> None:
    a, b = np.arange(1.0, 4), np.arange(1.0, 5)
    d_b = 2 * b
    d_b[1] += 1

    def squares(a: Any, b: Any) -> Any:
        return (a**2).sum() + (b**2).sum()

    wrong = (np.cos(a), d_b)
    report = check_gradient(wrong, squares, a, b, argnums=(0, 1), explain_seconds=0)
    first, second = report.where
    assert first.startswith("['b']: wrong in element 1 of 4")
    assert second.startswith("['a']: wrong in every element")


@pytest.mark.long
def test_the_report_fits_a_screen_for_a_hundred_leaves() -> None:
    ws = [np.full(2, float(i + 1)) for i in range(100)]

    def sum_of_squares(ws: Any) -> Any:
        return sum(jnp.sum(w**2) for w in ws)

    comparer = Comparer(jax.grad(sum_of_squares), ws)  # to measure the rounding takes seconds
    leaves = comparer([2 * w for w in ws[:99]] + [ws[99]], ws).leaves
    causes = diagnose(Difference(leaves, sum_of_squares, (ws,), 0, limit=Limit(0)))
    report = GradientReport(Verdict.MISMATCH, leaves, causes, (), "float64")
    lines = str(report).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert "[99]" in str(report)
    assert "and 88 more leaves, match" in str(report)


@pytest.mark.long
def test_the_report_as_data_survives_json() -> None:
    report = check(2 * gradient(*example()))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False
    assert data["verdict"] == "mismatch"
    assert data["causes"][0]["code"] == "scaled"
    leaf = data["leaves"][0]
    assert leaf["shape"] == [4]
    (index,) = leaf["worst_index"]
    assert leaf["got"] == 2 * gradient(*example())[index]  # the number that was handed in


@pytest.mark.long
def test_the_picture_shows_one_wrong_element_of_a_large_leaf(tmp_path: Path) -> None:
    w = np.zeros((300, 500))
    wrong = np.ones((300, 500))
    wrong[123, 456] = 2
    report = check_gradient(wrong, jnp.sum, w)
    figure = report.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0
    image = np.asarray(figure.axes[0].images[0].get_array())
    assert (image > 1).sum() == 1
    (high, wide), (height, width) = w.shape, image.shape
    assert image[123 * height // high, 456 * width // wide] > 1
