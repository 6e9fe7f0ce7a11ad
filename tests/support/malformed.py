"""Malformed arguments of every kind, named as nouns; each strategy gives nothing that is right.

tests/manual_nn/models/test_arguments.py has a table of chosen ones with their messages; these are
drawn. Axes: N rows in the batch, D inputs, K classes.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import manual_nn
from manual_nn import (
    SGD,
    Adam,
    AdamW,
    Convergence,
    CosineSchedule,
    Dense,
    EarlyStopping,
    OptimizerState,
    Patience,
)
from reference.arrays import Array
from tests.support.strategies import Shape, make_directed_network

Arguments = dict[str, Any]
Strategy = st.SearchStrategy[Any]

OTHER_DTYPES = ["O", "U1", "S1", "c8", "c16", "M8[s]", "m8[s]", "V4", [("a", "f4")]]
NOT_NUMBERS = [np.nan, np.inf, -np.inf]

# What is no array of numbers, in whatever shape.
no_arrays = st.sampled_from(
    [
        None,
        "X",
        b"X",
        {},
        {1, 2},
        {"a": 1},
        object(),
        [[1.0, 2.0], [3.0]],
        [["a", 1.0]],
        [None],
        int,
    ]
).map(lambda value: iter([1.0]) if value is int else value)


def good_arguments(shape: Shape, dtype: npt.DTypeLike, seed: int) -> Arguments:
    """Make a good value of every argument of every function, for a network of this shape."""
    network = make_directed_network(shape, dtype, seed=seed, weight_decay=2.0**-7)
    rng = np.random.default_rng([seed, 2])
    return {
        **network._asdict(),
        **{f"X_{part}": network.X for part in ("train", "val")},
        **{f"y_{part}": network.y for part in ("train", "val")},
        "sample_weight": rng.uniform(0.5, 2, size=shape.N),
        "loss": "softmax_cross_entropy",
        "batch_size": 2,
        "optimizer": SGD(),
        "optimizer_state": None,
        "learning_rate": 2.0**-7,
        "max_grad_norm": None,
        "epochs": 2,
        "early_stopping": EarlyStopping(),
        "chunk_size": 3,
        "workspace": manual_nn.Workspace(network.params, rows=shape.N),
        "rows": shape.N,
        "checkpoint": None,
        "resume": False,
        "progress": False,
        "backend": "auto",
        "sizes": list(shape.sizes),
        "dtype": dtype,
        "rng": rng,
    }


def _other_shapes(right: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
    return shapes.filter(lambda shape: shape != right)


def _of_other_dtype(array: Array) -> Strategy:
    """Give an array of this shape that holds no real numbers."""
    return st.sampled_from(OTHER_DTYPES).map(lambda dtype: np.zeros(array.shape, dtype))


@st.composite
def _with_element(draw: st.DrawFn, array: Array, values: list[Any]) -> Array:
    """Put one of the values into a copy of the array, or into all of it."""
    array = array.astype(np.result_type(array, np.float32))
    place = draw(st.integers(-1, array.size - 1))
    value = draw(st.sampled_from(values))
    if place < 0:
        array[...] = value
    else:
        array.flat[place] = value
    return array


@st.composite
def inputs(draw: st.DrawFn, good: Arguments) -> Any:
    """Draw malformed X."""
    X = good["X"]
    no_rows = st.just(X[:0])
    other = _other_shapes(X.shape).filter(lambda shape: len(shape) != 2 or shape[1] != X.shape[1])
    # What is finite, but not in the dtype of the parameters.
    largest = float(np.finfo(X.dtype).max)
    beyond = X.astype(np.longdouble)
    huge = st.builds(
        lambda factor: beyond + np.longdouble(largest) * factor, st.sampled_from([4, -9])
    )
    return draw(
        st.one_of(
            no_arrays,
            no_rows,
            other.map(np.zeros),
            _of_other_dtype(X),
            _with_element(X, NOT_NUMBERS),
            huge,
        )
    )


@st.composite
def targets(draw: st.DrawFn, good: Arguments) -> Any:
    """Draw malformed y: for class numbers or for probabilities, whichever the good one has."""
    N, K = len(good["X"]), good["params"][-1].bias.size
    other = _other_shapes((N,)).filter(lambda shape: shape != (N, K))
    classes = np.arange(N) % K
    soft = np.full((N, K), 1 / K)
    whole = [-1, -K, K, K + 1, 2**31, 2**62, -(2**62)]
    parts = [2.0, -0.5, *NOT_NUMBERS]
    off = st.floats(2.0**-10, 2.0**10).flatmap(lambda by: st.sampled_from([1 + by, 1 / (1 + by)]))
    return draw(
        st.one_of(
            no_arrays,
            st.builds(np.zeros, other, st.sampled_from(["i8", "f8", "f4", "?"])),
            st.sampled_from([classes, soft]).flatmap(_of_other_dtype),
            st.sampled_from(["f2", "f4", "f8", "?"]).map(classes.astype),
            _with_element(classes, [0.5, *NOT_NUMBERS]),
            _with_element(classes, whole).map(lambda y: y.astype(np.int64)),
            st.just(classes.astype(np.uint64) + np.uint64(2**63)),
            _with_element(soft, parts),
            off.map(lambda factor: soft * factor),
            st.just(np.column_stack([1.5 + soft[:, :1], *[-soft[:, 1:]]])),
        )
    )


def sample_weights(good: Arguments) -> Strategy:
    """Draw malformed weights of the rows."""
    weights = good["sample_weight"]
    return st.one_of(
        no_arrays.filter(lambda value: value is not None),
        _other_shapes(weights.shape).map(np.ones),
        _of_other_dtype(weights),
        _with_element(weights, [-1.0, -(2.0**-1074), *NOT_NUMBERS]),
        st.just(0 * weights),
    )


@st.composite
def layers(draw: st.DrawFn, good: Arguments, *, name: str, finite: bool = False) -> Any:
    """Draw malformed parameters or tangents: no layers, or a part of a layer that is malformed.

    With `finite`, NaN and infinities are not used, which shapes alone do not know of.
    """
    params = good[name]
    if draw(st.integers(0, 3)) == 0:
        parts = [params[0], params[0].weight, iter(params), params[0][:1], ()]
        mixed = no_arrays.map(lambda value: [value, *params])
        return draw(st.one_of(no_arrays, st.sampled_from(parts), mixed))
    l = draw(st.integers(0, len(params) - 1))
    leaf = draw(st.sampled_from(["weight", "bias"]))
    array = getattr(params[l], leaf)
    # A weight with other inputs may be right, and X wrong.
    shapes = _other_shapes(array.shape).filter(
        lambda shape: leaf == "bias" or len(shape) != 2 or shape[1] != array.shape[1]
    )
    malformed = [
        no_arrays,
        _of_other_dtype(array),
        st.sampled_from(["f2", "i8", "?", array.dtype.newbyteorder()]).map(array.astype),
        shapes.map(lambda shape: np.ones(shape, array.dtype)),
        st.just(array.astype(np.float32 if array.dtype == np.float64 else np.float64)),
        *([] if finite else [_with_element(array, NOT_NUMBERS)]),
    ]
    changed = params[l]._replace(**{leaf: draw(st.one_of(malformed))})
    return (*params[:l], changed, *params[l + 1 :])


def numbers(*, zero: bool) -> Strategy:
    """Draw what is no finite number of at least 0, or, without zero, above 0."""
    odd: list[Any] = [
        None,
        "0.1",
        b"1",
        1j,
        True,
        np.True_,
        Fraction(1, 2),
        Decimal("0.5"),
        [0.5],
        (),
        {},
    ]
    arrays = [np.ones(1), np.array(0.5), np.datetime64(1, "s"), np.complex64(1)]
    wrong = [
        *NOT_NUMBERS,
        10**400,
        -(10**400),
        np.float32(-1),
        np.longdouble("1e4000"),
        np.int8(-1),
    ]
    return st.one_of(
        st.sampled_from([*odd, *arrays, *wrong, *([] if zero else [0, 0.0, -0.0])]),
        st.floats(max_value=0, exclude_max=True),
        st.integers(max_value=-1),
    )


counts = st.one_of(
    st.sampled_from(["2", 2.0, np.float64(2), True, np.True_, 2j, [2], (), {}, Fraction(2), None]),
    st.sampled_from([np.array(2), np.array([2]), np.zeros((3, 3)), Decimal(2), np.nan, np.inf]),
    st.integers(max_value=0),
    st.floats(),
)


@st.composite
def sizes(draw: st.DrawFn) -> Any:
    """Draw malformed sizes of layers."""
    kinds = st.sampled_from(
        [None, 3, 3.0, "32", {3, 2}, {3: 2}, iter([3, 2]), [], [3], (), ((3, 2),)]
    )
    right = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    place = draw(st.integers(0, len(right) - 1))
    wrong = [*right[:place], draw(counts), *right[place + 1 :]]
    arrays = [np.zeros((2, 2)), np.array([3.0, 2.0]), np.array(3), np.array(["3", "2"])]
    return draw(st.one_of(kinds, st.just(wrong), st.sampled_from(arrays)))


dtypes = st.sampled_from(
    [
        "f2",
        ">f4",
        "g",
        "i4",
        "u1",
        "?",
        *OTHER_DTYPES,
        int,
        complex,
        object,
        "real",
        3.5,
        [],
        {},
        "f3",
    ]
)
generators = st.sampled_from(
    [None, 0, "seed", np.random, np.random.PCG64(0), np.random.RandomState(0)]
)
early_stoppings = st.one_of(
    st.sampled_from([0.975, True, False, "never", (0.975, 0.005), [], EarlyStopping]),
    st.builds(EarlyStopping, numbers(zero=True)),
    st.builds(EarlyStopping, st.just(0.5), numbers(zero=True)),
    st.builds(Patience, counts),
    st.builds(Convergence, st.just(2), numbers(zero=True)),
)
optimizers: Strategy = st.sampled_from(
    [None, "adam", 0.1, SGD, Adam, {"momentum": 0.5}, (0.9, 0.999), []]
)
paths = st.sampled_from([3, 0.5, b"run.npz", [], object(), True, ("a", "b")])


def optimizer_states(good: Arguments) -> Strategy:
    """Draw what is no state of plain descent."""
    params = good["params"]
    other = st.sampled_from([3, "state", (0, ()), params, OptimizerState])
    moments = st.sampled_from([(params,), (params, params)])
    return st.one_of(
        other,
        st.builds(
            OptimizerState, counts.filter(lambda n: type(n) is not int or n < 0), st.just(())
        ),
        st.builds(OptimizerState, st.just(1), moments),
    )


def workspaces(good: Arguments) -> Strategy:
    """Draw what is no workspace for these parameters and rows."""
    params, rows = good["params"], len(good["X"])
    other = np.float32 if params[0].weight.dtype == np.float64 else np.float64
    last = Dense(
        np.ones((params[-1].bias.size, 1), params[0].weight.dtype),
        np.ones(1, params[0].weight.dtype),
    )
    others = [
        manual_nn.Workspace(
            tuple(Dense(*(a.astype(other) for a in layer)) for layer in params), rows
        ),
        manual_nn.Workspace((*params, last), rows),
    ]
    return st.sampled_from([3, "workspace", params, [], manual_nn.Workspace, *others])


# For each argument, what it must not be.
MALFORMED: dict[str, Callable[[Arguments], Strategy]] = {
    "params": lambda good: layers(good, name="params"),
    "tangents": lambda good: layers(good, name="tangents"),
    "X": inputs,
    "X_train": inputs,
    "X_val": inputs,
    "y": targets,
    "y_train": targets,
    "y_val": targets,
    "sample_weight": sample_weights,
    "weight_decay": lambda _: numbers(zero=True),
    "max_norm": lambda _: numbers(zero=False),
    "learning_rate": lambda _: numbers(zero=False).filter(lambda value: value is not None),
    "max_grad_norm": lambda _: numbers(zero=False).filter(lambda value: value is not None),
    "loss": lambda _: st.sampled_from([None, 1, "", "hinge", b"softmax_cross_entropy", ("loss",)]),
    "optimizer": lambda _: optimizers,
    "optimizer_state": optimizer_states,
    "batch_size": lambda _: counts,
    "epochs": lambda _: counts,
    "rows": lambda _: counts,
    "chunk_size": lambda _: counts.filter(lambda value: value is not None),
    "sizes": lambda _: sizes(),
    "dtype": lambda _: dtypes,
    "rng": lambda _: generators,
    "early_stopping": lambda _: early_stoppings,
    "workspace": workspaces,
    "checkpoint": lambda _: paths,
    "backend": lambda _: st.sampled_from(
        [None, 1, b"numpy", "Numba", "", ("numpy",), np.str_("cpu")]
    ),
}
# Anything is true or false.
ANYTHING_GOES = {"progress", "resume"}


# Right arguments of every kind, in the shapes of the good ones

MODERATE = 2.0**5  # nothing in a network of three layers of four units overflows, even in float32


def _numbers_like(array: Array, kinds: list[str]) -> Strategy:
    """Give any numbers of moderate size, in this shape, of any real dtype among the kinds."""
    elements = st.sampled_from([0.0, 1.0, -1.0, 0.5, -MODERATE, MODERATE, 2.0**-14, 1 / 3])
    arrays = hnp.arrays(np.float64, array.shape, elements=elements)
    return st.builds(lambda values, kind: values.astype(kind), arrays, st.sampled_from(kinds))


def right_inputs(good: Arguments) -> Strategy:
    """Draw X."""
    arrays = _numbers_like(good["X"], ["f2", "f4", "f8", "g", ">f8", "i1", "i8", "?"])
    return st.one_of(arrays, arrays.map(np.ndarray.tolist), arrays.map(np.asfortranarray))


def right_layers(good: Arguments, *, name: str) -> Strategy:
    """Draw layers of the shapes and dtype of the good ones."""
    return st.tuples(
        *(
            st.builds(Dense, *(_numbers_like(leaf, [leaf.dtype.str]) for leaf in layer))
            for layer in good[name]
        )
    )


@st.composite
def right_targets(draw: st.DrawFn, good: Arguments) -> Any:
    """Draw y: class numbers or probabilities."""
    N, K = len(good["X"]), good["params"][-1].bias.size
    classes = np.array(draw(st.lists(st.integers(0, K - 1), min_size=N, max_size=N)))
    one_hot = np.eye(K)[classes]
    kinds = st.sampled_from(["i1", "u1", ">i4", "i8", "u8"]).map(classes.astype)
    return draw(
        st.one_of(
            kinds,
            st.just(classes.tolist()),
            st.sampled_from(["?", "f2", "f4", "f8", "u1"]).map(one_hot.astype),
            st.just((one_hot + 1) / (K + 1)),
        )
    )


@st.composite
def right_sample_weights(draw: st.DrawFn, good: Arguments) -> Any:
    """Draw weights of the rows, some of them extreme, one at least above 0."""
    N = len(good["X"])
    largest = float(np.finfo(np.float64).max)
    each = st.sampled_from([0.0, 2.0**-1074, 1e-300, 0.5, 1.0, 1e300, largest])
    weights = np.array(draw(st.lists(each, min_size=N, max_size=N)))
    weights[draw(st.integers(0, N - 1))] = draw(each.filter(bool))
    return draw(st.sampled_from([None, weights, weights.tolist(), np.ones(N, int)]))


_factors = [0, 0.0, -0.0, 2.0**-1074, 1e-30, 0.5, np.float32(0.25), np.int64(3), np.float16(8)]
right_counts = st.sampled_from([1, 2, np.int8(3), 9, 2**62])

RIGHT: dict[str, Callable[[Arguments], Strategy]] = {
    "params": lambda good: right_layers(good, name="params"),
    "tangents": lambda good: right_layers(good, name="tangents"),
    "X": right_inputs,
    "X_train": right_inputs,
    "X_val": right_inputs,
    "y": right_targets,
    "y_train": right_targets,
    "y_val": right_targets,
    "sample_weight": right_sample_weights,
    "weight_decay": lambda _: st.sampled_from(_factors),
    "max_norm": lambda _: st.sampled_from(
        [2.0**-1074, 1e-40, 1.0, 1e40, 1e308, 2**70, np.float32(2)]
    ),
    "learning_rate": lambda _: st.sampled_from(
        [None, 2.0**-1074, 1e-40, 2.0**-20, np.float32(2.0**-20), CosineSchedule(2.0**-20, 2)]
    ),
    "max_grad_norm": lambda _: st.sampled_from([None, 2.0**-1074, 1e-40, 1, np.float32(2), 1e308]),
    "loss": lambda _: st.sampled_from(["softmax_cross_entropy", np.str_("softmax_cross_entropy")]),
    "optimizer": lambda _: st.sampled_from(
        [SGD(), SGD(0.5), SGD(0.5, nesterov=True), Adam(), Adam(0, 0, 1e-30), AdamW()]
    ),
    "optimizer_state": lambda _: st.none(),
    "batch_size": lambda _: right_counts,
    "chunk_size": lambda _: st.none() | right_counts,
    "rows": lambda _: st.integers(1, 50),
    "epochs": lambda _: st.sampled_from([1, np.int64(2)]),
    "sizes": lambda good: st.sampled_from(
        [
            good["sizes"],
            tuple(good["sizes"]),
            np.array(good["sizes"]),
            np.array(good["sizes"], "u1"),
        ]
    ),
    "workspace": lambda good: st.sampled_from([None, good["workspace"]]),
    "early_stopping": lambda _: st.sampled_from(
        [None, EarlyStopping(), EarlyStopping(0, 1e300), Patience(1, 0), Convergence()]
    ),
    "progress": lambda _: st.just(False),  # noqa: FBT003, its name is the key
    "resume": lambda _: st.just(False),  # noqa: FBT003, likewise
    "backend": lambda _: st.sampled_from(["auto", "numpy", "numba", np.str_("numba")]),
}
