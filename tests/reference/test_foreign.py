"""Arrays of other libraries come by DLPack and go back as they were; this needs none of them."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from reference import (
    Verdict,
    check_gradient,
    check_hvp,
    check_jvp,
    check_layer,
    check_vjp,
)
from reference.foreign import Exchange, as_kind, at_home, is_foreign
from tests.support import device_arrays
from tests.support.bits import same_bits
from tests.support.device_arrays import DeviceArray

X = np.random.default_rng(0).normal(size=3)


class Exported:
    """An array on the host that knows nothing but DLPack, as it was before version 1.0."""

    def __init__(self, array: Any) -> None:
        """Take an array that knows the protocol of today."""
        self.array = array

    def __dlpack__(self, *, stream: Any = None) -> Any:
        """Export it."""
        assert stream is None
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        """Say where it is."""
        return self.array.__dlpack_device__()


def test_the_host_s_arrays_are_seen_where_they_are_and_a_device_s_are_copied() -> None:
    assert np.shares_memory(at_home(Exported(X)), X)
    assert same_bits(at_home(Exported(X)), X)
    assert same_bits(at_home({"x": DeviceArray(X)})["x"], X)
    half = jnp.ones(3, jnp.bfloat16)
    assert same_bits(at_home(Exported(half)), np.ones(3, ml_dtypes.bfloat16))
    got = SimpleNamespace(__dlpack__=0, __dlpack_device__=lambda: (2, 0), get=lambda: X)
    assert at_home(got) is X
    assert at_home((X, 1.0, None, "how")) == (X, 1.0, None, "how")
    assert not any(map(is_foreign, (X, X[0], 1.0, None, half, DeviceArray, jax.numpy)))
    assert not is_foreign(SimpleNamespace(__dlpack__=0))  # which has no device


def test_what_cannot_be_copied_is_refused_by_name() -> None:
    stuck = SimpleNamespace(__dlpack__=0, __dlpack_device__=lambda: (2, 0))
    words = r"args\[1\]\['x'\] must be an array that can be copied to the host's memory, got types"
    with pytest.raises(TypeError, match=words):
        Exchange([X, {"x": stuck}])
    with pytest.raises(TypeError, match="the result must be an array that can be copied"):
        check_gradient(lambda _: stuck, jnp.sum, X)

    def export(**_: Any) -> Any:
        raise BufferError("on fire\nand more of that")

    burning = SimpleNamespace(__dlpack__=export, __dlpack_device__=lambda: (2, 0))
    with pytest.raises(TypeError, match=r"got types.SimpleNamespace \(on fire\)$"):
        at_home(burning)
    with pytest.raises(TypeError, match="tests must have a function asarray, to be given arrays"):
        as_kind(X, Exported(X))


def test_arrays_go_back_as_they_came_and_directions_as_the_real_ones() -> None:
    exchange = Exchange((np.arange(3), {"x": DeviceArray(X)}, DeviceArray([1, 2]), "how"))
    hosted = exchange.args
    assert [type(leaf) for leaf in jax.tree.leaves(hosted)] == [np.ndarray] * 3 + [str]
    d_out, numbers, params, classes, how = exchange.handed(X, *hosted)
    assert isinstance(d_out, DeviceArray)
    assert isinstance(numbers, np.ndarray)
    assert isinstance(params["x"], DeviceArray)
    assert isinstance(classes, DeviceArray)
    assert how == "how"
    assert same_bits(at_home(params["x"]), X)
    (d_out, _) = Exchange((DeviceArray([1, 2]),)).handed(X, np.array([1, 2]))
    assert d_out is X, "whole numbers say nothing of real ones"


def forward(x: Any, factor: float) -> tuple[Any, Any]:
    out = device_arrays.tanh(x)
    return out, (out, factor)


def backward(d_out: Any, kept: Any) -> Any:
    assert isinstance(d_out, DeviceArray)
    out, factor = kept
    return factor * d_out * (1 - out**2)


def twin(x: Any, _: float) -> Any:
    return jnp.tanh(x)


def test_every_check_calls_the_handwritten_function_with_the_caller_s_arrays() -> None:
    x = DeviceArray(X)
    assert check_layer(forward, backward, twin, x, 1.0).verdict == Verdict.MATCH
    wrong = check_layer(forward, backward, twin, x, 2.0)
    assert wrong.causes[0].code.value == "scaled"
    assert check_vjp(lambda d_out, x: 2 * x * d_out, jnp.square, x).verdict == Verdict.MATCH
    assert check_jvp(lambda d_x, x: 2 * x * d_x, jnp.square, x).verdict == Verdict.MATCH
    assert check_hvp(lambda d_x, x: 6 * x * d_x, lambda x: (x**3).sum(), x).ok
    assert check_gradient(lambda x: 2 * x, lambda x: (x**2).sum(), x).verdict == Verdict.MATCH
    assert check_gradient(2 * x, lambda x: (x**2).sum(), x).verdict == Verdict.MATCH
    assert check_gradient(x, lambda x: (x**2).sum(), x).verdict == Verdict.MISMATCH
    assert check_gradient(x, lambda x: (x**2).sum() / 2, X).verdict == Verdict.MATCH


def test_what_a_function_does_to_its_arguments_is_noticed_on_a_device_too() -> None:
    def writes(x: Any) -> Any:
        result = 2 * x
        x *= 2
        return result

    x = DeviceArray(X)
    report = check_gradient(writes, lambda x: (x**2).sum(), x)
    assert report.verdict == Verdict.MUTATED_INPUT
    assert same_bits(at_home(x), X)

    def grows(params: Any) -> Any:
        params["more"] = 1.0

    with pytest.raises(ValueError, match="must not change the structure of its arguments"):
        check_gradient(grows, lambda params: params["x"].sum(), {"x": x})
