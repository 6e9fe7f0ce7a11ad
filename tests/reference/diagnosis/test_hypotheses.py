"""The hypotheses on gradients made by hand: what each takes for its mistake, and what it says.

The losses are not asked, but for those of single rows; `test_causes.py` plants mistakes in the
gradients of real ones. Axes: N rows in the batch.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from reference import Cause, Code, Leaf
from reference.arrays import Array
from reference.diagnosis import permutations
from reference.diagnosis.causes import diagnose
from reference.diagnosis.difference import Difference
from reference.diagnosis.found import Found
from reference.diagnosis.hypotheses import layers_of as list_of_layers
from reference.diagnosis.hypotheses import permuted
from tests.support.cases import each
from tests.support.leaves import leaf_of

pytestmark = pytest.mark.usefixtures("no_lines")

UNIT_ROUNDOFF = 2.0**-51  # that of JAX's float64 and NumPy's, once for each and once beside each
X = np.zeros((4, 2))  # a batch of N = 4
OF_X = (X,)


NOT_ASKED: Any = object()  # a loss that could not even be called


@pytest.fixture(autouse=True)
def _without_a_search_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what test_edges.py is about, which asks the loss for its operations."""
    monkeypatch.setattr("reference.diagnosis.causes.located", lambda _: [])


def paths(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Call them [0], [1] and so on, if there are several."""
    if len(leaves) == 1:
        return list(leaves)
    return [dataclasses.replace(leaf, path=leaf.path or f"[{i}]") for i, leaf in enumerate(leaves)]


def difference_of(
    *leaves: Leaf,
    params: Sequence[npt.ArrayLike] | None = None,
    others: tuple[Any, ...] = (),
    loss: Any = NOT_ASKED,
    undecided: Collection[int] = (),
) -> Difference:
    """Make the gradient of a list of parameters, which are random if nothing else is said."""
    rng = np.random.default_rng(0)
    if params is None:
        params = [rng.normal(size=leaf.want.shape) for leaf in leaves]
    args = ([np.asarray(param, np.float64) for param in params], *others)
    return Difference(paths(leaves), loss, args, 0, frozenset(undecided))


def said(*leaves: Leaf, **rest: Any) -> list[tuple[Code, str]]:
    """List the causes with what their sentences say in addition to the code's description."""
    found = diagnose(difference_of(*leaves, **rest))
    for cause in found:
        assert cause.sentence.startswith(cause.code.description[:-1])
    rests = [cause.sentence.removeprefix(cause.code.description[:-1]) for cause in found]
    return [
        (cause.code, rest.removeprefix(" (").removesuffix(").").removesuffix("."))
        for cause, rest in zip(found, rests, strict=True)
    ]


def codes(*leaves: Leaf, **rest: Any) -> list[Code]:
    return [code for code, _ in said(*leaves, **rest)]


WANT = np.array([1.0, -3.0, 8.0])
PARAM = np.array([4.0, 1.0, -2.0])
UNKNOWN = [(Code.UNKNOWN, "")]


# What is said of which arrays


def test_a_cause_counts_the_elements_that_are_wrong_and_those_that_it_explains() -> None:
    right, wrong = leaf_of([1, 2], [1, 2]), leaf_of([1, 2, 0], [-1, -2, 0])
    (cause,) = diagnose(difference_of(right, wrong))
    assert cause == Cause(
        Code.SIGN,
        "The gradient has the wrong sign ([1]).",
        "2 of 3 elements are farther from autodiff than rounding allows; "
        "with this mistake all 3 are within its bound",
    )
    (cause,) = diagnose(difference_of(right, leaf_of([1, 2, 0], [3, 5, 0])))
    assert cause == Cause(
        Code.UNKNOWN,
        "No hypothesis explains the difference.",
        "2 of 3 elements are farther from autodiff than rounding allows",
    )
    assert diagnose(difference_of(right)) == ()


@pytest.mark.parametrize(
    ("wrong", "right", "named"),
    [
        (1, 0, "the array"),
        (1, 1, "[0]"),
        (2, 0, "every array"),
        (4, 1, "[0], [1], [2], [3]"),
        (5, 1, "[0], [1], [2], [3] and 1 more"),
        (7, 1, "[0], [1], [2], [3] and 3 more"),
    ],
)
def test_four_arrays_are_named_and_the_others_counted(wrong: int, right: int, named: str) -> None:
    leaves = [leaf_of(WANT, -WANT)] * wrong + [leaf_of(WANT, WANT)] * right
    assert said(*leaves)[0] == (Code.SIGN, named)


def test_what_explains_all_alike_comes_before_what_explains_each_in_its_way() -> None:
    by_2, by_3 = leaf_of([1, 1], [2, 2]), leaf_of([1, 1], [3, 3])
    assert said(by_2, by_3) == [
        (Code.CONSTANT_OFFSET, "[0]: got - want = 1; [1]: got - want = 2"),
        (Code.SCALED, "[0]: 2; [1]: 3"),
    ]


def test_if_nothing_explains_all_what_explains_most_comes_first() -> None:
    """And what explains no other than those before it is not said."""
    either = leaf_of([2, -2], [-2, 2])  # of the wrong sign or reversed
    reversed_, negative = leaf_of([5, 7], [7, 5]), leaf_of([3, -3, 1], [-3, 3, -1])
    empty = leaf_of([5, 7], [0, 0])
    assert codes(either, either, empty) == [Code.SIGN, Code.ZERO]
    assert codes(either, negative, empty) == [Code.SIGN, Code.ZERO]
    assert codes(reversed_, reversed_, empty) == [Code.PERMUTED, Code.ZERO]


def test_what_was_found_cannot_be_changed() -> None:
    for found in (Cause(Code.SIGN, "", ""), Found(Code.SIGN)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.code = Code.ZERO  # type: ignore[misc] # on purpose
    assert Found(Code.SIGN).shared


# Multiples


@pytest.mark.parametrize(
    ("factor", "code", "text"),
    [
        (-1, Code.SIGN, ""),
        (4, Code.SUM_NOT_MEAN, "4 times, the number of rows"),
        (0.25, Code.SCALED, "1/4, 1 over the number of rows"),
        (-4, Code.SCALED, "-4, the number of rows and a sign"),
        (2, Code.SCALED, "2"),
        (0.5, Code.SCALED, "1/2"),
        (-2, Code.SCALED, "-2"),
    ],
)
def test_a_factor_with_a_name_is_named_even_for_one_number(
    factor: float, code: Code, text: str
) -> None:
    named = f"the array: {text}".removesuffix(": ")
    for want in (WANT, np.array([8.0, 0.0]), np.array(8.0)):
        assert said(leaf_of(want, factor * want), others=OF_X)[0] == (code, named)


def test_of_two_rows_a_factor_of_2_is_their_number() -> None:
    leaf = leaf_of(WANT, 2 * WANT)
    assert said(leaf, others=(0.5, X[:2]))[0][0] == Code.SUM_NOT_MEAN
    assert said(leaf_of(WANT, WANT / 2), others=(X[:2],))[0][1].endswith("over the number of rows")
    assert said(leaf, others=(X[:1],))[0] == (Code.SCALED, "the array: 2")
    assert said(leaf, others=(0.5,))[0] == (Code.SCALED, "the array: 2")
    assert said(leaf_of(WANT, -WANT), others=(X[:1],))[0] == (Code.SIGN, "the array")


def test_the_quotient_of_two_axes_lengths_is_named_unless_several_are_it() -> None:
    leaf = leaf_of(WANT, 1.5 * WANT)
    of_lengths = {
        (6, 4): " = 6/4, the quotient of two axes' lengths",
        (3, 2): ", the quotient of two axes' lengths",
        (6, 4, 9): "",
    }
    for shapes, name in of_lengths.items():
        others = (np.ones(shapes[:2]), np.ones(shapes[2:]))
        assert said(leaf, others=others)[0] == (Code.SCALED, f"the array: 3/2{name}")


def test_any_other_factor_takes_two_elements_that_could_have_said_no() -> None:
    assert said(leaf_of([0.25, -0.5], [0.75, -1.5]))[0] == (Code.SCALED, "the array: 3")
    assert said(leaf_of([0.25, -0.5, 0], [0.75, -1.5, 0]))[0] == (Code.SCALED, "the array: 3")
    assert said(leaf_of([8, 0, 0], [24, 0, 0])) == UNKNOWN
    assert said(leaf_of([8, 0], [24, 0], [0, 0.25]))[0] == (Code.SCALED, "the array: 3")


def test_0_times_any_factor_is_0() -> None:
    for wrong in (1.0, 1e-308):  # the latter is less than a normal number
        assert said(leaf_of([8, 2, 0], [24, 6, wrong])) == UNKNOWN


def test_a_product_may_be_rounded_to_a_subnormal() -> None:
    got = [3 * 2.0**-1022, 3 * 2.0**-1074, 2 * 2.0**-1074]
    assert codes(leaf_of([2.0**52, 0.9, 0.7], got)) == [Code.SCALED]
    got = [3 * 2.0**-1022, 3 * 2.0**-1074, 4 * 2.0**-1074]
    assert codes(leaf_of([1, 2.0**-52, 1.25 * 2.0**-52], got)) == [Code.SCALED]


def test_each_array_may_have_a_factor_of_its_own() -> None:
    leaves = [leaf_of(WANT, 2 * WANT), leaf_of(WANT, 3 * WANT)]
    assert said(*leaves) == [(Code.SCALED, "[0]: 2; [1]: 3")]


def test_what_one_more_rounding_could_make_is_explained_by_no_number() -> None:
    """It is wrong, but any number that were fitted may as well be that of no mistake."""
    assert said(leaf_of([1, 1], [1 + 2.0**-52, 1], 2.0**-53), others=OF_X) == UNKNOWN


def test_a_factor_that_may_be_infinite_explains_nothing() -> None:
    assert said(leaf_of([1, 1], [10, 20], 2.0), others=OF_X) == UNKNOWN
    assert said(leaf_of([1, 1], [-10, -20], 2.0), others=OF_X) == UNKNOWN


def test_a_number_is_written_with_the_digits_that_are_sure() -> None:
    assert said(leaf_of([0, 0], [2.9375, 2.9375], 0.125)) == [
        (Code.CONSTANT_OFFSET, "the array: got - want = 3")
    ]
    c = 1.2345678901234567  # known to 2^-49 of itself
    assert said(leaf_of([0, 0], [c, c])) == [
        (Code.CONSTANT_OFFSET, "the array: got - want = 1.234567890123457")
    ]


# Sums, and single rows


@pytest.mark.parametrize("N", [2, 3])
def test_a_sum_beside_a_penalty_is_seen_from_two_weights_on(N: int) -> None:
    param, others = np.array([2.0, 0.0, -4.0]), (np.zeros((N, 1)),)
    leaf = leaf_of(WANT, N * WANT - 0.5 * param, 2.0**-40)
    text = f"the array: {N} rows, except for a penalty"
    assert said(leaf, params=[param], others=others) == [(Code.SUM_NOT_MEAN, text)]
    one = np.array([2.0, 0.0, 0.0])
    leaf = leaf_of(WANT, N * WANT - 0.5 * one, 2.0**-40)
    assert said(leaf, params=[one], others=others) == UNKNOWN


def test_what_is_wrong_by_more_than_a_penalty_is_no_sum() -> None:
    assert said(leaf_of(WANT, 4 * WANT + [1, 0, 0], 2.0**-40), others=OF_X) == UNKNOWN


def test_what_is_0_but_for_its_rounding_is_no_multiple_of_itself() -> None:
    """As the derivative in a bias before batch norm; beside a sum it may be one, too."""
    noise = leaf_of([0, 0, 0], [2, -3, 1], 1.0)
    assert Code.SUM_NOT_MEAN not in codes(noise, others=OF_X)
    summed = leaf_of(WANT, 4 * WANT - 0.5 * PARAM, 2.0**-40)
    assert codes(summed, noise, params=[PARAM, PARAM], others=OF_X) == [Code.SUM_NOT_MEAN]


BATCH = np.array([[1.0, 2.0, -1.0], [4.0, -2.0, 3.0], [-3.0, 0.5, 2.0]])
WEIGHTS = np.array([2.0, 1.0, -1.0])


def mean_of_products(params: Any, X: Any, *_: Any) -> Any:
    """Have the mean of the rows as its gradient."""
    return jnp.mean(X @ params[0])


def batch_leaf(got: npt.ArrayLike) -> Leaf:
    return leaf_of(BATCH.mean(axis=0), got, 2.0**-40)


@pytest.mark.parametrize(("row", "code"), [(2, Code.LAST_ROW_ONLY), (0, Code.FIRST_ROW_ONLY)])
@pytest.mark.parametrize(("divisor", "text"), [(1, "not divided"), (3, "divided")])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_one_row_alone_is_told_divided_or_not_and_beside_a_penalty(
    row: int, code: Code, divisor: int, text: str, decay: float
) -> None:
    """What has not as many rows as the batch, here a vector and a number, is not cut."""
    leaf = batch_leaf(BATCH[row] / divisor + decay * WEIGHTS)
    rest: Any = {"params": [WEIGHTS], "others": (BATCH, np.ones(2), 1.0), "loss": mean_of_products}
    assert said(leaf, **rest) == [(code, f"the array: {text} by the 3 rows")]


def test_no_other_row_is_looked_at() -> None:
    leaf = batch_leaf(BATCH[1])
    assert said(leaf, params=[WEIGHTS], others=(BATCH,), loss=mean_of_products) == UNKNOWN


def test_an_array_that_is_right_is_not_told_of_though_one_row_gives_it_too() -> None:
    def loss(params: Any, X: Any) -> Any:
        return jnp.mean(X @ params[0]) + params[1][0]

    one = leaf_of([1.0], [1.0], 2.0**-40)
    found = said(
        batch_leaf(BATCH[2]), one, params=[WEIGHTS, np.ones(1)], others=(BATCH,), loss=loss
    )
    assert found[0] == (Code.LAST_ROW_ONLY, "[0]: not divided by the 3 rows")


def test_of_two_rows_the_last_is_told() -> None:
    leaf = leaf_of(BATCH[:2].mean(axis=0), BATCH[1], 2.0**-40)
    found = codes(leaf, params=[WEIGHTS], others=(BATCH[:2],), loss=mean_of_products)
    assert found == [Code.LAST_ROW_ONLY]


def test_one_row_is_all_of_a_batch_of_one() -> None:
    leaf = leaf_of(BATCH[0], BATCH[0] + 0.5 * WEIGHTS, 2.0**-40)
    found = codes(leaf, params=[WEIGHTS], others=(BATCH[:1],), loss=mean_of_products)
    assert found == [Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER]


def test_one_row_whose_bound_holds_anything_explains_nothing() -> None:
    """Its bound is finite, but wider than the right gradient is away from that of the row."""

    def cancelling(params: Any, X: Any) -> Any:
        z = X @ params[0]
        return jnp.mean(z + (1e18 * z - 1e18 * z))

    for got in (np.array([0.1, -7.0, 2.5]), BATCH[2]):
        leaf = batch_leaf(got)
        assert said(leaf, params=[WEIGHTS], others=(BATCH,), loss=cancelling) == UNKNOWN


def test_a_gradient_that_is_0_is_not_told_to_be_that_of_a_row_that_has_none() -> None:
    batch = BATCH * [[0], [1], [0]]
    zero = leaf_of(batch.mean(axis=0), np.zeros(3), 2.0**-40)
    found = codes(zero, params=[WEIGHTS], others=(batch,), loss=mean_of_products)
    assert found == [Code.ZERO]


@pytest.mark.parametrize("argnums", [(0, 2), (-3, -1), [0, 2]])
def test_a_batch_that_the_gradient_is_taken_in_is_cut_too(argnums: Any) -> None:
    """The loss of all of X and one row of t does not exist; the gradient in X has other rows."""

    def loss(X: Any, t: Any, w: Any) -> Any:
        assert len(t) == len(X)
        return jnp.mean((X @ w) * t)

    X, t, w = BATCH[:, :2], np.array([1.0, 2.0, 4.0]), WEIGHTS[:2]
    d_X, d_w = np.outer(t, w) / 3, X.T @ t / 3
    leaves = (
        leaf_of(d_X, d_X, 2.0**-40, "[0]"),
        leaf_of(d_w, X[2] * 4, 2.0**-40, "[1]"),
    )
    (found,) = diagnose(Difference(leaves, loss, (X, t, w), argnums))
    assert found.code == Code.LAST_ROW_ONLY
    assert "([1]: not divided by the 3 rows)" in found.sentence


# Other places


def test_a_transpose_is_told_with_how_its_elements_lie() -> None:
    square, wide = np.arange(1.0, 10).reshape(3, 3) ** 2, np.arange(1.0, 7).reshape(2, 3) ** 2
    cube = np.arange(1.0, 19).reshape(2, 3, 3) ** 2
    assert said(leaf_of(square, square.T)) == [(Code.TRANSPOSED, "the array")]
    assert said(leaf_of(wide, wide.T.reshape(2, 3))) == [
        (Code.TRANSPOSED, "the array: its elements are in the order of the transpose")
    ]
    assert said(leaf_of(wide, wide.reshape(3, 2).T)) == [
        (Code.TRANSPOSED, "the array: its elements were filled in as those of the transpose")
    ]
    assert said(leaf_of(cube, cube.swapaxes(1, 2))) == [
        (Code.TRANSPOSED, "the array: the last two axes")
    ]


def test_an_array_with_the_gradient_of_another_says_whose_the_first_is() -> None:
    own, other, third = [1.0, 2.0], [5.0, 9.0], [5.0, 9.0]
    leaves = [leaf_of(other, other), leaf_of(own, other), leaf_of(third, third)]
    assert said(*leaves) == [(Code.LEAVES_SWAPPED, "[1]: that of [0]")]


def test_another_gradient_is_taken_within_its_bound() -> None:
    for off, found in ((0.25, [Code.LEAVES_SWAPPED]), (0.375, [Code.UNKNOWN])):
        other = leaf_of([5, 9], [5, 9], 0.25)
        assert codes(other, leaf_of([1, 2], [5 + off, 9])) == found


def test_a_number_that_is_repeated_is_no_gradient_of_another_shape() -> None:
    assert Code.LEAVES_SWAPPED not in codes(leaf_of([1, 2], [5, 5]), leaf_of(5, 5))


# Differences


def test_a_multiple_of_the_parameter_takes_two_weights() -> None:
    for param, found in (
        (
            [2.0, -4.0, 0.0],
            (Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER, "the array: got - want = 3 * parameter"),
        ),
        ([2.0, 0.0, 0.0], UNKNOWN[0]),
    ):
        assert said(leaf_of(WANT, WANT + 3 * np.array(param)), params=[param]) == [found]


def test_a_multiple_is_allowed_four_roundings_and_no_more() -> None:
    """Of c W and of its addition, twice each: gamma_4, for either of two elements; eq. (R1)."""
    param = [4.0, 4.0]
    for part, found in ((0.75, True), (1.25, False)):
        off = 4 * np.array([1, 1 + part * 2 * 4 * UNIT_ROUNDOFF])
        explained = Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER in codes(
            leaf_of([0, 0], off), params=[param]
        )
        assert explained == found


@each(
    ("multiple", "text"),
    [
        (-2, "0.5 ||parameter||^2 were missing"),
        (-1, "0.5 ||parameter||^2 were halved, or 0.25 ||parameter||^2 were missing"),
        (-0.5, "0.25 ||parameter||^2 were halved"),
        (2, "0.5 ||parameter||^2 were doubled"),
        (1, "0.25 ||parameter||^2 were doubled"),
        (-4, "0.5 ||parameter||^2 were subtracted"),
        (6, "0.5 ||parameter||^2 were applied 4 times, once per row"),
        (3, "0.25 ||parameter||^2 were applied 4 times, once per row"),
        (-1.5, "0.5 ||parameter||^2 were divided by the 4 rows"),
        (-0.75, "0.25 ||parameter||^2 were divided by the 4 rows"),
        (5, None),
        (-3, None),
    ],
)
def test_a_multiple_of_a_decay_among_the_arguments_is_named(
    multiple: float, text: str | None
) -> None:
    """As got - want = 2 d W for a penalty d ||W||^2, of which a single weight says enough."""
    start = f"the array: got - want = {multiple / 2:g} * parameter"
    whole = start if text is None else f"{start}, as if the penalty {text}"
    for param in ([[2.0, -4.0, 1.0]], [[2.0, 0.0, 0.0]]):
        off = multiple * 0.5 * np.array(param)
        found = said(leaf_of([WANT], off + WANT), params=[param], others=(X, 0.5))
        enough = text is not None or np.count_nonzero(param) > 1
        assert found == (
            [(Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER, whole)] if enough else UNKNOWN
        )


@pytest.mark.parametrize(("multiple", "number"), [(2, "0.5"), (1, "0.25")])
def test_a_decay_of_a_vector_is_taken_for_that_of_a_bias(multiple: float, number: str) -> None:
    """Without a batch, too."""
    off = multiple * 0.5 * np.array([2.0, -4.0, 1.0])
    leaf = leaf_of(WANT, WANT + off)
    (_, text), *_ = said(leaf, params=[[2, -4, 1]], others=(0.5,))
    assert text.endswith(f"penalty {number} ||parameter||^2 were applied to what looks like a bias")
    (_, text), *_ = said(leaf_of([WANT], [WANT + off]), params=[[[2, -4, 1]]], others=(0.5,))
    assert text.endswith(f"penalty {number} ||parameter||^2 were doubled")


def test_a_multiple_of_what_is_itself_one_of_the_parameter_is_told_once() -> None:
    """As for sum(w**2); a weight decay that is known says more."""
    twice, thrice = leaf_of(WANT, 2 * WANT), leaf_of(WANT, 3 * WANT)
    assert codes(twice, params=[WANT / 2]) == [Code.SCALED]
    assert codes(twice, thrice, params=[WANT, WANT / 2]) == [Code.SCALED]
    both = [Code.SCALED, Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER]
    assert codes(twice, params=[WANT / 2], others=(1.0,)) == both
    assert both[1] in codes(twice, thrice, params=[WANT, 2 * WANT])  # one number for both


def test_an_offset_takes_two_elements() -> None:
    assert said(leaf_of([8, 1], [8.25, 1.25])) == [
        (Code.CONSTANT_OFFSET, "the array: got - want = 0.25")
    ]
    assert said(leaf_of([8], [8.25])) == UNKNOWN


@pytest.mark.parametrize(
    ("got", "named"),
    [
        (WANT * (1 + 2.0**-46), Code.SCALED),
        (WANT + 2.0**-46, Code.CONSTANT_OFFSET),
        (WANT + 2.0**-46 * PARAM, Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER),
    ],
)
def test_of_errors_that_may_be_lost_digits_many_make_a_number_and_few_do_not(
    got: Array, named: Code
) -> None:
    for times, found in ((5, Code.FEW_ROUNDINGS), (6, named)):  # 15 and 18 elements
        leaf = leaf_of(np.tile(WANT, times), np.tile(got, times))
        param = np.tile(PARAM, times)
        assert codes(leaf, params=[param], undecided={0}) == [found]
        assert codes(leaf, params=[param]) == [named]


def test_a_number_with_a_name_may_be_as_small_as_roundings() -> None:
    leaf = leaf_of(WANT, WANT + 2.0**-46 * PARAM)
    (found,) = said(leaf, params=[PARAM], others=(2.0**-47,), undecided={0})
    assert found[0] == Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER
    assert f"the penalty {2.0**-47:g} ||parameter||^2" in found[1]


def test_arrays_that_may_have_lost_digits_are_told_of_beside_those_that_are_wrong() -> None:
    small, wrong = leaf_of(WANT, WANT * (1 + 2.0**-50)), leaf_of(WANT, -WANT)
    causes = diagnose(difference_of(wrong, small, undecided={1}))
    assert [cause.code for cause in causes] == [Code.SIGN, Code.FEW_ROUNDINGS]
    assert causes[1].evidence.startswith("3 of 3 elements are farther")
    assert "by more than 8 roundings of its array's largest element; hand in" in causes[1].evidence
    unknown = leaf_of(WANT, np.add(WANT, [1, 0, 2]))
    assert codes(unknown, small, undecided={1}) == [Code.UNKNOWN, Code.FEW_ROUNDINGS]
    assert codes(small, leaf_of(WANT, WANT), undecided={0}) == [Code.FEW_ROUNDINGS]


# Another order


@each(
    ("want", "order", "words"),
    [
        ([1, 2], [1, 0], "reversed"),
        ([1, 5, 5, 2], [3, 2, 1, 0], "reversed"),
        ([1, 1, 2, 3], [3, 0, 1, 2], "shifted by 1 of 4"),
        ([1, 2, 3, 1], [1, 2, 3, 0], "shifted by 3 of 4"),
        ([1, 2, 3, 4, 5], [3, 4, 0, 1, 2], "shifted by 2 of 5"),
        ([1, 2, 3, 4], [1, 0, 2, 3], "permuted: 0 is 1 of the right one, 1 is 0 of the right one"),
        (
            [1, 2, 3, 4],
            [2, 0, 1, 3],
            "permuted: 0 is 2 of the right one, 1 is 0 of the right one, 2 is 1 of the right one",
        ),
        (
            [1, 2, 3, 4, 5],
            [1, 0, 2, 4, 3],
            (
                "permuted: 0 is 1 of the right one, 1 is 0 of the right one, "
                "3 is 4 of the right one, ..."
            ),
        ),
    ],
)
@each("bound", [0.0, 0.25])
def test_a_permutation_is_told_in_words(
    want: list[float], order: list[int], words: str, bound: float
) -> None:
    """The simplest one where elements are equal, and each element within the bound of its own."""
    off = bound * np.resize([0.5, -0.5, 1, -1], len(want))
    leaf = leaf_of(want, np.array(want)[order] + off[order], bound)
    (found,) = permuted(difference_of(leaf))
    assert found.details == {frozenset({0}): f"axis 0 is {words}"}


def rows_and_columns(want: npt.ArrayLike, order: list[int], bound: float = 0.0) -> list[str]:
    """Permute the rows, and then the columns of the transpose: say what is found of each."""
    want = np.asarray(want, np.float64)
    got = want[order] + bound / 2
    texts = []
    for leaf in (leaf_of(want, got, bound), leaf_of(want.T, got.T, bound)):
        (found,) = permuted(difference_of(leaf))
        texts += list(found.details.values())
    return texts


def test_rows_that_differ_in_one_place_alone_are_told_apart_by_it() -> None:
    """The first and the second two are equal where the numbers spread most."""
    want = [[0, 7, 7, 7, 1], [0, 7, 7, 7, 2], [9, 7, 7, 7, 3], [9, 7, 7, 7, 4]]
    words = "permuted: 0 is 1 of the right one, 1 is 0 of the right one, 2 is 3 of the right one"
    for bound in (0.0, 0.25):
        texts = rows_and_columns(want, [1, 0, 3, 2], bound)
        assert texts == [f"axis 0 is {words}, ...", f"axis 1 is {words}, ..."]


def test_more_rows_than_columns_may_be_permuted() -> None:
    want = [[1, 2], [3, 5], [4, 9], [7, 99]]
    words = "permuted: 0 is 2 of the right one, 2 is 3 of the right one, 3 is 0 of the right one"
    assert rows_and_columns(want, [2, 1, 3, 0]) == [f"axis 0 is {words}", f"axis 1 is {words}"]


def test_the_same_numbers_in_other_rows_are_no_permutation() -> None:
    assert said(leaf_of([[1, 10], [2, 20]], [[1, 20], [2, 10]])) == UNKNOWN


def test_one_order_is_told_of_an_array() -> None:
    """Though its rows and its columns are both reversed."""
    leaf = leaf_of([[1, 2], [2, 1]], [[2, 1], [1, 2]])
    assert [found.details for found in permuted(difference_of(leaf))] == [
        {frozenset({0}): "axis 0 is reversed"}
    ]


def test_what_is_no_number_or_has_no_bound_is_in_no_place() -> None:
    assert said(leaf_of([9, 2, 3], [np.nan, 3, 2])) == UNKNOWN
    assert said(leaf_of([9, 2, 3], [9, 3, 2], [np.inf, 0, 0])) == UNKNOWN


@pytest.mark.parametrize("count", [1, 3])
def test_what_open_kinks_could_explain_elsewhere_is_no_permutation(count: int) -> None:
    """It may be up to 5, so that 2 is the reach to either side, and still 1.5 is wrong."""
    want, got = np.array([3.0, 10.0, 20.0])[:count], np.array([1.5, 10.0, 20.0])[:count]
    leaf = dataclasses.replace(leaf_of(want, got), high=want + np.array([2.0, 0.0, 0.0])[:count])
    assert leaf.wrong[0]
    assert said(leaf) == UNKNOWN


def test_of_too_many_equal_rows_no_permutation_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaf = leaf_of([1, 2, 3, 4], [2, 3, 1, 4])  # three pairs may be each other
    for most, found in ((3, [Code.PERMUTED]), (2, [Code.UNKNOWN])):
        monkeypatch.setattr(permutations, "MOST_PAIRS", most)
        assert codes(leaf) == found


# Parts


GRID = np.array([[1.0, -3, 8], [2, 5, -4], [7, 1, 3], [-6, 2, 9]])


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        (
            [[5 / 6], [5 / 6], [5 / 4], [5 / 4]],
            "rows 0 and 1 of 4 times 5/6; rows 2 and 3 of 4 times 5/4",
        ),
        ([[1], [0], [1], [0]], "rows 1 and 3 of 4 times 0"),
        ([[1], [-1], [1], [1]], "row 1 of 4 times -1"),
        ([[2, 1, 1]] * 4, "the first column of 3 times 2"),
        (
            [[2], [3], [5], [1]],
            "the first row of 4 times 2; row 1 of 4 times 3; row 2 of 4 times 5",
        ),
    ],
)
def test_rows_or_columns_may_be_multiples_of_the_right_ones(factors: Any, words: str) -> None:
    leaf = leaf_of(GRID, GRID * np.array(factors), 2.0**-45)
    assert said(leaf) == [(Code.SLICES_SCALED, f"the array: {words}")]


@pytest.mark.parametrize(
    "factors",
    [
        [[2], [3], [5], [7]],  # too many
        [[2, 3, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]],  # two elements, each of its own
        [[2], [3], [1], [np.nan]],
    ],
)
def test_what_is_no_multiple_by_slices_is_not_said_to_be(factors: Any) -> None:
    assert said(leaf_of(GRID, GRID * np.array(factors), 2.0**-45)) == UNKNOWN


def test_each_of_many_slices_has_a_number_of_its_own_if_it_is_long_enough() -> None:
    """As where 1 / sigma of each feature is forgotten in a normalisation over the rows."""
    want = np.vstack([GRID.T, [[3, 1, 4, 1]]])  # 4 x 4
    numbers = np.array([2.0, 3, 0.25, 7])
    text = "the array: 4 of 4 along axis 1, each times its own number, 0.25 to 7"
    assert said(leaf_of(want, want * numbers, 2.0**-45)) == [(Code.SLICES_SCALED, text)]
    assert said(leaf_of(want[:3], want[:3] * numbers, 2.0**-45)) == UNKNOWN


def test_one_element_of_a_row_is_a_multiple_of_anything() -> None:
    want = GRID * np.array([[1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]])
    assert said(leaf_of(want, want * np.array([[3.5], [1], [1], [1]]))) == UNKNOWN
    assert said(leaf_of(WANT, WANT * np.array([2, 1, 1]))) == UNKNOWN


def test_what_should_be_0_and_is_not_is_told_as_that() -> None:
    masked = GRID * np.array([[1], [0], [1], [0]])
    assert said(leaf_of(masked, GRID)) == [(Code.NOT_ZERO, "the array: rows 1 and 3 of 4")]
    scattered = np.where(np.isin(GRID, [5, 3, 9]), 0, GRID)
    assert said(leaf_of(scattered, GRID)) == [(Code.NOT_ZERO, "the array: 3 of 12 elements")]
    both = np.where(GRID == 1, 0, GRID)
    both[0, 0] = 2
    assert said(leaf_of(scattered, both)) == UNKNOWN  # one wrong one that is not 0
    assert said(leaf_of(0 * WANT, [1, 2, 4])) == UNKNOWN  # all of it should be 0


# Layers


def layers_of(*states: str) -> list[tuple[Code, str]]:
    """Make layers of a weight and a bias, each wrong (w) or right (r)."""
    noise = iter(np.random.default_rng(1).normal(size=(20, 3)))
    leaves = [
        leaf_of(WANT, WANT + next(noise) if state == "w" else WANT, path=f"[{l}].{name}")
        for l, pair in enumerate(states)
        for name, state in zip(("weight", "bias"), pair, strict=True)
    ]
    return said(*leaves)


@pytest.mark.parametrize(
    ("states", "right", "wrong"),
    [
        (("ww", "rr"), "[1].weight, [1].bias", "[0].weight, [0].bias"),
        (("ww", "ww", "ww", "rr", "rr"), "[3].weight, [3].bias", "[2].weight, [2].bias"),
        (("wr", "rw", "ww", "rr"), "[3].weight, [3].bias", "[2].weight, [2].bias"),
    ],
)
def test_the_step_between_the_right_layers_and_the_wrong_ones_is_named(
    states: Any, right: str, wrong: str
) -> None:
    text = f"right from {right} on, wrong up to {wrong}: the error enters in the backward pass"
    assert layers_of(*states) == [(Code.LAYERS_ABOVE_ONLY, f"{text} between the two")]


@pytest.mark.parametrize(
    "states", [("ww",), ("ww", "ww"), ("rr", "ww"), ("ww", "rr", "ww"), ("ww", "rw", "rr")]
)
def test_wrong_layers_elsewhere_say_nothing_of_where(states: Any) -> None:
    """With all wrong, a right one below, or a weight that is right where its bias is wrong."""
    assert layers_of(*states) == UNKNOWN


def test_arrays_that_are_no_pairs_are_layers_of_their_own() -> None:
    leaves = [leaf_of(WANT, [2, 2, 10], path="[0]"), leaf_of(WANT, WANT, path="[1]")]
    ((code, text),) = said(*leaves)
    assert code == Code.LAYERS_ABOVE_ONLY
    assert text.startswith("right from [1] on, wrong up to [0]: ")


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        (["W1", "b1"], ["W2", "b2"], "right from ['W2'], ['b2'] on, wrong up to ['W1'], ['b1']: "),
        (["l1", "l2"], ["l10", "l11"], "right from ['l10'] on, wrong up to ['l2']: "),
        (["down"], ["up"], ""),
        (["conv", "fc1"], ["fc2"], ""),
        (["fc1"], ["head", "fc2"], ""),
    ],
)
def test_the_layers_of_a_dictionary_stand_in_the_order_of_their_numbers(
    wrong: list[str], right: list[str], words: str
) -> None:
    """However JAX sorts them; without numbers nobody knows which is above which."""
    off = {name: np.array([1.0, 5, 2]) for name in wrong}
    leaves = [
        leaf_of(WANT, WANT + off.get(name, 0.0), path=f"['{name}']")
        for name in sorted([*wrong, *right])
    ]
    ((code, text),) = said(*leaves)
    assert code == (Code.LAYERS_ABOVE_ONLY if words else Code.UNKNOWN)
    assert text.startswith(words)


@pytest.mark.parametrize(
    ("paths", "layers"),
    [
        (["[0][0]", "[0][1]", "[1][0]"], [{0, 1}, {2}]),
        (["['a'][10].w", "['a'][9].w", "['a'][9].b"], [{1, 2}, {0}]),
        ([".first.weight", ".first.bias", ".second.weight"], [{0, 1}, {2}]),
        ([".W1", ".W2", ".b1"], [{0, 2}, {1}]),
        ([".weight", ".bias"], []),
        (["['conv2d_2']['w']", "['conv2d_10']['w']"], [{0}, {1}]),
        (["['blocks'][0]['w']", "['head']['w']"], []),
        ([""], []),
    ],
)
def test_a_path_says_which_layer_an_array_is_of(paths: list[str], layers: list[set[int]]) -> None:
    assert list_of_layers(paths) == layers


def test_arguments_are_layers_by_their_names_and_not_by_their_order() -> None:
    def loss(q: Any, k: Any) -> Any:
        return q @ k

    def loss_of_layers(w_2: Any, w_1: Any) -> Any:
        return w_2 @ w_1

    for function, names, wrong, expected in (
        (loss, "qk", "q", Code.UNKNOWN),
        (loss_of_layers, ("w_2", "w_1"), "w_2", Code.UNKNOWN),
        (loss_of_layers, ("w_2", "w_1"), "w_1", Code.LAYERS_ABOVE_ONLY),
    ):
        leaves = [
            leaf_of(WANT, [2, 2, 10] if name == wrong else WANT, path=f"['{name}']")
            for name in names
        ]
        (cause,) = diagnose(Difference(leaves, function, (WANT, WANT), (0, 1)))
        assert cause.code == expected


def test_the_hint_at_the_layer_comes_after_the_cause() -> None:
    leaves = [leaf_of(WANT, -WANT, path="[0]"), leaf_of(WANT, WANT, path="[1]")]
    assert codes(*leaves) == [Code.SIGN, Code.LAYERS_ABOVE_ONLY]
