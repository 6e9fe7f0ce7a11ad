"""What a bound says of a result: which elements are wrong, and which hang on a kink."""

import math
from dataclasses import FrozenInstanceError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reference.bounds.rounding import Rounding
from reference.bounds.tracing import Traced
from reference.compare import (
    Comparer,
    Comparison,
    Leaf,
    Verdict,
    differentiated,
    worst_verdict,
)
from reference.sensitivity import faults_of_ours
from tests.support.bits import same_bits

INF, NAN = math.inf, math.nan


def leaf(got: Any, want: Any, bound: Any, low: Any = None, high: Any = None) -> Leaf:
    """Make one, between whose low and high is as much as its bound says, if nothing else."""
    got, want, bound = (np.asarray(part) for part in (got, want, np.array(bound, np.float64)))
    with np.errstate(invalid="ignore"):
        low = want - bound if low is None else np.asarray(low)
        high = want + bound if high is None else np.asarray(high)
    return Leaf("[0]", got, want, bound, low, high)


def test_the_error_of_what_is_no_number_is_infinite() -> None:
    got, want = [1.5, -2.0, NAN, INF, 3.0, INF], [1.0, -2.0, 1.0, INF, NAN, -INF]
    assert leaf(got, want, [0.0] * 6).error.tolist() == [0.5, 0, INF, 0, INF, INF]
    single = leaf(np.array([0.1], np.float32), [0.1], [0.0])
    assert single.error.tolist() == [float(np.float32(0.1)) - 0.1]
    assert single.error.dtype == np.float64
    whole = leaf([1, 2], [1, 5], [0, 0])
    assert whole.error.tolist() == [0, 1]  # another number, however near
    assert whole.error.dtype == np.float64


# Of an element: the result, JAX's, the bound, between what it may be with kinks open; wrong,
# ambiguous, hanging on a kink, how far it may be off with kinks open, and its ratio to the bound.
ELEMENTS: list[tuple[float, float, float, float, float, bool, bool, bool, float, float]] = [
    (1.0, 1.0, 0.5, 0.5, 1.5, False, False, False, 0.5, 0.0),
    (1.5, 1.0, 0.5, 0.5, 1.5, False, False, False, 0.5, 1.0),
    (1.75, 1.0, 0.5, 0.5, 1.5, True, False, False, 0.5, 1.5),
    (0.25, 1.0, 0.5, 0.5, 1.5, True, False, False, 0.5, 1.5),
    (1.75, 1.0, 0.5, 0.5, 2.0, False, True, True, 1.0, 1.5),
    (2.0, 1.0, 0.5, 0.5, 2.0, False, True, True, 1.0, 2.0),
    (0.0, 1.0, 0.5, 0.0, 1.5, False, True, True, 1.0, 2.0),
    (-0.5, 1.0, 0.5, 0.0, 1.5, True, False, True, 1.0, 3.0),
    (2.25, 1.0, 0.5, 0.0, 2.0, True, False, True, 1.0, 2.5),
    (1.25, 1.0, 0.5, 1.0, 1.25, False, False, True, 0.5, 0.5),  # the bound alone is enough
    (1.0, 1.0, 0.0, 1.0, 1.0, False, False, False, 0.0, 0.0),
    (1.5, 1.0, 0.0, 1.0, 1.0, True, False, False, 0.0, INF),
    (7.0, 1.0, INF, -INF, INF, False, False, False, INF, 0.0),
    (NAN, 1.0, INF, -INF, INF, False, False, False, INF, 0.0),
    (NAN, 1.0, 0.5, 0.5, 1.5, True, False, False, 0.5, INF),
    (7.0, 1.0, 0.5, -INF, INF, False, True, True, INF, 12.0),
    (INF, INF, 0.5, INF, INF, False, False, False, 0.5, 0.0),
    (1.0, INF, 0.5, 0.0, 2.0, False, True, True, INF, INF),
]


def elements() -> Leaf:
    """Make a leaf of them."""
    return leaf(*np.array([case[:5] for case in ELEMENTS]).T)


@pytest.mark.parametrize(
    ("name", "column"),
    [("wrong", 5), ("ambiguous", 6), ("hanging", 7), ("open_bound", 8), ("ratio", 9)],
)
def test_an_element_is_wrong_outside_of_both_and_ambiguous_outside_of_one(
    name: str, column: int
) -> None:
    assert getattr(elements(), name).tolist() == [case[column] for case in ELEMENTS]


def test_the_worst_element_is_the_one_whose_error_is_the_largest_part_of_its_bound() -> None:
    got = leaf([[1.0, 2.0], [4.0, 1.5]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [8.0, 0.25]])
    assert got.worst_index == (1, 1)
    assert all(type(place) is int for place in got.worst_index)
    assert leaf(1.0, 1.0, 0.5).worst_index == ()


def test_the_worst_verdict_decides() -> None:
    """Of the elements of a leaf, of the leaves of a result, and of each of many results."""
    match, ambiguous, unknown, wrong = 0, 4, 12, 2
    order = [Verdict.MATCH, Verdict.AMBIGUOUS, Verdict.NOT_COMPARABLE, Verdict.MISMATCH]
    places = [match, ambiguous, unknown, wrong]
    leaves = []
    for rank, verdict in enumerate(order):
        for others in range(rank + 1):
            cases = [ELEMENTS[places[rank]], ELEMENTS[places[others]], ELEMENTS[match]]
            some = leaf(*np.array([case[:5] for case in cases]).T)
            assert some.verdict == verdict
            of_each = [verdict, order[others], Verdict.MATCH]
            assert some.verdicts() == of_each
            pairs = leaf(*(np.stack([part, part[::-1]], axis=1) for part in
                           (some.got, some.want, some.bound, some.low, some.high)))  # fmt: skip
            assert pairs.verdicts() == [verdict, order[others], verdict]
        leaves.append(some)
        assert worst_verdict(leaves) == worst_verdict(leaves[::-1]) == verdict
        assert Comparison(tuple(leaves), 0).verdict == verdict
    assert leaf(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))).verdicts() == []
    assert leaf(np.zeros(0), np.zeros(0), np.zeros(0)).verdict == Verdict.MATCH


def test_verdicts_are_ordered_from_the_best() -> None:
    assert list(Verdict) == [
        "match",
        "loses digits",
        "ambiguous",
        "blind",
        "not comparable",
        "mismatch",
        "wrong forward",
        "not finite",
        "wrong structure",
        "wrong shape",
        "wrong dtype",
        "mutated input",
        "nondeterministic",
        "stale",
        "aliased output",
    ]


@pytest.mark.parametrize(("dtype", "ulp"), [(np.float32, 2.0**-22), (np.float64, 2.0**-51)])
def test_the_error_is_told_in_units_of_the_last_place_of_the_largest_entry(
    dtype: type[np.floating], ulp: float
) -> None:
    for size in (1.0, 2.0**-9):
        want = np.array([-3.0, 0.5]) * size
        got = (np.array([-3.0, 0.5 + 6 * ulp]) * size).astype(dtype)
        assert leaf(got, want, [0.0, 0.0]).ulps == 6
    assert repr(leaf(got[:0], want[:0], []).ulps) == "0.0"
    assert leaf([1, 2], [1, 5], [0, 0]).ulps == 1
    assert leaf(np.zeros(0, int), np.zeros(0, int), []).ulps == 0


def test_what_was_found_cannot_be_changed() -> None:
    for found in (leaf(1.0, 1.0, 0.5), Comparison((), 0)):
        for name in vars(found):
            with pytest.raises(FrozenInstanceError):
                setattr(found, name, None)


def test_leaves_are_grouped_by_the_key_that_they_stand_under() -> None:
    paths = ["['w'][0]", "['b']", "['w'][1]"]
    leaves = [Leaf(path, *[np.zeros(1)] * 5) for path in paths]
    groups = Comparison(tuple(leaves), 0).by_key()
    assert {key: [leaf.path for leaf in group] for key, group in groups.items()} == {
        "w": ["['w'][0]", "['w'][1]"],
        "b": ["['b']"],
    }


# A function of the compared arguments, 2.0 +- an error and a kink at 1


def slope(x: Any) -> Any:
    """Twice or thrice x, from 0.3 on."""
    return {"y": jnp.where(x * 1.0 >= 0.3, 3 * x, 2 * x), "z": x * 0.5}


def compare(got: Any, *args: Any, **options: Any) -> Comparison:
    """Compare with the slope, without compiling it."""
    return Comparer(slope, *args)(got, *args, compiled=False, **options)


def test_a_result_is_held_against_the_bounds_of_its_own_precision() -> None:
    x = np.array([1.0, 0.25])
    right = {"y": np.array([3.0, 0.5]), "z": x / 2}
    for dtype in (np.float32, np.float64):
        got = {key: value.astype(dtype) for key, value in right.items()}
        comparison = compare(got, x.astype(dtype))
        assert comparison.verdict == Verdict.MATCH
        assert comparison.open_kinks == 0
        assert [leaf.path for leaf in comparison.leaves] == ["['y']", "['z']"]
        bounds = Traced(slope, x).bounded(x, rounding=Rounding(dtype))
        for leaf, key in zip(comparison.leaves, right, strict=True):
            value, bound = right[key], bounds[key].error
            assert leaf.want.tolist() == value.tolist() == leaf.got.tolist()
            assert leaf.bound.tolist() == bound.tolist()
            assert leaf.low.tolist() == (value - bound).tolist()
            assert leaf.high.tolist() == (value + bound).tolist()
            assert not leaf.hanging.any()
    wide, narrow = (
        Traced(slope, x).bounded(x, rounding=Rounding(dtype))["y"].error.tolist()
        for dtype in (np.float32, np.float64)
    )
    mixed = right | {"z": right["z"].astype(np.float32)}  # in the finer one, if nothing is said
    for got, options, want in (
        (right, {"dtype": np.float32}, wide),
        (right, {"dtype": np.float64}, narrow),
        (right, {}, narrow),
        (mixed, {}, narrow),
    ):
        assert compare(got, x, **options).leaves[0].bound.tolist() == want


def test_what_hangs_on_a_kink_may_be_what_is_on_its_other_side() -> None:
    x = np.array([1.0, 0.3 + 2.0**-30, 0.25])
    right = {"y": 3 * x - [0.0, 0.0, 0.25], "z": x / 2}
    comparison = compare(right, x, dtype=np.float32)
    assert comparison.open_kinks == 1
    y, z = comparison.leaves
    assert y.hanging.tolist() == [False, True, False]
    assert not z.hanging.any()
    (opened, _) = Traced(slope, x).bounded(x, rounding=Rounding(np.float32, kinks="open")).values()
    assert (y.low[1], y.high[1]) == (
        opened.value[1] - opened.error[1],
        opened.value[1] + opened.error[1],
    )
    assert 0.59 < y.low[1] < 0.6
    assert 0.9 < y.high[1] < 0.91
    other = {"y": np.array([3.0, 0.6, 0.5]), "z": x / 2}
    assert compare(other, x, dtype=np.float32).verdict == Verdict.AMBIGUOUS
    assert compare(other, x).verdict == Verdict.MISMATCH


def test_a_kink_may_change_the_bound_alone() -> None:
    """On one side is an exact 0, and on the other one that rounding has left."""
    x = np.array([0.3 + 2.0**-30])
    comparer = Comparer(lambda x: jnp.where(x * 1.0 >= 0.3, 0.0, x * 1.0 - x), x)
    comparison = comparer(np.array([2.0**-30]), x, dtype=np.float32, compiled=False)
    assert comparison.verdict == Verdict.AMBIGUOUS
    (only,) = comparison.leaves
    assert only.bound.tolist() == [0]
    assert only.low[0] == -only.high[0] < -(2.0**-30)


def test_an_integer_on_a_kink_may_be_any() -> None:
    x = np.array([0.3, 1.0])

    def function(x: Any) -> Any:
        return {"n": (x * 1.0 >= 0.3).astype(int), "x": x * 1.0}

    got = {"n": np.array([0, 1]), "x": x}
    comparison = Comparer(function, x)(got, x, dtype=np.float32, compiled=False)
    n, _ = comparison.leaves
    assert n.bound.tolist() == [0, 0]
    assert n.bound.dtype == n.low.dtype == n.high.dtype == np.float64
    assert (n.low.tolist(), n.high.tolist()) == ([-INF, 1], [INF, 1])
    assert comparison.verdict == Verdict.AMBIGUOUS
    got["n"][1] = 0
    assert (
        Comparer(function, x)(got, x, dtype=np.float32, compiled=False).verdict == Verdict.MISMATCH
    )


def test_where_nothing_is_known_it_may_be_anything() -> None:
    x = np.array([0.0, 1.0])
    comparison = Comparer(lambda x: 1 / x, x)(np.array([5.0, 1.0]), x, compiled=False)
    (only,) = comparison.leaves
    assert only.verdicts() == [Verdict.NOT_COMPARABLE, Verdict.MATCH]
    assert (only.bound[0], only.low[0], only.high[0]) == (INF, -INF, INF)
    assert not only.hanging.any()


def test_a_result_of_another_structure_or_shape_is_named() -> None:
    x = np.ones(2)
    with pytest.raises(ValueError, match=r"^got has structure .*'q'.*, expected .*'y'.*'z'"):
        compare({"q": x}, x)
    with pytest.raises(ValueError, match=r"^got\['z'\] has shape \(1,\), expected \(2,\)$"):
        compare({"y": x, "z": x[:1]}, x)
    with pytest.raises(ValueError, match=r"^got\['y'\] has shape \(1,\), expected \(2,\)$"):
        compare({"y": x[:1], "z": x}, x)


def test_the_arrays_of_the_arguments_at_some_places_are_those_differentiated_in() -> None:
    args = ({"w": 1.0, "b": 2.0}, 3.0, (), [4.0, (5.0,)])
    assert differentiated(args, (3,)) == [False, False, False, True, True]
    assert differentiated(args, (0, 1)) == [True, True, True, False, False]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_result_is_that_of_xla_or_of_the_bounds(compiled: bool) -> None:
    comparer = Comparer(lambda x: jnp.tanh(x * 1.5), 1.0)
    comparison = comparer(np.tanh(1.5), 1.0, compiled=compiled)
    (only,) = comparison.leaves
    assert only.path == ""
    want = comparer.traced.by_xla(1.0)
    by_numpy = comparer.traced.bounded(1.0, rounding=Rounding(np.float64)).value
    assert only.want == (want if compiled else by_numpy)
    assert (comparer(np.tanh(1.5), 1.0).leaves[0].want == want).all()


def test_the_middle_of_the_bound_is_the_value_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is not quite that of NumPy, but where an open kink leaves an interval of its own."""
    x = np.array([1.0, 0.3 + 2.0**-30])
    by_jax = {"y": 3 * x + 2.0**-40, "z": x / 2 - 2.0**-40}
    comparer = Comparer(slope, x)
    monkeypatch.setattr(comparer.traced, "by_xla", lambda _: by_jax)
    y, z = comparer(by_jax, x, dtype=np.float32).leaves
    assert same_bits(comparer.at(x, dtype=np.float32)(by_jax).leaves[1].want, by_jax["z"])
    assert (z.low.tolist(), z.high.tolist()) == (
        (by_jax["z"] - z.bound).tolist(),
        (by_jax["z"] + z.bound).tolist(),
    )
    assert (y.low[0], y.high[0]) == (by_jax["y"][0] - y.bound[0], by_jax["y"][0] + y.bound[0])
    opened = Traced(slope, x).bounded(x, rounding=Rounding(np.float32, kinks="open"))["y"]
    assert (y.low[1], y.high[1]) == (
        opened.value[1] - opened.error[1],
        opened.value[1] + opened.error[1],
    )
    assert y.hanging.tolist() == [False, True]


def slope_by(monkeypatch: pytest.MonkeyPatch, by_jax: dict[str, Any], x: Any) -> Comparison:
    """Compare what JAX is made to return with itself, by both witnesses."""
    comparer = Comparer(slope, x, measured=True)
    monkeypatch.setattr(comparer.traced, "by_xla", lambda _: by_jax)
    return comparer(by_jax, x, dtype=np.float32)


def test_a_bound_of_other_values_than_those_of_jax_is_left_out_and_said_to_be_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one is whose rule takes a parameter for another; on a kink either side is ours."""
    x = np.array([1.0, 0.3 + 2.0**-30])
    ours = {"y": 3 * x, "z": x / 2}
    other_side = ours | {"y": np.array([3.0, 0.6])}
    for by_jax in (ours, other_side):
        comparison = slope_by(monkeypatch, by_jax, x)
        assert comparison.parting == 0
        assert all(leaf.proven is not None for leaf in comparison.leaves)
    bound = float(comparison.leaves[0].bound[0])
    for wrong, parting in (
        (ours | {"y": 3 * x + [2 * bound, 0.0]}, 1),
        (ours | {"y": 3 * x + [-2 * bound, 1.0], "z": x}, 4),
        (ours | {"z": np.array([NAN, 0.15])}, 1),
    ):
        comparison = slope_by(monkeypatch, wrong, x)
        assert comparison.parting == parting
        assert [leaf.proven for leaf in comparison.leaves] == [None, None]
        (fault,) = faults_of_ours(comparison, "result")
        assert fault.startswith(f"at {parting} elements of the result the proven bound is that of")


def test_nothing_parts_where_nothing_is_known_or_an_integer_hangs_on_a_kink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has no number is the same as another, and an infinite bound holds anything."""
    x = np.array([-1.0, 0.0, 1.0], np.float32)
    comparer = Comparer(jnp.log, x, measured=True)
    with np.errstate(all="ignore"):
        comparison = comparer(np.log(x), x)
    assert np.isnan(comparison.leaves[0].want[0])
    assert comparison.parting == 0
    near = np.array([1.0, 0.3])
    whole = Comparer(lambda x: ((x * 1.0 >= 0.3).astype(int), x), near, measured=True)
    for steps, parting in (([1, 1], 0), ([1, 0], 0), ([0, 0], 1)):
        by_jax = np.array(steps), near
        monkeypatch.setattr(whole.traced, "by_xla", lambda _, by_jax=by_jax: by_jax)
        assert whole.at(near, dtype=np.float32).parting == parting


def test_one_row_of_many_results_keeps_all_that_is_known_of_it() -> None:
    arrays = [np.arange(6.0).reshape(2, 3) + 10 * number for number in range(5)]
    row = Leaf("w", *arrays).of_row(1)
    assert row.path == "w"
    kept = (row.got, row.want, row.bound, row.low, row.high)
    for array, whole in zip(kept, arrays, strict=True):
        np.testing.assert_array_equal(array, whole[1])


def test_several_results_at_one_place_are_compared_as_each_alone() -> None:
    x = np.array([1.0, 3.0], np.float32)
    comparer = Comparer(lambda x: jnp.tanh(x) / 3, x, measured=True)
    right = np.tanh(x) / np.float32(3)
    place = comparer.at(x, dtype=np.float32)
    for got in (right, 2 * right, right):
        one, other = place(got), comparer(got, x)
        assert one.verdict == other.verdict
        assert same_bits(one.leaves[0].bound, other.leaves[0].bound)


def test_a_right_gradient_that_is_0_everywhere_is_no_blind_spot() -> None:
    """With one class the loss is 0 whatever the logits are; its gradient is, but for rounding."""
    z = np.array([[0.3]], np.float32)
    comparer = Comparer(jax.grad(lambda z: jax.nn.logsumexp(z) - z.sum()), z, measured=True)
    assert comparer(np.zeros((1, 1), np.float32), z).verdict == Verdict.MATCH
    assert comparer(np.ones((1, 1), np.float32), z).verdict == Verdict.MISMATCH
