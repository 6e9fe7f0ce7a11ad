"""Tell a gradient that was computed in a coarser precision from one that is wrong.

The precision has left its mark where every number that is wrong is one of its numbers. Where the
result was rounded to the finer precision afterwards, as that of products in TF32 is, errors tell:
they are as large as rounding is measured to be if the products, or everything, have the unit
roundoff of the coarser precision. A small mistake may have errors of that size too, so that this is
what it looks like, and no excuse.
"""

from collections.abc import Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from reference.arrays import Array
from reference.compare import Leaf, Place, Verdict, measured_leaves
from reference.limit import Limit
from reference.noise.measure import Witness
from reference.noise.samples import unit_roundoff
from reference.noise.statistics import MORE_SAMPLES

HALF = 0.5  # of a gradient: errors as large are none of a precision that is of any use
STRAYS = 1 / 8  # of sigma, that half of the errors reach; half of normal ones reach 2/3


class Coarse(NamedTuple):
    """A coarser precision.

    Attributes:
        name: of it, in words.
        dtype: that everything is in.
        products: the unit roundoff of the products of matrices, if that is larger.
    """

    name: str
    dtype: npt.DTypeLike
    products: float = 0.0


# By their significant bits, the fewest first.
OF_NUMBERS = {
    8: Coarse("bfloat16", ml_dtypes.bfloat16),
    11: Coarse("float16 or TF32", np.float16),
    24: Coarse("float32", np.float32),
}
# The finest first.
OF_ERRORS = (
    Coarse("float32", np.float32),
    Coarse("TF32 in the products of matrices", np.float32, 2.0**-11),
    Coarse("bfloat16 in the products of matrices", np.float32, 2.0**-8),
    Coarse("bfloat16", ml_dtypes.bfloat16),
)


def by_numbers(here: Place, leaves: Sequence[Leaf]) -> str:
    """Name the precision of which every number that is wrong is one; empty if there is none.

    Args:
        here: where the gradient was compared.
        leaves: that some of are wrong.
    """
    wrong = _wrong_by_little(leaves)
    for bits, coarse in OF_NUMBERS.items():
        telling = [
            _has(bits, leaf.got).all() and not _has(bits, leaf.want.astype(leaf.got.dtype)).all()
            for leaf in wrong
        ]
        if wrong and _is_coarser(coarse, here) and all(telling):
            return coarse.name if _explains(coarse, here, leaves) else ""
    return ""


def by_errors(here: Place, leaves: Sequence[Leaf], limit: Limit) -> str:
    """Name the finest precision that the errors look like the rounding of; empty if none does.

    Args:
        here: where the gradient was compared.
        leaves: that some of are wrong.
        limit: on the measurements, of which each precision takes one.
    """
    if not _wrong_by_little(leaves):
        return ""
    for coarse in (coarse for coarse in OF_ERRORS if _is_coarser(coarse, here)):
        if limit.is_over:
            limit.leave_out(f"whether the errors look like the rounding of {coarse.name}")
            return ""
        if _explains(coarse, here, leaves):
            return coarse.name
    return ""


def _wrong_by_little(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Give the arrays that are wrong; none if one is so by as much as no precision would be."""
    wrong = [leaf for leaf in leaves if leaf.verdict == Verdict.MISMATCH]
    much = (_size(leaf.error[leaf.wrong]) > HALF * _size(leaf.want[leaf.wrong]) for leaf in wrong)
    return [] if any(much) else wrong


def _is_coarser(coarse: Coarse, here: Place) -> bool:
    unit = max(coarse.products, unit_roundoff(coarse.dtype))
    return unit > unit_roundoff(here.dtype)


def _explains(coarse: Coarse, here: Place, leaves: Sequence[Leaf]) -> bool:
    """Say whether a right gradient in this precision may be as far off, and is as a rule.

    Half of the elements stray, not only a few; and some of each array, for one that is right in the
    finer precision was not computed in the coarser one, unless it is as good in that.
    """
    traced, differentiated = here.comparer.traced, here.comparer.differentiated
    witness = Witness(traced, coarse.dtype, differentiated, products=coarse.products)
    measurement = witness.measure(*here.args, samples=MORE_SAMPLES, seed=MORE_SAMPLES)
    paths, results = [leaf.path for leaf in leaves], [leaf.got for leaf in leaves]
    judged = measured_leaves(paths, results, here.wanted, measurement, None)
    wrong = [leaf.verdict == Verdict.MISMATCH for leaf in leaves]
    found = [other.verdict for other, is_wrong in zip(judged, wrong, strict=True) if is_wrong]
    if any(verdict not in {Verdict.MATCH, Verdict.AMBIGUOUS} for verdict in found):
        return False
    strays = [_strays(*pair, coarse) for pair in zip(leaves, judged, strict=True)]
    if not all(parts.size or not is_wrong for parts, is_wrong in zip(strays, wrong, strict=True)):
        return False
    by_array = all(parts.max(initial=STRAYS) >= STRAYS for parts in strays)
    return by_array and float(np.median(np.concatenate(strays))) >= STRAYS


def _strays(leaf: Leaf, judged: Leaf, coarse: Coarse) -> Array:
    """Give the errors in parts of sigma, where that is more than the finer precision allows."""
    sigma = judged.sigma
    assert sigma is not None  # noqa: S101, it was measured
    if not coarse.products:  # the result alone may have been rounded
        sigma = np.minimum(sigma, unit_roundoff(coarse.dtype) * abs(leaf.want))
    telling = sigma > leaf.bound
    return np.asarray(leaf.error[telling] / sigma[telling])


def _has(bits: int, array: Array) -> Array:
    """Say which numbers have so many significant bits, at most.

    >>> _has(8, np.array([1 / 3, 1.0, 255.0, 257.0])).tolist()
    [False, True, True, False]
    """
    mantissa, _ = np.frexp(array.astype(np.float64))
    scaled = np.ldexp(mantissa, bits)
    return np.asarray(scaled == np.rint(scaled))


def _size(array: Array) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))
