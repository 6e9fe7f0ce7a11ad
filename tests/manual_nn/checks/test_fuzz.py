"""Arguments of public functions are refused by their names, or give finite, right-shaped results.

Functions and their arguments are found by their signatures, so that a new one cannot be forgotten.
"""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manual_nn
from manual_nn import Dense, History
from tests.conftest import depth
from tests.support.cases import each
from tests.support.malformed import (
    ANYTHING_GOES,
    MALFORMED,
    RIGHT,
    Arguments,
    good_arguments,
    layers,
)
from tests.support.strategies import Shape, dtypes, seeds

# What holds data for the functions, which check it, or settings, which have tests of their own.
CONTAINERS = {"Dense", "EarlyStopping", "History", "TrainingDiverged", "TrainingResult"}
CONTAINERS |= {
    "Convergence",
    "CosineSchedule",
    "OptimizerState",
    "Patience",
    "SGD",
    "Adam",
    "AdamW",
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(manual_nn, name) for name in manual_nn.__all__ if name not in CONTAINERS
}
FUNCTIONS["rowwise.loss_and_grad"] = vars(FUNCTIONS.pop("rowwise"))["loss_and_grad"]

shapes = st.builds(
    Shape,
    st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple),
    st.integers(1, 4),
    st.booleans(),
)
arguments = st.builds(good_arguments, shapes, dtypes, seeds)


# There are many functions, and many more arguments: fewer examples of each.
of_a_function = settings(max_examples=depth().examples // 3)
of_an_argument = settings(max_examples=depth().examples // 6)


def names_of(function: str) -> list[str]:
    return list(inspect.signature(FUNCTIONS[function]).parameters)


def call(function: str, values: Arguments) -> Any:
    return FUNCTIONS[function](**{name: values[name] for name in names_of(function)})


def malformed(function: str, name: str, good: Arguments) -> st.SearchStrategy[Any]:
    if (function, name) == ("Workspace", "params"):  # of which it takes the shapes alone
        return layers(good, name=name, finite=True)
    return MALFORMED[name](good)


def leaves_of(result: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Find the arrays and numbers in nested tuples, lists and histories."""
    if isinstance(result, History):
        result = list(vars(result).values())
    if isinstance(result, tuple | list):
        yield from itertools.chain.from_iterable(map(leaves_of, result))
    elif not isinstance(result, manual_nn.Workspace):
        yield np.asarray(result)


def test_every_argument_of_every_function_is_fuzzed() -> None:
    assert all(callable(function) for function in FUNCTIONS.values())
    names = set(itertools.chain.from_iterable(map(names_of, FUNCTIONS)))
    assert names == {*MALFORMED, *ANYTHING_GOES}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (function, name)
        for function in FUNCTIONS
        for name in names_of(function)
        if name not in ANYTHING_GOES
    ],
)
@of_an_argument
@given(good=arguments, data=st.data())
def test_a_malformed_argument_is_refused_by_its_name(
    function: str, name: str, good: Arguments, data: st.DataObject
) -> None:
    bad = data.draw(malformed(function, name, good), label=name)
    with pytest.raises((TypeError, ValueError)) as caught:
        call(function, good | {name: bad})
    message = str(caught.value)
    assert caught.type in {TypeError, ValueError}
    assert re.match(rf"{name}\b.* must ", message), message
    assert re.search(r"\b(got|but)\b", message), message
    assert "\n" not in message


@pytest.mark.parametrize("function", FUNCTIONS)
@of_a_function
@given(good=arguments, data=st.data())
def test_of_several_malformed_arguments_one_is_named(
    function: str, good: Arguments, data: st.DataObject
) -> None:
    names = [name for name in names_of(function) if name not in ANYTHING_GOES]
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1), label="malformed")
    bad = {name: data.draw(malformed(function, name, good), label=name) for name in chosen}
    with pytest.raises((TypeError, ValueError), match=rf"^({'|'.join(names)})\b") as caught:
        call(function, good | bad)
    assert caught.type in {TypeError, ValueError}


@pytest.mark.parametrize("function", FUNCTIONS)
@of_a_function
@given(good=arguments, data=st.data())
def test_right_arguments_of_every_kind_give_finite_results_of_the_right_shape_and_dtype(
    function: str, good: Arguments, data: st.DataObject
) -> None:
    right = {
        name: data.draw(RIGHT[name](good), label=name)
        for name in names_of(function)
        if name in RIGHT
    }
    expected, result = call(function, good), call(function, good | right)
    if function == "train":  # which may stop early
        expected, result = expected.params, result.params
    for leaf, expected_leaf in zip(leaves_of(result), leaves_of(expected), strict=True):
        assert np.isfinite(leaf).all()
        assert (leaf.shape, leaf.dtype) == (expected_leaf.shape, expected_leaf.dtype)


@each("dtype", [np.float32, np.float64])
@each("function", [function for function in FUNCTIONS if "weight_decay" in names_of(function)])
def test_weights_whose_squares_overflow_are_no_matter_without_decay(
    function: str, dtype: type[np.floating[Any]]
) -> None:
    good = good_arguments(Shape((2, 2), 3, soft=False), dtype, seed=0)
    # So large that ||W||^2 overflows, and inputs as small, so that X W does not.
    scale = dtype(2.0 ** (np.finfo(dtype).maxexp // 2 + 2))
    ((weight, bias),) = good["params"]
    X = good["X"] / scale
    huge = {"X": X, "X_train": X, "X_val": X, "params": (Dense(weight * scale, bias),)}
    result = call(function, good | huge | {"weight_decay": 0.0})
    assert all(np.isfinite(leaf).all() for leaf in leaves_of(result))
