"""The normal distribution against the truth."""

import decimal
import math
from decimal import Decimal
from types import ModuleType
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numpy.polynomial import Polynomial, chebyshev

from manual_nn.compiled import normal
from manual_nn.compiled.compiler import compiled
from tests.support.compiled import in_python

each_way = pytest.mark.parametrize(
    "module", [normal, in_python(normal)], ids=["compiled", "in Python"]
)
of_each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

WORST_OF_TAIL, WORST, WORST_OF_DENSITY = 14, 15, 4.8  # unit roundoffs, relative; normal.md
TRUTH = decimal.Context(prec=30)
PI = Decimal("3.14159265358979323846264338327950288")


def numbers(dtype: type[np.floating[Any]], end: float) -> npt.NDArray[Any]:
    return np.concatenate([np.linspace(-end, end, 1999), np.geomspace(1e-30, 1, 50)]).astype(dtype)


@each_way
def test_the_probability_is_within_its_bound_in_float32(module: ModuleType) -> None:
    for x in numbers(np.float32, 16):
        got = module.probability_and_density(x)[0]
        want = math.erfc(-float(x) / math.sqrt(2)) / 2
        allowed = (WORST if x > 0 else WORST_OF_TAIL) * 2.0**-24 * want
        assert abs(float(got) - want) <= allowed + 2.0**-149 * (want < 2.0**-126), x


@each_way
def test_the_probability_is_that_of_the_library_in_float64(module: ModuleType) -> None:
    for x in numbers(np.float64, 40):
        want = math.erfc(-math.sqrt(1 / 2) * x) / 2
        assert module.probability_and_density(x)[0] == want


@each_way
@of_each_dtype
def test_the_density_is_within_its_bound(module: ModuleType, dtype: type[np.floating[Any]]) -> None:
    info = np.finfo(dtype)
    unit, smallest = Decimal(float(info.eps)) / 2, Decimal(float(info.smallest_subnormal))
    for x in numbers(dtype, 40):
        got = module.probability_and_density(x)[1]
        exact = Decimal(float(x))
        bell = TRUTH.exp(-TRUTH.multiply(exact, exact) / 2)
        want = TRUTH.divide(bell, TRUTH.sqrt(2 * PI))
        allowed = Decimal(WORST_OF_DENSITY) * unit * want
        assert abs(Decimal(float(got)) - want) <= allowed + smallest * (want < float(info.tiny)), x


def test_the_polynomial_is_fitted_from_end_to_end_of_what_it_is_taken_at() -> None:
    for w, s in ((1 / 2, 1), (1 / (2 + 14.5), -1)):
        assert normal.STEEPNESS * w - normal.SHIFT == pytest.approx(s, abs=2.0**-22)


def test_there_are_as_many_terms_as_are_needed_and_no_more() -> None:
    """The polynomial may be off by 0.1 u of G; eq. (4)."""
    s = np.linspace(-1, 1, 999)
    G, off = normal._smooth(s), []
    for degree in (normal.DEGREE - 1, normal.DEGREE):
        points = chebyshev.chebpts1(degree + 1)
        fitted = Polynomial.fit(points, normal._smooth(points), degree, domain=[-1, 1])
        off.append(float((abs(fitted(s) - G) / G).max()))
    assert off[1] < 0.1 * 2.0**-24 < off[0]
    assert len(normal.NODES) == len(normal.COEFFICIENTS) == normal.DEGREE + 1


@pytest.mark.parametrize(
    ("steps", "farthest", "digits"),
    [
        (normal.STEPS, normal.FARTHEST, 24),
        (normal.STEPS_IN_FLOAT64, normal.FARTHEST_IN_FLOAT64, 53),
    ],
)
def test_the_steps_are_as_fine_as_their_squares_are_exact(
    steps: float, farthest: float, digits: int
) -> None:
    bits = (int(farthest * steps) - 1).bit_length()  # of what is below the end
    assert 2 * bits <= digits < 2 * (bits + 1)


@of_each_dtype
def test_the_number_whose_square_is_exact_is_the_nearest(
    dtype: type[np.floating[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = in_python(normal)
    monkeypatch.setattr(module, "exp_of_sum", lambda of_near, rest: (of_near, rest))
    for z in np.linspace(0, 14.5, 99, dtype=dtype):
        step = 1 / float(module.STEPS)
        _, rest = module.bell(z, module.STEPS)  # half of (z - near) (z + near)
        most = step / 2 * (2 * float(z) + step / 2) / 2
        assert abs(float(rest)) <= most * (1 + 2 * np.finfo(dtype).eps), z


@each_way
@of_each_dtype
def test_it_is_exact_at_its_ends_and_not_a_number_stays_so(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    largest = np.finfo(dtype).max
    for x in (largest, np.inf):
        assert module.probability_and_density(dtype(x)) == (1, 0)
        assert module.probability_and_density(dtype(-x)) == (0, 0)
    assert np.isnan(module.probability_and_density(dtype(np.nan))).all()


@compiled
def _by_compiled_code(x: Any) -> tuple[Any, Any]:
    return normal.probability_and_density(x)


@pytest.mark.parametrize("x", [np.float32(-1.3), np.float64(-1.3)])
def test_compiled_code_computes_in_the_precision_of_the_number(x: np.floating[Any]) -> None:
    by_compiled_code: Any = _by_compiled_code
    in_its_precision = normal._by_arithmetic if x.itemsize == 4 else normal._by_the_library
    assert by_compiled_code(x) == in_its_precision(x)
    if not numba.config.DISABLE_JIT:
        of = numba.typeof(x)
        assert by_compiled_code.overloads[of,].signature.return_type[0] == of
