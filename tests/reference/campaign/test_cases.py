"""The cases of a campaign: what is drawn, and what a block finds."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import manual_nn
from reference.campaign import cases
from reference.campaign.cases import (
    MEASURED_EVERY,
    RAISED,
    REFUSED,
    TURNS,
    XLA,
    XLA_EVERY,
    compare_block,
    compare_cases,
    draw_case,
    plan_block,
)
from reference.campaign.draws import LAYOUTS, MAGNITUDES, TRAITS, Shape, make_network
from reference.campaign.quantities import GROUPS
from reference.compare import Comparer, worst_verdict
from tests.support.broken import (
    changing_its_input,
    complaining,
    failing,
    in_a_list,
    in_another_dtype,
    refusing,
    scaled,
    with_another_shape,
)

# The first block of each group that is not compiled
BLOCK_OF = {group: 10 + TURNS.index(group) for group in GROUPS}


@pytest.fixture
def bound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing, which takes seconds to compile."""
    monkeypatch.setattr(cases, "compare_cases", functools.partial(compare_cases, measured=False))


# What is drawn


def test_a_case_is_drawn_again_from_its_numbers_alone() -> None:
    for block in BLOCK_OF.values():
        assert plan_block(3, block) == plan_block(3, block)
        one, again = draw_case(3, block, 5), draw_case(3, block, 5)
        assert one[0] == again[0]
        jax.tree.map(np.testing.assert_array_equal, one[1], again[1])
        assert not np.array_equal(one[1].X, draw_case(3, block, 6)[1].X)


@pytest.mark.parametrize(
    ("block", "number", "plan", "kind", "values", "weights"),
    [
        (
            1,
            7,
            "rows: 10-10, 8 rows, class numbers, float64",
            "zero parameters, offset view, ordinary",
            "0 0.03125 -0.1972 -0.3306",
            "0.338 0 1.05 0 1 0 0.749 0.271",
        ),
        (
            5,
            11,
            "gradient: 9-11-11-11, 10 rows, class numbers, float64",
            "equal logits, read-only, balanced",
            "9.71 0.25 3.11e+05 -0.4753",
            "0 0 1.37 0 0 0.0186 1.24 0.638 1 0",
        ),
        (
            9,
            4,
            "matrices: 3-4-4-4, 3 rows, class numbers, float32",
            "plain, read-only, balanced",
            "0.007812 2 0.08882 -1.521",
            "0.258 1 0.917",
        ),
        (
            14,
            5,
            "weighted: 10-1-9, 8 rows, probabilities, float32",
            "equal logits, C order, balanced",
            "3.303e-06 0.5 0.9943 -0.4905",
            "0 0 0 1 0.272 0 0.0473 0",
        ),
    ],
)
def test_a_case_is_the_same_on_every_machine(
    block: int, number: int, plan: str, kind: str, values: str, weights: str
) -> None:
    """The number of a case stands in a log and in the README."""
    group, shape, dtype = plan_block(5, block)
    assert f"{group}: {shape}, {dtype}" == plan
    drawn, case = draw_case(5, block, number)
    assert ", ".join(drawn) == kind
    numbers = (case.weight_decay, case.max_norm, case.X[0, 0], case.tangents[-1].bias[0])
    assert " ".join(f"{number:.4g}" for number in numbers) == values
    assert " ".join(f"{weight:.3g}" for weight in case.sample_weight) == weights


def test_everything_is_drawn() -> None:
    plans = [plan_block(0, block) for block in range(400)]
    assert {plan.group for plan in plans} == set(GROUPS)
    assert {plan.dtype for plan in plans} == {"float32", "float64"}
    assert {plan.shape.soft for plan in plans} == {False, True}
    for matrices, layers, width, rows in ((False, 4, 12, 16), (True, 3, 4, 5)):
        shapes = [plan.shape for plan in plans if (plan.group == "matrices") == matrices]
        assert {len(shape.sizes) - 1 for shape in shapes} == set(range(1, layers + 1))
        assert {size for shape in shapes for size in shape.sizes} == set(range(1, width + 1))
        assert {shape.N for shape in shapes} == set(range(1, rows + 1))
    kinds = [draw_case(0, 1, number)[0] for number in range(200)]
    assert {kind.trait for kind in kinds} == set(TRAITS)
    assert {kind.layout for kind in kinds} == set(LAYOUTS)
    assert {kind.magnitude for kind in kinds} == set(MAGNITUDES)
    decays = {draw_case(0, 1, number)[1].weight_decay for number in range(50)}
    assert {0, 2.0**-7} < decays
    assert len(decays) > 10
    assert max(decays) <= 10


def test_one_row_or_another_counts_1_and_some_count_nothing() -> None:
    block = next(block for block in range(100) if plan_block(0, block).shape.N == 8)
    weights = [draw_case(0, block, number)[1].sample_weight for number in range(100)]
    assert all((weight == 1).sum() == 1 for weight in weights)
    assert {int(weight.argmax()) for weight in np.stack(weights) == 1} == set(range(8))
    assert {int((weight == 0).sum()) for weight in weights} > set(range(2, 6))


def test_some_rows_are_longer_than_the_largest_norm_and_some_are_not() -> None:
    block, longer = BLOCK_OF["rows"], set()
    for number in range(20):
        kind, case = draw_case(0, block, number)
        if kind.magnitude == "ordinary" and kind.trait == "plain":
            norms = manual_nn.per_example_grad_norms(case.params, case.X, case.y)
            longer |= set((norms > case.max_norm).tolist())
    assert longer == {False, True}


def test_the_first_case_of_a_block_hangs_on_its_plan_no_more_than_the_others() -> None:
    """A seed of zeros at the end is the same seed: the case would begin as the plan does."""
    for number in (0, 1):
        pairs = {
            (len(plan_block(0, block).shape.sizes), draw_case(0, block, number)[0].trait)
            for block in range(1, 400, 10)
        }
        assert len(pairs) > 20


@pytest.mark.usefixtures("bound_alone")
def test_the_groups_have_all_that_is_public() -> None:
    names = {
        name.partition(",")[0]
        for group in ("gradient", "rows", "products", "matrices")
        for name in compare_block(0, BLOCK_OF[group], 1).verdicts
    }
    training = {
        name
        for name in manual_nn.__all__
        if getattr(getattr(manual_nn, name), "__module__", "").startswith("manual_nn.training.")
    }
    assert set(manual_nn.__all__) - {"Dense", "Workspace", "init_params", *training} <= names


@pytest.mark.parametrize("N", [1, 4, 5])
def test_what_is_weighted_goes_in_two_blocks_and_into_a_workspace_with_room(
    N: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def spied(function: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **options: Any) -> Any:
            asked.append(options)
            return function(*args, **options)

        return spy

    for name in ("loss", "loss_and_grad"):
        monkeypatch.setattr(manual_nn, name, spied(getattr(manual_nn, name)))
    params, X, y, _ = make_network(Shape((2, 3), N, soft=False), np.float64, seed=0)
    GROUPS["weighted"].by_hand(params, X, y, 0.0, np.ones(N))
    chunks = [options["chunk_size"] for options in asked if "chunk_size" in options]
    assert [math.ceil(N / chunk) for chunk in chunks] == [min(N, 2)] * 2
    (workspace,) = (options["workspace"] for options in asked if "workspace" in options)
    assert workspace.rows > N


# What is found


@pytest.mark.usefixtures("bound_alone")
@pytest.mark.parametrize("group", GROUPS)
def test_a_block_says_of_each_network_what_it_says_of_it_alone(group: str) -> None:
    block, networks = BLOCK_OF[group], 8
    record = compare_block(0, block, networks)
    assert not record.wrong
    assert not record.compiled
    functions = GROUPS[group]
    comparer = None
    found: dict[str, dict[str, int]] = {}
    for number in range(networks):
        case = draw_case(0, block, number)[1].arguments(functions)
        comparer = comparer or Comparer(functions.by_jax, *case)
        try:
            with np.errstate(all="ignore"):
                got = functions.by_hand(*case)
        except ValueError:
            verdicts = dict.fromkeys(record.verdicts, REFUSED)
        else:
            comparison = comparer(got, *case, dtype=record.dtype, compiled=False)
            verdicts = {name: worst_verdict(leaves) for name, leaves in comparison.by_key().items()}
        for name, verdict in verdicts.items():
            counts = found.setdefault(name, {})
            counts[str(verdict)] = counts.get(str(verdict), 0) + 1
    assert found == record.verdicts


def test_blocks_of_every_group_are_compiled() -> None:
    compiled = range(0, 10 * XLA_EVERY, XLA_EVERY)
    assert {plan_block(0, block).group for block in compiled} == set(GROUPS)


@pytest.mark.usefixtures("bound_alone")
def test_some_of_the_blocks_are_compiled_and_xla_is_held_to_the_bound_of_float64() -> None:
    record = compare_block(1, XLA_EVERY, 4)
    assert record.compiled
    assert sum(record.verdicts[XLA].values()) == 4
    assert not record.wrong
    assert record.worst[XLA][0] > 0  # XLA and NumPy do not round alike


@pytest.mark.usefixtures("bound_alone")
def test_the_worst_match_of_each_quantity_is_kept_with_its_number() -> None:
    before, without = time.perf_counter(), set()
    for networks, block in ((8, 10), (8, 20), (1, 130)):
        record = compare_block(0, block, networks)
        again = cases.compare_cases(0, block, range(networks), compiled=False)
        assert 0 <= record.seconds <= time.perf_counter() - before + 0.001  # which are rounded
        assert record.worst == again.record.worst
        for quantity, leaves in again.leaves.items():
            ratios = {
                number: max(float(leaf.of_row(number).ratio.max()) for leaf in leaves)
                for number, verdict in enumerate(again.verdicts[quantity])
                if verdict == "match"
            }
            if ratios:
                number = max(ratios, key=lambda number: ratios[number])
                assert record.worst[quantity] == (ratios[number], number)
            else:
                assert quantity not in record.worst
            without.add(quantity not in record.worst)
    assert without == {False, True}


@pytest.mark.usefixtures("bound_alone")
@pytest.mark.parametrize(
    ("group", "name", "quantities"),
    [
        ("gradient", "input_grad", {"input_grad"}),
        ("rows", "per_example_grads", {"per_example_grads"}),
        ("products", "hvp", {"hvp"}),
        ("matrices", "fisher_diagonal", {"fisher_diagonal"}),
    ],
)
def test_a_fault_is_found_in_its_quantity_and_its_case_listed(
    group: str, name: str, quantities: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual_nn, name, scaled(getattr(manual_nn, name)))
    record = compare_block(0, BLOCK_OF[group], 20)
    wrong = {name for name, verdicts in record.verdicts.items() if "mismatch" in verdicts}
    assert wrong == quantities
    assert record.wrong == record.found["mismatch"]
    number = record.wrong[0]
    again = cases.compare_cases(0, record.block, [number], compiled=True)
    assert again.record.found["mismatch"] == again.record.wrong == [0]
    assert {name for name, (verdict,) in again.verdicts.items() if verdict == "mismatch"} == wrong


@pytest.mark.usefixtures("bound_alone")
@pytest.mark.parametrize(
    ("faulty", "verdict"),
    [
        (changing_its_input, "mutated input"),
        (in_another_dtype, "wrong dtype"),
        (with_another_shape, "wrong shape"),
        (in_a_list, "wrong structure"),
        (failing, RAISED),
        (complaining, RAISED),
        (refusing, "mismatch"),
    ],
)
def test_what_is_wrong_whatever_the_numbers_is_found(
    faulty: Callable[..., Any], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, networks = BLOCK_OF["gradient"], 6
    healthy = compare_block(0, block, networks)
    monkeypatch.setattr(manual_nn, "input_grad", faulty)
    record = compare_block(0, block, networks)
    assert not healthy.wrong
    kinds = [draw_case(0, block, number)[0] for number in range(networks)]
    expected = [
        number
        for number, kind in enumerate(kinds)
        if number not in healthy.found.get(REFUSED, [])
        and not (verdict == "mismatch" and number in healthy.found.get("not comparable", []))
        and not (verdict == "mutated input" and kind.layout == "read-only")
    ]
    assert record.found[verdict] == expected
    assert record.wrong == expected


@pytest.mark.usefixtures("bound_alone")
def test_a_fault_is_not_hidden_by_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing_and_refusing(_: Any, X: Any) -> Any:
        X *= 2
        refusing()

    monkeypatch.setattr(manual_nn, "logits", changing_and_refusing)
    record = compare_block(0, BLOCK_OF["gradient"], 6)
    kinds = [draw_case(0, record.block, number)[0] for number in range(6)]
    changed = [number for number, kind in enumerate(kinds) if kind.layout != "read-only"]
    assert record.found["mutated input"] == changed


@pytest.mark.usefixtures("bound_alone")
def test_an_overflow_is_refused_rightly() -> None:
    blocks = (compare_block(2, block, 30) for block in range(11, 40, 10))
    assert any(record.found.get(REFUSED) for record in blocks)


def test_what_the_bound_says_nothing_of_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    block, networks = 54, range(40)
    alone = compare_cases(0, block, networks, compiled=False, measured=False).record
    both = compare_cases(0, block, networks, compiled=False).record
    unbounded = alone.found["not comparable"]
    assert (alone.unbounded, alone.measured) == (len(unbounded), 0)
    assert both.unbounded == both.measured == len(unbounded) > 1
    left = both.found.get("not comparable", [])
    assert both.overflowing + both.uncertain + both.untried == len(left) < len(unbounded)
    assert not both.wrong
    monkeypatch.setattr(manual_nn, "loss_and_grad", scaled(manual_nn.loss_and_grad))
    found = compare_cases(0, block, networks, compiled=False).record.found["mismatch"]
    assert set(found) & set(unbounded)


def test_now_and_then_both_witnesses_are_asked_of_a_network_with_a_bound() -> None:
    block = 2 * MEASURED_EVERY - 1
    record = compare_block(0, block, 1)
    assert (record.unbounded, record.measured) == (0, 1)
    assert record.verdicts == {name: {"match": 1} for name in record.verdicts}
    assert not compare_block(0, block - 1, 1).measured
    groups = {plan_block(0, number).group for number in range(block, 400, MEASURED_EVERY)}
    assert groups == set(GROUPS)
