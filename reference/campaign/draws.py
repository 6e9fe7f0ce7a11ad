"""Random networks with a batch of data: the traps, the memory layouts and the magnitudes.

A network follows from its shape, its precision, what is asked of it, and a seed. Axes: N rows in
the batch, D inputs, K classes, L layers.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from reference.arrays import Array
from reference.models.mlp import Params


class Shape(NamedTuple):
    """What JAX compiles for: the sizes D, hidden widths, K; the rows; the kind of target."""

    sizes: tuple[int, ...]
    N: int
    soft: bool

    def __str__(self) -> str:
        """Write the sizes D-H-...-K, the rows N and the kind of target."""
        rows = f"{self.N} row{'s' if self.N > 1 else ''}"
        targets = "probabilities" if self.soft else "class numbers"
        return f"{'-'.join(map(str, self.sizes))}, {rows}, {targets}"


class Network(NamedTuple):
    """A network with a batch, in the order of the arguments of `loss`."""

    params: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float


TRAITS = (
    "plain",
    "dead units",
    "on the kink",
    "equal rows",
    "large logits",
    "equal logits",
    "zero parameters",
)


def strided(array: Array) -> Array:
    """Give the same array as a view with a step of -2 on every axis."""
    spread = np.zeros([2 * size for size in array.shape], array.dtype)
    view = spread[(slice(None, None, -2),) * array.ndim]
    view[...] = array
    return view


def offset(array: Array) -> Array:
    """Give the same array as a view into a larger one, starting at its second place."""
    larger = np.zeros([size + 2 for size in array.shape], array.dtype)
    view = larger[(slice(1, -1),) * array.ndim]
    view[...] = array
    return view


def unaligned(array: Array) -> Array:
    """Give the same array at an address that is not a multiple of the size of its numbers."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array: Array) -> Array:
    """Give a copy that cannot be written to."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "offset view": offset,
    "unaligned": unaligned,
    "read-only": read_only,
}

MAGNITUDES = ("ordinary", "tiny", "huge", "balanced")


def make_network(
    shape: Shape,
    dtype: npt.DTypeLike,
    *,
    seed: int | Sequence[int],
    trait: str = "plain",
    layout: str = "C order",
    magnitude: str = "ordinary",
    weight_decay: float = 0.0,
) -> Network:
    """Make a network of this shape with values from the seed.

    Args:
        shape: the sizes, the rows, the kind of target.
        dtype: float32 or float64.
        seed: what `np.random.default_rng` takes.
        trait: one of TRAITS, a property of the values that has been a trap.
        layout: one of LAYOUTS, how the arrays lie in memory.
        magnitude: one of MAGNITUDES. Arrays are multiplied by powers of 2: "tiny" down to where
            the product of all is near the square root of the smallest number, "huge" up to where
            it is beyond the largest, so that some overflow; "balanced" makes up in each layer for
            the layer below, so that the logits stay as they are and only the gradients become tiny
            and huge.
        weight_decay: the factor of the penalty.
    """
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
    if magnitude != "ordinary":
        X, layers = _scaled(X, layers, magnitude, dtype, rng)
    params = tuple(Dense(weight.astype(dtype), bias.astype(dtype)) for weight, bias in layers)
    X, y = X.astype(dtype), y.astype(dtype) if shape.soft else y
    if trait == "on the kink":  # the first row's pre-activations are 0 but for rounding
        weight, bias = params[0]
        with np.errstate(over="ignore", invalid="ignore"):
            kink = -(X[0] @ weight)
        np.copyto(bias, kink, where=np.isfinite(kink))
    laid = LAYOUTS[layout]
    params = tuple(Dense(*map(laid, layer)) for layer in params)
    return Network(params, laid(X), laid(y), weight_decay)


def make_tangents(params: Params, *, seed: int | Sequence[int], layout: str = "C order") -> Params:
    """Make normal tangents for these parameters, in their precision."""
    rng = np.random.default_rng(seed)
    laid = LAYOUTS[layout]
    return tuple(
        Dense(*(laid(rng.normal(size=array.shape).astype(array.dtype)) for array in layer))
        for layer in params
    )


def _scaled(
    X: Array, layers: list[Dense], magnitude: str, dtype: npt.DTypeLike, rng: np.random.Generator
) -> tuple[Array, list[Dense]]:
    """Multiply the inputs and the layers by powers of 2, which rounds nothing."""
    reach = np.finfo(dtype).maxexp // (2 * (len(layers) + 1))
    lowest, highest = {"tiny": (-reach, 0), "huge": (0, 3 * reach)}.get(magnitude, (-reach, reach))
    into, *weights = rng.integers(lowest, highest, size=len(layers) + 1, endpoint=True).tolist()
    biases = rng.integers(lowest, highest, size=len(layers), endpoint=True).tolist()
    if magnitude == "balanced":  # a_l is as much larger as X is; the last layer takes it back
        above = [*weights[:-1], 0]
        below = [into, *above[:-1]]
        weights = [up - down for up, down in zip(above, below, strict=True)]
        biases = above
    scaled = [
        Dense(np.ldexp(weight, by_weight), np.ldexp(bias, by_bias))
        for (weight, bias), by_weight, by_bias in zip(layers, weights, biases, strict=True)
    ]
    return np.ldexp(X, into), scaled
