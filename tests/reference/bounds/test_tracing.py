"""A function is traced in float64 and evaluated operation by operation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Rounding, exact
from reference.bounds.tracing import Traced, evaluate, precise_jax
from tests.support.bound_formulas import (
    BRAIN,
    DOUBLE,
    SINGLE,
    assert_bounds,
    bounded,
    call,
    run,
    single,
)


def test_an_inner_function_has_constants_of_its_own() -> None:
    tenth = np.array([0.1, 0.5])
    x = bounded([2.0, 3.0], 0.25)

    def inner(x: Any) -> Any:
        return x * jnp.asarray(tenth)

    want = call("mul", single(), x, single().given(tenth))
    own = jax.custom_jvp(inner)
    own.defjvp(lambda primals, tangents: (inner(*primals), inner(*tangents)))
    for function in (inner, jax.jit(inner), jax.checkpoint(inner), own):
        traced = Traced(function, x.value)
        with precise_jax():
            consts = [single().given(np.asarray(const)) for const in traced.jaxpr.consts]
            (got,) = evaluate(traced.jaxpr.jaxpr, consts, [x], single())
        assert_bounds(got, *want)
        value, error = traced.bounded(x.value, rounding=single())
        assert_bounds(
            Bounded(value, error), *call("mul", single(), exact(x.value), single().given(tenth))
        )


def test_a_function_is_traced_and_evaluated_in_float64_whatever_it_is_given() -> None:
    x, i = np.array([0.1, 3.0], np.float32), np.array([2, 1], np.int32)
    traced = Traced(lambda x, i: {"square": x * x, "i": i}, x, i)
    assert [aval.dtype for aval in traced.jaxpr.in_avals] == [np.float64, np.int32]
    for results in (traced.by_xla(x, i), traced.by_xla(x.astype(np.float64), i)):
        assert results["square"].tolist() == [float(x[0]) ** 2, 9.0]
        assert results["i"].tolist() == [2, 1]
        assert results["i"].dtype == np.int32
    results = traced.bounded(x, i, rounding=single())
    assert_bounds(results["square"], *call("mul", single(), *[exact(x.astype(np.float64))] * 2))
    assert_bounds(results["i"], i, [False, False])


def test_what_no_result_depends_on_is_not_evaluated() -> None:
    near = bounded(1.0, 0.5)
    for function, kinks in ((lambda x: (x > 1.0, x)[1], 0), (lambda x: (x > 1.0, x), 1)):
        rounding = single()
        *_, last = run(function, rounding, near)
        assert last is near
        assert rounding.open_kinks == kinks
    (constant,) = run(lambda _: 0.1, single(), near)
    assert_bounds(constant, *single().given(0.1))


def test_what_is_not_rounded_is_what_jax_makes_of_it_or_unsure() -> None:
    """It needs no rule: shifts, counts of bits, and whatever becomes of a random key."""

    def function(i: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), i[0]), 3)
        bits = jax.random.bits(keys[2], (2,))
        return lax.population_count(i), i << 2, jax.random.key_data(keys), bits

    whole = np.array([5, 6])
    want = jax.jit(function)(whole)
    for unsure in ([False, False], [False, True]):
        results = run(function, single(), bounded(whole, unsure))
        for result, array in zip(results, want, strict=True):
            assert result.error.dtype == bool
            np.testing.assert_array_equal(result.value, array)
        assert all(result.error.all() == any(unsure) for result in results[:2])
        assert all(result.error.any() == any(unsure) for result in results[:2])

    def seeded(i: Any) -> Any:
        return jax.random.key_data(jax.random.key(i))

    for open_seed in (False, True):
        (words,) = run(seeded, single(), bounded(3, open_seed))
        assert (words.error == open_seed).all()


def test_a_function_without_a_rule_that_rounds_is_not_taken_from_jax() -> None:
    with pytest.raises(NotImplementedError, match="'digamma'"):
        run(lax.digamma, single(), bounded(1.5))


def test_of_complex_numbers_no_bound_is_known() -> None:
    """Whether they are given, constants, or what an operation makes."""
    x = bounded(1.0, 0.5)
    for function in (
        lambda x: jnp.abs(lax.convert_element_type(x, complex)),
        lambda x: x + jnp.abs(jnp.asarray(1j)),
        lambda x: x + jnp.abs(jnp.asarray(np.array([1j, 2.0]))),
    ):
        with pytest.raises(NotImplementedError, match="for complex numbers"):
            run(function, single(), x)


def test_each_operation_has_the_units_of_the_precision_that_jax_computes_it_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several results in the coarsest; what is no real number is computed in float64."""
    seen = []

    def copy(rounding: Rounding, *operands: Bounded, **_: Any) -> list[Bounded]:
        seen.append(rounding.unit_roundoff)
        return list(operands)

    monkeypatch.setitem(RULES, "optimization_barrier", copy)
    for dtypes, want in (
        ([DOUBLE, BRAIN, SINGLE], BRAIN),
        ([SINGLE, DOUBLE], SINGLE),
        ([DOUBLE], DOUBLE),
        ([np.int32], DOUBLE),
        ([np.int32, BRAIN], BRAIN),
    ):
        args = [np.ones(2, np.int32) if d == np.int32 else np.ones(2) for d in dtypes]

        def function(*args: Any, dtypes: Any = dtypes) -> Any:
            pairs = zip(args, dtypes, strict=True)
            return lax.optimization_barrier([lax.convert_element_type(a, d) for a, d in pairs])

        run(function, single(), *map(exact, args))
        rounding = single()
        rounding.computing_in(want)
        assert seen.pop() == rounding.unit_roundoff
