"""The exponential against the truth, in all of its range and at its ends."""

import decimal
import math
from decimal import Decimal
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn.compiled import exponential
from tests.support.compiled import in_python

each_way = pytest.mark.parametrize(
    "module", [exponential, in_python(exponential)], ids=["compiled", "in Python"]
)
of_each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

WORST, WORST_OF_SUM, WORST_OF_M1 = 2.8, 3.2, 3.6  # unit roundoffs, relative; exponential.md
TRUTH = decimal.Context(prec=30)


def exp_of(module: ModuleType, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # as Python runs it
        results = [module.exp(number) for number in x]
    assert {type(result) for result in results} <= {float, x.dtype.type}  # Numba gives floats
    return np.array(results, x.dtype)


def drawn_at_every_exponent(dtype: type[np.floating[Any]], each: int) -> npt.NDArray[Any]:
    """Draw numbers of both signs and of every exponent, up to beyond the ends."""
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    exponents = np.repeat(np.arange(info.minexp - info.nmant, 11), each)
    signs = rng.choice([-1, 1], exponents.shape)
    return (signs * np.ldexp(rng.uniform(0.5, 1, exponents.shape), exponents)).astype(dtype)


@each_way
@of_each_dtype
def test_it_is_within_its_bound_of_the_truth(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(1)
    lowest, highest = math.log(info.smallest_subnormal) - 1, math.log(info.max)
    spread = rng.uniform(lowest, highest, 2000).astype(dtype)
    ends = np.array([highest, lowest, math.log(info.tiny)], dtype)
    near_ends = (ends * (1 + info.eps * np.arange(-9, 10)[:, None])).ravel().astype(dtype)
    x = np.concatenate([drawn_at_every_exponent(dtype, 4), spread, near_ends])
    got, unit = exp_of(module, x), Decimal(float(info.eps)) / 2
    overflow = Decimal(float(info.max)) * (1 + unit / 2)
    for argument, result in zip(x.tolist(), got.tolist(), strict=True):
        want = TRUTH.exp(Decimal(argument))
        allowed = Decimal(WORST) * unit * want
        if math.isinf(result):
            assert want + allowed >= overflow, argument
        else:
            rounded = Decimal(float(info.smallest_subnormal)) / 2 if want < info.tiny else 0
            assert abs(Decimal(result) - want) <= allowed + rounded, argument


@each_way
def test_it_is_within_its_bound_at_float32_numbers_in_steps(module: ModuleType) -> None:
    x = np.arange(0, 2**32, 2**18 - 1, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    with np.errstate(over="ignore"):
        want = np.exp(x.astype(np.float64))
    got = exp_of(module, x).astype(np.float64)
    np.testing.assert_array_equal(np.isinf(got), want >= 2.0**128)
    got, want = (values[np.isfinite(got)] for values in (got, want))
    allowed = WORST * 2.0**-24 * want + np.where(want < 2.0**-126, 2.0**-150, 0)
    assert (abs(got - want) <= allowed).all()


@each_way
@of_each_dtype
def test_it_is_exact_where_it_can_be(module: ModuleType, dtype: type[np.floating[Any]]) -> None:
    info = np.finfo(dtype)
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny], dtype)
    want = np.array([1, 1, np.inf, 0, np.nan, np.inf, 0, 1])
    np.testing.assert_array_equal(exp_of(module, x), want)


@each_way
@of_each_dtype
def test_powers_of_2_are_exact_in_all_their_range(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    info = np.finfo(dtype)
    for k in range(info.minexp, info.maxexp):
        assert module.power_of_2(np.int32(k), dtype(0)) == math.ldexp(1, k)


@of_each_dtype
def test_its_series_is_taylor_s_by_horner_s_scheme(dtype: type[np.floating[Any]]) -> None:
    """Of as many terms as its bound is of, and to the bit as NumPy adds them up."""
    terms = 7 if dtype is np.float32 else 13
    coefficients = [dtype(1 / math.factorial(j)) for j in range(terms, 0, -1)]
    assert exponential.constants_of(dtype(0)).coefficients == tuple(coefficients)
    for r in np.linspace(-0.34, 0.34, 9).astype(dtype):
        assert in_python(exponential).series(r) == np.polyval([*coefficients, dtype(0)], r)


@each_way
@of_each_dtype
def test_of_a_sum_no_digit_of_the_rest_is_lost(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(2)
    end = -math.log(info.tiny)
    x, rest = rng.uniform(-end, end, 500).astype(dtype), rng.uniform(-0.03, 0.03, 500).astype(dtype)
    allowed = Decimal(WORST_OF_SUM) * Decimal(float(info.eps)) / 2
    for pair in zip(x, rest, strict=True):
        got, want = module.exp_of_sum(*pair), TRUTH.exp(sum(Decimal(float(part)) for part in pair))
        assert abs(Decimal(float(got)) - want) <= allowed * want, pair
    assert np.isnan(module.exp_of_sum(dtype(np.nan), dtype(0)))


@each_way
@of_each_dtype
def test_less_1_it_is_within_its_bound(module: ModuleType, dtype: type[np.floating[Any]]) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(3)
    small = drawn_at_every_exponent(dtype, 1)
    x = -np.concatenate([abs(small), rng.uniform(0, 1 - math.log(info.eps), 500)]).astype(dtype)
    context, allowed = decimal.Context(prec=60), Decimal(WORST_OF_M1) * Decimal(float(info.eps)) / 2
    for argument in x:
        got, exact = module.expm1(argument), Decimal(float(argument))
        squared = context.multiply(exact, exact)
        series = exact + squared / 2 + context.multiply(squared, exact) / 6
        want = series if exact > -1e-12 else context.exp(exact) - 1
        assert abs(Decimal(float(got)) - want) <= allowed * abs(want), argument
    assert np.isnan(module.expm1(dtype(np.nan)))
