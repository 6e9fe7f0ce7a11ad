"""Permutations: which slice of the right gradient each slice of another one is."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from reference.arrays import Array
from reference.compare import Leaf

MOST_PAIRS = 10_000_000  # of slices that may be each other; with more, none is looked for


def order_along(leaf: Leaf, axis: int) -> Array | None:
    """Find the permutation that makes each slice of got a slice of the right gradient."""
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
    if not moved.size:  # wrong, but by less than open kinks could make
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


def in_words(order: Array) -> str:
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
