"""The cases of `python -m reference`, and how they are counted; `test_command_line.py` runs it."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import Dense
from reference import Comparison, Leaf, Verdict
from reference.campaign import agreement
from reference.campaign.agreement import (
    Agreement,
    DirectedExample,
    Example,
    Row,
    directed_comparer,
    draw_directed_example,
    draw_example,
)
from tests.support.cases import each
from tests.support.leaves import leaf_of

# What is drawn


@pytest.mark.parametrize(
    ("seed", "shape", "soft", "weight_decay", "first"),
    [
        (0, "41-33-18-20-3, 10 rows", True, "0.00476", "-0.9574"),
        (1, "33-49-61, 5 rows", True, "0", "0.4943"),
        (2, "17-7-20-27-53, 58 rows", False, "0.00221", "0.7647"),
        (3, "6-12-16-12-52, 112 rows", True, "0", "-0.9344"),
        (4, "61-57-33-61, 125 rows", False, "0", "1.2868"),
    ],
)
def test_a_seed_draws_the_case_that_it_has_always_drawn(
    seed: int, shape: str, soft: bool, weight_decay: str, first: str
) -> None:
    """Or a case that somebody has reported by its seed would be another."""
    case = draw_example(seed)
    assert (case.seed, case.shape, case.y.ndim == 2) == (seed, shape, soft)
    assert (f"{case.weight_decay:.3g}", f"{case.X[0, 0]:.4f}") == (weight_decay, first)


DIRECTED = [  # the twelve shapes, and the largest norm
    ("4-4-2-2-1, 1 rows", False, "0.000977"),  # one class: the gradient is 0
    ("4-5-6, 1 rows", False, "0.603"),
    ("2-1-2-3-5, 4 rows", False, "10.1"),
    ("1-2-2-2-5, 7 rows", True, "0.432"),
    ("6-6-4-6, 8 rows", True, "2.52"),
    ("5-1-5-3, 5 rows", True, "1.11"),
    ("4-4-3, 8 rows", True, "1.39"),
    ("4-5-6-4-5, 7 rows", True, "4.62"),
    ("2-2-6-2, 3 rows", False, "0.466"),
    ("6-6-2, 1 rows", False, "2.31"),
    ("6-2-2-5-5, 5 rows", False, "2.14"),
    ("1-5, 4 rows", False, "0.888"),
]


@each(("seed", "expected"), list(enumerate(DIRECTED)))
def test_a_small_case_has_one_of_twelve_shapes_and_a_norm_that_some_rows_are_above(
    seed: int, expected: tuple[str, bool, str]
) -> None:
    drawn = draw_directed_example(seed)
    case = drawn.example
    assert (case.shape, case.y.ndim == 2, f"{drawn.max_norm:.3g}") == expected
    norms = manual_nn.per_example_grad_norms(case.params, case.X, case.y)
    assert drawn.max_norm == (norms.max() / 2 if norms.any() else 2.0**-10)
    again = draw_directed_example(seed + 12)
    assert again.example.shape == case.shape
    assert not np.array_equal(again.example.X, case.X)
    for one, other in zip(
        itertools.chain(*drawn.tangents), itertools.chain(*again.tangents), strict=True
    ):
        assert not np.array_equal(one, other)


def test_sizes_are_up_to_64_rows_up_to_128_and_biases_about_a_tenth() -> None:
    cases = [draw_example(seed) for seed in range(100)]
    sizes = [size for case in cases for size in map(int, case.shape.split(",")[0].split("-"))]
    rows = [len(case.X) for case in cases]
    biases = np.concatenate([layer.bias for case in cases for layer in case.params])
    decays = [case.weight_decay for case in cases if case.weight_decay]
    assert min(sizes) >= 1
    assert max(sizes) <= 64
    assert min(rows) >= 1
    assert max(rows) <= 128
    assert {len(case.params) for case in cases} == {1, 2, 3, 4}
    assert 0.3 < abs(biases).max() < 0.6  # four and a half standard deviations, and never six
    assert 1e-5 <= min(decays) < max(decays) <= 1
    for case in cases:
        assert case.X.shape[1] == len(case.params[0].weight)
        classes = case.params[-1].bias.size
        assert case.y.shape[1:] in {(), (classes,)}
        assert (case.y < classes).all()


def case_of(seed: int, *sizes: int, rows: int = 7) -> Example:
    params = tuple(
        Dense(np.full((m, n), 0.1), np.full(n, 0.1)) for m, n in itertools.pairwise(sizes)
    )
    return Example(seed, params, np.full((rows, sizes[0]), 0.1), np.zeros(rows, int), 0.1)


def test_a_case_names_its_shape_and_is_rounded_but_for_its_class_numbers() -> None:
    case = case_of(3, 3, 2, 4, 5)
    assert case.shape == "3-2-4-5, 7 rows"
    params, X, y, weight_decay = case.at(np.float32)
    assert {array.dtype for layer in params for array in layer} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(X, np.full((7, 3), np.float32(0.1)), strict=True)
    assert y.dtype == int
    assert weight_decay == 0.1
    assert case._replace(y=np.full((7, 5), 0.2)).at(np.float32)[2].dtype == np.float32


# What is counted


def off_by(off: float = 0.0, *, open_by: float = 0.0, path: str = "['loss']") -> Leaf:
    """Make a number that is off, of which 2^-50 is allowed; 2^-52 is a unit of its last place."""
    return leaf_of([1.0], [1.0 + off], 2.0**-50, path, open_by=open_by)


def test_a_row_counts_verdicts_and_keeps_the_worst_and_its_first_case() -> None:
    row, cases = Row(), [case_of(seed, 2, 2) for seed in range(4)]
    row.add(cases[0], [off_by(), off_by()])
    assert (row.ulps, row.ratio, row.worst) == (0, 0, cases[0])
    row.add(cases[1], [off_by(2.0**-51), off_by(2.0**-52)])
    assert (row.ulps, row.ratio, row.worst) == (2, 0.5, cases[1])
    row.add(cases[2], [off_by(2.0**-51)])
    assert row.worst is cases[1]
    row.add(cases[3], [off_by(2.0**-49)])
    assert (row.ulps, row.ratio, row.worst) == (8, 2, cases[3])
    assert row.verdicts == {Verdict.MATCH: 3, Verdict.MISMATCH: 1}


def comparison_of(*leaves: Leaf, kinks: int = 0) -> Comparison:
    return Comparison(leaves, kinks)


def test_a_case_is_counted_with_the_small_one_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each precision, and for its kinks once."""
    kinks = {"float32": 0, "float64": 0}
    small = case_of(5, 1, 1)

    def compared(case: Example) -> dict[str, Comparison]:
        assert case.seed == 5
        return {dtype: comparison_of(off_by()) for dtype in kinks}

    def compared_small(_: Any) -> dict[str, Comparison]:
        hvp = off_by(2.0**-49, path="['hvp']"), off_by(path="['hvp']")
        return {dtype: comparison_of(*hvp, kinks=count) for dtype, count in kinks.items()}

    monkeypatch.setattr(agreement, "compare_example", compared)
    monkeypatch.setattr(agreement, "compare_directed_example", compared_small)
    monkeypatch.setattr(
        agreement, "draw_directed_example", lambda seed: DirectedExample(small, small.params, seed)
    )
    found, case = Agreement(), case_of(5, 2, 2)
    assert (found.cases, found.kinks) == (0, 0)
    found.add(case)
    assert (found.cases, found.kinks) == (1, 0)
    kinks["float64"] = 3
    found.add(case)
    assert (found.cases, found.kinks) == (2, 1)
    rows = [("loss", "float32"), ("loss", "float64"), ("hvp", "float32"), ("hvp", "float64")]
    assert list(found.rows) == rows
    assert found.rows["loss", "float32"].verdicts == {Verdict.MATCH: 2}
    assert found.rows["hvp", "float64"].verdicts == {Verdict.MISMATCH: 2}
    assert found.rows["loss", "float32"].worst is case
    assert found.rows["hvp", "float32"].worst is small


@each("verdict", Verdict)
def test_what_cannot_be_compared_is_not_agreement(verdict: Verdict) -> None:
    found = Agreement()
    found.rows["loss", "float32"] = Row(Counter({Verdict.MATCH: 2, verdict: 1}))
    assert found.complete is (verdict in {Verdict.MATCH, Verdict.AMBIGUOUS})


def test_no_case_at_all_is_not_agreement() -> None:
    assert Agreement().complete is False


def test_a_small_shape_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own arguments, and compared at those of each case, in both precisions."""
    traced: list[str] = []

    class Recorder:
        def __init__(self, function: Any, params: Any, *_: Any) -> None:
            assert function is agreement.directed_by_jax
            self.shapes = [layer.weight.shape for layer in params]
            traced.append(str(self.shapes))

        def __call__(self, got: Any, params: Any, *_: Any, dtype: npt.DTypeLike) -> Comparison:
            assert self.shapes == [layer.weight.shape for layer in params]
            assert got["hvp"][0].weight.dtype == dtype
            return comparison_of()

    monkeypatch.setattr(agreement, "Comparer", Recorder)
    directed_comparer.cache_clear()
    try:
        for seed in (3, 15, 8, 27):
            found = agreement.compare_directed_example(draw_directed_example(seed))
            assert list(found) == ["float32", "float64"]
    finally:
        directed_comparer.cache_clear()
    assert traced == ["[(1, 2), (2, 2), (2, 2), (2, 5)]", "[(2, 2), (2, 6), (6, 2)]"]


TABLE = [
    ("quantity", "dtype", "cases", "match", "ambig.", "n.c.", "wrong", "ulps", "of bound"),
    ("loss", "float32", "9", "4", "3", "2", "0", "1.25", "0.500"),
    ("input_grad", "float64", "1", "0", "0", "0", "1", "-1", "0.000"),
]
WIDTHS = (-31, -7, 5, 5, 6, 4, 5, 7, 8)  # from the right but for the first two
LAST = ("worst case", "2-3, 7 rows, seed 4", "")


def test_the_table_has_a_row_for_each_quantity_and_precision() -> None:
    found = Agreement()
    counts = {Verdict.MATCH: 4, Verdict.AMBIGUOUS: 3, Verdict.NOT_COMPARABLE: 2}
    found.rows["loss", "float32"] = Row(Counter(counts), 1.25, 0.5, case_of(4, 2, 3))
    found.rows["input_grad", "float64"] = Row(Counter({Verdict.MISMATCH: 1}))
    lines = [
        " ".join(
            cell.rjust(width) if width > 0 else cell.ljust(-width)
            for cell, width in zip(row, WIDTHS, strict=True)
        )
        for row in TABLE
    ]
    assert found.table().splitlines() == [
        f"{line}  {last}" for line, last in zip(lines, LAST, strict=True)
    ]
