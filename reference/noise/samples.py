"""Values with an axis of samples, and the random disturbances that tell them apart.

S is the number of samples. Sample 0 is never disturbed: it holds the nominal values. NOISE.md has
the model, whose equations the code cites.
"""

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax

from reference.arrays import Array, merged

JaxArray: TypeAlias = jax.Array
Words = TypeVar("Words", JaxArray, Array)

SIGNS = 2**14  # random signs, of which each operation takes one for each sample
COARSE = 37.0  # so far from 0 an exponential is a rounding of 1; samples that stray less hit it
STEEP = 750.0  # beyond this an exponential is 0 or infinite in float64, a tanh 1, whatever follows
GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: multiples of it are far apart


class Sampled(NamedTuple):
    """An array, and whether it has a leading axis of samples; without one all samples agree.

    Only real and complex arrays ever have one: booleans and integers are decisions, which all
    samples share.
    """

    array: JaxArray
    spread: bool = False

    @property
    def nominal(self) -> JaxArray:
        """The undisturbed values."""
        return self.array[0] if self.spread else self.array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without the axis of samples."""
        return self.array.shape[1:] if self.spread else self.array.shape

    @property
    def is_real(self) -> bool:
        """Say whether it is of numbers that round."""
        return rounds(self.array.dtype)


class Flips(NamedTuple):
    """How samples would decide otherwise than the nominal one.

    Attributes:
        elements: of how many decisions any sample would; ().
        each: of how many each sample would; (S,).
        outcome: the sum of a random word for each of them, so that samples with the same sum decide
            alike, and sums add up as decisions do; (S,), uint64.
    """

    elements: JaxArray
    each: JaxArray
    outcome: JaxArray


@dataclass
class Samples:
    """What the samples of one evaluation are, and the state of its random numbers.

    Attributes:
        dtype: the precision under test.
        amplitude: by how many roundings each sample is disturbed, 0 for the nominal one; (S,).
        reach: by how much the deviations of each sample are magnified before it is asked how it
            would decide; (S,).
        nudge: by how much each sample moves the inputs in their directions; (S,).
        limit: beyond which no number of a sample goes; (S,).
        table: random numbers of variance 1, times the amplitude; (S, columns).
        signs: random signs; (S, fewer columns).
        place: where in the table a step of a loop takes its numbers from; None outside of loops.
        once: 1, which XLA does not know; (), int32.
        decider: the sample whose comparisons all samples follow.
        exact: whether the decider is followed only where the last sample, which is disturbed, has
            the nominal operands: at ties of exact numbers; elsewhere the nominal one is.
        noisy: whether anything is disturbed at all.
        counting: whether decisions that a sample would take otherwise are counted.
        bounded: whether numbers beyond the range of `dtype` overflow or vanish.
        unknowing: whether a steep function of what strays too far is taken for unknown.
        products: by how many more roundings the operands and results of products of matrices are
            disturbed, where these are computed in a coarser precision.
        flips: which decisions some sample would take otherwise: of all samples where these are
            counted, else of the decider.
        generic: the primitives for which no disturbance is known.
    """

    dtype: np.dtype[Any]
    amplitude: JaxArray
    reach: JaxArray
    nudge: JaxArray
    limit: JaxArray
    table: JaxArray
    signs: JaxArray
    place: JaxArray | None
    once: JaxArray
    decider: int
    exact: bool
    noisy: bool
    counting: bool
    bounded: bool
    unknowing: bool
    flips: Flips
    products: float = 0.0
    generic: set[str] = field(default_factory=set)
    operations: int = 0
    decisions: int = 0

    @property
    def size(self) -> int:
        """S."""
        return self.amplitude.shape[0]

    def step(self, number: JaxArray) -> "Samples":
        """Take other random numbers in each step of a loop."""
        self.operations += 1
        place = jnp.uint32(_fixed(self.operations)) + number.astype(jnp.uint32) * jnp.uint32(GOLDEN)
        if self.place is not None:
            place ^= _hash(self.place)
        return Samples(**{**vars(self), "place": _hash(place), "operations": 0})

    def given(self, x: Any, *, held: bool, direction: Any = None) -> Sampled:
        """Take an input: disturbed if `dtype` does not hold it, moved in a direction if any."""
        value = Sampled(jnp.asarray(x))
        if not value.is_real:
            return value
        if direction is not None:
            nudge = self.nudge.reshape((self.size, *[1] * value.array.ndim))
            moved = value.array + (nudge * direction).astype(value.array.dtype)
            value = Sampled(jnp.where(nudge == 0, value.array, moved), spread=True)
        return value if held else self.relative(value)

    def literal(self, x: Any, dtype: Any) -> Sampled:
        """Take a constant, which is rounded once: all its uses are disturbed alike."""
        value = Sampled(jnp.asarray(x, dtype))
        if not value.is_real or not self.noisy or holds(self.dtype, x):
            return value
        draw = self._shared(f"literal {x}")
        return self._moved(value, None, 1.0, draw)

    def relative(
        self,
        x: Sampled,
        roundings: float = 1.0,
        common: str = "",
        flushed: Callable[[], Sampled] | None = None,
    ) -> Sampled:
        """Disturb by so many roundings of the value itself; eq. (2)."""
        return self.disturbed(x, None, roundings=roundings, common=common, flushed=flushed)

    def coarsened(self, *arrays: Sampled) -> list[Sampled]:
        """Disturb the operands of a product of matrices, or its results, if that is coarser."""
        if not self.products:
            return list(arrays)
        return [self.relative(x, self.products) for x in arrays]

    def disturbed(
        self,
        x: Sampled,
        size: JaxArray | None,
        *,
        roundings: float = 1.0,
        common: str = "",
        flushed: Callable[[], Sampled] | None = None,
    ) -> Sampled:
        """Disturb by so many roundings of numbers of this size; eq. (1).

        Args:
            x: what an operation has returned.
            size: with or without the axis of samples; None if it is that of `x`.
            roundings: how many.
            common: names what half of the variance is drawn for once, for all elements and all
                uses; empty if there is no such part; eq. (4).
            flushed: computes the value's sign, and 0 where the value is 0 in float64 whoever
                computes it. Where it has a sign and the value is 0, that has been flushed: it is
                anything up to the smallest normal number.
        """
        if not self.noisy:
            return x
        draw = own = self._draw(x.shape, x.array.dtype)
        if common:
            shared = self._shared(common).reshape((self.size, *[1] * len(x.shape)))
            draw = (draw + shared) * np.sqrt(0.5)
        moved = self._moved(x, size, roundings, draw)
        if self.bounded or flushed is None or jnp.iscomplexobj(x.array):
            return moved
        # On one side only: of variance 1/2, so that it stays below the proven bound. A factor in
        # its place XLA would join with the number, and their product would vanish itself.
        value = flushed().array * jnp.maximum(own, 0.0) * _tiny(self.dtype)
        return moved._replace(array=jnp.where(x.array == 0, value, moved.array))

    def decide(
        self, function: Callable[..., Sequence[JaxArray]], *operands: Sampled, kink: bool = True
    ) -> list[Sampled]:
        """Decide as the decider does, and count the samples that would decide otherwise.

        Args:
            function: of one sample's operands; returns what is decided.
            operands: all that the decision depends on.
            kink: whether another decision counts.
        """
        if not any(operand.spread for operand in operands):
            return [Sampled(out) for out in function(*(operand.array for operand in operands))]
        chosen = function(*(x.array[self.decider] if x.spread else x.array for x in operands))
        if self.decider:
            nominal = function(*(x.nominal for x in operands))
            if self.exact:
                exact = _all_of([_undisturbed(x) for x in operands], chosen[0].shape)
                pairs = zip(chosen, nominal, strict=True)
                chosen = [jnp.where(exact, one, other) for one, other in pairs]
            if kink:
                for one, other in zip(chosen, nominal, strict=True):
                    self._count(one[None], other)
        if self.counting and kink:
            magnified = [Sampled(self._magnified(x), x.spread) for x in operands]
            for out, one in zip(over_samples(function, *magnified), chosen, strict=True):
                self._count(out.array, one)
        return [Sampled(out) for out in chosen]

    def _count(self, outcomes: JaxArray, nominal: JaxArray) -> None:
        """Count where the outcomes of some samples, or of one, are not the nominal ones."""
        self.decisions += 1
        differs = (outcomes != nominal) & ~(_is_nan(outcomes) & _is_nan(nominal))
        places = lax.iota(jnp.uint32, nominal.size).reshape(nominal.shape)
        number = jnp.uint32(_fixed(self.decisions))
        words = _hash(places ^ (number if self.place is None else _hash(self.place ^ number)))
        if nominal.dtype != bool:
            words = _hash(words + outcomes.real.astype(jnp.int64).astype(jnp.uint32))
        axes = tuple(range(1, differs.ndim))
        self.flips = Flips(
            self.flips.elements + differs.any(axis=0).sum(),
            self.flips.each + differs.sum(axis=axes),
            self.flips.outcome + jnp.where(differs, words, 0).astype(jnp.uint64).sum(axis=axes),
        )

    def everywhere(self, x: Sampled) -> Sampled:
        """Give a real array its axis of samples, as the carry of a loop needs it."""
        if x.spread or not x.is_real:
            return x
        return Sampled(jnp.broadcast_to(x.array, (self.size, *x.array.shape)), spread=True)

    def stored(self, x: Sampled) -> Sampled:
        """Have XLA store a result, instead of computing it anew where it is used.

        XLA fuses a chain of elementwise operations by copying what is used several times into each
        use, and takes exponentially long over a long chain. A loop of one step is not fused.
        """
        one = self.once.astype(x.array.dtype)
        return x._replace(array=lax.fori_loop(0, self.once, lambda _, array: array * one, x.array))

    def unknown(self, x: Sampled) -> Sampled:
        """Take the argument of a steep function for unknown where it may pass all that is steep.

        A sample hits the steep part only by chance there, and rounding, which is coarse, often.
        """
        if not x.spread or jnp.iscomplexobj(x.array):
            return x
        strays = abs(self._magnified(x) - x.nominal)
        reach = jnp.where(jnp.isfinite(strays), strays, 0.0).max(axis=0)
        passes = (reach > COARSE) & (abs(x.nominal) - reach < STEEP)
        disturbed = self.amplitude.reshape((self.size, *[1] * len(x.shape))) > 0
        return x._replace(array=jnp.where(disturbed & passes, jnp.nan, x.array))

    def _magnified(self, x: Sampled) -> JaxArray:
        """Make the deviations as large as they may be; eq. (6)."""
        if not x.spread:
            return x.array
        nominal = x.array[0]
        reach = self.reach.reshape((self.size, *[1] * nominal.ndim)).astype(x.array.dtype)
        moved = nominal + reach * (x.array - nominal)
        return jnp.where(x.array == nominal, nominal, moved)

    def _moved(
        self, x: Sampled, size: JaxArray | None, roundings: float, draw: JaxArray
    ) -> Sampled:
        """Add the draw, in the range of the precision under test."""
        dtype, value = x.array.dtype, x.array
        value = value.astype(np.promote_types(dtype, np.float64))
        axes = len(x.shape)
        draw = draw.reshape((self.size, *[1] * (axes + 1 - draw.ndim), *draw.shape[1:]))
        unit = roundings * max(unit_roundoff(self.dtype), unit_roundoff(dtype))
        if self.bounded:
            vanishes = abs(value) < _tiny(self.dtype)
            disturbed = self.amplitude.reshape((self.size, *[1] * axes)) > 0
            overflows = disturbed & (abs(value) > _overflow(self.dtype))
        if size is None:
            part = draw * unit
            if self.bounded:
                part = jnp.where(vanishes, draw, jnp.where(overflows, np.inf, part))
            moved = value * (1 + part)
        else:
            step = unit * size
            if self.bounded:
                step = jnp.maximum(step, jnp.where(vanishes, abs(value), 0.0))
            moved = value + draw * step
            moved = jnp.where(jnp.isfinite(moved), moved, value)
            if self.bounded:
                moved = jnp.where(overflows, value * np.inf, moved)
        if not self.bounded and not jnp.iscomplexobj(value):
            # What has overflowed may be anything from the largest number on.
            limit = self.limit.reshape((self.size, *[1] * axes))
            moved = jnp.clip(moved, -limit, limit)
        return Sampled(moved.astype(dtype), spread=True)

    def _draw(self, shape: tuple[int, ...], dtype: Any) -> JaxArray:
        """Take random numbers of mean 0 and variance 1, times the amplitude; (S, *shape)."""
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return (self._window(shape) + 1j * self._window(shape)) * np.sqrt(0.5)
        return self._window(shape)

    def _window(self, shape: tuple[int, ...]) -> JaxArray:
        """Cut a window out of the table, with a random sign for each sample; (S, *shape)."""
        self.operations += 1
        size = int(np.prod(shape, dtype=np.int64))
        window = self._cut(_fixed(2 * self.operations), size)
        sign = self._cut(_fixed(2 * self.operations + 1), 1, signs=True)
        return (window * sign).reshape((self.size, *shape)).astype(jnp.float64)

    def _cut(self, place: int, size: int, *, signs: bool = False) -> JaxArray:
        table = self.signs if signs else self.table
        places = table.shape[1] - size + 1
        if self.place is None:
            return lax.slice_in_dim(table, place % places, place % places + size, axis=1)
        start = _hash(self.place ^ jnp.uint32(place)) % jnp.uint32(places)
        return lax.dynamic_slice_in_dim(table, start, size, axis=1)

    def _shared(self, name: str) -> JaxArray:
        """Take one number for each sample, the same at each call with the same name; (S,)."""
        place = zlib.crc32(name.encode()) % self.table.shape[1]
        return self.table[:, place].astype(jnp.float64)


def random_table(keys: Array, rows: Array, amplitude: Array, columns: int) -> tuple[Array, Array]:
    """Draw uniform numbers of mean 0 and variance 1, times each sample's amplitude, and signs.

    The key and the row of a sample say what is drawn for it. One table serves all operations, each
    with a window of its own: NOISE.md says why it may. NumPy draws it, for XLA would compile a
    program for each number of columns, which takes longer than to run it.
    """
    uniform = np.empty((len(keys), columns), np.float32)
    signs = np.empty((len(keys), min(columns, SIGNS)), np.float32)
    scale = (np.sqrt(3) * amplitude).astype(np.float32)
    for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
        for first in range(0, columns, SIGNS):  # as much as a cache holds
            part = uniform[i, first : first + SIGNS]
            words = np.arange(first, first + part.size, dtype=np.uint32)
            words = _hash((words + row * np.uint32(columns)) ^ key)
            part[:] = words
            part *= np.float32(2.0**-31)
            part -= np.float32(1)
            part *= scale[i]
            if first == 0:
                signs[i] = np.where(_hash(words + np.uint32(GOLDEN)) >> 31 == 0, 1, -1)
    return uniform, signs


def over_samples(function: Callable[..., Sequence[JaxArray]], *operands: Sampled) -> list[Sampled]:
    """Apply a function of one sample's operands to all samples."""
    if not any(operand.spread for operand in operands):
        return [Sampled(out) for out in function(*(operand.array for operand in operands))]
    axes = tuple(0 if operand.spread else None for operand in operands)
    arrays = [operand.array for operand in operands]
    try:
        outs = jax.vmap(function, in_axes=axes)(*arrays)
    except NotImplementedError:  # no batching rule: one sample after the other
        spread = [array for array, axis in zip(arrays, axes, strict=True) if axis == 0]

        def one(sample: list[JaxArray]) -> Sequence[JaxArray]:
            return function(*merged(arrays, [axis == 0 for axis in axes], sample))

        outs = lax.map(one, spread)
    return [Sampled(out, spread=True) for out in outs]


def _undisturbed(x: Sampled) -> JaxArray:
    """Say where the last sample has the nominal value."""
    return x.array[-1] == x.array[0] if x.spread else jnp.ones(x.shape, bool)


def _all_of(conditions: Sequence[JaxArray], shape: tuple[int, ...]) -> JaxArray:
    """Join conditions, each element's if all have the shape of a result; else all of them."""
    if all(condition.shape in {shape, ()} for condition in conditions):
        return functools.reduce(jnp.logical_and, conditions)
    return functools.reduce(jnp.logical_and, [condition.all() for condition in conditions])


def _is_nan(x: JaxArray) -> JaxArray:
    return jnp.isnan(x) if rounds(x.dtype) else jnp.zeros(x.shape, bool)


def rounds(dtype: Any) -> bool:
    """Say whether numbers of this dtype are rounded: real and complex ones."""
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def unit_roundoff(dtype: Any) -> float:
    """Half the distance from 1 to the next number of this dtype."""
    return float(ml_dtypes.finfo(np.empty(0, dtype).real.dtype).eps) / 2


def computed(dtype: np.dtype[Any], roundings: Any) -> Any:
    """Give how many roundings an operation of so many has in this precision; NOISE.md (12).

    For half precision it is computed in float32, and rounded once, unless it does not round at all.
    """
    finer = unit_roundoff(np.float32) / unit_roundoff(dtype)
    return jnp.minimum(roundings, 1 + finer * roundings) if finer < 1 else roundings


def holds(dtype: np.dtype[Any], x: Any) -> bool:
    """Say whether a precision holds all of these numbers exactly, and as normal ones."""
    array = np.asarray(x)
    narrow = np.promote_types(dtype, np.complex64) if array.dtype.kind == "c" else dtype
    with np.errstate(over="ignore", invalid="ignore"):
        same = (array.astype(narrow) == array) | np.isnan(array)
    normal = (array == 0) | ~(abs(array) < _tiny(dtype))
    return bool((same & normal).all())


def _tiny(dtype: np.dtype[Any]) -> float:
    return float(ml_dtypes.finfo(dtype).tiny)


def _overflow(dtype: np.dtype[Any]) -> float:
    """What rounds to infinity, and a few roundings more: a mask of the lowest number does not."""
    return float(ml_dtypes.finfo(dtype).max) * (1 + 4 * unit_roundoff(dtype))


def _hash(x: Words) -> Words:
    """Scramble 32-bit words so that each bit of the result depends on each bit of the word.

    The mixer `lowbias32` of C. Wellons, "Prospecting for Hash Functions" (2018).
    """
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _fixed(number: int) -> int:
    """Give a 32-bit constant for each operation."""
    return zlib.crc32(number.to_bytes(8, "little"))
