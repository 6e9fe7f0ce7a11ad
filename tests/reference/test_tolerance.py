"""What a measurement allows: so many sigma, other sides of kinks, and of ties in one choice.

The measurement is written down here, so that each number of the answer can be said beforehand.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
import scipy.special

from reference.arrays import Array
from reference.compare import (
    PROVEN_ELEMENTS,
    PROVEN_PATH,
    Comparer,
    Comparison,
    Leaf,
    Verdict,
    tolerance,
)
from reference.noise.decisions import Freedom
from reference.noise.measure import Measurement, Noise
from reference.noise.statistics import MORE_SAMPLES, SAMPLES

INF, NAN = np.inf, np.nan
MULTIPLE = 8.0
EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)


class Written:
    """A witness whose measurement is written down, and which notes how it was asked."""

    def __init__(
        self,
        *leaves: Noise,
        path: int = PROVEN_PATH + 1,
        elements: int = 1,
        fractions: Sequence[Array] | None = None,
    ) -> None:
        """Take what there is to be measured; by default the path is too long for a proof."""
        self.leaves, self.path, self.elements = leaves, path, elements
        self.fractions = fractions
        self.smaller: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int, bool]] = []

    def measure(self, *_: Any, samples: int, seed: int, decisions: bool) -> Measurement:
        """Give it."""
        self.asked.append((samples, seed, decisions))
        return Measurement(self.leaves, samples, MULTIPLE, 3, 0, ())

    def fraction(self, *_: Any, samples: int, seed: int) -> list[Array]:
        """Give sigma by smaller disturbances: the same, if nothing else is written down."""
        self.smaller.append((samples, seed))
        return list(self.fractions or [leaf.sigma for leaf in self.leaves])


def comparer_of(witness: Written, *wanted: Any, sparing: bool = False) -> Comparer:
    """Make one of a function that returns these arrays, whose rounding is written down."""
    arrays = [np.asarray(want) for want in wanted]
    made = Comparer(lambda *args: list(args), *arrays, measured=True, sparing=sparing)
    vars(made)["witness"] = lambda _: witness
    vars(made.traced)["by_xla"] = lambda *_: arrays
    return made


def compared(got: Sequence[Any], *noises: Noise, dtype: npt.DTypeLike = np.float64) -> Comparison:
    """Compare results in a precision with the nominal values of a measurement."""
    wanted = [noise.nominal for noise in noises]
    results = [np.asarray(array, dtype) for array in got]
    return comparer_of(Written(*noises), *wanted)(results, *wanted)


def noise(nominal: Any, sigma: Any, **freedoms: Freedom) -> Noise:
    """Write down what was measured of an array."""
    return Noise(np.array(nominal, np.float64), np.array(sigma, np.float64), **freedoms)


def freedom(low: Any, high: Any, sigma: Any, moves: Any = ()) -> Freedom:
    """Write down where other decisions lead; nowhere, where low is high."""
    low, high = np.array(low, np.float64), np.array(high, np.float64)
    moved = low < high
    made = np.array(moves, np.float64) if len(moves) else np.zeros((0, int(moved.sum())))
    return Freedom(low, high, np.array(sigma, np.float64), moved, made)


def test_an_element_may_be_off_by_so_many_sigma_and_its_last_rounding() -> None:
    third = 1 / 3  # which float32 does not hold
    for dtype, want, sigma, allowed in (
        (np.float64, 3.0, 0.25, 8 * 0.25 + EPS / 2 * 3 + TINY),
        (np.float64, -3.0, 2.0**-60, 8 * 2.0**-60 + EPS / 2 * 3 + TINY),
        (np.float64, 3.0, 0.0, TINY),  # where nothing rounds it is exact
        (np.float32, 3.0, 0.0, float(np.finfo(np.float32).tiny)),
        (np.float32, third, 0.0, 2.0**-24 * third + float(np.finfo(np.float32).tiny)),
        (np.float64, INF, 0.0, INF),
        (np.float64, -INF, 0.25, INF),
        (np.float64, NAN, 0.25, INF),
        (np.float64, 3.0, INF, INF),
        (np.float64, 3.0, NAN, INF),
    ):
        given = tolerance(np.array([want]), np.array([sigma]), 8.0, dtype)
        assert given.tolist() == [allowed]
    whole = tolerance(np.arange(3), np.zeros(3), 8.0, np.float64)
    assert whole.tolist() == [0, 0, 0]
    whole[:] = 1
    assert not tolerance(np.arange(3), np.zeros(3), 8.0, np.float64).any()  # each time its own


def test_an_error_is_held_against_sigma() -> None:
    """Of what is beyond nothing is said but wrong; what is no number is known of none."""
    right = noise([1.0, 1.0, -2.0, INF], [0.25, 0.25, 0.25, 0.0])
    (leaf,) = compared([[3.0, 1.0, -4.25, 5.0]], right).leaves
    assert leaf.wrong.tolist() == [False, False, True, False]
    assert leaf.sigmas.tolist() == [8, 0, 9, INF]
    allowed = tolerance(right.nominal, right.sigma, MULTIPLE, np.float64)
    assert leaf.bound.tolist() == allowed.tolist()
    assert leaf.low.tolist() == [*(right.nominal[:3] - allowed[:3]), -INF]
    assert leaf.high.tolist() == [*(right.nominal[:3] + allowed[:3]), INF]
    assert not leaf.hanging.any()
    assert leaf.proven is None


def test_the_scale_is_the_largest_finite_number_of_the_whole_result() -> None:
    arrays: list[list[float]] = [[2.0], [INF], [1.0, -7.0]]
    for order in (arrays, arrays[::-1]):
        leaves = compared(order, *(noise(array, np.zeros(len(array))) for array in order)).leaves
        assert [leaf.scale for leaf in leaves] == [7, 7, 7]
    assert compared([[NAN]], noise([NAN], [0])).leaves[0].scale == 0
    whole = Noise(np.array([3]), np.zeros(1))
    (leaf,) = comparer_of(Written(whole), [3])([np.array([3])], np.array([3]), dtype=float).leaves
    assert leaf.scale == 0


def test_an_error_is_told_in_sigma_and_none_is_0_of_them() -> None:
    zero = np.zeros(3)
    leaf = Leaf("", np.array([0.0, 1.0, -1.0]), *[zero] * 4, sigma=np.array([0.0, 0.25, 0.5]))
    assert leaf.sigmas.tolist() == [0, 4, 2]


def test_what_has_lost_digits_is_neither_wrong_nor_ambiguous() -> None:
    got, zero, lost = np.array([1.0, 1.0]), np.zeros(2), np.array([True, False])
    wrong = Leaf("", got, *[zero] * 4, lost=lost)
    assert (wrong.wrong.tolist(), wrong.ambiguous.tolist()) == ([False, True], [False, False])
    ambiguous = Leaf("", got, zero, zero, zero, got, lost=lost)
    assert ambiguous.ambiguous.tolist() == [False, True]
    assert not ambiguous.wrong.any()


def test_an_element_is_tied_beyond_its_bound_up_to_where_ties_lead() -> None:
    got, zero = np.array([-2.0, -2.01, 3.0, 3.01, 0.5]), np.zeros(5)
    bounds = zero + 0.5, zero - 0.5, zero + 0.5
    low, high = zero - 2, zero + 3
    leaf = Leaf("", got, zero, *bounds, tie_low=low, tie_high=high)
    assert leaf.tied.tolist() == [True, False, True, False, False]
    assert leaf.wrong.tolist() == [False, True, False, True, False]
    assert not Leaf("", got, zero, *bounds, tie_low=low).tied.any()
    assert not Leaf("", got, zero, *bounds, tie_high=high).tied.any()


def test_a_bound_that_is_proven_holds_where_it_is_less() -> None:
    """An element that is given back is exact by proof, whatever was measured."""
    for path, elements, has in (
        (PROVEN_PATH, PROVEN_ELEMENTS, True),
        (PROVEN_PATH + 1, 1, False),
        (1, PROVEN_ELEMENTS + 1, False),
    ):
        witness = Written(noise([1.0], [0.25]), path=path, elements=elements)
        (leaf,) = comparer_of(witness, [1.0])([np.array([1.5])], np.array([1.0])).leaves
        assert (leaf.proven is not None, bool(leaf.wrong[0])) == (has, has)
        assert leaf.bound[0] == (0 if has else tolerance(np.ones(1), np.ones(1) / 4, 8, float)[0])


def test_a_bound_is_proven_of_a_small_function_and_of_whole_numbers() -> None:
    assert (PROVEN_PATH, PROVEN_ELEMENTS) == (64, 4_194_304)
    x = np.linspace(1.5, 3.5, 99)
    comparer = Comparer(lambda x: {"n": (x > 2).astype(int), "x": x * x}, x, measured=True)
    leaves = comparer({"n": (x > 2).astype(int), "x": x * x}, x).leaves
    for leaf in leaves:
        assert leaf.proven is not None
        assert leaf.proven.dtype == np.float64
        assert not leaf.tied.any()
        leaf.tied[:] = True
        assert not leaf.tied.any()  # each time its own
    without_rule = Comparer(jax.lax.lgamma, x, measured=True)
    assert without_rule(scipy.special.gammaln(x), x).leaves[0].proven is None


def test_what_other_sides_of_a_kink_move_may_be_anywhere_between_them() -> None:
    kinks = freedom([-3.0, 1.5, 1.0, -3.0], [0.5, 4.0, 1.0, 4.0], [0.5, 0.5, 0.5, 0.5])
    right = noise([1.0] * 4, [2.0**-10] * 4, kinks=kinks)
    more = tolerance(np.ones(1), np.array([0.5]), MULTIPLE, np.float64)[0]
    own = tolerance(np.ones(1), np.array([2.0**-10]), MULTIPLE, np.float64)[0]
    for got, wrong in (
        ([-3 - more, 4 + more, 1 + own, 0.0], [False, False, False, False]),
        ([-3.01 - more, 4.01 + more, 1.01 + own, -3.01 - more], [True, True, True, True]),
        ([0.5 + more, 1.5 - more, 0.99 - own, 4.01 + more], [False, False, True, True]),
    ):
        (leaf,) = compared([got], right).leaves
        assert leaf.wrong.tolist() == wrong
        assert leaf.hanging.tolist() == [True, True, False, True]
    assert (leaf.low[0], leaf.high[0]) == (-3 - more, 0.5 + more)
    assert (leaf.low[1], leaf.high[1]) == (1.5 - more, 4 + more)
    assert (leaf.low[2], leaf.high[2]) == (1 - own, 1 + own)
    slight = freedom([0.9], [1.1], [0.0])  # less than rounding moves it
    (leaf,) = compared([[3.0]], noise([1.0], [0.25], kinks=slight)).leaves
    assert (leaf.low[0], leaf.high[0]) == (1 - leaf.bound[0], 1 + leaf.bound[0])


def test_what_no_number_bounds_may_be_anything() -> None:
    kinks = freedom([NAN, 1.0], [2.0, NAN], [0.25, 0.25])
    kinks.moved[:] = True
    (leaf,) = compared([[-1e9, 1e9]], noise([1.0, 1.0], [0.25, 0.25], kinks=kinks)).leaves
    assert (leaf.low[0], leaf.high[1]) == (-INF, INF)


# A maximum of three equal numbers: each round gives one of them all of the gradient.
SHARED = [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]


def of_ties(
    got: Any,
    moves: Any = SHARED,
    *,
    sigma: float = 2.0**-30,
    aside: float = 2.0**-30,
    size: float = 1.0,
) -> Leaf:
    """Compare with [1, 0, 0] times a size, which equal numbers may share out otherwise."""
    low, high, want = size * np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    ties = freedom(low, high, [size * aside] * 3, size * np.asarray(moves))
    right = noise(want, [size * sigma] * 3, ties=ties)
    return compared([size * np.asarray(got)], right).leaves[0]


@pytest.mark.parametrize(
    ("got", "tied"),
    [
        ([0.0, 1.0, 0.0], [True, True, False]),
        ([0.0, 0.0, 1.0], [True, False, True]),
        ([1 / 3, 1 / 3, 1 / 3], [True, True, True]),
        ([0.5, 0.25, 0.25 + 2.0**-29], [True, True, True]),  # within rounding of one
    ],
)
def test_equal_numbers_may_share_what_is_theirs(got: list[float], tied: list[bool]) -> None:
    leaf = of_ties(got)
    assert leaf.tied.tolist() == tied
    assert leaf.verdict == Verdict.MATCH


@pytest.mark.parametrize(
    "got", [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.5, 0.5, 2.0**-20]]
)
def test_equal_numbers_may_not_each_get_what_is_for_all(got: list[float]) -> None:
    leaf = of_ties(got)
    assert leaf.tie_low is leaf.tie_high is None
    assert leaf.verdict == Verdict.MISMATCH


def test_what_is_shared_may_be_off_by_the_rounding_of_both_sides_and_of_the_fit() -> None:
    """The three numbers add up to 1 by the moves; what they are off by is spread over them."""
    fine, coarse = 2.0**-50, 2.0**-30
    for sigma, aside in ((fine, coarse), (coarse, fine)):
        for off, ok in ((2.5e-8, True), (4e-8, False)):
            assert of_ties([0.5, 0.5, 3 * off], sigma=sigma, aside=aside).verdict.ok == ok
    for size in (1.0, 2.0**10, 2.0**-30):
        for off, ok in ((0.0, True), (1e-8, True), (2e-8, False)):
            got = [1 / 3, 1 / 3, 1 / 3 + 3 * off]
            assert of_ties(got, sigma=0, aside=0, size=size).verdict.ok == ok


def test_what_is_off_by_just_what_both_sides_allow_is_not_wrong() -> None:
    """Over four rounds, so twice as much: rounding has moved each of them, too."""
    ties = freedom([-9.0], [9.0], [0.125], [[0.0]] * 4)
    for got, ok in ((4.0, True), (4.0 + 2.0**-40, False)):
        assert compared([[got]], noise([0.0], [0.125], ties=ties)).verdict.ok == ok


def test_moves_that_differ_by_rounding_are_the_same() -> None:
    moves = np.array(SHARED[1:3] * 2)
    moves[0] += 1e-10
    for size in (1.0, 2.0**10):
        assert not of_ties([1.0, 1.0, 0.0], moves, size=size).verdict.ok
    for size in (1.0, 2.0**-30):
        assert of_ties([1.0, 1.0, 0.0], SHARED[1:4], size=size).verdict.ok


def test_where_as_many_ties_as_rounds_are_elements_are_open_as_at_kinks() -> None:
    for rounds, told in ((4, True), (3, False), (2, False)):
        leaf = of_ties([1.0, 1.0, 0.0], SHARED[1:3] * 2 if rounds == 4 else SHARED[1 : 1 + rounds])
        assert leaf.tie_low is leaf.tie_high is None
        assert leaf.verdict == (Verdict.MISMATCH if told else Verdict.AMBIGUOUS)
    few = SHARED[1:3]
    assert of_ties([1.0, 0.0, 0.0], few).verdict == Verdict.MATCH
    for beyond in ([-0.5, 1.0, 0.0], [1.0, 1.5, 0.0]):
        assert of_ties(beyond, few).verdict == Verdict.MISMATCH
    assert of_ties([NAN, 1.0, 0.0]).verdict == Verdict.MISMATCH


def test_ties_of_several_arrays_are_one_choice() -> None:
    """What one array loses the other gains; an array without ties between them is none of it."""
    sigma = 2.0**-30
    takes = freedom([0.0, 5.0], [1.0, 5.0], [sigma] * 2, [[-1.0], [0.0], [-1.0], [0.0]])
    gives = freedom([0.0], [1.0], [sigma], [[1.0], [0.0], [1.0], [0.0]])
    noises = (
        noise([1.0, 5.0], [sigma] * 2, ties=takes),
        noise([7.0], [sigma]),
        noise([0.0], [sigma], ties=gives),
    )
    for got, ok in (
        ([[0.0, 5.0], [7.0], [1.0]], True),
        ([[0.5, 5.0], [7.0], [0.5]], True),
        ([[0.0, 5.0], [7.0], [0.0]], False),
        ([[0.5, 5.0], [7.0], [0.25]], False),
        ([[0.0, 5.5], [7.0], [1.0]], False),
    ):
        assert compared(got, *noises).verdict.ok == ok


def test_other_sides_of_a_tie_have_a_rounding_of_their_own() -> None:
    for sigma, ok in ((2.0**-30, False), (0.125, True)):
        ties = freedom([-1.0], [1.0], [sigma], np.zeros((0, 1)))
        right = noise([0.0], [2.0**-30], ties=ties)
        for got in (-1.5, 1.5):
            assert compared([[got]], right).verdict.ok == ok
        for got in (-2.5, 2.5):
            assert not compared([[got]], right).verdict.ok


def blind(
    want: Any, bound: Any, *, scale: float = 1.0, dtype: npt.DTypeLike = np.float64, **more: Any
) -> bool:
    """Ask a leaf whether its bound leaves anything to see."""
    want, bound = np.asarray(want), np.asarray(bound, np.float64)
    got = want.astype(dtype)
    return Leaf("", got, want, bound, want, want, scale=scale, **{"sigma": bound} | more).blind


def test_half_of_an_array_whose_size_would_go_unseen_makes_it_blind() -> None:
    assert blind([1.0, 1.0], [1.0, 0.5])
    assert blind([1.0, -1.0], [0.5, 1.0])
    assert not blind([1.0, 1.0, 1.0], [1.0, 0.5, 0.5])
    assert not blind([1.0, 1.0], [0.99, 0.99])
    assert not blind([0.0, 0.0], [0.0, 0.0])
    assert not blind(np.zeros(0), np.zeros(0))
    assert blind(np.zeros((2, 2)), np.ones((2, 2)))
    assert not blind([1.0, 1.0], [INF, 1.0])  # of which nothing is known
    assert not blind([1.0, 1.0], [1.0, 1.0], sigma=None)
    assert not blind([1, 1], [1.0, 1.0])  # whole numbers, where nothing rounds


def test_what_is_0_but_for_rounding_shows_an_error_that_is_small_beside_the_whole() -> None:
    root = float(np.sqrt(EPS))
    for bound, scale, seen in (
        *((root, 1.0, True), (2 * root, 1.0, False)),
        *((2 * root, 4.0, True), (8 * root, 4.0, False)),
    ):
        assert blind([0.0], [bound], scale=scale) == (not seen)
    assert not blind([0.0], [1.0], scale=0.0)
    assert not Leaf("", *np.ones((5, 1)), sigma=np.ones(1)).blind  # whose size nobody has said


def test_in_float32_the_value_in_float64_tells_what_is_swallowed_from_0() -> None:
    bound = 2.0**-20
    ratio = EPS / float(np.finfo(np.float32).eps)
    for want, is_blind in ((2 * ratio * bound, True), (-2 * ratio * bound, True), (0.0, False)):
        assert blind([want], [bound], dtype=np.float32) == is_blind
    assert not blind([ratio * bound], [bound], dtype=np.float32)
    for dtype, is_blind in ((np.float32, True), (np.float64, False)):  # where nobody can tell
        assert blind([0.25 * bound], [bound], scale=1e3, dtype=dtype) == is_blind


def test_more_samples_are_drawn_where_something_is_wrong_after_the_first() -> None:
    first, more = (SAMPLES, SAMPLES, True), (MORE_SAMPLES, MORE_SAMPLES, True)
    undecided = (SAMPLES, SAMPLES, False)
    for sparing, got, asked in (
        (False, 1.0, [first]),
        (False, 9.0, [first, more]),
        (True, 1.0, [undecided]),
        (True, 9.0, [undecided, first, more]),
    ):
        witness = Written(noise([1.0], [0.25]))
        place = comparer_of(witness, [1.0], sparing=sparing).at(np.ones(1), dtype=np.float64)
        for _ in range(2):  # once, however many results there are
            comparison = place([np.array([got])])
            assert witness.asked == asked
        assert comparison.measurement is not None
        assert comparison.measurement.samples == asked[-1][0]
        assert comparison.open_kinks == 3


def judged(got: Any, want: Any, sigma: Any, fraction: Any) -> tuple[Leaf, Written]:
    """Compare where sigma by smaller disturbances may be another."""
    right = noise(want, sigma)
    witness = Written(right, fractions=[np.array(fraction, np.float64)])
    comparison = comparer_of(witness, want)([np.array(got, np.float64)], right.nominal)
    return comparison.leaves[0], witness


def test_what_strays_out_of_proportion_as_far_as_an_error_says_nothing_of_it() -> None:
    """Of three classes one is the likeliest in each sample, another in none."""
    want, third = [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]
    for sigma, fraction, verdict in (
        ([0.5, 0.5, 0.0], [32.0, 32.0, 0.0], Verdict.NOT_COMPARABLE),
        ([0.5, 0.5, 0.0], [0.0, 0.0, 0.0], Verdict.NOT_COMPARABLE),
        ([0.5, 0.5, 0.0], [0.5, 4.01, 0.0], Verdict.NOT_COMPARABLE),
        ([0.5, 0.5, 0.0], [4.0, 0.0625, 0.0], Verdict.MISMATCH),  # by chance
        ([2.0**-9, 2.0**-9, 0.0], [0.0, 0.0, 0.0], Verdict.MISMATCH),  # stray less than the error
    ):
        leaf, witness = judged(third, want, sigma, fraction)
        assert leaf.verdict == verdict
        assert witness.smaller == [(SAMPLES, SAMPLES)]
        known = verdict == Verdict.MISMATCH
        assert np.isfinite([leaf.bound, leaf.low, leaf.high]).all() == known
        assert known or (leaf.low[0], leaf.high[0]) == (-INF, INF)
        assert leaf.wrong.any() == known


def test_an_eighth_of_the_error_is_as_far_as_that() -> None:
    for error, verdict in ((4.0, Verdict.NOT_COMPARABLE), (4.0 + 2.0**-40, Verdict.MISMATCH)):
        leaf, _ = judged([9 + error, 9.0, 9.0], [9.0] * 3, [2.0**-20, 0.5, 0], [2.0**-20, 0, 0])
        assert leaf.verdict == verdict


def test_smaller_disturbances_are_asked_once_and_only_where_something_is_wrong() -> None:
    fine, coarse = noise([1.0], [2.0**-20]), noise([99.0], [0.5])
    witness = Written(fine, coarse, fractions=[fine.sigma, 64 * coarse.sigma])
    one, many = np.ones(1), np.full(1, 99.0)
    place = comparer_of(witness, one, many).at(one, many, dtype=np.float64)
    assert place([one, many]).verdict == Verdict.MATCH
    assert witness.smaller == []
    for got, verdicts in (
        ([2 * one, many], [Verdict.MISMATCH, Verdict.MATCH]),  # each array for itself
        ([one, many + 9], [Verdict.MATCH, Verdict.NOT_COMPARABLE]),
    ):
        leaves = place(got).leaves
        assert [leaf.wrong.any() for leaf in leaves] == [v == Verdict.MISMATCH for v in verdicts]
        assert [np.isfinite(leaf.bound).all() for leaf in leaves] == [
            v != Verdict.NOT_COMPARABLE for v in verdicts
        ]
    assert len(witness.smaller) == 1


def test_numbers_are_rounded_whatever_they_are_where_programs_are_to_be_few() -> None:
    def function(x: Any, n: Any) -> Any:
        return x * n

    args = np.ones(2, np.float32), np.float32(2)
    ordinary = Comparer(function, *args, measured=True)
    sparing = Comparer(function, *args, measured=True, sparing=True)
    for made, rounded in ((ordinary, False), (sparing, True)):
        assert made.witness(np.float32).rounded == (False, rounded)
        assert made.witness(np.float64).rounded == (False, False)
        assert made.witness(np.float32) is made.witness("float32")
