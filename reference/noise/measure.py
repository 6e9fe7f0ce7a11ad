"""How far rounding strays from a traced function's values, measured on samples of it."""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend import core

from reference.arrays import PRECISION, PRECISIONS, Array
from reference.bounds.programs import compiled_fast, program
from reference.bounds.tracing import Traced, in_float64, precise_jax
from reference.jaxprs import equations, functions_in
from reference.noise import rules  # noqa: F401, registers how primitives are disturbed
from reference.noise.decisions import (
    ROUNDS,
    Decided,
    Draw,
    Freedom,
    Moved,
    decided,
    worth_evaluating,
)
from reference.noise.evaluation import evaluate, without_dead_code
from reference.noise.samples import (
    Flips,
    Sampled,
    Samples,
    holds,
    random_table,
    rounds,
    sample_of,
    unit_roundoff,
)
from reference.noise.statistics import SAMPLES, joined, multiple

MAGNIFICATION = 2.0**16  # of float64's roundings, which float64 itself could not hold
FRACTION = 2.0**-6  # of the disturbances, to see whether deviations are in proportion
SATURATED = 10.0  # times the deviations of magnified disturbances: they are not in proportion
SATURATED_PART = 0.01  # of an array
NUDGE = 2.0**-40  # of the inputs, to come off exact ties; eq. (7)
COLUMNS = 2**14  # of random numbers, beyond what the largest result needs
FEWEST_SAMPLES = 4  # of the spread beyond other decisions
TRIES = 3  # of an outcome, which a sample misses that is on the brink of it
ENUMERATED = 2  # kinks whose combinations the rounds hold all
WIDE, NARROW = 8, 4  # disturbed samples at a time
WIDE_ELEMENTS = 2**22  # that all operations together may have for the wide chunks
UNOPTIMISED_ELEMENTS = 2**20  # up to which optimising takes longer than it saves in ten runs

# What has no decision in it needs no search for kinks.
DECIDING = {
    "argmax", "argmin", "ceil", "cond", "eq", "eq_to", "floor", "ge", "gt", "is_finite", "le",
    "le_to", "lt", "lt_to", "ne", "rem", "round", "select_and_gather_add",
    "select_and_scatter_add", "sign", "sort", "top_k", "while",
}  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """How far rounding strays from one array.

    Attributes:
        nominal: the undisturbed values, float64.
        sigma: the root mean square of the samples' deviations from them, float64; infinite where
            one of them is not finite.
        ties: where the other sides of exact ties lead, None if there are none.
        kinks: where the other sides of kinks within rounding lead, None if there are none.
    """

    nominal: Array
    sigma: Array
    ties: Freedom | None = None
    kinks: Freedom | None = None


@dataclass(frozen=True)
class Measurement:
    """What has been measured.

    Attributes:
        leaves: of the function's result.
        samples: how many were drawn.
        multiple: how many sigma a right result may be off.
        open_kinks: how many comparisons lie within rounding.
        exact_ties: how many comparisons are of equal numbers, which an infinitesimal change of
            the differentiated inputs would decide otherwise.
        generic: the primitives for which no disturbance is known.
    """

    leaves: tuple[Noise, ...]
    samples: int
    multiple: float
    open_kinks: int
    exact_ties: int
    generic: tuple[str, ...]


@dataclass(frozen=True)
class Mode:
    """What one compiled program does: see `Samples`."""

    held: tuple[bool, ...]
    nudged: bool
    noisy: bool
    decider: int
    exact: bool = False
    unknowing: bool = False


class Witness:
    """A traced function, whose rounding is measured by disturbing every operation.

    Args:
        traced: the function.
        dtype: the precision under test.
        active: for each of the flattened arguments whether the result is a derivative with
            respect to it, so that an exact tie in it may be broken; all, by default.
        rounded: for each of them whether it is taken to be rounded even where the precision holds
            it, so that one program serves all of its values; none, by default.
        products: the unit roundoff of products of matrices, where it is larger than that of
            `dtype`: of their operands and results, the sums are as fine as all else.

    >>> witness = Witness(Traced(lambda x: (x + 1) - 1, 1.0), np.float32)
    >>> (leaf,) = witness.measure(2.0**-10).leaves
    >>> float(leaf.nominal), bool(2**-25 < leaf.sigma < 2**-23)
    (0.0009765625, True)
    """

    def __init__(
        self,
        traced: Traced,
        dtype: npt.DTypeLike,
        active: Sequence[bool] | None = None,
        rounded: Sequence[bool] | None = None,
        products: float = 0.0,
    ) -> None:
        """Take the function's operations, without those that no result needs."""
        self.dtype = np.dtype(dtype)
        if self.dtype not in PRECISIONS:
            raise TypeError(f"dtype {PRECISION}, got {self.dtype}")
        self.jaxpr = without_dead_code(traced.jaxpr.jaxpr)
        self.consts = traced.jaxpr.consts
        self.operations = traced.operations
        self.active = tuple(active) if active is not None else (True,) * len(self.jaxpr.invars)
        self.rounded = tuple(rounded) if rounded is not None else (False,) * len(self.active)
        self.products = products / unit_roundoff(self.dtype)
        self.path = longest_path(self.jaxpr)
        self.decides = not DECIDING.isdisjoint(_primitives(self.jaxpr))
        self.elements = sum(map(_size, _variables(self.jaxpr)))
        self.is_short = self.elements <= UNOPTIMISED_ELEMENTS
        largest = max(map(_size, _variables(self.jaxpr)), default=1)
        self.columns = largest + COLUMNS
        self.chunk = WIDE if self.elements <= WIDE_ELEMENTS else NARROW
        coarsest = max(map(unit_roundoff, _dtypes(self.jaxpr)), default=0.0)
        fine = max(coarsest, unit_roundoff(self.dtype)) <= unit_roundoff(np.float64)
        self.magnification = MAGNIFICATION if fine else 1.0
        self.generic: set[str] = set()
        self._programs: dict[Mode, Any] = {}

    def measure(
        self, *args: Any, samples: int = SAMPLES, seed: int = 0, decisions: bool = True
    ) -> Measurement:
        """Measure at these arguments; eq. (5).

        Args:
            *args: where, with the shapes that the function was traced at.
            samples: how many disturbed evaluations.
            seed: of the disturbances.
            decisions: whether it is measured where the other sides of kinks and ties lead.
        """
        with precise_jax(), _broadcasting(), np.errstate(over="ignore"):
            run = self._run(args, seed)
            nominal, norms, open_kinks = run.noise(samples)
            saturated = run.magnification > 1 and run.saturates(norms)
            if saturated:
                run.magnification = 1.0
                nominal, norms, open_kinks = run.noise(samples)
            sigmas = run.sigmas(norms)
            if saturated:
                sigmas = [_seen(sigma, x) for sigma, x in zip(sigmas, nominal, strict=True)]
            ties: list[Freedom | None] = [None] * len(nominal)
            kinks = ties
            exact_ties = run.ties() if decisions and self.decides and any(self.active) else 0
            if exact_ties:
                ties, exact_ties = run.other_sides(nominal, sigmas)
            if open_kinks and decisions:
                nudged = exact_ties > 0
                kinks = run.other_decisions(nominal, sigmas, open_kinks, nudged=nudged)
        leaves = tuple(Noise(*parts) for parts in zip(nominal, sigmas, ties, kinks, strict=True))
        generic = tuple(sorted(self.generic))
        return Measurement(leaves, run.taken, run.reach, open_kinks, exact_ties, generic)

    def fraction(self, *args: Any, samples: int = SAMPLES, seed: int = 0) -> list[Array]:
        """Measure sigma once more, by disturbances that are FRACTION as large; eq. (11).

        Args:
            *args: as of `measure`.
            samples: how many disturbed evaluations.
            seed: of the disturbances.

        Returns:
            Sigma of each array, in proportion: the same where deviations grow with disturbances,
            infinite where they depend on a steep function of what may be anything.
        """
        with precise_jax(), _broadcasting(), np.errstate(over="ignore"):
            run = self._run(args, seed)
            run.magnification *= FRACTION
            _, norms, _ = run.noise(samples, unknowing=True)
            return run.sigmas(norms)

    def _run(self, args: tuple[Any, ...], seed: int) -> "_Run":
        inputs = jax.tree.leaves(in_float64(args))
        held = tuple(
            x.dtype.kind not in "fc" or (holds(self.dtype, x) and not rounded)
            for x, rounded in zip(inputs, self.rounded, strict=True)
        )
        return _Run(self, inputs, held, seed)

    def program(self, mode: Mode, *example: Any) -> Any:
        """Compile the evaluation of one chunk of samples."""

        def compiled() -> Any:
            function = functools.partial(self._chunk, mode)
            lowered = jax.jit(function).lower(*example)
            return compiled_fast(lowered) if self.is_short else lowered.compile(), self.generic

        if mode not in self._programs:
            leaves, structure = jax.tree.flatten(example)
            shapes = tuple((x.shape, x.dtype) for x in leaves)
            precision = self.dtype.name, self.magnification == 1.0, self.products
            self._programs[mode], generic = program(
                self.operations, mode, precision, structure, shapes, compiled=compiled
            )
            self.generic |= generic
        return self._programs[mode]

    def _chunk(
        self,
        mode: Mode,
        inputs: Any,
        directions: Any,
        table: Any,
        lanes: dict[str, Any],
    ) -> Any:
        """Evaluate one chunk; the lanes are what `Samples` has for each sample."""
        samples = Samples(
            dtype=self.dtype,
            amplitude=lanes["amplitude"],
            reach=lanes["reach"],
            nudge=lanes["nudge"],
            limit=lanes["limit"],
            once=lanes["once"],
            table=table[0],
            signs=table[1],
            place=None,
            decider=mode.decider,
            exact=mode.exact,
            noisy=mode.noisy,
            counting=self.decides and mode.decider == 0,
            bounded=self.magnification == 1.0,
            unknowing=lanes["unknowing"] if mode.unknowing else None,
            flips=_no_flips(lanes["amplitude"].size),
            products=self.products,
            generic=self.generic,
        )
        given = [
            samples.given(x, held=held, direction=direction)
            for x, held, direction in zip(inputs, mode.held, directions, strict=True)
        ]
        consts = [
            samples.given(x, held=not rounds(x.dtype) or holds(self.dtype, x)) for x in self.consts
        ]
        outs = evaluate(samples, self.jaxpr, consts, given)
        if not mode.noisy:
            return samples.flips
        return [x.nominal for x in outs], [_norms(samples, x, mode) for x in outs], samples.flips


class _Run:
    """One measurement: the chunks of samples, one after the other."""

    def __init__(
        self, witness: Witness, inputs: list[Array], held: tuple[bool, ...], seed: int
    ) -> None:
        self.witness, self.inputs, self.held = witness, inputs, held
        self.placed = jax.device_put(inputs)  # once, not with each call
        self.random = np.random.default_rng(seed)
        self.magnification = witness.magnification
        self.elements = sum(map(_size, witness.jaxpr.outvars))
        self.reach = multiple(self.elements)
        self.both = np.hypot(1, unit_roundoff(np.float64) / unit_roundoff(witness.dtype))
        self.directions: list[Array | None] = [None] * len(inputs)
        self.taken = 0
        self.decided: list[Decided] = []

    def noise(
        self, samples: int, *, unknowing: bool = False
    ) -> tuple[list[Array], list[Array], int]:
        """Give the nominal values, the norms of the deviations and the open kinks."""
        mode = self._mode(unknowing=unknowing)
        self.taken, self.decided = 0, []
        chunk, magnification = self.witness.chunk, self.magnification
        nominal: Any = None
        norms: list[Array] = []
        open_kinks = 0
        for _ in range(-(-samples // chunk)):
            draws = self._draws(chunk)
            nominal, more, flips = self._call(
                draws,
                mode,
                amplitude=[magnification] * chunk,
                reach=[self.reach / magnification] * chunk,
                unknowing=[float(unknowing)] * chunk,
            )
            norms = _joined(norms, more)
            open_kinks = max(open_kinks, int(flips.elements))
            self.decided += decided(draws, flips)[1:]
            self.taken += chunk
        return [np.asarray(x) for x in nominal], norms, open_kinks

    def sigmas(self, norms: list[Array]) -> list[Array]:
        """Give the root mean squares of the deviations, of disturbances of the true size."""
        scale = self.both / (np.sqrt(self.taken) * self.magnification)
        return [_known(scale * norm) for norm in norms]

    def saturates(self, norms: list[Array]) -> bool:
        """Find whether magnified disturbances are too large to have effects in proportion.

        So it is where errors grow until nothing is left to grow, as in a chaotic recurrence. There
        disturbances of the true size, though float64 can hardly hold them, stray much farther.
        """
        chunk = self.witness.chunk
        mode = self._mode(unknowing=False)
        _, actual, _ = self._call(self._draws(chunk), mode, amplitude=[1.0] * chunk)
        factor = SATURATED / self.magnification * np.sqrt(chunk / self.taken)
        beyond = [np.asarray(x) > factor * norm for x, norm in zip(actual, norms, strict=True)]
        return any(bool(x.size) and x.mean() > SATURATED_PART for x in beyond)

    def _mode(self, *, unknowing: bool) -> Mode:
        """Say what the samples need; where compiling takes longest one program serves for all."""
        unknowing |= self.witness.is_short
        return Mode(self.held, nudged=False, noisy=True, decider=0, unknowing=unknowing)

    def ties(self) -> int:
        """Count the decisions that a nudge of the inputs, either way, would change."""
        self._face()
        flips = self._call(
            self._draws(2),
            Mode(self.held, nudged=True, noisy=False, decider=0),
            amplitude=[0.0, 0.0],
            reach=[1.0, 1.0],
            nudge=[NUDGE, -NUDGE],
        )
        return int(flips.elements)

    def other_sides(
        self, nominal: list[Array], sigmas: list[Array]
    ) -> tuple[list[Freedom | None], int]:
        """Decide exact ties as nudged inputs do, and count them."""
        arrays, most = [Moved(*parts, kept=True) for parts in zip(nominal, sigmas, strict=True)], 0
        mode = Mode(self.held, nudged=True, noisy=True, decider=1, exact=True)
        for number in range(ROUNDS):
            values, norms, flips = self._round(number, mode, self._draws(2), amplitude=0.0)
            most = max(most, int(flips.elements))
            if number == 1 and not most:  # of numbers that are not exact
                return [None] * len(nominal), 0
            _take(arrays, values, norms, alone=False)
        return self._freedoms(arrays, most, each=1, samples=ROUNDS), most

    def other_decisions(
        self, nominal: list[Array], sigmas: list[Array], kinks: int, *, nudged: bool
    ) -> list[Freedom | None]:
        """Decide as those samples do whose decisions differ; exact ties, as nudged inputs do."""
        mode = Mode(self.held, nudged, noisy=True, decider=1)
        groups, added = worth_evaluating(self.decided)
        if nudged:
            groups, added = [[sample] for sample in self.decided[:ROUNDS]], False
        alone = {group[0].outcome for group in groups if added and group[0].flips == 1}
        arrays = [Moved(*parts, kept=False) for parts in zip(nominal, sigmas, strict=True)]
        done: list[Decided] = []

        def decides(sample: Decided) -> bool:
            """Evaluate, and say whether it has decided as it was expected to."""
            _, *others = self._draws(2)
            draws = [others[0], sample.draw, others[1]]
            values, norms, flips = self._round(len(done), mode, draws, amplitude=self.reach)
            outcome = int(flips.outcome[1])
            _take(arrays, values, norms, alone=outcome in alone)
            alone.discard(outcome)
            done.append(sample)
            return outcome == sample.outcome

        for group in groups:
            any(map(decides, group[:TRIES]))
        again = [sample for group in groups for sample in group]
        again.sort(key=done.count)
        for sample in itertools.cycle(again):
            if len(done) + len(set(done)) >= FEWEST_SAMPLES:
                break
            decides(sample)
        # Deciders that were moved on purpose as well are no samples.
        each, samples = (1, len(done)) if nudged else (2, len(done) + len(set(done)))
        added = added and not alone
        return self._freedoms(arrays, kinks, each=each, samples=samples, added=added)

    def _round(
        self, number: int, mode: Mode, draws: list[Draw], *, amplitude: float
    ) -> tuple[Any, Any, Flips]:
        """Let one sample decide for the nominal one and for another that is disturbed."""
        if mode.nudged and number % 2 == 0:
            self._face()
        nudge = NUDGE * (-1) ** number if mode.nudged else 0.0
        lanes = {"amplitude": [amplitude, self.magnification], "nudge": [nudge, 0.0]}
        return self._call(draws, mode, **lanes)

    def _freedoms(
        self, arrays: list[Moved], kinks: int, *, each: int, samples: int, added: bool = False
    ) -> list[Freedom | None]:
        """Enclose what so many kinks may do; each norm is of so many samples; (8), (9)."""
        beyond = min(np.sqrt(kinks), self.reach) - 1 if kinks > ENUMERATED else 0.0
        scale = self.both / np.sqrt(each)
        uncertain = multiple(self.elements, samples) / self.reach
        return [
            array.freedom(beyond=beyond, added=added, scale=scale, uncertain=uncertain)
            for array in arrays
        ]

    def _face(self) -> None:
        """Draw the directions in which the nudges go: no zero is left, none is large."""
        self.directions = [
            _direction(x, self.random) if active and x.dtype.kind == "f" else None
            for x, active in zip(self.inputs, self.witness.active, strict=True)
        ]

    def _draws(self, samples: int) -> list[Draw]:
        """Draw for the nominal sample, whose amplitude is 0, and so many others."""
        key = int(self.random.integers(2**32))
        return [Draw(key, row) for row in range(1 + samples)]

    def _call(self, draws: list[Draw], mode: Mode, **lanes: list[float]) -> Any:
        """Evaluate samples: what is said of them is 0 if it is not given."""
        with_nominal: dict[str, Any] = {
            name: np.array([0.0, *lanes.get(name, [0.0] * (len(draws) - 1))])
            for name in ("amplitude", "reach", "nudge", "unknowing")
        }
        disturbed = with_nominal["amplitude"] > 0
        with_nominal["limit"] = np.where(disturbed, np.finfo(np.float64).max, np.inf)
        with_nominal["once"] = np.int32(1)
        columns = self.witness.columns if mode.noisy else 1
        keys, rows = np.array(draws, np.uint32).T
        table = random_table(keys, rows, with_nominal["amplitude"], columns)
        directions = self.directions if mode.nudged else [None] * len(self.inputs)
        example = (self.placed, directions, table, with_nominal)
        return self.witness.program(mode, *example)(*example)


def _direction(x: Array, random: np.random.Generator) -> Array:
    """Draw a direction in which to leave an exact tie; eq. (7)."""
    largest = float(abs(x).max(initial=0)) or 1.0
    return random.uniform(-1, 1, x.shape) * np.where(x == 0, largest, abs(x))


@contextlib.contextmanager
def _broadcasting() -> Iterator[None]:
    """Let the axis of samples meet arrays without one, whatever the caller's settings are."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def _take(arrays: list[Moved], values: Any, norms: Any, *, alone: bool) -> None:
    """Take one more round of other decisions."""
    for array, value, norm in zip(arrays, values, norms, strict=True):
        array.take(np.asarray(value), np.asarray(norm), alone=alone)


def _no_flips(samples: int) -> Flips:
    """Begin to count."""
    return Flips(jnp.int64(0), jnp.zeros(samples, jnp.int64), jnp.zeros(samples, jnp.uint64))


def _norms(samples: Samples, x: Sampled, mode: Mode) -> Any:
    """Give the norm of the samples' deviations from the nominal values.

    Where one decides they are those of one rounding each, its own left out if it was nudged.
    They are divided by the largest of them before they are squared, for the square of a deviation
    may be too small for a number where the deviation is not.
    """
    if not x.spread:
        return jnp.zeros(x.shape)
    if x.is_real:
        x = samples.stored(x)  # or else each sample's disturbance is computed twice over
    first = 2 if mode.decider and mode.nudged else 1
    return _norm(x.array, samples.amplitude if mode.decider else None, first)


@functools.partial(jax.jit, static_argnames="first")
def _norm(array: Any, amplitude: Any, first: int) -> Any:
    """Give the norm of the deviations of the samples from this one on, in parts of amplitudes."""
    # Written out, for XLA's reductions over the samples are slow.
    nominal, *others = (sample_of(array, i) for i in (0, *range(first, len(array))))
    deviations = [abs(other - nominal) for other in others]
    if amplitude is not None:
        deviations = [d / amplitude[first + i] for i, d in enumerate(deviations)]
    largest = functools.reduce(jnp.maximum, deviations)
    unit = jnp.where(largest > 0, largest, 1.0)
    squares = [jnp.square(deviation / unit) for deviation in deviations]
    return unit * jnp.sqrt(functools.reduce(jnp.add, squares))


def _joined(norms: list[Array], more: Sequence[Any]) -> list[Array]:
    """Take the norms of what more samples deviate into those of the samples before."""
    arrays = list(map(np.asarray, more))
    return list(map(joined, norms, arrays)) if norms else arrays


def _known(sigma: Array) -> Array:
    """Take what is not a number for infinite."""
    return np.where(np.isnan(sigma), np.inf, sigma)


def _seen(sigma: Array, nominal: Array) -> Array:
    """Take the spread of an array that is 0 everywhere for infinite, however small samples stray.

    A divisor has overflowed, and nothing has a size that would tell that the spread is large.
    """
    return sigma if nominal.any() else np.where(sigma > 0, np.inf, 0.0)


def _primitives(jaxpr: core.Jaxpr) -> set[str]:
    return {eqn.primitive.name for eqn in equations(jaxpr)}


def _dtypes(jaxpr: core.Jaxpr) -> set[Any]:
    """Find the precisions in which JAX computes."""
    dtypes = {getattr(x.aval, "dtype", bool) for x in _variables(jaxpr)}
    return {dtype for dtype in dtypes if rounds(dtype)}


def longest_path(jaxpr: core.Jaxpr) -> int:
    """Count the operations of the longest chain in which each needs the one before."""
    length: dict[Any, int] = {}
    for eqn in jaxpr.eqns:
        inside = [longest_path(getattr(x, "jaxpr", x)) for x in functions_in(eqn)]
        own = max(inside, default=1) * int(eqn.params.get("length", 1) or 1)
        before = [length.get(x, 0) for x in eqn.invars if not isinstance(x, core.Literal)]
        length.update(dict.fromkeys(eqn.outvars, own + max(before, default=0)))
    return max(length.values(), default=0)


def _variables(jaxpr: core.Jaxpr) -> list[Any]:
    """List the inputs of a jaxpr and the results of all operations in it."""
    results = [variable for eqn in equations(jaxpr) for variable in eqn.outvars]
    return [*jaxpr.invars, *jaxpr.constvars, *results]


def _size(variable: Any) -> int:
    return int(np.prod(getattr(variable.aval, "shape", ()), dtype=np.int64))
