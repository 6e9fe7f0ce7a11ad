"""Where another array may be planted, where several operations, and whether a sentence says so."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soundness import planted_readers as readers
from benchmarks.soundness import planted_regions as regions
from benchmarks.soundness import planted_swaps as swaps
from benchmarks.soundness.forms import FORMS
from benchmarks.soundness.losses import Draw
from benchmarks.soundness.places import Places
from benchmarks.soundness.planted_operations import NOT_PLANTED, OF_ALL, STRANGE, WRONG
from benchmarks.soundness.planting import REGIONS, Place, Tape


def of(name: str) -> Places:
    function, arguments, places = FORMS[name]
    args = arguments(Draw(np.random.default_rng(0), "normal"))
    return Places(Tape(function, args, (places,) if isinstance(places, int) else places))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("group norm, reshaped", {"of_another_group", "means_along", "all_sums_along"}),
        ("softmax by hand", {"softmax_diagonal", "sum_along"}),
        ("cross-entropy, p - y", set(OF_ALL)),
        ("pooling of slices", {*readers.OF_CHOSEN, readers.IN_THE_FIRST}),
        ("pooling of windows", {"last_window_only", "first_window_only", readers.OF_A_MEAN}),
        ("mean of windows", set(readers.OF_SUMS)),
        ("mean of slices", set(readers.OF_SUMS)),
        ("batch norm, running statistics", {regions.OTHER_STATISTICS, "summed_over_all"}),
        ("rotated heads", {"split_in_another_order", "joined_in_another_order"}),
        ("ReLU network", {regions.LEFT_OUT, "forgotten_upstream", "applied_to_upstream"}),
        ("shared heads", {"copies_in_another_order_0", swaps.UPDATED}),
        ("tiled heads", {"repeated_not_tiled"}),
        ("maximum of a ReLU", {"whole_to_each_tied"}),
        ("larger of two", {"whole_to_both_tied"}),
        ("gated scan", {swaps.VALUE, swaps.FACTOR_OF}),
    ],
)
def test_a_form_has_places_for_the_mistakes_that_it_is_there_for(
    name: str, kinds: set[str]
) -> None:
    places = of(name)
    found = {*places.swapped, *places.of_regions, *(OF_ALL if places.exponentiated else ())}
    found |= {kind for kind, (fits, _) in WRONG.items() if any(map(fits, places.edges))}
    assert kinds <= found
    assert all(plants for plants in places.of_regions.values())


@pytest.mark.parametrize("again", [False, True])
def test_sums_are_planted_where_all_of_them_lead_to_the_array(again: bool) -> None:
    """In (x - m) / s those of s lead to x alone if s is made of another x - m."""

    def loss(x: Any) -> Any:
        c = x - x.mean(1, keepdims=True)
        of_s = x - x.mean(1, keepdims=True) if again else c
        return (c / jnp.sqrt((of_s**2).mean(1, keepdims=True) + 1e-5) * t).sum()

    x, t = np.random.default_rng(0).normal(size=(2, 5, 4))
    planted = Places(Tape(loss, (x,), (0,))).of_regions
    assert "means_along" in planted
    assert ("mean_square_along" in planted) is not again


def test_weights_that_are_0_or_1_by_chance_choose_nothing() -> None:
    def loss(x: Any) -> Any:
        z = x @ x.T
        return jnp.exp(1e4 * (z - z.max(1, keepdims=True))) @ x

    x = np.array([[1.0, 0.0, 2.0]])
    assert readers.places_in(x, np.asarray(loss(x))) is not None
    found = Places(Tape(lambda x: loss(x).sum(), (x,), (0,))).of_regions
    assert not found.keys() & readers.OF_CHOSEN.keys()


def test_what_stands_in_a_loop_is_of_that_loop() -> None:
    places = of("gated scan")
    looped = [group for group in places.swapped[swaps.FACTOR_OF] if group[0].looped]
    assert looped
    for (edge,) in looped:
        for (place,) in places.sources(swaps.FACTOR_OF, (edge,)):
            assert places.loop(place.path) == places.loop(edge.path) != ()


def test_a_sentence_speaks_of_an_array_if_it_holds_its_name() -> None:
    def loss(W: Any, x: Any) -> Any:
        z = x @ W
        return (z * z.sum()).sum()

    places = Places(Tape(loss, (np.ones((2, 2)), np.ones((3, 2))), (0,)))
    (edge, *_) = (e for e in places.edges if e.name == "dot_general")
    for place, name in ((Place(edge.path, 0), "z"), (Place((), -2), "x")):
        assert places.said(f"uses `1 - {name}` in [0]", place, "1 - {}")
        assert not places.said("uses `1 - y` in [0]", place, "1 - {}")
        assert not places.said(f"uses `{name}` in [0]", place, "1 - {}")
    (total, *_) = (e for e in places.edges if e.name == "reduce_sum")
    unnamed = Place(total.path, 0)
    assert places.said("uses `z.sum()`", unnamed, swaps.ITSELF)
    assert places.said("uses `1 - z.sum()`", unnamed, "1 - {}")
    assert not places.said("uses `z.sum()`", unnamed, "1 - {}")


def test_each_kind_of_the_search_is_planted_or_it_is_said_why_not() -> None:
    from reference.diagnosis.edges.kinds import KINDS  # noqa: PLC0415
    from reference.diagnosis.edges.kinds import REGIONS as SEARCHED  # noqa: PLC0415
    from reference.diagnosis.edges.statistics import OTHER_STATISTICS  # noqa: PLC0415
    from reference.diagnosis.edges.swaps import FORMULAS, SWAPS  # noqa: PLC0415

    searched = {*KINDS, *SEARCHED, *SWAPS, OTHER_STATISTICS}
    planted = {*WRONG, *OF_ALL, *swaps.SWAPS, *REGIONS, regions.OF_GROUP}
    of_axes = {kind for kind in planted if kind.endswith("_along")}
    found = {kind.rstrip("_0123456789") if kind not in planted else kind for kind in searched}
    assert found - NOT_PLANTED.keys() == planted
    assert NOT_PLANTED.keys() <= found
    assert of_axes <= found
    assert swaps.FORMULAS.keys() == FORMULAS.keys()
    assert not STRANGE.keys() & searched


def test_what_leads_past_a_result_is_seen() -> None:
    def loss(x: Any, y: Any) -> Any:
        a = np.sin(1.0) * x
        return (a * a).sum() + y.sum() + (a * y).sum()

    tape = Tape(loss, (np.ones(2), np.ones(2)), (0, 1))
    one, other = tape.active
    (a, *_) = (step.outs[0] for step in tape.steps)
    assert not tape.leads_past(one, a)
    assert tape.leads_past(other, a)
