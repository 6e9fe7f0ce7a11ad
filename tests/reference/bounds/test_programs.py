"""Equal operations are compiled once, and operations that differ in anything are not equal."""

import functools
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.bounds import programs, tracing
from reference.bounds.programs import FAITHFUL, FAST, compiled_fast, operations, program
from reference.bounds.rounding import Rounding
from reference.bounds.tracing import Traced
from reference.compare import Comparer
from reference.layers import layer_norm
from tests.support.cases import each

X = np.arange(6.0).reshape(2, 3)


def of(function: Callable[..., Any], x: Any = X) -> Any:
    """Give the operations of a function that is traced anew."""
    return Traced(functools.partial(function), x).operations


def scaled(factor: Any) -> Callable[[Any], Any]:
    """Make a function with a constant in it."""
    return lambda x: x * factor


@each(
    "function",
    [
        lambda x: jnp.sin(x) @ x.T,
        jax.grad(lambda x: jax.nn.relu(x).sum()),
        jax.nn.relu,  # with a derivative of its own
        lambda x: lax.scan(lambda c, t: (c + t, jnp.sin(c)), jnp.zeros(3), x)[1],
        lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
        lambda x: x + np.arange(3.0)[None, :],
        lambda x: x[np.array([1, 0])],
    ],
)
def test_what_is_traced_twice_has_the_same_operations(function: Callable[[Any], Any]) -> None:
    assert of(function) is not None
    assert of(function) == of(function)


@each(
    ("one", "other"),
    [
        (jnp.sin, jnp.cos),
        (lambda x: x.sum(axis=0), lambda x: x.sum(axis=1)),
        (scaled(2.0), scaled(np.nextafter(2.0, 3.0))),
        (scaled(0.0), scaled(-0.0)),
        (scaled(np.full((2, 3), 2.0)), scaled(np.full((2, 3), np.nextafter(2.0, 3.0)))),
        (scaled(np.zeros((2, 3))), scaled(-np.zeros((2, 3)))),
        (lambda x: jnp.sin(x) - x, lambda x: x - jnp.sin(x)),
        (lambda x: (x, 2 * x), lambda x: (2 * x, x)),
        (lambda x: (jnp.sin(x), x), lambda x: (jnp.sin(x), jnp.sin(x))),
        (jax.jit(jnp.sin), jax.jit(jnp.cos)),
        (
            lambda x: lax.scan(lambda c, t: (c + t, c), jnp.zeros(3), x)[1],
            lambda x: lax.scan(lambda c, t: (c - t, c), jnp.zeros(3), x)[1],
        ),
        (
            lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
            lambda x: lax.cond(x.sum() > 0, jnp.cos, jnp.sin, x),
        ),
        (jax.nn.relu, jax.nn.softplus),
    ],
)
def test_what_computes_something_else_has_other_operations(
    one: Callable[[Any], Any], other: Callable[[Any], Any]
) -> None:
    assert of(one) != of(other)


def test_other_shapes_and_types_are_other_operations() -> None:
    arguments = (X, X.T, X[0], X.astype(int), np.arange(6).reshape(2, 3).astype(np.int32))
    different = [of(lambda x: x + x, argument) for argument in arguments]
    assert all(
        (a == b) == (i == j) for i, a in enumerate(different) for j, b in enumerate(different)
    )


def test_inputs_in_another_order_are_other_operations() -> None:
    both = (X, X + 1)
    assert of(lambda both: both[0] - both[1], both) != of(lambda both: both[1] - both[0], both)


def test_a_callback_is_equal_only_to_itself() -> None:
    def calling(number: float) -> Callable[[Any], Any]:
        shape = jax.ShapeDtypeStruct((2, 3), np.float64)
        return lambda x: jax.pure_callback(lambda x: number * x, shape, x)

    assert of(calling(1.0)) != of(calling(2.0))


def test_large_constants_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    jaxpr = Traced(scaled(np.ones((2, 3))), X).jaxpr
    assert operations(jaxpr) is not None
    monkeypatch.setattr(programs, "LARGEST", 6 * 8)
    assert operations(jaxpr) is not None
    monkeypatch.setattr(programs, "LARGEST", 6 * 8 - 1)
    assert operations(jaxpr) is None


@each("odd", [set(), np.array([None])])  # without a hash, and of objects
def test_what_cannot_be_compared_is_not_kept(odd: Any) -> None:
    closed = Traced(jnp.sin, X).jaxpr
    (eqn,) = closed.jaxpr.eqns
    eqns = [eqn.replace(params=eqn.params | {"odd": odd})]
    assert operations(closed.replace(jaxpr=closed.jaxpr.replace(eqns=eqns))) is None


def test_numbers_are_compared_by_what_is_written() -> None:
    numbers = [0.0, -0.0, 0, False, 1, 1.0, True]
    assert len({programs._frozen(number) for number in numbers}) == len(numbers)
    assert programs._frozen(float("nan")) == programs._frozen(float("nan"))


def test_what_holds_an_array_is_compared_by_its_numbers() -> None:
    class Held:  # without a hash, as what JAX 0.8 keeps the numbers of a jaxpr in
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, number: float) -> None:
            self.number = number

        def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> Any:
            return np.array([self.number], dtype)

    one, same, other = (hash(programs._frozen(Held(x))) for x in (1.0, 1.0, 2.0))
    assert one == same != other


def test_the_programs_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = jax.jit(jnp.sin).lower(1.0).compile()
    monkeypatch.setattr(programs, "_programs", type(programs._programs)())
    monkeypatch.setattr(programs, "KEPT", 2 * len(made.as_text() or ""))
    compiled: list[str] = []

    def give(name: str | None) -> None:
        def compile_it() -> tuple[Any, str]:
            compiled.append(str(name))
            return made, f"program {name}"

        assert program(name, "rest", compiled=compile_it) == (made, f"program {name}")

    for name in ("a", "b", "a", "c", "a", "b"):  # c takes the place of b
        give(name)
    assert compiled == ["a", "b", "c", "b"]
    give(None)
    give(None)
    assert compiled[4:] == ["None", "None"]
    monkeypatch.setattr(programs, "KEPT", 1)  # what is used now is kept, be it as long as it is
    for name in ("c", "c"):
        give(name)
    assert (compiled[6:], len(programs._programs)) == (["c"], 1)


def test_a_function_that_is_traced_again_is_not_compiled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "_programs", OrderedDict())  # none is given up for want of room

    def once_more(exponent: int) -> Any:
        """Compare a right gradient in both precisions, and one that differs."""
        comparer = Comparer(jax.grad(lambda x: (x**exponent).sum()), X, measured=True)
        for dtype in (np.float32, np.float64):
            right: Any = (float(exponent) * X ** (exponent - 1)).astype(dtype)
            assert comparer(right, X.astype(dtype)).verdict == "match"
            assert comparer(1.5 * right, X.astype(dtype)).verdict == "mismatch"

    once_more(3)
    kept = list(programs._programs)
    once_more(3)
    assert list(programs._programs) == kept
    once_more(4)
    assert set(programs._programs) > set(kept)


def test_equal_operations_with_other_trees_give_each_its_own() -> None:
    one = Traced(lambda x: {"a": x, "b": 2 * x}, X)
    other = Traced(lambda x: [x, 2 * x], X)
    assert one.operations == other.operations
    assert isinstance(one.by_xla(X), dict)
    assert isinstance(other.by_xla(X), list)
    together = Traced(lambda both: both["x"] + both["y"], {"x": X, "y": X})
    apart = Traced(lambda x, y: x + y, X, X)
    assert together.operations == apart.operations
    np.testing.assert_array_equal(together.by_xla({"x": X, "y": X}), apart.by_xla(X, X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_has_no_known_disturbance_is_known_of_a_program_that_was_kept(dtype: Any) -> None:
    def measured() -> tuple[str, ...]:
        function = jax.grad(lambda x: x.at[:, 0].multiply(x[:, 1]).sum())
        comparison = Comparer(function, X, measured=True)(np.ones_like(X), X, dtype=dtype)
        assert comparison.measurement is not None
        return comparison.measurement.generic

    assert measured() == measured() == ("scatter-mul",)


def test_what_this_xla_cannot_compile_fast_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    assert compiled_fast(lowered)(1.0) == 2
    for name in ("FAST", "FAITHFUL"):
        monkeypatch.setattr(programs, name, {"xla_no_such_option": True})
        for faithful in (True, False):
            assert compiled_fast(lowered, faithful=faithful)(1.0) == 2


def test_what_others_are_compared_with_is_not_compiled_as_fast_as_can_be() -> None:
    asked: list[Any] = []
    lowered: Any = SimpleNamespace(compile=asked.append)
    compiled_fast(lowered)
    compiled_fast(lowered, faithful=True)
    assert asked == [FAST, FAITHFUL]
    assert FAITHFUL == {"xla_backend_optimization_level": 0}
    assert FAST == FAITHFUL | {"xla_cpu_use_fusion_emitters": False}
    with mock.patch.object(tracing, "compiled_fast", wraps=compiled_fast) as compiled:
        assert Traced(lambda x: x * 7.25, 2.0).by_xla(2.0) == 14.5
    assert compiled.call_args.kwargs == {"faithful": True}


def test_what_cancels_in_the_function_cancels_in_the_value_that_others_are_compared_with() -> None:
    """A layer norm of two units, whose gradient is 0 but for what is added to the variance.

    Its error computed twice, with a product rounded in one and not in the other, leaves 400 times
    what rounding does. So it is where XLA optimises, as it does for everybody.
    """
    gain, shift = np.array([-1.5, -0.75]), np.array([1.5, -0.75])
    x = np.array([[0.25, 2.0], [0.75, 0.25]])
    y = np.array([[-1.5, 1.25], [0.0, 0.0]])

    def loss(gain: Any, shift: Any, x: Any, y: Any) -> Any:
        return jnp.mean((layer_norm.forward((gain, shift), x) - y) ** 2)

    args = (gain, shift, x, y)
    comparer = Comparer(jax.grad(loss, (0, 1, 2)), *args, measured=True)
    bounded = comparer.traced.bounded(*args, rounding=Rounding(np.float64))
    assert comparer(tuple(array.value for array in bounded), *args).verdict == "match"
