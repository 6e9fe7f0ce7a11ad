"""The logarithm just above 1 against the truth."""

import decimal
from decimal import Decimal
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from manual_nn.compiled import logarithm
from tests.support.compiled import in_python

of_each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_way = pytest.mark.parametrize(
    "module", [logarithm, in_python(logarithm)], ids=["compiled", "in Python"]
)

WORST = 4.6  # unit roundoffs, relative; logarithm.md
TRUTH = decimal.Context(prec=40)


def log1p(y: float) -> Decimal:
    """Compute it in 40 digits, of which 1 + y loses 10 at most."""
    exact = Decimal(y)
    if y > 1e-10:
        return TRUTH.ln(TRUTH.add(1, exact))
    return exact - TRUTH.multiply(exact, exact) / 2 + TRUTH.power(exact, 3) / 3


@each_way
@of_each_dtype
def test_it_is_within_its_bound_of_the_truth(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    info, rng = np.finfo(dtype), np.random.default_rng(0)
    least = info.minexp - info.nmant + 1  # from where the smallest of subnormal numbers are
    small = np.ldexp(rng.uniform(0.5, 1, 1 - least), np.arange(least, 1))
    y = np.concatenate([small, rng.uniform(0, 1, 500), [1]]).astype(dtype)
    allowed = Decimal(WORST) * Decimal(float(info.eps)) / 2
    for argument in y:
        got, want = module.log1p(argument), log1p(float(argument))
        assert type(got) in {float, dtype}  # Numba gives floats
        assert abs(Decimal(float(got)) - want) <= allowed * want, argument


@each_way
@of_each_dtype
def test_0_stays_and_so_does_what_is_not_a_number(
    module: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    assert module.log1p(dtype(0)) == 0
    assert np.isnan(module.log1p(dtype(np.nan)))


@of_each_dtype
def test_there_are_as_many_terms_as_are_needed_and_no_more(dtype: type[np.floating[Any]]) -> None:
    """The bound counts 0.03 u for what is left out, which takes y = 1 and s^2 = 1 / 9; eq. (2)."""
    terms, u = len(logarithm.coefficients_of(dtype(1))), np.finfo(dtype).eps / 2
    left_out = [9 / 8 * 9.0**-n / (2 * n + 1) for n in (terms - 1, terms)]
    assert left_out[1] < 0.03 * u < left_out[0]


def test_each_coefficient_is_taken_once_and_the_first_for_the_highest_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = in_python(logarithm)
    monkeypatch.setattr(module, "coefficients_of", lambda _: (3.0, 2.0, 1.0))
    assert module.log1p(np.float64(2)) == 1 + 2 / 4 + 3 / 16  # s = 1 / 2, so that 2 s is 1


@pytest.mark.parametrize("y", [np.float32(0.3), np.float64(0.3)])
def test_compiled_code_computes_in_the_precision_of_the_number(y: np.floating[Any]) -> None:
    compiled: Any = logarithm.log1p
    compiled(y)
    if not numba.config.DISABLE_JIT:
        of = numba.typeof(y)
        assert compiled.overloads[of,].signature.return_type == of
