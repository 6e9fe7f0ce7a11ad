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
        return sample_of(self.array, 0) if self.spread else self.array

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
        unknowing: 1 for each sample in which a steep function of what strays too far is taken for
            unknown, else 0; (S,), or None if there are none.
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
    unknowing: JaxArray | None
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
        draw = self._draw(x.shape, x.array.dtype)
        shared = self._shared(common) if common else None
        moved = self._moved(x, size, roundings, draw, shared)
        if self.bounded or flushed is None or jnp.iscomplexobj(x.array):
            return moved
        tiny = _tiny(self.dtype)
        return moved._replace(array=_unflushed(x.array, moved.array, flushed().array, draw, tiny))

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
        chosen = function(*map(self.decided, operands))
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
        number: Any = np.uint32(_fixed(self.decisions))
        if self.place is not None:
            number = _hash(self.place ^ number)
        more = _differences(outcomes, nominal, number)
        self.flips = Flips(*map(jnp.add, self.flips, more))

    def decided(self, x: Sampled) -> JaxArray:
        """Give what the decider has."""
        return sample_of(x.array, self.decider) if x.spread else x.array

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
        return x._replace(array=_stored(x.array, self.once))

    def unknown(self, x: Sampled) -> Sampled:
        """Take the argument of a steep function for unknown where it may pass all that is steep.

        A sample hits the steep part only by chance there, and rounding, which is coarse, often.
        """
        if self.unknowing is None or not x.spread or jnp.iscomplexobj(x.array):
            return x
        return x._replace(array=_unknown(x.array, self.reach, self.unknowing))

    def _magnified(self, x: Sampled) -> JaxArray:
        """Make the deviations as large as they may be; eq. (6)."""
        return _magnified(x.array, self.reach) if x.spread else x.array

    def _moved(
        self,
        x: Sampled,
        size: JaxArray | None,
        roundings: float,
        draw: JaxArray,
        shared: JaxArray | None = None,
    ) -> Sampled:
        """Add the draw, in the range of the precision under test."""
        unit = roundings * max(unit_roundoff(self.dtype), unit_roundoff(x.array.dtype))
        moved = _moved(
            x.array,
            size=size,
            draw=draw,
            shared=shared,
            unit=unit,
            amplitude=self.amplitude,
            limit=self.limit,
            spread=x.spread,
            dtype=self.dtype,
            bounded=self.bounded,
        )
        return Sampled(moved, spread=True)

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
        return _signed(window, sign, shape)

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
        return lax.index_in_dim(self.table, place, axis=1, keepdims=False).astype(jnp.float64)


# What each operation does, traced once for all operations and checks of the same shapes: a program
# calls it, and XLA writes it out.


def sample_of(array: JaxArray, number: int) -> JaxArray:
    """Take one sample."""
    taken: JaxArray = lax.index_in_dim(array, number, keepdims=False)
    return taken


def _beside(of_samples: JaxArray, array: JaxArray) -> JaxArray:
    """Give numbers of the samples the axes of an array that has one of samples."""
    return of_samples.reshape((len(of_samples), *[1] * (array.ndim - 1)))


@functools.partial(jax.jit, static_argnames="shape")
def _signed(window: JaxArray, sign: JaxArray, shape: tuple[int, ...]) -> JaxArray:
    return (window * sign).reshape((len(sign), *shape)).astype(jnp.float64)


@functools.partial(jax.jit, static_argnames=("spread", "dtype", "bounded"))
def _moved(
    array: JaxArray,
    *,
    size: JaxArray | None,
    draw: JaxArray,
    shared: JaxArray | None,
    unit: Any,
    amplitude: JaxArray,
    limit: JaxArray,
    spread: bool,
    dtype: np.dtype[Any],
    bounded: bool,
) -> JaxArray:
    """Add a draw, half of whose variance may be shared, in the range of a precision."""
    value = array.astype(np.promote_types(array.dtype, np.float64))
    each = value if spread else value[None]
    if draw.ndim == 1:
        draw = _beside(draw, each)
    if shared is not None:
        draw = (draw + _beside(shared, each)) * np.sqrt(0.5)
    if bounded:
        vanishes = abs(value) < _tiny(dtype)
        overflows = (_beside(amplitude, each) > 0) & (abs(value) > _overflow(dtype))
    if size is None:
        part = draw * unit
        if bounded:
            part = jnp.where(vanishes, draw, jnp.where(overflows, np.inf, part))
        moved = value * (1 + part)
    else:
        step = unit * size
        if bounded:
            step = jnp.maximum(step, jnp.where(vanishes, abs(value), 0.0))
        moved = value + draw * step
        moved = jnp.where(jnp.isfinite(moved), moved, value)
        if bounded:
            moved = jnp.where(overflows, value * np.inf, moved)
    if not bounded and not jnp.iscomplexobj(value):
        # What has overflowed may be anything from the largest number on.
        limits = _beside(limit, each)
        moved = jnp.clip(moved, -limits, limits)
    return moved.astype(array.dtype)


@jax.jit
def _unflushed(
    array: JaxArray, moved: JaxArray, signs: JaxArray, draw: JaxArray, tiny: float
) -> JaxArray:
    """Let what may have been flushed to 0 be anything up to the smallest normal number.

    On one side only: of variance 1/2, so that it stays below the proven bound. A factor in its
    place XLA would join with the number, and their product would vanish itself.
    """
    return jnp.where(array == 0, signs * jnp.maximum(draw, 0.0) * tiny, moved)


@jax.jit
def _magnified(array: JaxArray, reach: JaxArray) -> JaxArray:
    nominal = sample_of(array, 0)
    moved = nominal + _beside(reach, array).astype(array.dtype) * (array - nominal)
    return jnp.where(array == nominal, nominal, moved)


@jax.jit
def _unknown(array: JaxArray, reach: JaxArray, unknowing: JaxArray) -> JaxArray:
    nominal = sample_of(array, 0)
    strays = abs(_magnified(array, reach) - nominal)
    farthest = jnp.where(jnp.isfinite(strays), strays, 0.0).max(axis=0)
    passes = (farthest > COARSE) & (abs(nominal) - farthest < STEEP)
    return jnp.where((_beside(unknowing, array) > 0) & passes, jnp.nan, array)


@jax.jit
def _stored(array: JaxArray, once: JaxArray) -> JaxArray:
    one = once.astype(array.dtype)
    stored: JaxArray = lax.fori_loop(0, once, lambda _, x: x * one, array)
    return stored


@jax.jit
def _differences(outcomes: JaxArray, nominal: JaxArray, number: JaxArray) -> Flips:
    """Find the decisions that samples, or one, take otherwise than the nominal one."""
    differs = (outcomes != nominal) & ~(_is_nan(outcomes) & _is_nan(nominal))
    places = lax.iota(jnp.uint32, nominal.size).reshape(nominal.shape)
    words = _hash(places ^ number)
    if nominal.dtype != bool:
        words = _hash(words + outcomes.real.astype(jnp.int64).astype(jnp.uint32))
    axes = tuple(range(1, differs.ndim))
    return Flips(
        differs.any(axis=0).sum(),
        differs.sum(axis=axes),
        jnp.where(differs, words, 0).astype(jnp.uint64).sum(axis=axes),
    )


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
