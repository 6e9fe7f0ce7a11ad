"""Likely bugs that need no knowledge of the model: what each would make of the right gradient.

A hypothesis explains an array if every element of it is within its rounding-error bound of what the
bug would give. One with a number to fit, such as a factor, explains an array only if the array
could have said no: it takes two elements, or a number that names itself, such as 2 or 1 / N. Where
errors are as small as those of lost digits, it takes many that are wrong.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeGuard

import jax
import numpy as np

from reference.arrays import Array, counted
from reference.bounds.rounding import ROUNDINGS, Bounded
from reference.compare import Leaf
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.diagnosis.fitting import Interval, fit, in_short, worst_ratio
from reference.diagnosis.found import Found
from reference.diagnosis.permutations import in_words, order_along
from reference.diagnosis.where import in_words as part_in_words

MOST_FACTORS = 3  # of the slices of an array, unless each slice speaks for itself
FOR_ITSELF = 4  # elements of a slice, of which one is enough to fit its factor
STEP = re.compile(r"\[(?P<index>\d+)\]|\['(?P<name>[^']*)'\]|\.(?P<field>\w+)")
NUMBER = re.compile(r"\d+")


def _holds(difference: Difference, i: int, predicted: Bounded) -> bool:
    return worst_ratio(difference.leaves[i], predicted) <= 1


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


def _sum_error(difference: Difference, i: int) -> Array:
    """Bound the error of a leaf that an exact number was added to; ROUNDING.md (R3)."""
    leaf = difference.leaves[i]
    return difference.rounding.rounded(leaf.want, leaf.open_bound).error


def _unit_error(difference: Difference, unit: Array) -> Array:
    """Bound the error of a product with c and of its addition, in parts of |c|."""
    return difference.rounding.gamma(2 * ROUNDINGS) * abs(unit)


def zero(difference: Difference) -> Iterator[Found]:
    """Look for arrays that hold nothing but 0."""
    leaves = frozenset(i for i in difference.wrong if not difference.leaves[i].got.any())
    if leaves:
        yield Found(Code.ZERO, {leaves: ""})


def scaled(difference: Difference) -> Iterator[Found]:
    """Fit got = c want, and name c where it is a number that means something."""
    names: dict[float, tuple[Code, str]] = {-1.0: (Code.SIGN, "")}
    N = difference.N
    if N is not None and N > 1:
        names |= {
            float(N): (Code.SUM_NOT_MEAN, f"{N} times, the number of rows"),
            1 / N: (Code.SCALED, f"1/{N}, 1 over the number of rows"),
            -float(N): (Code.SCALED, f"-{N}, the number of rows and a sign"),
        }
    names |= {
        c: (Code.SCALED, text)
        for c, text in ((2.0, "2"), (0.5, "1/2"), (-2.0, "-2"))
        if c not in names
    }
    arrays = jax.tree.leaves(difference.args)  # of several axes, or it is the length of an axis
    sizes = sorted({np.size(x) for x in arrays if np.ndim(x) > 1} - {0, 1})
    of_sizes = {float(n): f"{n}, the number of elements of an array" for n in sizes}
    of_sizes |= {1 / n: f"1/{n}, 1 over the number of elements of an array" for n in sizes}

    def attempt(leaves: frozenset[int]) -> Found | None:
        want = _flat(leaves, lambda i: difference.leaves[i].want)
        error = _flat(leaves, lambda i: _sum_error(difference, i))
        size = abs(want) + error
        fixed = difference.rounding.tiny * (size > 0)
        found = fit(_flat(leaves, lambda i: difference.leaves[i].got), want, fixed, error)
        if not _telling(found) or 1.0 in found:
            return None
        for c, (code, text) in names.items():
            if c in found:
                return Found(code, {leaves: text}, number=found)
        if (size > 0).sum() < 2 or not difference.is_telling(leaves):
            return None
        name = next((text for c, text in of_sizes.items() if c in found), "")
        text = name or _in_words(found, arrays)
        return Found(Code.SCALED, {leaves: text}, fitted=not name, number=found)

    yield from _shared_then_each(difference.wrong, attempt)


def _in_words(found: Interval, arrays: Iterable[Array]) -> str:
    """Write a multiple, and of which axes' lengths it is the quotient if of two alone."""
    number, lengths = found.in_words(), {n for x in arrays for n in np.shape(x) if n > 1}
    of = [f"{n}/{m}" for n, m in itertools.permutations(lengths, 2) if n / m in found]
    if len(of) != 1:
        return number
    equal = f" = {of[0]}" if of[0] != number else ""
    return f"{number}{equal}, the quotient of two axes' lengths"


def _telling(found: Interval | None) -> TypeGuard[Interval]:
    """Say whether the number was found, is bounded, and is not 0, which explains nothing."""
    return found is not None and bool(np.isfinite(found).all()) and 0.0 not in found


def data_scaled(difference: Difference) -> Iterator[Found]:
    """Fit got = c want + d parameter: c is wrong in the data term, beside a penalty that is not.

    Where no array takes a penalty, all is a multiple of the right gradient, which `scaled` names.
    """
    N = difference.N
    if N is None or N < 2:
        return
    codes = {float(N): Code.SUM_NOT_MEAN, -1.0: Code.SIGN_OF_DELTA, 1 / N: Code.ONE_OVER_N_TWICE}
    codes |= difference.model.data_factors if difference.model else {}
    for c, code in codes.items():
        found, penalised, tells = [], False, False
        for i in sorted(difference.wrong):
            leaf = difference.leaves[i]
            whole = difference.rounding.rounded(c * leaf.want, abs(c) * leaf.open_bound)
            if _up_to_penalty(difference, i, whole):
                found.append(i)
                penalised |= not _holds(difference, i, whole)
                # What is 0 but for its rounding is as near to any multiple of itself.
                tells |= bool((abs(leaf.want) > leaf.open_bound).any())
        if tells and (penalised or code == Code.SUM_NOT_MEAN):
            for i in found:
                text = f"{N} rows, except for a penalty"
                yield Found(code, {frozenset({i}): text})


def one_row(row: int, code: Code) -> Callable[[Difference], Iterator[Found]]:
    """Make the hypothesis that one row alone was taken, divided by the number of rows or not."""

    def hypothesis(difference: Difference) -> Iterator[Found]:
        if difference.N is None:
            return
        for of_row in difference.of_row(row % difference.N):
            for factor, text in ((1.0, "not divided"), (1 / difference.N, "divided")):
                parts = {i: _times(difference, factor, of_row[i]) for i in of_row}
                leaves = frozenset(
                    i
                    for i in difference.wrong & parts.keys()
                    if _tells(difference.leaves[i], parts[i])
                    and _up_to_penalty(difference, i, parts[i])
                )
                if any(difference.leaves[i].got.any() for i in leaves):  # or else it is zero
                    yield Found(code, {leaves: f"{text} by the {difference.N} rows"})

    return hypothesis


def _tells(leaf: Leaf, predicted: Bounded) -> bool:
    """Say whether the right gradient itself is not as predicted, where the leaf is wrong.

    The proven bound of a deep loss is finite, but may be so wide that anything is within it.
    """
    apart = abs(leaf.want - predicted.value) > predicted.error
    return bool(2 * np.count_nonzero(apart & leaf.wrong) > np.count_nonzero(leaf.wrong))


def _times(difference: Difference, factor: float, x: Bounded) -> Bounded:
    return difference.rounding.rounded(factor * x.value, factor * x.error)


def _up_to_penalty(difference: Difference, i: int, predicted: Bounded) -> bool:
    """Say whether a leaf is as predicted, perhaps plus a multiple of its parameter."""
    if _holds(difference, i, predicted):
        return True
    found = _fit_penalty(difference, i, predicted)
    return _telling(found) and bool(np.count_nonzero(difference.params[i]) > 1)


def _fit_penalty(difference: Difference, i: int, predicted: Bounded) -> Interval | None:
    """Fit got = predicted + c parameter."""
    error = difference.rounding.rounded(predicted.value, predicted.error).error
    unit = difference.params[i]
    return fit(
        difference.leaves[i].got - predicted.value, unit, error, _unit_error(difference, unit)
    )


def transposed(difference: Difference) -> Iterator[Found]:
    """Compare with the transpose, and with confusions of the two orders of elements."""
    ways: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("", lambda x: x.T),
        ("its elements are in the order of the transpose", lambda x: x.T.reshape(x.shape)),
        ("its elements were filled in as those of the transpose", lambda x: x.reshape(x.T.shape).T),
        ("the last two axes", lambda x: x.swapaxes(-1, -2)),
    )
    for text, way in ways:
        leaves = frozenset(
            i
            for i in difference.wrong
            if difference.leaves[i].want.ndim > 1
            and way(difference.leaves[i].want).shape == difference.leaves[i].want.shape
            and _holds(difference, i, _moved(difference.leaves[i], way))
        )
        if leaves:
            yield Found(Code.TRANSPOSED, {leaves: text})


def _moved(leaf: Leaf, move: Callable[[Array], Array]) -> Bounded:
    return Bounded(move(leaf.want), move(leaf.open_bound))


def leaves_swapped(difference: Difference) -> Iterator[Found]:
    """Look for each leaf among the others of its shape."""
    details = {}
    for i in sorted(difference.wrong):
        for j, other in enumerate(difference.leaves):
            alike = other.want.shape == difference.leaves[i].want.shape and j != i
            if alike and _holds(difference, i, Bounded(other.want, other.open_bound)):
                details[frozenset({i})] = f"that of {other.path}"
                break
    if details:
        yield Found(Code.LEAVES_SWAPPED, details)


def difference_proportional_to_parameter(difference: Difference) -> Iterator[Found]:
    """Fit got - want = c parameter.

    Where the right gradient is a multiple of the parameter itself, as that of sum(w**2), any
    multiple of it fits, so that only a weight decay that is known says more than `scaled` does.
    """

    def attempt(leaves: frozenset[int]) -> Found | None:
        unit = _flat(leaves, lambda i: difference.params[i])
        found = fit(
            _flat(leaves, lambda i: difference.leaves[i].got - difference.leaves[i].want),
            unit,
            _flat(leaves, lambda i: _sum_error(difference, i)),
            _unit_error(difference, unit),
        )
        if not _telling(found):
            return None
        name = _decay(difference, found, leaves)
        if not name and (
            np.count_nonzero(unit) < 2
            or not difference.is_telling(leaves)
            or any(leaves <= other.leaves for other in scaled(difference))
        ):
            return None
        text = f"got - want = {found} * parameter" + (name and f", {name}")
        code = Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER
        return Found(code, {leaves: text}, fitted=not name, number=found)

    yield from _shared_then_each(difference.wrong, attempt)


def _decay(difference: Difference, c: Interval, leaves: Iterable[int]) -> str:
    """Say what a multiple of the parameter would mean for a weight decay among the arguments."""
    N = difference.N or 1
    vectors = all(difference.leaves[i].want.ndim < 2 for i in leaves)
    for number in difference.penalty_factors:
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


def constant_offset(difference: Difference) -> Iterator[Found]:
    """Fit got - want = c, for each leaf of more than one element."""
    details = {}
    for i in sorted(difference.wrong):
        leaf, one = difference.leaves[i], np.ones(difference.leaves[i].want.shape)
        found = fit(
            leaf.got - leaf.want, one, _sum_error(difference, i), _unit_error(difference, one)
        )
        telling = leaf.want.size > 1 and difference.is_telling(frozenset({i}))
        if _telling(found) and telling:
            details[frozenset({i})] = f"got - want = {found}"
    if details:
        yield Found(Code.CONSTANT_OFFSET, details, fitted=True)


def permuted(difference: Difference) -> Iterator[Found]:
    """Match the slices along an axis, such as rows or columns, with those of the right gradient."""
    for i in sorted(difference.wrong):
        leaf = difference.leaves[i]
        for axis in range(leaf.want.ndim):
            order = order_along(leaf, axis)
            if order is not None:
                text = f"axis {axis} is {in_words(order)}"
                yield Found(Code.PERMUTED, {frozenset({i}): text})
                break


def slices_scaled(difference: Difference) -> Iterator[Found]:
    """Fit got = c want for each slice along an axis, such as a row, with a few different c.

    Long slices may have as many as there are, as where 1 / sigma of each feature is forgotten.
    """
    details = {}
    for i in sorted(difference.wrong):
        axes = range(difference.leaves[i].want.ndim if difference.is_telling(frozenset({i})) else 0)
        if text := next(filter(None, (_factors_along(difference, i, axis) for axis in axes)), ""):
            details[frozenset({i})] = text
    if details:
        yield Found(Code.SLICES_SCALED, details)


def _factors_along(difference: Difference, i: int, axis: int) -> str:
    """Say what the slices along an axis are multiplied by; empty if not each is by some number."""
    leaf = difference.leaves[i]
    arrays = leaf.got, leaf.want, leaf.wrong, _sum_error(difference, i)
    factors: list[tuple[Interval, list[int]]] = []
    zero = set()  # slices of which no factor would be seen
    fewest = leaf.want.size  # elements of a slice
    for k, parts in enumerate(zip(*(np.moveaxis(x, axis, 0) for x in arrays), strict=True)):
        got, want, wrong, error = parts
        if not wrong.any():
            zero.update([] if want.any() else [k])
            continue
        size = abs(want) + error
        found = fit(got, want, difference.rounding.tiny * (size > 0), error)
        if found is None or (size > 0).sum() < 2 or not np.isfinite(found).all() or 1.0 in found:
            return ""
        fewest = min(fewest, int(np.count_nonzero(size)))
        for n, (other, places) in enumerate(factors):
            both = Interval(max(found.low, other.low), min(found.high, other.high))
            if both.low <= both.high:
                factors[n] = both, [*places, k]
                break
        else:
            factors.append((found, [k]))
    if len(factors) > MOST_FACTORS:
        low, high = (in_short(pick(found.middle for found, _ in factors)) for pick in (min, max))
        count = f"{sum(len(seen) for _, seen in factors)} of {leaf.want.shape[axis]}"
        text = f"{count} along axis {axis}, each times its own number, {low} to {high}"
        return text if fewest >= FOR_ITSELF else ""
    texts = []
    for factor, seen in factors:
        whole = list(range(seen[0], seen[-1] + 1))
        places = whole if set(whole) <= zero.union(seen) else seen
        chosen = np.zeros(leaf.want.shape, bool)
        np.moveaxis(chosen, axis, 0)[places] = True
        part = part_in_words(chosen) or f"{len(places)} of {chosen.shape[axis]} along axis {axis}"
        texts.append(f"{part} times {factor.in_words()}")
    return "; ".join(texts)


def not_zero(difference: Difference) -> Iterator[Found]:
    """Look for arrays that are wrong only where the right gradient is 0."""
    details = {}
    for i in sorted(difference.wrong - difference.undecided):
        leaf = difference.leaves[i]
        if leaf.want.any() and not leaf.want[leaf.wrong].any():
            count = f"{int(leaf.wrong.sum())} of {counted(leaf.wrong.size, 'element')}"
            details[frozenset({i})] = part_in_words(leaf.wrong) or count
    if details:
        yield Found(Code.NOT_ZERO, details)


def layers_above_only(difference: Difference) -> list[Cause]:
    """Look for a layer above which all is right, and up to which every layer has something wrong.

    Layers stand in the order of their numbers; see `layers_of`.
    """
    paths = [leaf.path for leaf in difference.leaves]
    layers = layers_of(paths) if difference.of_layers else []
    wrong = [layer for layer in layers if layer & difference.wrong]
    right = layers[len(wrong) :]
    if not right or not wrong or wrong != layers[: len(wrong)] or not wrong[-1] <= difference.wrong:
        return []
    last, first = difference.names(wrong[-1]), difference.names(right[0])
    sentence = (
        f"{Code.LAYERS_ABOVE_ONLY.description[:-1]} (right from {first} on, wrong up to {last}: "
        "the error enters in the backward pass between the two)."
    )
    return [Cause(Code.LAYERS_ABOVE_ONLY, sentence, difference.evidence(difference.wrong))]


def layers_of(paths: Sequence[str]) -> list[frozenset[int]]:
    """Group the places of arrays by layers, the first one first; none if their order is not known.

    The numbers in a path say which layer it is of: that of a list, or the last one in a name. The
    fields of a NamedTuple that has arrays in it are layers in their order. Arrays next to each
    other in a list are layers if there are no others around them.

    Args:
        paths: as JAX writes them: [0].weight, [0][1], ['w'].

    >>> layers_of(["['W1']", "['W10']", "['W2']", "['b1']", "['b10']", "['b2']"])
    [frozenset({0, 3}), frozenset({2, 5}), frozenset({1, 4})]
    >>> layers_of(["[0].weight", "[0].bias", "[1].weight"])
    [frozenset({0, 1}), frozenset({2})]
    >>> layers_of(["['decoder']['w']", "['encoder']['w']"])
    []
    """
    fields: dict[str, int] = {}

    def numbers(path: str, *, last: bool) -> tuple[int, ...]:
        steps = list(STEP.finditer(path))
        found = []
        for step in steps if last else steps[:-1]:
            index, name = step["index"], step["name"] or step["field"] or ""
            if index or (named := NUMBER.findall(name)):
                found.append(int(index or named[-1]))
            elif step["field"] and step is not steps[-1]:
                found.append(fields.setdefault(path[: step.end()], len(fields)))
        return tuple(found)

    keys = [numbers(path, last=False) for path in paths]
    if len(set(keys)) == 1:  # one container of arrays
        keys = [numbers(path, last=True) for path in paths]
    if len({len(key) for key in keys}) != 1 or not keys[0]:
        return []
    return [frozenset(i for i, key in enumerate(keys) if key == one) for one in sorted(set(keys))]


Hypothesis: TypeAlias = Callable[[Difference], Iterator[Found]]

# Those that trace the loss again
OF_ROWS: tuple[Hypothesis, ...] = (
    one_row(-1, Code.LAST_ROW_ONLY),
    one_row(0, Code.FIRST_ROW_ONLY),
)
# Those that look at the arrays alone
OF_ARRAYS: tuple[Hypothesis, ...] = (
    zero,
    scaled,
    data_scaled,
    leaves_swapped,
    transposed,
    difference_proportional_to_parameter,
    constant_offset,
    permuted,
)
# Those that say something of what nothing else explains
OF_PARTS: tuple[Hypothesis, ...] = (not_zero, slices_scaled)
