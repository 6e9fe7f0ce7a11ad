"""Which decisions are worth evaluating, and what they leave open."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.arrays import Array
from reference.bounds.tracing import Traced
from reference.compare import Comparer, Verdict
from reference.noise.decisions import ROUNDS, Decided, Draw, Freedom, Moved, worth_evaluating
from reference.noise.measure import Measurement, Witness, _Run
from reference.noise.statistics import multiple

U = 2.0**-24


def samples(*outcomes: tuple[int, int]) -> list[Decided]:
    """Give samples that decide so many things otherwise, told apart by a number."""
    return [Decided(Draw(0, row), *outcome) for row, outcome in enumerate(outcomes)]


def numbers(groups: list[list[Decided]]) -> list[list[int]]:
    """List the samples of each group."""
    return [[sample.draw.row for sample in group] for group in groups]


def test_samples_that_decide_alike_are_one_outcome_and_those_that_decide_nothing_are_none() -> None:
    groups, added = worth_evaluating(samples((1, 7), (0, 0), (1, 7), (1, 7)))
    assert (numbers(groups), added) == ([[0, 2, 3]], True)
    assert worth_evaluating(samples((0, 0), (0, 0))) == ([], True)


def test_of_the_sums_of_kinks_that_flip_alone_only_the_largest_is_evaluated() -> None:
    a, b, c = 2**63 + 5, 2**63 + 11, 17  # words, whose sums leave 64 bits
    seen = samples((1, a), (2, (a + b) % 2**64), (1, b), (1, c), (2, b + c), (2, b + c))
    groups, added = worth_evaluating(seen)
    assert (numbers(groups), added) == ([[0], [2], [3], [4, 5]], True)
    seen += samples((3, (a + b + c) % 2**64))
    groups, added = worth_evaluating(seen)
    assert (numbers(groups), added) == ([[0], [2], [3], [0]], True)
    assert groups[3][0].flips == 3


def test_where_a_kink_never_flips_alone_all_outcomes_are_evaluated() -> None:
    seen = samples((1, 3), (2, 8), (2, 8), (3, 11), (1, 3))
    assert worth_evaluating(seen) == ([[seen[0], seen[4]], seen[1:3], [seen[3]]], False)
    many = samples(*((2, number) for number in range(3, 100)))
    groups, added = worth_evaluating(many)
    assert (len(groups), added) == (ROUNDS, False)
    alone = samples(*((1, 2**number) for number in range(12)))
    groups, added = worth_evaluating(alone)  # the sums of so many are not listed
    assert (numbers(groups), added) == ([[number] for number in range(12)], False)


def moved(
    *rounds: list[float],
    sigma: float = 0.0,
    alone: bool = False,
    kept: bool = True,
    **how: Any,
) -> Freedom:
    """Take rounds of values, all nominally 0, whose samples stray by 0.5."""
    array = Moved(np.zeros(3), np.full(3, sigma), kept=kept)
    for values in rounds:
        array.take(np.array(values), np.full(3, 0.5), alone=alone)
    options = {"beyond": 0.0, "added": alone, "scale": 1.0, "uncertain": 2.0}
    return array.freedom(**{**options, **how})


def test_what_rounds_have_seen_is_enclosed() -> None:
    freedom = moved([1, 0, 0], [2, -1, 0], [1, 3, 0])
    assert freedom.low.tolist() == [0, -1, 0]
    assert freedom.high.tolist() == [2, 3, 0]
    assert freedom.moved.tolist() == [True, True, False]
    assert freedom.sigma.tolist() == [1, 1, 0]
    assert freedom.moves.tolist() == [[1, 0], [2, -1], [1, 3]]


def test_more_kinks_at_once_lie_beyond_by_standard_deviations_of_what_was_seen() -> None:
    freedom = moved([2, 0, 0], [2, -4, 0], [0, -4, 0], beyond=3.0)
    beyond = 3 * np.std([[0, 2, 2, 0], [0, 0, -4, -4]], axis=1)
    assert beyond.tolist() == [3, 6]  # of numbers in which nothing rounds
    np.testing.assert_array_equal(np.array([0, -4]) - freedom.low[:2], beyond)
    np.testing.assert_array_equal(freedom.high[:2] - np.array([2, 0]), beyond)
    assert freedom.low[2] == freedom.high[2] == 0


def test_kinks_that_have_flipped_alone_are_added_up() -> None:
    freedom = moved([1, 2, 0], [2, -1, 0], alone=True, beyond=3.0)
    assert freedom.low.tolist() == [0, -1, 0]
    assert freedom.high.tolist() == [3, 2, 0]


def test_what_hardly_moves_is_as_certain_as_the_nominal_value() -> None:
    """And what differs by less than rounding does so because another program computed it."""
    freedom = moved([1e-4, 0.5, 9], sigma=1.0)
    assert freedom.moved.tolist() == [False, True, True]
    assert freedom.sigma.tolist() == [1, 1, 1]  # the last one is 2 * 0.5
    assert moved([1e-4, 0.5, 9], sigma=1.0, uncertain=6.0).sigma.tolist() == [1, 1, 3]


def test_what_is_not_finite_beyond_a_kink_may_be_anything_and_beyond_a_tie_is_nothing() -> None:
    lost = moved([np.nan, np.inf, 0], kept=False)
    assert lost.moved.tolist() == [True, True, False]
    assert np.isnan(lost.low[0])
    assert moved([np.nan, np.inf, 0]).moved.tolist() == [False, False, False]
    freedom = moved([np.nan, np.inf, 0], [2, 3, 0])
    assert freedom.high.tolist() == [2, 3, 0]
    assert freedom.moves.tolist() == [[0, 0], [2, 3]]


def on_the_brink(rows: int) -> Array:
    """Give pairs whose squares add up to 1 but for rounding."""
    return np.tile([0.6, 0.8], (rows, 1)).astype(np.float32).astype(np.float64)


def hinges(shift: Any, x: Any) -> Any:
    """A kink for each row, all of which move the gradient by the shift."""
    return jax.nn.relu((x * x).sum(axis=1) - 1 + shift).sum()


def measured(loss: Callable[..., Any], *args: Any, seed: int = 0) -> Measurement:
    """Measure a gradient in float32."""
    return Witness(Traced(jax.grad(loss), *args), np.float32).measure(*args, seed=seed)


@pytest.mark.parametrize(("rows", "most"), [(1, 3), (2, 3), (3, 7)])
def test_each_kink_and_all_of_them_may_flip_and_few_take_few_rounds(
    rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []
    before = _Run._round

    def counted(run: _Run, *args: Any, **options: Any) -> Any:
        rounds.append(args)
        return before(run, *args, **options)

    monkeypatch.setattr(_Run, "_round", counted)
    args = np.float64(0), on_the_brink(rows)
    comparer = Comparer(jax.grad(hinges), *args, measured=True)
    place = comparer.at(*args, dtype=np.float32)
    for flipped in range(rows + 1):
        comparison = place(np.float32(rows - flipped))
        assert comparison.open_kinks == rows
        assert comparison.verdict == (Verdict.AMBIGUOUS if flipped else Verdict.MATCH)
        assert 2 <= len(rounds) <= most
    # Of three not each has flipped alone, so that NOISE.md (8) says how far they may reach.
    beyond = 1 if rows <= 2 else rows
    for wrong in (-beyond, rows + beyond):
        assert place(np.float32(wrong)).verdict == Verdict.MISMATCH


def test_the_spread_beyond_other_decisions_allows_for_the_few_samples_that_it_is_of() -> None:
    """On the other side the gradient is no longer 0, and only there it rounds."""
    x = np.array([0.6, 0.8]).astype(np.float32).astype(np.float64)
    (leaf,) = measured(lambda x: -(jax.nn.relu(1 - (x * x).sum()) / 3), x).leaves
    assert leaf.kinks is not None
    assert not leaf.sigma.any()
    size = U * abs(leaf.kinks.high - leaf.kinks.low)
    few = multiple(2, 4) / multiple(2), multiple(2, 3) / multiple(2)
    assert (leaf.kinks.sigma > 0.2 * few[0] * size).all()
    assert (leaf.kinks.sigma < 6 * few[1] * size).all()


def test_kinks_within_a_loop_are_told_apart() -> None:
    def loop(x: Any) -> Any:
        def step(total: Any, row: Any) -> tuple[Any, None]:
            return total + jax.nn.relu((row * row).sum() - 1), None

        return lax.scan(step, jnp.zeros(()), x)[0]

    x = on_the_brink(2)
    (leaf,) = measured(loop, x).leaves
    assert leaf.kinks is not None
    assert leaf.kinks.moved.all()
    np.testing.assert_array_equal(leaf.kinks.low, 0)
    np.testing.assert_allclose(leaf.kinks.high, 2 * x)


def test_a_kink_and_an_exact_tie_may_go_either_way_together() -> None:
    def both(x: Any, shift: Any) -> Any:
        return jax.nn.relu((x * x).sum() - 1 + shift) + jax.nn.relu(shift)

    x, shift = on_the_brink(1)[0], np.float64(0)
    measurement = Witness(Traced(jax.grad(both, (0, 1)), x, shift), np.float32).measure(x, shift)
    assert (measurement.open_kinks, measurement.exact_ties) == (1, 1)
    kinks = measurement.leaves[1].kinks
    assert kinks is not None
    assert (float(kinks.low), float(kinks.high)) == (0, 2)
