"""Each compiled layer is the twin of NumPy's; what it computes is tested with that one.

tests/manual_nn/layers/test_NAME.py proves both at the same draws, and tests where they are exact,
and what they refuse, on the compiled functions and on those that Python runs.
"""

import importlib
import inspect
import itertools
import pkgutil
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from manual_nn import layers as by_numpy
from manual_nn.arrays import Array
from manual_nn.compiled import layers as by_numba
from manual_nn.compiled.layers.batch_norm import sums_backward
from manual_nn.compiled.reductions import BLOCK, WIDTH
from manual_nn.layers import attention, swiglu
from manual_nn.layers.batch_norm import BatchNorm
from manual_nn.layers.convolution import Convolution
from manual_nn.layers.embedding import Embedding
from manual_nn.layers.group_norm import GroupNorm
from manual_nn.layers.gru import GRU
from manual_nn.layers.layer_norm import LayerNorm
from manual_nn.layers.lstm import LSTM, State
from manual_nn.layers.rms_norm import RMSNorm
from manual_nn.layers.transposed_convolution import TransposedConvolution
from tests.support.compiled import implementations, in_python

FOR_USERS = ("init", "updated", "draw_mask")
NAMES = [module.name for module in pkgutil.iter_modules(by_numba.__path__)]


def both(name: str) -> tuple[ModuleType, ModuleType]:
    numpy_s, numba_s = (
        importlib.import_module(f"{room.__name__}.{name}") for room in (by_numpy, by_numba)
    )
    return numpy_s, numba_s


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", NAMES)
def test_both_passes_are_its_own_and_take_what_numpy_s_take(name: str) -> None:
    numpy_s, numba_s = both(name)
    for function in ("forward", "backward"):
        assert parameters(getattr(numba_s, function)) == parameters(getattr(numpy_s, function))
        assert getattr(numba_s, function).__module__ == numba_s.__name__


@pytest.mark.parametrize("name", NAMES)
def test_what_else_a_user_takes_from_numpy_s_is_there_too(name: str) -> None:
    numpy_s, numba_s = both(name)
    own = {
        name
        for name, value in vars(numpy_s).items()
        if getattr(value, "__module__", "") == numpy_s.__name__
        and (inspect.isclass(value) or name in FOR_USERS)
    }
    assert own <= set(numba_s.__all__)


def drawn(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


ONES, ROWS = np.ones(4), drawn(3, 4)
WEIGHTS = drawn(2, 3, 4), ONES
STATE = drawn(2, 2)
CASES: list[tuple[str, Any, Any, dict[str, Any]]] = [  # the layer, params, x, options
    ("attention", (), attention.Inputs(ROWS, -ROWS, ROWS[::-1]), {}),
    ("attention", (), attention.Inputs(ROWS, -ROWS, ROWS[::-1]), {"causal": True}),
    ("average_pool", (), drawn(1, 5, 3), {"window": 2, "stride": 1}),
    ("batch_norm", BatchNorm(ONES, ONES), ROWS, {}),
    ("binary_cross_entropy", (), ROWS, {"target": (ROWS > 0) / 2}),
    ("convolution", Convolution(*WEIGHTS), drawn(1, 5, 3), {}),
    ("dropout", (), ROWS, {"mask": ROWS > 0}),
    ("embedding", Embedding(drawn(5, 4)), np.array([[1, 4, 1]]), {}),
    ("group_norm", GroupNorm(ONES, ONES), ROWS, {"groups": 2}),
    ("gru", GRU(drawn(3, 6), drawn(2, 6), drawn(6), drawn(2)), (drawn(2, 3, 3), STATE), {}),
    ("huber", (), ROWS, {"target": ROWS[::-1]}),
    ("layer_norm", LayerNorm(ONES, ONES), ROWS, {}),
    ("lstm", LSTM(drawn(3, 8), drawn(2, 8), drawn(8)), (drawn(2, 3, 3), State(STATE, STATE)), {}),
    ("max_pool", (), drawn(1, 5, 3), {"window": 2, "stride": 1}),
    ("rms_norm", RMSNorm(ONES), ROWS, {}),
    ("softmax_cross_entropy", (), ROWS, {"target": np.array([0, 2, 1])}),
    ("softmax_cross_entropy", (), ROWS, {"target": np.eye(3, 4)}),
    ("squared_error", (), ROWS, {"target": ROWS[::-1]}),
    ("swiglu", (), swiglu.Inputs(ROWS, ROWS[::-1]), {}),
    ("transposed_convolution", TransposedConvolution(*WEIGHTS), drawn(1, 5, 3), {}),
    *(
        (name, (), ROWS, {})
        for name in ("gelu", "leaky_relu", "relu", "rope", "sigmoid", "silu", "softmax", "tanh")
    ),
]
of_each_case = pytest.mark.parametrize(
    ("name", "params", "x", "options"), CASES, ids=[name for name, *_ in CASES]
)


def test_every_layer_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(NAMES)


def broken(array: Any, value: float) -> Array:
    copy = np.array(array)
    copy.flat[6 % copy.size] = value
    return copy


@of_each_case
def test_what_is_not_finite_goes_as_far_as_in_numpy_s(
    name: str, params: Any, x: Any, options: dict[str, Any]
) -> None:
    """In one place of each part of x that holds numbers, or of d_out, which is the last one."""
    parts, tree = jax.tree.flatten(x)
    places = [i for i, part in enumerate([*parts, ROWS]) if part.dtype.kind == "f"]
    for value, place in itertools.product([np.nan, np.inf, -np.inf], places):
        given = [broken(part, value) if i == place else part for i, part in enumerate(parts)]
        results = []
        for layer in both(name):
            with np.errstate(invalid="ignore"):  # which NumPy warns of
                out, kept = layer.forward(params, jax.tree.unflatten(tree, given), **options)
                d_out = drawn(*out.shape)
                if place == len(parts):
                    d_out = broken(d_out, value)
                results.append([out, *jax.tree.leaves(layer.backward(params, kept, d_out))])
        numpy_s, numba_s = results
        assert not np.isnan(value) or any(np.isnan(array).any() for array in numpy_s)
        for one, other in zip(numpy_s, numba_s, strict=True):
            for kind in (np.isnan, np.isposinf, np.isneginf):
                where = f"{kind.__name__}: {value} in part {place}"
                np.testing.assert_array_equal(kind(one), kind(other), err_msg=where)


@of_each_case
def test_no_examples_are_refused_in_the_same_words(
    name: str, params: Any, x: Any, options: dict[str, Any]
) -> None:
    """But for an embedding, which looks nothing up then."""
    x, options = jax.tree.map(lambda part: part[:0] if np.ndim(part) else part, (x, options))
    if name == "embedding":
        for layer in both(name):
            out, kept = layer.forward(params, x)
            d_params, _ = layer.backward(params, kept, out)
            assert out.shape == (0, 3, 4)
            np.testing.assert_array_equal(d_params.weight, np.zeros((5, 4)))
        return
    refusals = []
    for layer in both(name):
        with pytest.raises(ValueError, match="and no empty one, got shape") as refusal:
            layer.forward(params, x, **options)
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]


TO_OTHERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # params, x, options
    "convolution": (Convolution(*WEIGHTS), np.ones((1, 5, 3)), {}),
    "transposed_convolution": (TransposedConvolution(*WEIGHTS), np.ones((1, 5, 3)), {}),
    "batch_norm": (BatchNorm(ONES, ONES), np.ones((3, 4)), {}),
    "group_norm": (GroupNorm(ONES, ONES), np.ones((3, 4)), {"groups": 2}),
    "layer_norm": (LayerNorm(ONES, ONES), np.ones((3, 4)), {}),
    "rms_norm": (RMSNorm(ONES), np.ones((3, 4)), {}),
    "gru": (
        GRU(np.ones((3, 6)), np.ones((2, 6)), np.ones(6), np.ones(2)),
        (np.ones((1, 4, 3)), np.ones((1, 2))),
        {},
    ),
    "lstm": (
        LSTM(np.ones((3, 8)), np.ones((2, 8)), np.ones(8)),
        (np.ones((1, 4, 3)), State(np.ones((1, 2)), np.ones((1, 2)))),
        {},
    ),
}


@pytest.mark.parametrize("name", TO_OTHERS)
def test_the_backward_pass_refuses_parameters_of_another_kind_or_size(name: str) -> None:
    """A compiled loop would read past the end of what they lay beside."""
    params, x, options = TO_OTHERS[name]
    layer = both(name)[1]
    out, kept = layer.forward(params, x, **options)
    with pytest.raises(
        TypeError, match=rf"^params must be {type(params).__name__}\(.*\), got tuple"
    ):
        layer.backward(tuple(params), kept, np.ones(out.shape))
    for field, array in params._asdict().items():
        for shape in ((1,) * array.ndim, (*array.shape[:-1], 2 * array.shape[-1])):
            other = params._replace(**{field: np.ones(shape)})
            of_d_out = "d_out|" if "convolution" in name and field == "bias" else ""
            what = rf"({of_d_out}params\.{field}) must have shape .* to fit "
            with pytest.raises(ValueError, match=what):
                layer.backward(other, kept, np.ones(out.shape))


def test_losses_of_more_numbers_than_are_added_up_in_a_block_are_exact() -> None:
    """All numbers are whole, or so far apart that an exponential is 0 or 1, and means exact."""
    rng, shape = np.random.default_rng(0), (2, 2 * WIDTH)
    whole, far = rng.integers(-3, 4, size=(2, *shape)).astype(float), 4096 * np.eye(*shape)
    present = rng.integers(2, size=shape).astype(float)
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("squared_error", whole[0], {"target": whole[1]}),
        ("huber", whole[0], {"target": whole[1]}),
        ("binary_cross_entropy", 4096 * (2 * present[::-1] - 1), {"target": present}),
        ("softmax_cross_entropy", far, {"target": np.array([0, 5]), "label_smoothing": 0.5}),
        ("softmax_cross_entropy", far, {"target": np.roll(far, 1, axis=1) / 4096}),
    ]
    for name, x, options in cases:
        numpy_s, numba_s = both(name)
        want, kept_by_numpy = numpy_s.forward((), x, **options)
        loss, kept = numba_s.forward((), x, **options)
        assert loss == want > 0, name
        _, want_d_x = numpy_s.backward((), kept_by_numpy)
        np.testing.assert_array_equal(numba_s.backward((), kept)[1], want_d_x)


def test_the_sums_of_a_norm_s_backward_pass_are_exact_for_whole_numbers() -> None:
    """Nothing else tells the sum of the normalised numbers, which is 0 up to their rounding."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x, d_out = rng.integers(-3, 4, (2, BLOCK + 1, 3)).astype(dtype)
        centre = x[1].copy()
        wanted = (d_out * (x - centre), d_out, x - centre)
        for got, terms in zip(sums_backward(x, centre, d_out), wanted, strict=True):
            np.testing.assert_array_equal(got, terms.sum(axis=0))


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_the_gradients_of_a_norm_s_parameters_are_those_of_all_blocks_of_rows(name: str) -> None:
    _, layer = implementations(importlib.import_module(f"manual_nn.layers.{name}"))
    rng = np.random.default_rng(0)
    normal, d_out = rng.integers(-3, 4, (2, 2 * BLOCK + 1, 3)).astype(np.float32)
    for module in (layer, in_python(layer)):
        weight = np.ones(3, np.float32)
        params = RMSNorm(weight) if name == "rms_norm" else LayerNorm(weight, weight)
        _, kept = module.forward(params, normal)
        d_params, _ = module.backward(params, kept._replace(normal=normal), d_out)
        np.testing.assert_array_equal(d_params.weight, (d_out * normal).sum(axis=0))
        if name == "layer_norm":
            np.testing.assert_array_equal(d_params.bias, d_out.sum(axis=0))


def test_what_the_normalised_numbers_of_a_row_have_for_a_mean_is_taken_off() -> None:
    """It is 0 but for rounding; were it 1, d_out - 2 would have the mean 0 already."""
    _, layer = implementations(importlib.import_module("manual_nn.layers.layer_norm"))
    params, d_out = LayerNorm(np.ones(4), np.ones(4)), np.array([[4.0, 2, 1, 1]])
    for module in (layer, in_python(layer)):
        _, kept = module.forward(params, d_out)
        kept = kept._replace(normal=np.ones((1, 4)), deviation=np.ones_like(kept.deviation))
        _, d_x = module.backward(params, kept, d_out)
        np.testing.assert_array_equal(d_x, d_out - 2)
