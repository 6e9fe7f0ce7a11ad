"""What may be wrong with a gradient that disagrees with JAX: hypotheses, fitted to the error.

A hypothesis says what the gradient would be if a certain mistake had been made. It explains what
was handed in if every element of that is within its rounding-error bound of it. There are two
kinds: those below need no knowledge of the loss; for networks like `reference.models.mlp`'s there
is also the dictionary of `reference.diagnosis.mlp`.

A hypothesis with a number to fit, such as a factor, explains an array only if the array could have
said no: it takes two elements, or a number that names itself, such as 2 or 1 / N.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import jax
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from reference.bounds.rounding import ROUNDINGS, Bounded, Rounding
from reference.bounds.tracing import Traced
from reference.compare import Leaf, Verdict
from reference.diagnosis.codes import Code
from reference.diagnosis.mlp import (
    Interval,
    explain,
    fit,
    recognised_weight_decay,
    scalars,
    worst_share,
)

__all__ = ["Cause", "Code", "Difference", "diagnose"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cause:
    """A likely bug: its code, a sentence about it, and what speaks for it."""

    code: Code
    sentence: str
    evidence: str


class Difference(NamedTuple):
    """A gradient that disagrees, and where it was computed."""

    leaves: Sequence[Leaf]  # in the order of the gradient's tree: got, want, bounds
    loss: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | Sequence[int]


def diagnose(difference: Difference) -> tuple[Cause, ...]:
    """List the mistakes that would explain the difference, most likely first.

    Those that explain every array that is wrong come first, then, if there are none, those that
    explain some; a hint at where the error enters comes last. If there is nothing to say the one
    cause is `unknown`, and if no array is wrong there is none.
    """
    case = Case(difference)
    if not case.wrong:
        return ()
    by_dictionary = list(_by_dictionary(case))
    # What needs the loss traced again is not asked where the dictionary has the answer.
    hypotheses = CHEAP if by_dictionary else (*ROWS, *CHEAP)
    generic = _merged(found for hypothesis in hypotheses for found in hypothesis(case))
    full = [found for found in generic if found.leaves == case.wrong]
    codes = {cause.code for cause in by_dictionary}
    causes = by_dictionary + [_cause(case, found) for found in full if found.code not in codes]
    if not causes:
        causes = [_cause(case, found) for found in _covering(generic)]
    causes += _layers_above_only(case)
    if causes:
        return tuple(causes)
    return (Cause(Code.UNKNOWN, Code.UNKNOWN.description, _evidence(case, case.wrong)),)


# What the hypotheses look at


class Case:
    """A difference with what the hypotheses need to know of it.

    Attributes:
        leaves: those of the gradient, in its order.
        wrong: the places in `leaves` of those that are a mismatch.
        params: the parameter of each leaf.
        N: the leading length of the arrays that are no parameters, if there are any.
        rounding: the arithmetic of what was handed in.
        weight_decay: if this is our network, its.
    """

    def __init__(self, difference: Difference) -> None:
        """Take the difference apart."""
        self.difference = difference
        self.leaves = difference.leaves
        self.wrong = frozenset(
            i for i, leaf in enumerate(self.leaves) if leaf.verdict == Verdict.MISMATCH
        )
        args, argnums = difference.args, difference.argnums
        places = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        places = tuple(place % len(args) for place in places)
        self.params = [
            np.asarray(leaf, np.float64) for leaf in jax.tree.leaves([args[i] for i in places])
        ]
        self.places = places
        self.others = [arg for i, arg in enumerate(args) if i not in places]
        arrays = [np.shape(leaf) for leaf in jax.tree.leaves(self.others)]
        self.N = next((shape[0] for shape in arrays if shape), None)
        self.dtype = np.result_type(*(leaf.got.dtype for leaf in self.leaves))
        self.rounding = Rounding(self.dtype, kinks="open")

    @functools.cached_property
    def weight_decay(self) -> Bounded | None:
        """The weight decay, if this is a network like ours."""
        return recognised_weight_decay(self.leaves, *self.difference[1:])

    @functools.cached_property
    def numbers(self) -> list[float]:
        """Numbers that may be a weight decay."""
        numbers = scalars(self.others)
        if self.weight_decay is not None and not numbers:
            numbers = [float(self.weight_decay.value)]
        return numbers

    def of_row(self, row: int) -> Iterator[dict[int, Bounded]]:
        """Compute the gradient of the loss of one row alone, for each leaf that has one.

        The batch is the arrays with N rows: those of the other arguments, and then, in case some of
        the arguments that the gradient is taken in belong to it, those too.
        """
        if self.N is None or self.N < 2:
            return

        def cut(leaf: Any) -> Any:
            shape = np.shape(leaf)
            return leaf[row : row + 1] if shape and shape[0] == self.N else leaf

        args = self.difference.args
        others = tuple(
            arg if i in self.places else jax.tree.map(cut, arg) for i, arg in enumerate(args)
        )
        for batch in (others, jax.tree.map(cut, args)):
            rounding = Rounding(self.dtype, kinks="open")
            try:
                traced = Traced(jax.grad(self.difference.loss, self.difference.argnums), *batch)
                result = traced.bounded(*batch, rounding=rounding)
            except Exception:  # noqa: S112, anyone's loss: it need not take one row, nor say why
                continue
            leaves = jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounded))
            yield {
                i: leaf
                for i, leaf in enumerate(leaves)
                if leaf.value.shape == self.leaves[i].want.shape
            }

    def paths(self, leaves: Iterable[int]) -> str:
        """Name these leaves, or all."""
        leaves = sorted(leaves)
        if len(leaves) == len(self.leaves) > 1:
            return "every array"
        shown = [self.leaves[i].path or "the array" for i in leaves[:4]]
        return ", ".join(shown) + (f" and {len(leaves) - 4} more" if len(leaves) > 4 else "")


@dataclass(frozen=True)
class Found:
    """A hypothesis that explains some leaves.

    Attributes:
        details: what it says of which of them.
        shared: whether it says the same of all.
    """

    code: Code
    details: dict[frozenset[int], str] = field(default_factory=dict)
    shared: bool = True

    @property
    def leaves(self) -> frozenset[int]:
        """All that it explains."""
        return frozenset().union(*self.details)


def _merged(found: Iterable[Found]) -> list[Found]:
    """Put the parts of each code together; then order, one for all before one for each."""
    by_code: dict[Code, Found] = {}
    for part in found:
        before = by_code.get(part.code)
        if before is None:
            by_code[part.code] = part
        elif not part.leaves <= before.leaves:
            details = {**before.details, **part.details}
            by_code[part.code] = Found(part.code, details, shared=False)
    order = list(Code)
    return sorted(by_code.values(), key=lambda part: (not part.shared, order.index(part.code)))


def _covering(found: Sequence[Found]) -> list[Found]:
    """Take what explains most leaves first, then what explains any of those left."""
    chosen: list[Found] = []
    covered: frozenset[int] = frozenset()
    for part in sorted(found, key=lambda part: -len(part.leaves)):
        if not part.leaves <= covered:
            chosen.append(part)
            covered |= part.leaves
    return chosen


def _cause(case: Case, found: Found) -> Cause:
    details = [
        f"{case.paths(leaves)}: {detail}" if detail else case.paths(leaves)
        for leaves, detail in found.details.items()
    ]
    sentence = f"{found.code.description[:-1]} ({'; '.join(details)})."
    return Cause(found.code, sentence, _evidence(case, found.leaves, explained=True))


def _evidence(case: Case, leaves: Iterable[int], *, explained: bool = False) -> str:
    chosen = [case.leaves[i] for i in sorted(leaves)]
    outside = sum(int(leaf.wrong.sum()) for leaf in chosen)
    size = sum(leaf.want.size for leaf in chosen)
    text = f"{outside:,} of {size:,} elements are farther from autodiff than rounding allows"
    return f"{text}; with this mistake all {size:,} are within its bound" if explained else text


def _by_dictionary(case: Case) -> Iterator[Cause]:
    """Ask the dictionary, if the network is like ours."""
    if case.weight_decay is None:
        return
    seen = set()
    found = explain(case.leaves, case.difference.args, case.weight_decay, case.dtype)
    for fault, share, rate in found:
        if fault.code in seen:
            continue
        seen.add(fault.code)
        words = [fault.code.description, fault.how]
        if rate:
            words.append(f"The learning rate is {_number(rate)}.")
        evidence = _evidence(case, range(len(case.leaves)), explained=True)
        yield Cause(
            fault.code, " ".join(filter(None, words)), f"{evidence}, at most {share:.2g} of it off"
        )


# Hypotheses


def _predictions_hold(case: Case, i: int, predicted: Bounded) -> bool:
    return worst_share(case.leaves[i], predicted) <= 1


def _flat(leaves: Iterable[int], of: Callable[[int], Array]) -> Array:
    return np.concatenate([np.ravel(of(i)) for i in sorted(leaves)])


def _shared_then_each(
    wrong: frozenset[int], attempt: Callable[[frozenset[int]], Found | None]
) -> Iterator[Found]:
    """Try one number for all the leaves that are wrong, and if there is none, one for each."""
    found = attempt(wrong)
    if found:
        yield found
    else:
        yield from filter(None, (attempt(frozenset({i})) for i in sorted(wrong)))


def _sum_error(case: Case, i: int) -> Array:
    """Bound what adding something to a leaf makes of its error; eq. (R3), without what is added."""
    leaf = case.leaves[i]
    return case.rounding.rounded(leaf.want, leaf.open_bound).error


def _unit_error(case: Case, unit: Array) -> Array:
    """Bound the error of a product with c and of its addition, in parts of |c|."""
    return case.rounding.gamma(2 * ROUNDINGS) * abs(unit)


def _number(interval: Interval) -> str:
    """Write the number with the digits that are sure."""
    for digits in range(1, 17):
        text = f"{interval.middle:.{digits}g}"
        if float(text) in interval:
            return text
    return f"{interval.middle:.17g}"


def zero(case: Case) -> Iterator[Found]:
    """Look for arrays of nothing but 0."""
    leaves = frozenset(i for i in case.wrong if not case.leaves[i].got.any())
    if leaves:
        yield Found(Code.ZERO, {leaves: ""})


def scaled(case: Case) -> Iterator[Found]:
    """Fit got = c want; with the names of c that we know."""
    names: dict[float, tuple[Code, str]] = {-1.0: (Code.SIGN, "")}
    if case.N is not None and case.N > 1:
        names |= {
            float(case.N): (Code.SUM_NOT_MEAN, f"{case.N} times, the number of rows"),
            1 / case.N: (Code.SCALED, f"1/{case.N}, 1 over the number of rows"),
            -float(case.N): (Code.SCALED, f"-{case.N}, the number of rows and a sign"),
        }
    names |= {
        c: (Code.SCALED, text)
        for c, text in ((2.0, "2"), (0.5, "1/2"), (-2.0, "-2"))
        if c not in names
    }

    def attempt(leaves: frozenset[int]) -> Found | None:
        want = _flat(leaves, lambda i: case.leaves[i].want)
        error = _flat(leaves, lambda i: _sum_error(case, i))
        size = abs(want) + error
        fixed = case.rounding.tiny * (size > 0)
        found = fit(_flat(leaves, lambda i: case.leaves[i].got), want, fixed, error)
        if not _telling(found) or 1.0 in found:
            return None
        for c, (code, text) in names.items():
            if c in found:
                return Found(code, {leaves: text})
        if (size > 0).sum() < 2:
            return None
        return Found(Code.SCALED, {leaves: _number(found)})

    yield from _shared_then_each(case.wrong, attempt)


def _telling(found: Interval | None) -> TypeGuard[Interval]:
    """Say whether the number was found, is bounded, and is not 0, which explains nothing."""
    return found is not None and bool(np.isfinite(found).all()) and 0.0 not in found


def data_scaled(case: Case) -> Iterator[Found]:
    """Fit got = N want + c parameter: the mean is a sum, but for a penalty."""
    N = case.N
    if N is None or N < 2:
        return
    for i in sorted(case.wrong):
        leaf = case.leaves[i]
        whole = case.rounding.rounded(N * leaf.want, N * leaf.open_bound)
        if _up_to_penalty(case, i, whole):
            yield Found(Code.SUM_NOT_MEAN, {frozenset({i}): f"{N} rows, but for a penalty"})


def one_row(row: int, code: Code) -> Callable[[Case], Iterator[Found]]:
    """Make the hypothesis that one row alone was taken, with its share of the mean or without."""

    def hypothesis(case: Case) -> Iterator[Found]:
        if case.N is None:
            return
        for of_row in case.of_row(row % case.N):
            for factor, text in ((1.0, "not divided"), (1 / case.N, "divided")):
                leaves = frozenset(
                    i
                    for i in case.wrong & of_row.keys()
                    if _up_to_penalty(case, i, _times(case, factor, of_row[i]))
                )
                if leaves:
                    yield Found(code, {leaves: f"{text} by the {case.N} rows"})

    return hypothesis


def _times(case: Case, factor: float, x: Bounded) -> Bounded:
    return case.rounding.rounded(factor * x.value, factor * x.error)


def _up_to_penalty(case: Case, i: int, predicted: Bounded) -> bool:
    """Say whether a leaf is as predicted, or that and a multiple of its parameter."""
    if _predictions_hold(case, i, predicted):
        return True
    found = _fit_penalty(case, i, predicted)
    return _telling(found) and bool(np.count_nonzero(case.params[i]) > 1)


def _fit_penalty(case: Case, i: int, predicted: Bounded) -> Interval | None:
    """Fit got = predicted + c parameter."""
    error = case.rounding.rounded(predicted.value, predicted.error).error
    unit = case.params[i]
    return fit(case.leaves[i].got - predicted.value, unit, error, _unit_error(case, unit))


def transposed(case: Case) -> Iterator[Found]:
    """Compare with the transpose, with its elements in order, and with these put back."""
    ways: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("", lambda x: x.T),
        ("the elements run in the order of the transpose", lambda x: x.T.reshape(x.shape)),
        ("the elements were put in as those of the transpose", lambda x: x.reshape(x.T.shape).T),
        ("the last two axes", lambda x: x.swapaxes(-1, -2)),
    )
    for text, way in ways:
        leaves = frozenset(
            i
            for i in case.wrong
            if case.leaves[i].want.ndim > 1
            and way(case.leaves[i].want).shape == case.leaves[i].want.shape
            and _predictions_hold(case, i, _moved(case.leaves[i], way))
        )
        if leaves:
            yield Found(Code.TRANSPOSED, {leaves: text})


def _moved(leaf: Leaf, move: Callable[[Array], Array]) -> Bounded:
    return Bounded(move(leaf.want), move(leaf.open_bound))


def leaves_swapped(case: Case) -> Iterator[Found]:
    """Look for each leaf among the others of its shape."""
    details = {}
    for i in sorted(case.wrong):
        for j, other in enumerate(case.leaves):
            alike = other.want.shape == case.leaves[i].want.shape and j != i
            if alike and _predictions_hold(case, i, Bounded(other.want, other.open_bound)):
                details[frozenset({i})] = f"that of {other.path}"
                break
    if details:
        yield Found(Code.LEAVES_SWAPPED, details)


def difference_proportional_to_parameter(case: Case) -> Iterator[Found]:
    """Fit got - want = c parameter."""

    def attempt(leaves: frozenset[int]) -> Found | None:
        unit = _flat(leaves, lambda i: case.params[i])
        found = fit(
            _flat(leaves, lambda i: case.leaves[i].got - case.leaves[i].want),
            unit,
            _flat(leaves, lambda i: _sum_error(case, i)),
            _unit_error(case, unit),
        )
        if not _telling(found):
            return None
        name = _decay(case, found, leaves)
        if not name and np.count_nonzero(unit) < 2:
            return None
        text = f"got - want = {_number(found)} * parameter" + (name and f", {name}")
        return Found(Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER, {leaves: text})

    yield from _shared_then_each(case.wrong, attempt)


def _decay(case: Case, c: Interval, leaves: Iterable[int]) -> str:
    """Say what a multiple of the parameter would be of a weight decay among the arguments."""
    N = case.N or 1
    vectors = all(case.leaves[i].want.ndim < 2 for i in leaves)
    for number in case.numbers:
        penalty, half = f"{number:g} ||parameter||^2", f"{number / 2:g} ||parameter||^2"
        whole = "applied to what looks like a bias" if vectors else "doubled"
        multiples = {
            -2: f"as if the penalty {penalty} were missing",
            -1: f"as if the penalty {penalty} were halved, or {half} were missing",
            -0.5: f"as if the penalty {half} were halved",
            2: f"as if the penalty {penalty} were {whole}",
            1: f"as if the penalty {half} were {whole}",
            -4: f"as if the penalty {penalty} were subtracted",
            2 * (N - 1): f"as if the penalty {penalty} were applied {N} times, once per row",
            N - 1: f"as if the penalty {half} were applied {N} times, once per row",
            2 / N - 2: f"as if the penalty {penalty} were divided by the {N} rows",
            1 / N - 1: f"as if the penalty {half} were divided by the {N} rows",
        }
        for multiple, text in multiples.items():
            if multiple * number in c:
                return text
    return ""


def constant_offset(case: Case) -> Iterator[Found]:
    """Fit got - want = c, for each leaf of more than one element."""
    details = {}
    for i in sorted(case.wrong):
        leaf, one = case.leaves[i], np.ones(case.leaves[i].want.shape)
        found = fit(leaf.got - leaf.want, one, _sum_error(case, i), _unit_error(case, one))
        if _telling(found) and leaf.want.size > 1:
            details[frozenset({i})] = f"got - want = {_number(found)}"
    if details:
        yield Found(Code.CONSTANT_OFFSET, details)


def permuted(case: Case) -> Iterator[Found]:
    """Match the rows, columns or whatever else an axis counts with those of the right gradient."""
    for i in sorted(case.wrong):
        leaf = case.leaves[i]
        for axis in range(leaf.want.ndim):
            order = _order(leaf, axis)
            if order is not None:
                text = f"axis {axis} is {_in_words(order)}"
                yield Found(Code.PERMUTED, {frozenset({i}): text})
                break


MOST_PAIRS = 10_000_000  # of slices that may be each other; beyond it no permutation is looked for


def _order(leaf: Leaf, axis: int) -> Array | None:
    """Find which slice of the right gradient each slice of got is, each once."""
    count = leaf.want.shape[axis]
    got, want, bound = (
        np.moveaxis(x, axis, 0).reshape(count, -1) for x in (leaf.got, leaf.want, leaf.open_bound)
    )
    if count < 2 or not np.isfinite(got).all() or not np.isfinite(bound).all():
        return None
    # Sorted, the elements of a column lie within the sorted ends of their bounds, or none fits.
    above, below = np.sort(want + bound, 0), np.sort(want - bound, 0)
    if (np.sort(got, 0) > above).any() or (np.sort(got, 0) < below).any():
        return None
    order = np.arange(count)
    for simple in (order[::-1], np.roll(order, 1), np.roll(order, -1)):
        if (abs(got - want[simple]) <= bound[simple]).all():
            return simple
    moved = np.flatnonzero((abs(got - want) > bound).any(axis=1))
    if not moved.size:  # wrong by less than the kinks within rounding leave open
        return None
    got, want, bound = got[moved], want[moved], bound[moved]
    telling = int(np.argmax(np.ptp(want, axis=0)))
    rows, columns = _near(got[:, telling], want[:, telling], bound[:, telling])
    for k in range(want.shape[1]):
        near = abs(got[rows, k] - want[columns, k]) <= bound[columns, k]
        rows, columns = rows[near], columns[near]
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(moved), len(moved)))
    match = maximum_bipartite_matching(graph.tocsr(), perm_type="column")
    if (match < 0).any():
        return None
    order[moved] = moved[match]
    return order


def _near(got: Array, want: Array, bound: Array) -> tuple[Array, Array]:
    """List the pairs (i, j) with got_i within the bound of want_j."""
    by_size = np.argsort(got)
    first = np.searchsorted(got[by_size], want - bound, "left")
    counts = np.searchsorted(got[by_size], want + bound, "right") - first
    if counts.sum() > MOST_PAIRS:
        return np.empty(0, int), np.empty(0, int)
    columns = np.repeat(np.arange(len(want)), counts)
    within = np.arange(len(columns)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_size[first[columns] + within], columns


def _in_words(order: Array) -> str:
    """Describe a permutation."""
    count = len(order)
    index = np.arange(count)
    if (order == index[::-1]).all():
        return "reversed"
    if ((index - order) % count == -order[0] % count).all():
        return f"shifted by {-order[0] % count} of {count}"
    moved = np.flatnonzero(order != index)
    pairs = [f"{i} is {order[i]} of the right one" for i in moved[:3]]
    return "permuted: " + ", ".join(pairs) + (", ..." if len(moved) > 3 else "")


def _layers_above_only(case: Case) -> list[Cause]:
    """Look for a layer up to which all is right, and below which each layer has something wrong.

    The leaves' order is taken for that of the layers; those that share all but the last step of
    their path, such as a weight and its bias, are one layer.
    """
    layers = [
        frozenset(i for i, _ in group)
        for _, group in itertools.groupby(
            enumerate(case.leaves), key=lambda item: _parent(item[1].path)
        )
    ]
    if len(layers) == 1:
        layers = [frozenset({i}) for i in range(len(case.leaves))]
    wrong = [layer for layer in layers if layer & case.wrong]
    right = layers[len(wrong) :]
    if not right or wrong != layers[: len(wrong)] or not wrong[-1] <= case.wrong:
        return []
    last, first = case.paths(wrong[-1]), case.paths(right[0])
    sentence = (
        f"{Code.LAYERS_ABOVE_ONLY.description[:-1]} (right from {first} on, wrong up to {last}: "
        "the error enters in the backward pass between the two)."
    )
    return [Cause(Code.LAYERS_ABOVE_ONLY, sentence, _evidence(case, case.wrong))]


def _parent(path: str) -> str:
    """Cut the last step off a path as JAX writes it: [0].weight, [0][1], ['w']."""
    return path[: max(path.rfind("["), path.rfind("."))]


Hypothesis: TypeAlias = Callable[[Case], Iterator[Found]]

ROWS: tuple[Hypothesis, ...] = (
    one_row(-1, Code.LAST_ROW_ONLY),
    one_row(0, Code.FIRST_ROW_ONLY),
)
CHEAP: tuple[Hypothesis, ...] = (
    zero,
    scaled,
    data_scaled,
    leaves_swapped,
    transposed,
    difference_proportional_to_parameter,
    constant_offset,
    permuted,
)
