"""Try the error bounds on right implementations: is one ever outside, and how sharp are the bounds?

python -m benchmarks.soundness

Each case is one draw of values for one loss, in float32 or float64. Its gradient is computed by XLA
in that precision, by the same operations one by one in NumPy with every sum and matrix product
added up in another order, and by hand, in the closed forms of benchmarks/soundness/losses.py, which
owe nothing to JAX. In float64 XLA is what the others are compared with, so there it is no witness.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import scipy.special
from jax.extend import core
from tqdm import tqdm

from benchmarks.soundness.losses import LOSSES, Draw, Loss, Shape, rounded
from benchmarks.tables import Page, parser_of
from reference.arrays import Array
from reference.bounds.registry import RULES
from reference.bounds.rounding import Rounding, exact
from reference.bounds.rules.calls import is_exp_neg_sq
from reference.bounds.rules.indexing import scatter_add
from reference.bounds.tracing import precise_jax
from reference.compare import Comparer, Comparison, Verdict
from reference.sensitivity import sensitivity

DTYPES = ("float32", "float64")
FINE = (Verdict.MATCH, Verdict.AMBIGUOUS, Verdict.NOT_COMPARABLE)
BLOCKS = 8
ABOUT = """\
Right gradients, by XLA in float32, by NumPy with sums in random, sequential and blocked order, and
by hand, and how many of them the checker calls wrong."""
LEGEND = """
*false alarms*: right gradients that were called wrong. *n.c.*: not comparable, the bound is
infinite. *worst*: the largest error in parts of its bound. *sees*: the median, over cases and
arrays, of the smallest relative error of a whole array that is seen. *bound/ulp*: the median of the
bound in units of the last place."""
LARGEST = 32  # of each size of a shape, drawn log-uniformly


class Numpy:
    """The operations of a jaxpr in NumPy, in one precision, with its own order of summation.

    Attributes:
        dtype: the precision of every real number.
        order: "forward" or "backward" one after the other, "shuffled", "blocked" in eight sums
            at once, "pairwise" as NumPy does, and, for products of matrices, "fused" multiply-adds.
    """

    ORDERS = ("forward", "backward", "shuffled", "blocked", "pairwise", "fused")

    def __init__(self, dtype: npt.DTypeLike, order: str, rng: np.random.Generator) -> None:
        """Take the precision and the order; rng shuffles."""
        self.dtype, self.order, self.rng = np.dtype(dtype), order, rng
        self.layout = Rounding(dtype)

    def evaluate(self, jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Evaluate a jaxpr operation by operation."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        known = {variable: self.held(value) for variable, value in known.items()}

        def read(atom: Any) -> Array:
            return self.held(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            results = self.apply(eqn.primitive.name, [read(a) for a in eqn.invars], eqn.params)
            results = results if isinstance(results, list) else [results]
            known.update(zip(eqn.outvars, map(self.held, results), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def held(self, value: Any) -> Array:
        """Round to the precision."""
        array = np.asarray(value)
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def apply(self, name: str, args: list[Array], params: dict[str, Any]) -> Any:
        """Apply a primitive."""
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        if inner is not None and is_exp_neg_sq(inner):
            return np.exp(-args[0] * args[0])
        if inner is not None:
            return self.evaluate(inner.jaxpr, inner.consts, args)
        if (own := getattr(self, "_" + name.replace("-", "_"), None)) is not None:
            return own(*args, **params)
        if name in ELEMENTWISE and args[0].dtype.kind == "f":
            return ELEMENTWISE[name](*args)
        # What moves elements, or chooses between them, does not round: the rule's value will do.
        if name not in EXACT:
            raise NotImplementedError(name)
        result = RULES[name](self.layout, *map(exact, args), **params)
        return [part.value for part in result] if isinstance(result, list) else result.value

    def add_up(self, terms: Array) -> Array:
        """Add up along the first axis."""
        if self.order == "pairwise":
            return np.asarray(terms.sum(axis=0, dtype=self.dtype))
        if self.order == "blocked" and len(terms) > BLOCKS:
            return self._one_by_one(
                np.stack([self._one_by_one(terms[i::BLOCKS]) for i in range(BLOCKS)])
            )
        if self.order == "backward":
            terms = terms[::-1]
        elif self.order == "shuffled":
            terms = self.rng.permutation(terms, axis=0)
        return self._one_by_one(terms)

    def _one_by_one(self, terms: Array) -> Array:
        total = np.zeros(terms.shape[1:], self.dtype)
        for term in terms:
            total = total + term
        return total

    def _integer_pow(self, x: Array, *, y: int) -> Array:
        power = x
        for _ in range(abs(y) - 1):
            power = power * x
        return power if y > 0 else 1 / power

    def _reduce_sum(self, x: Array, *, axes: tuple[int, ...], **_: Any) -> Array:
        if x.dtype.kind != "f":
            return np.asarray(x.sum(axis=axes))
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        return self.add_up(
            x.transpose([*axes, *kept]).reshape(-1, *(x.shape[axis] for axis in kept))
        )

    def _dot_general(self, a: Array, b: Array, *, dimension_numbers: Any, **_: Any) -> Array:
        (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
        a_free = [axis for axis in range(a.ndim) if axis not in (*a_sum, *a_batch)]
        b_free = [axis for axis in range(b.ndim) if axis not in (*b_sum, *b_batch)]
        batch = [a.shape[axis] for axis in a_batch]
        rows, columns = [a.shape[axis] for axis in a_free], [b.shape[axis] for axis in b_free]
        A = a.transpose([*a_sum, *a_batch, *a_free])
        B = b.transpose([*b_sum, *b_batch, *b_free])
        A = A.reshape(-1, math.prod(batch), math.prod(rows), 1)
        B = B.reshape(-1, math.prod(batch), 1, math.prod(columns))
        return self._products(A, B).reshape(*batch, *rows, *columns)

    def _products(self, A: Array, B: Array) -> Array:
        if self.order != "fused":
            return self.add_up(A * B)
        total = np.zeros(np.broadcast_shapes(A.shape, B.shape)[1:], self.dtype)
        wide = np.float64 if self.dtype == np.float32 else np.longdouble
        for a, b in zip(A, B, strict=True):
            total = (total + np.multiply(a, b, dtype=wide)).astype(self.dtype)
        return total

    def _conv_general_dilated(
        self, x: Array, kernel: Array, *, dimension_numbers: Any, padding: Any, **params: Any
    ) -> Array:
        """Multiply each window of the images with the kernel, for strides and dilations of 1."""
        steps = (*params["window_strides"], *params["lhs_dilation"], *params["rhs_dilation"])
        assert set(steps) == {1}, steps
        x = np.pad(x.transpose(dimension_numbers.lhs_spec), ((0, 0), (0, 0), *padding))
        kernel = kernel.transpose(dimension_numbers.rhs_spec)
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
        images, _, height, width, *_ = windows.shape
        A = windows.transpose(1, 4, 5, 0, 2, 3).reshape(-1, images, 1, height, width)
        B = kernel.transpose(1, 2, 3, 0).reshape(-1, 1, len(kernel), 1, 1)
        return self._products(A, B).transpose(np.argsort(dimension_numbers.out_spec))

    def _scatter_add(self, x: Array, indices: Array, updates: Array, **params: Any) -> Array:
        """Add the rows in another order, where there are rows."""
        if self.order in {"backward", "shuffled"} and indices.ndim == 2:
            order = np.arange(len(indices))[::-1]
            order = self.rng.permutation(order) if self.order == "shuffled" else order
            indices, updates = indices[order], updates[order]
        return scatter_add(x, indices, updates, **params)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "square": lambda x: x * x,
    "one_minus_square": lambda x: (1 + x) * (1 - x),
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "erf": scipy.special.erf,
    "erfc": lambda x: 1 - scipy.special.erf(x),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "pow": np.power,
}
EXACT = {
    *("add", "sub", "mul", "neg", "abs", "sign", "max", "min", "reduce_max", "eq", "ne", "lt"),
    *("le", "gt", "ge", "and", "or", "not", "is_finite", "select_n", "convert_element_type"),
    *("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "slice"),
    *("concatenate", "pad", "copy", "stop_gradient", "iota", "gather", "reduce_or"),
}


@dataclass
class Tally:
    """What has been seen of one loss.

    Attributes:
        shapes: how many were drawn.
        cases: how many draws of values were made, in all.
        verdicts: how many comparisons had which; a case has one for each implementation.
        ratio: the worst error of a comparison as a part of its bound, by precision.
        sees: for each case and leaf of the gradient the smallest factor of itself that it could
            be off by and be seen, by precision.
        ulps: for each the median of bound / ulp.
    """

    shapes: int = 0
    cases: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    ratio: dict[str, float] = field(default_factory=lambda: dict.fromkeys(DTYPES, 0.0))
    sees: dict[str, list[float]] = field(default_factory=lambda: {dtype: [] for dtype in DTYPES})
    ulps: dict[str, list[float]] = field(default_factory=lambda: {dtype: [] for dtype in DTYPES})

    @property
    def false_alarms(self) -> int:
        """Count the comparisons in which a right implementation was called wrong."""
        return sum(count for verdict, count in self.verdicts.items() if verdict not in FINE)

    def add(self, dtype: str, comparisons: Iterable[Comparison]) -> None:
        """Count a case with a comparison for each implementation."""
        self.cases += 1
        for comparison in comparisons:
            self.verdicts[comparison.verdict] += 1
            if comparison.verdict == Verdict.MATCH:
                ratios = [float(leaf.ratio.max(initial=0)) for leaf in comparison.leaves]
                self.ratio[dtype] = max(self.ratio[dtype], *ratios)
        for leaf in comparison.leaves[1:]:  # the gradient's, whose bounds are alike for all
            usual = (leaf.want != 0) & np.isfinite(leaf.bound)
            if usual.any():
                ulp = np.spacing(abs(leaf.want[usual]).astype(dtype)).astype(float)
                self.sees[dtype].append(sensitivity(leaf))
                self.ulps[dtype].append(float(np.median(leaf.bound[usual] / ulp)))

    def __add__(self, other: "Tally") -> "Tally":
        """Take two together."""
        both = Tally(self.shapes + other.shapes, self.cases + other.cases)
        both.verdicts = self.verdicts + other.verdicts
        for dtype in DTYPES:
            both.ratio[dtype] = max(self.ratio[dtype], other.ratio[dtype])
            both.sees[dtype] = self.sees[dtype] + other.sees[dtype]
            both.ulps[dtype] = self.ulps[dtype] + other.ulps[dtype]
        return both

    def row(self, name: str) -> str:
        """Lay out what is printed."""
        cells = [
            f"{name:29} {self.shapes:6} {self.cases:6} {self.verdicts.total():11}",
            f"{self.false_alarms:12} {self.verdicts[Verdict.AMBIGUOUS]:9}",
            f"{self.verdicts[Verdict.NOT_COMPARABLE]:4}",
        ]
        for dtype in DTYPES:
            sees, ulps = (
                np.median(figures) if figures else np.nan
                for figures in (self.sees[dtype], self.ulps[dtype])
            )
            cells.append(f"{self.ratio[dtype]:7.3f} {sees:8.1e} {ulps:9.3g}")
        return " ".join(cells)


HEADING = (
    f"{'':81} {'float32':^26} {'float64':^26}\n"
    f"{'loss':29} {'shapes':>6} {'cases':>6} {'comparisons':>11} {'false alarms':>12} "
    f"{'ambiguous':>9} {'n.c.':>4}" + f" {'worst':>7} {'sees':>8} {'bound/ulp':>9}" * 2
)


def by_hand(loss: Loss, args: tuple[Any, ...]) -> dict[str, Any]:
    """Compute the loss and its gradient in each way that was derived by hand."""
    return {function.__name__: function(*args) for function in loss.by_hand}


def draw_shape(rng: np.random.Generator) -> Shape:
    """Draw each size from 1 to LARGEST, log-uniformly."""
    return Shape(*(int(size) for size in np.exp(rng.uniform(0, np.log(LARGEST + 1), 4))))


class Witnesses:
    """Right implementations of a loss with its gradient, for the shapes of example arguments."""

    def __init__(self, loss: Loss, *example: Any) -> None:
        """Trace the loss."""
        self.loss = loss
        self.comparer = Comparer(loss.gradient, *example)
        self._compiled = jax.jit(loss.gradient)

    def results(
        self, args: tuple[Any, ...], dtype: str, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Compute the loss and its gradient in each way; rng draws the order of sums."""
        order = str(rng.choice(Numpy.ORDERS))
        jaxpr, numpy = self.comparer.traced.jaxpr, Numpy(dtype, order, rng)
        with np.errstate(all="ignore"), precise_jax():
            flat = numpy.evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args))
        by_numpy = jax.tree.unflatten(self.comparer.traced.structure, flat)
        results = {f"NumPy, {order}": by_numpy, **by_hand(self.loss, args)}
        return results | ({"XLA": self._compiled(*args)} if dtype == "float32" else {})

    def compare(
        self, args: tuple[Any, ...], dtype: str, rng: np.random.Generator
    ) -> dict[str, Comparison]:
        """Compare them with JAX; the bounds are computed once."""
        results = self.results(args, dtype, rng)
        by_numpy, *_ = results.values()
        comparison = self.comparer(by_numpy, *args, dtype=dtype)
        comparisons = {}
        for name, result in results.items():
            arrays = map(np.asarray, jax.tree.leaves(result))
            pairs = zip(comparison.leaves, arrays, strict=True)
            leaves = tuple(replace(leaf, got=got) for leaf, got in pairs)
            comparisons[name] = replace(comparison, leaves=leaves)
        return comparisons


def try_shape(loss: Loss, draws: int, seed: Sequence[int]) -> tuple[Tally, list[str]]:
    """Compare the implementations at draws of values for one random shape; say what failed."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    witnesses = Witnesses(loss, *loss.arguments(Draw(rng), shape))
    tally = Tally(shapes=1)
    failures: list[str] = []
    for draw in range(draws):
        dtype = DTYPES[draw % len(DTYPES)]
        args = rounded(loss.arguments(Draw(rng), shape), dtype)
        comparisons = witnesses.compare(args, dtype, rng)
        tally.add(dtype, comparisons.values())
        for name, comparison in comparisons.items():
            if comparison.verdict not in FINE:
                place = f"{loss.name}, {shape}, seed {seed}, draw {draw}, {dtype}"
                failures.append(f"false alarm: {name} of {place}: {comparison.verdict}")
    return tally, failures


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each loss; return 1 if there was a false alarm."""
    parser = parser_of("python -m benchmarks.soundness", __doc__)
    parser.add_argument("--shapes", type=int, default=510, help="in all, of the losses in turn")
    parser.add_argument("--draws", type=int, default=40, help="of values for each shape")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
    tallies = {loss.name: Tally() for loss in LOSSES}
    for i in tqdm(range(args.shapes), unit="shape", disable=not sys.stderr.isatty()):
        loss = LOSSES[i % len(LOSSES)]
        tally, failures = try_shape(loss, args.draws, [args.seed, i])
        tallies[loss.name] += tally
        for failure in failures:
            tqdm.write(failure)
    total = sum(tallies.values(), start=Tally())
    rows = [*(tally.row(name) for name, tally in tallies.items()), total.row("all")]
    print(text := "\n".join([HEADING, *rows]))
    page = Page("Right gradients under the bound", ABOUT)
    page.block(text)
    page.line(LEGEND)
    summary = (
        f"{total.cases:,} cases of {len(tallies)} losses, {total.verdicts.total():,} comparisons, "
        f"{total.false_alarms:,} false alarms."
    )
    page.write(args.results / "soundness.md", summary, parser.prog, argv)
    return int(total.false_alarms > 0)
