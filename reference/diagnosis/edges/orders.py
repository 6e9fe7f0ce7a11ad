"""Mistakes of the order in which an axis is split into two, or two are put together.

Features are split into heads as (H, D / H) or as (D / H, H), pairs are neighbours or lie half the
features apart, channel k is of group k // (K / G) or of group k mod G: the shapes do not show it.
"""

import functools
import itertools

import jax

from reference.diagnosis.edges.mistakes import Kind, Site, mistake

ORDERS: dict[str, Kind] = {}
order = functools.partial(mistake, among=ORDERS)


def _split(whole: tuple[int, ...], parts: tuple[int, ...]) -> list[int]:
    """List the axes that one array has in one, and the other in two, both longer than 1."""
    pairs = enumerate(itertools.pairwise(parts))
    return [
        axis
        for axis, (n, m) in pairs
        if min(n, m) > 1 and whole == (*parts[:axis], n * m, *parts[axis + 2 :])
    ]


@order(
    "takes the two axes that one is split into in each other's place",
    lambda s: s.name == "reshape" and bool(_split(s.x, s.out)),
)
def split_in_another_order(site: Site) -> jax.Array:
    """d_x[m N + n] = d_out[n, m] in place of d_x[n M + m] = d_out[n, m]."""
    shape = site.with_operand(site.point).shape
    axis, *_ = _split(site.x.shape, shape)
    exchanged = (*shape[:axis], shape[axis + 1], shape[axis], *shape[axis + 2 :])
    return site.x.reshape(exchanged).swapaxes(axis, axis + 1)


@order(
    "takes the two axes that are put together in each other's place",
    lambda s: s.name == "reshape" and bool(_split(s.out, s.x)),
)
def joined_in_another_order(site: Site) -> jax.Array:
    """d_x[n, m] = d_out[m N + n] in place of d_x[n, m] = d_out[n M + m]."""
    shape = site.with_operand(site.point).shape
    axis, *_ = _split(shape, site.x.shape)
    return site.x.swapaxes(axis, axis + 1).reshape(shape)
