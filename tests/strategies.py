"""Random networks and batches, named as nouns.

Shapes are drawn by Hypothesis and shrink. Values come from a NumPy generator whose seed Hypothesis
draws: many networks of some hundred numbers each would not fit into one of its examples. They are
of moderate size, so that no product is subnormal. Axes: N rows in the batch, D inputs, K classes.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

import manual_nn
from manual_nn import Dense
from manual_nn.backprop import Params

Array = npt.NDArray[Any]


class Shape(NamedTuple):
    """What JAX compiles for: the sizes D, hidden widths, K; the rows; the kind of target."""

    sizes: tuple[int, ...]
    N: int
    soft: bool


class Network(NamedTuple):
    """A network with a batch, in the order of the arguments of `loss`."""

    params: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float


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
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
weight_decays = st.sampled_from([0.0, 2.0**-7, 0.1, 3.0])

TRAITS = (
    "plain",
    "dead units",
    "on the kink",
    "equal rows",
    "large logits",
    "equal logits",
    "zero parameters",
    "fortran order",
    "strided",
    "read-only",
)


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
    """Make a network of this shape with values from the seed."""
    rng = np.random.default_rng(seed)
    sizes, N, K = shape.sizes, shape.N, shape.sizes[-1]
    layers = [
        Dense(rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in), rng.normal(size=fan_out))
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]
    X = rng.normal(size=(N, sizes[0]))
    y: Array = rng.dirichlet(np.ones(K), size=N) if shape.soft else rng.integers(K, size=N)
    if trait == "dead units":  # pre-activations exactly 0, whatever the rounding
        for weight, bias in layers[:-1]:
            weight[:, ::2], bias[::2] = 0, 0
    elif trait == "equal rows":
        X[:], y[:] = X[0], y[0]
    elif trait == "large logits":
        layers[-1] = Dense(layers[-1].weight * 1000, layers[-1].bias * 1000)
    elif trait == "equal logits":
        layers[-1] = Dense(layers[-1].weight * 0, layers[-1].bias * 0)
    elif trait == "zero parameters":
        layers = [Dense(weight * 0, bias * 0) for weight, bias in layers]
    params = tuple(Dense(weight.astype(dtype), bias.astype(dtype)) for weight, bias in layers)
    X, y = X.astype(dtype), y.astype(dtype) if shape.soft else y
    if trait == "on the kink":  # the first row's pre-activations are 0 but for rounding
        weight, bias = params[0]
        bias[:] = -(X[0] @ weight)
    if trait == "fortran order":
        params = tuple(Dense(np.asfortranarray(weight), bias) for weight, bias in params)
        X, y = np.asfortranarray(X), np.asfortranarray(y)
    elif trait == "strided":
        params = tuple(Dense(strided(weight), strided(bias)) for weight, bias in params)
        X, y = strided(X), strided(y)
    elif trait == "read-only":
        for array in (X, y, *(array for layer in params for array in layer)):
            array.setflags(write=False)
    return Network(params, X, y, weight_decay)


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
    rng = np.random.default_rng([seed, 1])
    tangents = tuple(
        Dense(*(rng.normal(size=array.shape).astype(dtype) for array in layer)) for layer in params
    )
    if trait == "strided":
        tangents = tuple(Dense(strided(weight), strided(bias)) for weight, bias in tangents)
    median = np.median(manual_nn.per_example_grad_norms(params, X, y))
    max_norm = 2.0 ** np.round(np.log2(median)) if median > 2.0**-10 else 1.0
    return DirectedNetwork(params, tangents, X, y, weight_decay, float(max_norm))


def strided(array: Array) -> Array:
    """Give the same array as a view with a step of -2 on every axis."""
    spread = np.zeros([2 * size for size in array.shape], array.dtype)
    view = spread[(slice(None, None, -2),) * array.ndim]
    view[...] = array
    return view
