"""Random networks and batches, named as nouns.

Shapes are drawn by Hypothesis and shrink. Values come from a NumPy generator whose seed Hypothesis
draws: many networks of some hundred numbers each would not fit into one of its examples. They are
of ordinary magnitude, so that no product is subnormal. Axes: N rows in the batch, D inputs,
K classes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import manual_nn
from manual_nn.layers.dense import Params
from reference.arrays import Array
from reference.campaign import draws
from reference.campaign.draws import LAYOUTS, Network, Shape, make_tangents

__all__ = [
    "TRAITS",
    "DirectedNetwork",
    "Network",
    "Shape",
    "dtypes",
    "make_directed_network",
    "make_network",
    "networks",
    "seeds",
    "shapes",
    "small_shapes",
    "weight_decays",
]


class DirectedNetwork(NamedTuple):
    """A network with a direction and a largest norm, as the derivatives beyond the first want."""

    params: Params
    tangents: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float
    max_norm: float

    @property
    def network(self) -> Network:
        """The network alone."""
        return Network(self.params, self.X, self.y, self.weight_decay)


shapes = st.builds(
    Shape,
    st.lists(st.integers(1, 8), min_size=2, max_size=5).map(tuple),
    st.integers(1, 9),
    st.booleans(),
)
small_shapes = st.builds(  # for dense matrices, whose bounds are dense too
    Shape,
    st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple),
    st.integers(1, 6),
    st.booleans(),
)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
weight_decays = st.sampled_from([0.0, 2.0**-7, 0.1, 3.0])

TRAITS = (*draws.TRAITS, *(layout for layout in LAYOUTS if layout != "C order"))


@st.composite
def networks(draw: st.DrawFn, shape: Shape, dtype: npt.DTypeLike) -> Network:
    """Draw values for this shape, with one of the traits that have been traps."""
    return make_network(
        shape,
        dtype,
        seed=draw(seeds),
        trait=draw(st.sampled_from(TRAITS)),
        weight_decay=draw(weight_decays),
    )


def make_network(
    shape: Shape,
    dtype: npt.DTypeLike,
    *,
    seed: int,
    trait: str = "plain",
    weight_decay: float = 0.0,
) -> Network:
    """Make a network of this shape, with a trait of its values or of how they lie in memory."""
    values, layout = ("plain", trait) if trait in LAYOUTS else (trait, "C order")
    return draws.make_network(
        shape, dtype, seed=seed, trait=values, layout=layout, weight_decay=weight_decay
    )


def make_directed_network(
    shape: Shape,
    dtype: npt.DTypeLike,
    *,
    seed: int,
    trait: str = "plain",
    weight_decay: float = 0.0,
) -> DirectedNetwork:
    """Make a network with normal tangents; some rows' gradients are longer than max_norm."""
    params, X, y, _ = make_network(shape, dtype, seed=seed, trait=trait)
    layout = trait if trait in LAYOUTS else "C order"
    tangents = make_tangents(params, seed=[seed, 1], layout=layout)
    median = np.median(manual_nn.per_example_grad_norms(params, X, y))
    max_norm = 2.0 ** np.round(np.log2(median)) if median > 2.0**-10 else 1.0
    return DirectedNetwork(params, tangents, X, y, weight_decay, float(max_norm))
