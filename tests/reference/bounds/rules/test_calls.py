"""Functions within functions are evaluated as their operations, one after the other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax

from reference.bounds.rounding import Bounded
from reference.bounds.tracing import Traced
from tests.support.bound_formulas import (
    UNSURE,
    assert_bounds,
    bounded,
    call,
    coarse,
    run,
    single,
)


def test_a_scan_goes_from_step_to_step() -> None:
    """With a constant, two carries and two sequences, in both directions."""
    scale, start, other = bounded(1.5, 0.125), bounded(2.0, 0.25), bounded(0.5)
    xs, ys = bounded([1.0, -2.0, 4.0], [0.0, 0.5, 0.25]), bounded([3.0, 5.0, 7.0], 0.125)

    def step(scale: Any, carry: Any, elements: Any) -> Any:
        (a, b), (x, y) = carry, elements
        return (a * scale + x, b - y), (a * y, b + x)

    for reverse in (False, True):

        def function(*args: Any, reverse: bool = reverse) -> Any:
            scale, a, b, xs, ys = args
            return lax.scan(lambda c, e: step(scale, c, e), (a, b), (xs, ys), reverse=reverse)

        rounding, outputs = single(), {}
        a, b = start, other
        for i in (2, 1, 0) if reverse else (0, 1, 2):
            x, y = (Bounded(z.value[i], z.error[i]) for z in (xs, ys))
            outputs[i] = call("mul", rounding, a, y), call("add", rounding, b, x)
            a = call("add", rounding, call("mul", rounding, a, scale), x)
            b = call("sub", rounding, b, y)
        got = run(function, single(), scale, start, other, xs, ys)
        want = [a, b] + [
            Bounded(*(np.stack([outputs[i][column][part] for i in range(3)]) for part in range(2)))
            for column in range(2)
        ]
        for one, another in zip(got, want, strict=True):
            assert_bounds(one, *another)


def test_a_scan_of_newer_jax_says_in_one_place_what_its_operands_are() -> None:
    def function(scale: Any, carry: Any, xs: Any) -> Any:
        return lax.scan(lambda c, x: (c * scale, c + x), carry, xs)

    class Operands:
        """What newer JAX gives in place of two numbers."""

        def unpack(self) -> list[list[int]]:
            """List constants, carries and sequences."""
            return [[0], [0], [0]]

    operands = bounded(1.5, 0.125), bounded(2.0, 0.25), bounded([1.0, -2.0], 0.5)
    (eqn,) = Traced(function, *(operand.value for operand in operands)).jaxpr.eqns
    params = {k: v for k, v in eqn.params.items() if k not in {"num_consts", "num_carry"}}
    got = call("scan", single(), *operands, **(params | {"ft_in": Operands()}))
    for one, another in zip(got, run(function, single(), *operands), strict=True):
        assert_bounds(one, *another)


def test_a_scan_without_steps_is_its_carry() -> None:
    start = bounded(2.0, 0.25)
    (carry,) = run(lambda c: lax.scan(lambda c, _: (c * 2, None), c, length=0)[0], single(), start)
    assert_bounds(carry, *start)


def halved(low: Any, x: Any) -> Any:
    """Halve until it is small, and count."""
    return lax.while_loop(lambda s: s[0] > low, lambda s: (s[0] * 0.75, s[1] + 1), (x, 0))


def test_a_loop_goes_on_as_our_values_do_and_nothing_is_known_if_others_may_not() -> None:
    low, x = bounded(1.0, 0.125), bounded(2.0, 0.0625)
    want, steps = x, 0
    while want.value > 1:
        want, steps = call("mul", single(), want, bounded(0.75)), steps + 1
    assert steps == 3
    value, count = run(halved, single(), low, x)
    assert_bounds(value, *want)
    assert_bounds(count, 3, np.False_)
    for start in (1.0, 0.5):
        assert_bounds(run(halved, single(), low, bounded(start))[0], start, 0.0)
    near = bounded(2.0, 0.25)  # 0.84 +- 0.1 is near 1 +- 0.125, and so is 1.125 +- 0.14
    for kinks, error, unsure in (("decided", None, False), ("open", np.inf, True)):
        rounding = single("open" if unsure else "decided")
        value, count = run(halved, rounding, low, near)
        assert rounding.open_kinks == 2, kinks
        assert bool(count.error) == unsure
        assert np.isinf(value.error) == (error == np.inf)
        assert (float(value.value), int(count.value)) == (0.84375, 3)


def branched(which: Any, x: Any) -> Any:
    """Choose among three functions."""
    return lax.switch(which, [lambda x: (x, 2 * x), lambda x: (3 * x, -x), lambda x: (x * x, x)], x)


def test_a_branch_that_is_decided_is_taken_and_an_open_one_may_be_any() -> None:
    x = bounded([2.0, -1.0], [0.25, 0.0])
    three, two = bounded(3.0), bounded(2.0)
    cases = [
        [x, call("mul", single(), x, two)],
        [call("mul", single(), x, three), call("neg", single(), x)],
        [call("mul", single(), x, x), x],
    ]
    (params,) = (
        eqn.params
        for eqn in Traced(branched, np.int32(0), x.value).jaxpr.eqns
        if eqn.primitive.name == "cond"
    )
    for place, which in ((0, -1), (0, 0), (1, 1), (2, 2), (2, 5)):
        got = call("cond", single(), bounded(which), x, **params)
        for one, another in zip(got, cases[place], strict=True):
            assert_bounds(one, *another)
        got = call("cond", single(), bounded(which, UNSURE), x, **params)
        for one, column in zip(got, zip(*cases, strict=True), strict=True):
            want = call("select_n", coarse(), bounded(place, UNSURE), *column)
            assert_bounds(one, *want)


@pytest.mark.parametrize(
    "name", ["jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "core_call"]
)
def test_a_call_is_evaluated_as_what_it_calls_with_or_without_constants(name: str) -> None:
    rounding, x = single(), bounded([2.0, -3.0], 0.25)
    arrays = np.array([1.5, 0.2]), np.array([3.0, 0.1])  # of which float32 does not hold all
    factor, term = map(rounding.given, arrays)
    want = call("add", rounding, call("mul", rounding, x, factor), term)
    closed = Traced(lambda x: x * arrays[0] + arrays[1], x.value).jaxpr
    assert len(closed.consts) == 2
    (got,) = call(name, rounding, x, jaxpr=closed)
    assert_bounds(got, *want)
    bare = Traced(lambda x, factor, term: x * factor + term, x.value, *arrays).jaxpr.jaxpr
    (got,) = call(name, rounding, x, factor, term, jaxpr=bare)
    assert_bounds(got, *want)


@pytest.mark.parametrize("parameter", ["call_jaxpr", "fun_jaxpr"])
def test_a_function_with_a_derivative_of_its_own_is_evaluated_as_it_is(parameter: str) -> None:
    """But for one of newer JAX, which is taken as the exp(-x^2) that it computes."""

    def exp_neg_sq(x: Any) -> Any:  # whose name alone is JAX's
        return x * x

    x = bounded([2.0, -3.0], 0.25)
    inner = Traced(exp_neg_sq, x.value).jaxpr
    assert "exp_neg_sq" in str(inner.debug_info.func_src_info)
    (got,) = call("custom_jvp_call", single(), x, **{parameter: inner})
    assert_bounds(got, *call("mul", single(), x, x))
    written = Path(jax.__file__).parent / "_src" / "lax" / "erf.py"
    named = SimpleNamespace(func_src_info=f"exp_neg_sq at {written}:40")
    (got,) = call("custom_jvp_call", coarse(), x, **{parameter: SimpleNamespace(debug_info=named)})
    square = call("square", coarse(), x)
    assert_bounds(got, *call("exp", coarse(), call("neg", coarse(), square)))
