"""Random networks, taken through `manual_nn` and JAX, and a table of how well the two agree.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

import manual_nn
from manual_nn.layers.dense import Params
from reference import derivatives
from reference.arrays import Array
from reference.campaign import quantities
from reference.campaign.quantities import gradient_by_hand, gradient_by_jax
from reference.compare import Comparer, Comparison, Leaf, Verdict, worst_verdict

DTYPES = ("float32", "float64")
MEASURED_EVERY = 20


class Example(NamedTuple):
    """A random network with a batch of data, in float64; `at` gives it in another precision."""

    seed: int
    params: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float

    @property
    def shape(self) -> str:
        """The sizes D-H-...-K and the rows N."""
        sizes = [len(layer.weight) for layer in self.params] + [self.params[-1].bias.size]
        return "-".join(map(str, sizes)) + f", {len(self.X)} rows"

    def at(self, dtype: npt.DTypeLike) -> tuple[Any, Array, Array, float]:
        """Round it to this precision."""

        def rounded(array: Array) -> Array:
            return array.astype(dtype) if array.dtype.kind == "f" else array

        args = jax.tree.map(rounded, (self.params, self.X, self.y))
        return (*args, self.weight_decay)


def draw_example(seed: int) -> Example:
    """Draw depth 1 to 4, widths to 64, up to 128 rows, either kind of target, decay or none."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 65, size=rng.integers(2, 6)).tolist()
    N = int(rng.integers(1, 129))
    return _draw_values(seed, rng, sizes, N, soft=None)


def _draw_values(
    seed: int, rng: np.random.Generator, sizes: list[int], N: int, *, soft: bool | None
) -> Example:
    """Draw the numbers and, where it is left open, whether the targets are probabilities."""
    K = sizes[-1]
    params = manual_nn.init_params(sizes, rng=rng)
    params = tuple(
        layer._replace(bias=rng.normal(scale=0.1, size=layer.bias.shape)) for layer in params
    )
    soft = bool(rng.random() >= 0.5) if soft is None else soft
    y = rng.dirichlet(np.ones(K), size=N) if soft else rng.integers(K, size=N)
    weight_decay = 0.0 if rng.random() < 0.5 else float(10 ** rng.uniform(-5, 0))
    return Example(seed, params, rng.normal(size=(N, sizes[0])), y, weight_decay)


class DirectedExample(NamedTuple):
    """A small example with a direction, and a largest norm that some rows' gradients exceed."""

    example: Example
    tangents: Params
    max_norm: float

    def at(self, dtype: npt.DTypeLike) -> tuple[Any, ...]:
        """Round it to this precision."""
        params, X, y, weight_decay = self.example.at(dtype)
        tangents = jax.tree.map(lambda array: array.astype(dtype), self.tangents)
        return params, tangents, X, y, weight_decay, self.max_norm


DIRECTED_SHAPES = 12  # each takes JAX several seconds to compile


def draw_directed_example(seed: int) -> DirectedExample:
    """Draw one of twelve shapes: depth 1 to 4, widths to 6, up to 8 rows, either kind of target.

    They are small because second derivatives make large matrices, and few because each is
    compiled; the values are drawn as in `draw_example`.
    """
    rng = np.random.default_rng(seed % DIRECTED_SHAPES)
    sizes = rng.integers(1, 7, size=rng.integers(2, 6)).tolist()
    N, soft = int(rng.integers(1, 9)), bool(rng.random() < 0.5)
    rng = np.random.default_rng([seed, 1])
    example = _draw_values(seed, rng, sizes, N, soft=soft)
    tangents = jax.tree.map(lambda array: rng.normal(size=array.shape), example.params)
    largest = manual_nn.per_example_grad_norms(example.params, example.X, example.y).max()
    return DirectedExample(example, tangents, max(float(largest) / 2, 2.0**-10))


def directed_by_jax(*example: Any) -> dict[str, Any]:
    """Compute every derivative beyond the gradient with JAX."""
    params, tangents, X, y, weight_decay, max_norm = example
    return {
        **quantities.rows_by_jax(params, X, y, max_norm),
        **quantities.products_by(derivatives)(params, tangents, X, y, weight_decay),
        **quantities.matrices_by(derivatives)(params, X, y, weight_decay),
    }


def directed_by_hand(*example: Any) -> dict[str, Any]:
    """Compute every derivative beyond the gradient with `manual_nn`."""
    params, tangents, X, y, weight_decay, max_norm = example
    return {
        **quantities.rows_by_hand(params, X, y, max_norm),
        **quantities.products_by(manual_nn)(params, tangents, X, y, weight_decay),
        **quantities.matrices_by(manual_nn)(params, X, y, weight_decay),
    }


def compare_example(example: Example) -> dict[str, Comparison]:
    """Compare the gradient and what comes with it in each precision, with one compilation.

    Of one example in many, rounding is measured as well, which takes a compilation for each.
    """
    args = example.at(np.float64)
    comparer = Comparer(
        gradient_by_jax,
        *args,
        measured=(example.seed + 1) % MEASURED_EVERY == 0,
        differentiated=[False] * len(jax.tree.leaves(args)),  # exact ties are decided alike
        sparing=True,
    )
    return {
        dtype: comparer(gradient_by_hand(*example.at(dtype)), *example.at(dtype), dtype=dtype)
        for dtype in DTYPES
    }


def compare_directed_example(example: DirectedExample) -> dict[str, Comparison]:
    """Compare directed_by_hand with directed_by_jax in each precision."""
    comparer = directed_comparer(example.example.seed % DIRECTED_SHAPES)
    return {
        dtype: comparer(directed_by_hand(*example.at(dtype)), *example.at(dtype), dtype=dtype)
        for dtype in DTYPES
    }


@functools.cache
def directed_comparer(shape: int) -> Comparer:
    """Compile one of the twelve shapes, once."""
    return Comparer(directed_by_jax, *draw_directed_example(shape).at(np.float64))


@dataclass
class Row:
    """What the examples so far have shown of one quantity in one precision.

    Attributes:
        verdicts: how many examples had each.
        ulps: the worst difference in units of the last place of the leaf's largest entry.
        ratio: the worst of error over bound.
        worst: the example with the worst `ulps`.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    ulps: float = -1.0
    ratio: float = 0.0
    worst: Example | None = None

    def add(self, example: Example, leaves: Sequence[Leaf]) -> None:
        """Count an example, given its leaves for this quantity."""
        self.verdicts[worst_verdict(leaves)] += 1
        self.ratio = max(self.ratio, *(float(leaf.ratio.max()) for leaf in leaves))
        ulps = max(leaf.ulps for leaf in leaves)
        if ulps > self.ulps:
            self.ulps, self.worst = ulps, example


class Agreement:
    """How well `manual_nn` and JAX agree, by quantity and precision, over the examples so far."""

    def __init__(self) -> None:
        """Begin without an example."""
        self.cases = 0
        self.kinks = 0  # examples with a kink within rounding, in either precision
        self.rows: dict[tuple[str, str], Row] = {}

    def add(self, example: Example) -> None:
        """Take an example, and the small one of its seed, through both packages and compare."""
        directed = draw_directed_example(example.seed)
        compared = (
            (example, compare_example(example)),
            (directed.example, compare_directed_example(directed)),
        )
        for drawn, comparisons in compared:
            for dtype, comparison in comparisons.items():
                for quantity, leaves in comparison.by_key().items():
                    row = self.rows.setdefault((quantity, dtype), Row())
                    row.add(drawn, leaves)
        self.cases += 1
        self.kinks += any(found.open_kinks for _, two in compared for found in two.values())

    @property
    def complete(self) -> bool:
        """Say whether all agreed: no mismatch, no digits lost, nothing that was not compared."""
        allowed = {Verdict.MATCH, Verdict.AMBIGUOUS}
        return bool(self.rows) and all(row.verdicts.keys() <= allowed for row in self.rows.values())

    def table(self) -> str:
        """Lay the rows out to be read."""
        header = (
            f"{'quantity':31} {'dtype':7} {'cases':>5} {'match':>5} {'ambig.':>6} {'n.c.':>4} "
            f"{'wrong':>5} {'ulps':>7} {'of bound':>8}  worst case"
        )
        lines = [header]
        for (quantity, dtype), row in self.rows.items():
            counts = row.verdicts
            lines.append(
                f"{quantity:31} {dtype:7} {counts.total():5} {counts[Verdict.MATCH]:5} "
                f"{counts[Verdict.AMBIGUOUS]:6} {counts[Verdict.NOT_COMPARABLE]:4} "
                f"{counts[Verdict.MISMATCH]:5} {row.ulps:7.3g} {row.ratio:8.3f}  "
                + (f"{row.worst.shape}, seed {row.worst.seed}" if row.worst else "")
            )
        return "\n".join(lines)
