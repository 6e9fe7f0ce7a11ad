"""The proof of a layer fails for a layer with a fault, of whatever kind."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manual_nn.layers import rms_norm, softmax, squared_error
from manual_nn.layers.rms_norm import RMSNorm
from reference.layers import rms_norm as twin
from reference.layers import softmax as twin_of_softmax
from reference.layers import squared_error as twin_of_the_error
from tests.support.layer_proof import Subject, assert_unshared, prove

SUBJECT = Subject(lambda draw, _: (RMSNorm(draw(4)), draw(3, 4)), {"eps": 1e-3})


def test_a_right_layer_is_proven() -> None:
    prove(rms_norm, twin, SUBJECT, seed=0)


def off_in_its_value(params: Any, x: Any, **options: Any) -> Any:
    out, kept = rms_norm.forward(params, x, **options)
    return out * out.dtype.type(1.001), kept


def by_sums_in_float64(params: Any, x: Any, **options: Any) -> Any:
    out, kept = rms_norm.forward(params, x, **options)
    mean_square = (x**2).mean(axis=-1, keepdims=True, dtype=np.float64)
    return out, kept._replace(rms=np.sqrt(mean_square + options["eps"]).astype(x.dtype))


def of_another_dtype(params: Any, x: Any, **options: Any) -> Any:
    out, kept = rms_norm.forward(params, x, **options)
    return out.astype(np.float64), kept


def that_changes_its_input(params: Any, x: Any, **options: Any) -> Any:
    result = rms_norm.forward(params, x, **options)
    if x.flags.writeable:
        x += 1
    return result


ARRAYS: dict[np.dtype[Any], Any] = {}


def that_keeps_the_same_array_at_each_call(params: Any, x: Any, **options: Any) -> Any:
    out, kept = rms_norm.forward(params, x, **options)
    rms = ARRAYS.setdefault(x.dtype, kept.rms)
    rms[...] = kept.rms
    return out, kept._replace(rms=rms)


@pytest.mark.parametrize(
    "forward",
    [
        off_in_its_value,
        by_sums_in_float64,
        of_another_dtype,
        that_changes_its_input,
        that_keeps_the_same_array_at_each_call,
    ],
)
def test_a_wrong_forward_pass_is_not(forward: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        prove(layer_of(forward, rms_norm.backward), twin, SUBJECT, seed=0)


def that_changes_an_option(params: Any, x: Any, *, target: Any) -> Any:
    result = squared_error.forward(params, x, target=target)
    target[...] = 0
    return result


def test_a_layer_that_changes_an_option_is_not() -> None:
    subject = Subject(lambda draw, _: ((), draw(3, 4)), {"target": np.ones((3, 4))})
    prove(squared_error, twin_of_the_error, subject, seed=0)
    layer = layer_of(that_changes_an_option, squared_error.backward)
    with pytest.raises(AssertionError):
        prove(layer, twin_of_the_error, subject, seed=0)


def test_memory_shared_with_an_option_is_seen() -> None:
    target = np.ones((3, 4))
    options = {"target": target, "groups": 2}
    assert_unshared([np.ones((3, 4))], ((), options))
    with pytest.raises(AssertionError):
        assert_unshared([target[1:]], ((), options))


def off_in_the_weight(params: Any, kept: Any, d_out: Any) -> Any:
    (d_weight,), d_x = rms_norm.backward(params, kept, d_out)
    return RMSNorm(d_weight * d_weight.dtype.type(1.001)), d_x


def off_in_the_input(params: Any, kept: Any, d_out: Any) -> Any:
    d_params, d_x = rms_norm.backward(params, kept, d_out)
    return d_params, d_x * d_x.dtype.type(1.001)


def that_returns_its_argument(params: Any, kept: Any, d_out: Any) -> Any:
    d_params, d_x = rms_norm.backward(params, kept, d_out)
    if d_out.flags.writeable:
        d_out[...] = d_x
    return d_params, d_out


def that_uses_up_what_is_kept(params: Any, kept: Any, d_out: Any) -> Any:
    result = rms_norm.backward(params, kept, d_out)
    kept.normal[...] = 0
    return result


@pytest.mark.parametrize(
    "backward",
    [
        off_in_the_weight,
        off_in_the_input,
        that_returns_its_argument,
        that_uses_up_what_is_kept,
    ],
)
def test_a_wrong_backward_pass_is_not(backward: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        prove(layer_of(rms_norm.forward, backward), twin, SUBJECT, seed=0)


def that_moves_d_out(params: Any, kept: Any, d_out: Any) -> Any:
    """Subtract from d_out what softmax subtracts anyway, so that its bits stay the same."""
    result = softmax.backward(params, kept, d_out)
    likeliest = kept.p.argmax(axis=-1)[..., np.newaxis]
    d_out -= np.take_along_axis(d_out, likeliest, axis=-1)
    return result


def test_a_layer_that_changes_d_out_is_not_though_it_makes_no_difference() -> None:
    subject = Subject(lambda draw, _: ((), draw(3, 4)), {})
    prove(softmax, twin_of_softmax, subject, seed=0)
    with pytest.raises(AssertionError):
        prove(layer_of(softmax.forward, that_moves_d_out), twin_of_softmax, subject, seed=0)


def layer_of(forward: Callable[..., Any], backward: Callable[..., Any]) -> ModuleType:
    layer = ModuleType("layer")
    layer.__dict__.update(forward=forward, backward=backward)
    return layer
