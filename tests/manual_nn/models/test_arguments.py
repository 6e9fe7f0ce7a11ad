"""What every public function accepts, and what it says of anything else.

Axes: N rows in the batch, D inputs, H hidden units, K classes.
"""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import manual_nn
from manual_nn import (
    SGD,
    Adam,
    CosineSchedule,
    Dense,
    EarlyStopping,
    OptimizerState,
    Patience,
    Workspace,
)
from manual_nn.arrays import Array
from manual_nn.checks import arguments
from manual_nn.models.arguments import as_batch, as_inputs, as_row_weight, as_targets
from reference.campaign.draws import read_only, unaligned
from tests.support.bits import same_bits
from tests.support.cases import each

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(manual_nn, name)
    for name in manual_nn.__all__
    if inspect.isfunction(getattr(manual_nn, name))
} | {"rowwise.loss_and_grad": manual_nn.rowwise.loss_and_grad}

N, D, H, K = 5, 3, 4, 2
WEIGHT, BIAS = np.full((D, K), 0.5), np.zeros(K)
SOFT = np.full((N, K), 1 / K)


def good_arguments() -> dict[str, Any]:
    """Build a good value of every argument of every function, by the argument's name."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, D)), np.array([0, 1, 1, 0, 1])
    return {
        "params": manual_nn.init_params([D, H, K], rng=rng),
        "X": X,
        "y": y,
        "weight_decay": 0.01,
        "X_train": X,
        "y_train": y,
        "X_val": X,
        "y_val": y,
        "loss": "softmax_cross_entropy",
        "batch_size": 2,
        "optimizer": SGD(),
        "optimizer_state": None,
        "learning_rate": 0.1,
        "max_grad_norm": None,
        "epochs": 2,
        "early_stopping": EarlyStopping(),
        "sample_weight": np.array([2.0, 1.0, 0.5, 0.0, 3.0]),
        "checkpoint": None,
        "resume": False,
        "progress": False,
        "backend": "numpy",
        "sizes": [D, H, K],
        "dtype": np.float64,
        "rng": rng,
        "tangents": manual_nn.init_params([D, H, K], rng=rng),
        "max_norm": 0.5,
        "chunk_size": None,
        "workspace": None,
    }


def names_of(function: str) -> list[str]:
    return list(inspect.signature(FUNCTIONS[function]).parameters)


def call(function: str, **changes: Any) -> Any:
    good = good_arguments()
    return FUNCTIONS[function](**{name: good[name] for name in names_of(function)} | changes)


class Bad(NamedTuple):
    """A malformed value, the error it is to raise, and what the message is to hold."""

    what: str
    value: Any
    error: type[Exception]
    said: tuple[str, ...]  # {name} stands for the name of the argument


RAGGED = [[1.0, 2.0, 3.0], [4.0]]


def with_one(shape: tuple[int, ...], index: tuple[int, ...], value: float) -> Array:
    """Build an array of halves, but for one element."""
    array = np.full(shape, 0.5)
    array[index] = value
    return array


BAD_PARAMS = [
    Bad(
        "a NaN",
        (Dense(with_one((D, H), (1, 2), np.nan), np.zeros(H)), Dense(np.ones((H, K)), BIAS)),
        ValueError,
        ("params[0].weight must be finite", "nan", "[1, 2]"),
    ),
    Bad(
        "infinite, which a ReLU hides",
        (Dense(np.ones((D, H)), with_one((H,), (3,), -np.inf)), Dense(np.ones((H, K)), BIAS)),
        ValueError,
        ("params[0].bias must be finite", "-inf", "[3]"),
    ),
    Bad("None", None, TypeError, ("params must be a sequence", "NoneType")),
    Bad("a layer alone", Dense(WEIGHT, BIAS), TypeError, ("params must be a sequence", "Dense")),
    Bad("an array", np.zeros((1, 2, 3)), TypeError, ("params must be a sequence", "ndarray")),
    Bad("a generator", iter(()), TypeError, ("params must be a sequence", "iterator")),
    Bad("no layer", (), ValueError, ("params must have at least one layer", "none")),
    Bad("no pair", (WEIGHT, BIAS), TypeError, ("params[0] must be a pair", "ndarray")),
    Bad("three", ((WEIGHT, BIAS, BIAS),), TypeError, ("params[0] must be a pair", "tuple", "3")),
    Bad("a word", "W", TypeError, ("params[0] must be a pair", "str")),
    Bad(
        "whole numbers",
        (Dense(WEIGHT.astype(int), BIAS.astype(int)),),
        TypeError,
        ("params[0].weight must be float32 or float64", "int64"),
    ),
    Bad(
        "float16",
        (Dense(WEIGHT.astype(np.float16), BIAS.astype(np.float16)),),
        TypeError,
        ("params[0].weight must be float32 or float64", "float16"),
    ),
    Bad(
        "complex",
        (Dense(WEIGHT.astype(complex), BIAS),),
        TypeError,
        ("params[0].weight must be float32 or float64", "complex128"),
    ),
    Bad(
        "foreign byte order",
        (Dense(WEIGHT.astype(WEIGHT.dtype.newbyteorder()), BIAS),),
        TypeError,
        ("params[0].weight must be float32 or float64", "f8"),
    ),
    Bad(
        "ragged",
        (Dense(RAGGED, BIAS),),  # type: ignore[arg-type] # on purpose
        ValueError,
        ("params[0].weight must be an array", "unequal lengths"),
    ),
    Bad(
        "two dtypes in a layer",
        (Dense(WEIGHT, BIAS.astype(np.float32)),),
        TypeError,
        ("params[0].bias must be float64", "float32"),
    ),
    Bad(
        "two dtypes of layers",
        (Dense(WEIGHT, BIAS), Dense(np.eye(K, dtype=np.float32), np.zeros(K, np.float32))),
        TypeError,
        ("params[1].weight must be float64", "float32"),
    ),
    Bad(
        "weight of one axis",
        (Dense(np.zeros(D), BIAS),),
        ValueError,
        ("params[0].weight must have 2 axes", "(3,)"),
    ),
    Bad(
        "bias of two axes",
        (Dense(WEIGHT, np.zeros((1, K))),),
        ValueError,
        ("params[0].bias must have 1 axes", "(1, 2)"),
    ),
    Bad(
        "bias too long",
        (Dense(WEIGHT, np.zeros(K + 1)),),
        ValueError,
        ("params[0].bias must have shape (2,)", "(3,)"),
    ),
    Bad(
        "layers that do not fit",
        (Dense(WEIGHT, BIAS), Dense(np.zeros((7, K)), BIAS)),
        ValueError,
        ("params[1].weight must have 2 rows", "params[0].weight", "(7, 2)"),
    ),
    Bad(
        "no inputs",
        (Dense(np.zeros((0, K)), BIAS),),
        ValueError,
        ("params[0].weight must not be empty", "(0, 2)"),
    ),
    Bad(
        "no classes",
        (Dense(np.zeros((D, 0)), np.zeros(0)),),
        ValueError,
        ("params[0].weight must not be empty", "(3, 0)"),
    ),
]

BAD_TANGENTS = [
    Bad(
        bad.what, bad.value, bad.error, tuple(said.replace("params", "{name}") for said in bad.said)
    )
    for bad in BAD_PARAMS
] + [
    Bad("one layer", (Dense(np.zeros((D, K)), BIAS),), ValueError, ("{name} must have 2 layers",)),
    Bad(
        "another width",
        (Dense(np.zeros((D, H + 1)), np.zeros(H + 1)), Dense(np.zeros((H + 1, K)), BIAS)),
        ValueError,
        ("{name}[0].weight must have shape (3, 4) like params[0].weight", "(3, 5)"),
    ),
    Bad(
        "another dtype",
        manual_nn.init_params([D, H, K], rng=np.random.default_rng(0), dtype=np.float32),
        TypeError,
        ("{name} must be float64 like params", "float32"),
    ),
]

BAD_X = [
    Bad("None", None, TypeError, ("{name} must be an array of real numbers", "object")),
    Bad("words", [["a"] * D], TypeError, ("{name} must be an array of real numbers", "<U1")),
    Bad("complex", np.zeros((N, D), complex), TypeError, ("{name} must be", "complex128")),
    Bad("times", np.zeros((N, D), "m8[s]"), TypeError, ("{name} must be", "timedelta64")),
    Bad("huge whole numbers", [[10**400] * D], TypeError, ("{name} must be", "object")),
    Bad("ragged", RAGGED, ValueError, ("{name} must be an array", "unequal lengths")),
    Bad("a number", 1.0, ValueError, ("{name} must have shape (N, 3)", "()")),
    Bad("one axis", np.zeros(D), ValueError, ("{name} must have shape (N, 3)", "(3,)")),
    Bad("three axes", np.zeros((N, D, 1)), ValueError, ("{name} must have", "(5, 3, 1)")),
    Bad("transposed", np.zeros((D, N)), ValueError, ("{name} must have shape (N, 3)", "(3, 5)")),
    Bad(
        "a NaN",
        with_one((N, D), (2, 1), np.nan),
        ValueError,
        ("{name} must be finite, got nan at [2, 1]",),
    ),
    Bad(
        "infinite",
        with_one((N, D), (4, 0), -np.inf),
        ValueError,
        ("{name} must be finite, got -inf at [4, 0]",),
    ),
    Bad("no row", np.zeros((0, D)), ValueError, ("{name} must have", "at least 1", "(0, 3)")),
]

BAD_Y = [
    Bad("None", None, ValueError, ("{name} must have shape (5,) or (5, 2)", "()")),
    Bad("a number", 1, ValueError, ("{name} must have shape (5,) or (5, 2)", "()")),
    Bad("too few", [0, 1], ValueError, ("{name} must have shape (5,) or (5, 2)", "(2,)")),
    Bad("a column", np.zeros((N, 1), int), ValueError, ("{name} must have shape", "(5, 1)")),
    Bad("a class more", np.zeros((N, K + 1)), ValueError, ("{name} must have shape", "(5, 3)")),
    Bad("transposed", SOFT.T, ValueError, ("{name} must have shape", "(2, 5)")),
    Bad("three axes", SOFT[None], ValueError, ("{name} must have shape", "(1, 5, 2)")),
    Bad("ragged", RAGGED, ValueError, ("{name} must be an array", "unequal lengths")),
    Bad("real numbers", np.zeros(N), TypeError, ("{name}", "integer class numbers", "float64")),
    Bad("booleans", np.zeros(N, bool), TypeError, ("{name}", "integer class numbers", "bool")),
    Bad("words", ["a"] * N, TypeError, ("{name}", "integer class numbers", "<U1")),
    Bad("class K", [0, 1, K, 0, 1], ValueError, ("{name}", "class numbers from 0 to 1", "got 2")),
    Bad("class -1", [0, 1, -1, 0, 1], ValueError, ("{name}", "class numbers from 0 to 1", "-1")),
    Bad("complex", SOFT.astype(complex), TypeError, ("{name}", "probabilities", "complex128")),
    Bad("word rows", [["a"] * K] * N, TypeError, ("{name}", "probabilities", "<U1")),
    Bad("negative", [[1.5, -0.5]] * N, ValueError, ("{name}", "negative", "-0.5")),
    Bad("NaN", [[np.nan, 1.0]] * N, ValueError, ("{name}", "NaN", "nan")),
    Bad("infinite", [[np.inf, 1.0]] * N, ValueError, ("{name}", "sum to 1", "row 0", "inf")),
    Bad("all 0", np.zeros((N, K)), ValueError, ("{name}", "sum to 1", "row 0", "0.0")),
    Bad("whole 2", np.ones((N, K), int), ValueError, ("{name}", "sum to 1", "row 0", "2.0")),
    Bad(
        "a row off",
        [*SOFT[1:].tolist(), [0.5, 0.75]],
        ValueError,
        ("{name}", "sum to 1", "row 4", "1.25"),
    ),
]


BAD_SAMPLE_WEIGHT = [
    Bad("a number", 1.0, ValueError, ("{name} must have shape (5,)", "()")),
    Bad("too few", np.ones(N - 1), ValueError, ("{name} must have shape (5,)", "(4,)")),
    Bad("a column", np.ones((N, 1)), ValueError, ("{name} must have shape (5,)", "(5, 1)")),
    Bad("words", ["a"] * N, TypeError, ("{name} must be an array of real numbers", "<U1")),
    Bad("complex", np.ones(N, complex), TypeError, ("{name} must be an array", "complex128")),
    Bad("ragged", RAGGED, ValueError, ("{name} must be an array", "unequal lengths")),
    Bad("negative", [1, 1, -0.5, 1, 1], ValueError, ("{name}", "none negative", "-0.5", "row 2")),
    Bad("NaN", [1, np.nan, 1, 1, 1], ValueError, ("{name}", "finite", "nan", "row 1")),
    Bad("infinite", [1, 1, 1, 1, np.inf], ValueError, ("{name}", "finite", "inf", "row 4")),
    Bad("all 0", np.zeros(N), ValueError, ("{name} must not be zero in every row",)),
]


def bad_numbers(minimum: str) -> list[Bad]:
    return [
        Bad("None", None, TypeError, ("{name} must be a real number", "NoneType")),
        Bad("a word", "0.1", TypeError, ("{name} must be a real number", "str")),
        Bad("a boolean", np.True_, TypeError, ("{name} must be a real number", "bool")),
        Bad("a ratio", Fraction(1, 2), TypeError, ("{name} must be a real number", "Fraction")),
        Bad("complex", 1j, TypeError, ("{name} must be a real number", "complex")),
        Bad("an array", np.ones(2), TypeError, ("{name} must be a real number", "ndarray")),
        Bad("negative", -0.5, ValueError, ("{name} must be a finite number", minimum, "-0.5")),
        Bad("NaN", np.nan, ValueError, ("{name} must be a finite number", minimum, "nan")),
        Bad("infinite", np.inf, ValueError, ("{name} must be a finite number", minimum, "inf")),
        Bad("huge", 10**400, ValueError, ("{name} must be a finite number", minimum, "1000")),
    ]


BAD_COUNTS = [
    Bad("None", None, TypeError, ("{name} must be a whole number", "None")),
    Bad("a word", "2", TypeError, ("{name} must be a whole number", "'2'")),
    Bad("a boolean", np.True_, TypeError, ("{name} must be a whole number", "True")),
    Bad("a fraction", 2.5, TypeError, ("{name} must be a whole number", "2.5")),
    Bad("none", 0, ValueError, ("{name} must be at least 1", "0")),
    Bad("negative", -3, ValueError, ("{name} must be at least 1", "-3")),
]

OTHER = manual_nn.init_params([D, H + 1, K], rng=np.random.default_rng(0))

BAD_WORKSPACES = [
    Bad("a word", "fast", TypeError, ("{name} must be a manual_nn.Workspace or None", "str")),
    Bad(
        "a class",
        Workspace,
        TypeError,
        ("or None, got the class Workspace; write Workspace(params, rows)",),
    ),
    Bad("of other sizes", Workspace(OTHER, N), ValueError, ("{name} must be made for", "(3, 5)")),
    Bad(
        "of another dtype",
        Workspace(manual_nn.init_params([D, H, K], rng=np.random.default_rng(0), dtype="f4"), N),
        ValueError,
        ("{name} must be made for", "float64", "float32"),
    ),
    Bad(
        "too small",
        Workspace(manual_nn.init_params([D, H, K], rng=np.random.default_rng(0)), 1),
        ValueError,
        ("{name} must be made for at least 5 rows", "got 1"),
    ),
]

BAD_SIZES = [
    Bad("None", None, TypeError, ("sizes must be a sequence", "NoneType")),
    Bad("a number", 3, TypeError, ("sizes must be a sequence", "int")),
    Bad("of no axis", np.array(3), TypeError, ("sizes must be a sequence", "ndarray")),
    Bad("a generator", iter([3, 2]), TypeError, ("sizes must be a sequence", "iterator")),
    Bad("empty", [], ValueError, ("sizes must have at least two", "[]")),
    Bad("one", [3], ValueError, ("sizes must have at least two", "[3]")),
    Bad("a word", "32", TypeError, ("sizes[0] must be a whole number", "'3'")),
    Bad("a fraction", [3, 2.5], TypeError, ("sizes[1] must be a whole number", "2.5")),
    Bad("a boolean", [True, 2], TypeError, ("sizes[0] must be a whole number", "True")),
    Bad("none", [3, 0, 2], ValueError, ("sizes[1] must be at least 1", "0")),
    Bad("negative", [3, -2], ValueError, ("sizes[1] must be at least 1", "-2")),
]

BAD_EARLY_STOPPING = [
    Bad("a number", 0.975, TypeError, ("{name} must be an EarlyStopping, Patience or", "float")),
    Bad("a pair", (0.975, 0.005), TypeError, ("{name} must be an EarlyStopping", "tuple")),
    Bad("a word", "never", TypeError, ("{name} must be an EarlyStopping, Patience or", "str")),
    Bad("a class", Patience, TypeError, ("or None, got the class Patience; write Patience()",)),
    Bad(
        "NaN",
        EarlyStopping(min_accuracy=np.nan),
        ValueError,
        ("{name}.min_accuracy must be a finite number", "nan"),
    ),
    Bad(
        "a word",
        EarlyStopping(max_change="0.005"),  # type: ignore[arg-type] # on purpose
        TypeError,
        ("{name}.max_change must be a real number", "str"),
    ),
    Bad(
        "negative",
        EarlyStopping(max_change=-0.5),
        ValueError,
        ("{name}.max_change must be a finite number of at least 0", "-0.5"),
    ),
]

BAD: dict[str, list[Bad]] = {
    "params": BAD_PARAMS,
    "X": BAD_X,
    "y": BAD_Y,
    "weight_decay": bad_numbers("of at least 0"),
    "X_train": BAD_X,
    "y_train": BAD_Y,
    "X_val": [
        Bad("missing", None, ValueError, ("{name} must be given with y_val", "None")),
        *(bad for bad in BAD_X if bad.value is not None),
    ],
    "y_val": [
        Bad("missing", None, ValueError, ("{name} must be given with X_val", "None")),
        *(bad for bad in BAD_Y if bad.value is not None),
    ],
    "sample_weight": BAD_SAMPLE_WEIGHT,
    "checkpoint": [
        Bad("a number", 3, TypeError, ("{name} must be a path or None", "int")),
        Bad("bytes", b"run.npz", TypeError, ("{name} must be a path or None", "bytes")),
        Bad("a class", Path, TypeError, ("{name} must be a path or None, got the class Path",)),
    ],
    "resume": [
        Bad("of no file", value=True, error=ValueError, said=("checkpoint must be the file",))
    ],
    "batch_size": BAD_COUNTS,
    "tangents": BAD_TANGENTS,
    "max_norm": [
        *bad_numbers("above 0"),
        Bad("none", 0, ValueError, ("{name} must be a finite number above 0", "got 0")),
    ],
    "chunk_size": [bad for bad in BAD_COUNTS if bad.value is not None],
    "workspace": BAD_WORKSPACES,
    "learning_rate": [
        *(bad for bad in bad_numbers("above 0") if bad.value is not None),
        Bad("none", 0, ValueError, ("{name} must be a finite number above 0", "got 0")),
        Bad(
            "a class",
            CosineSchedule,
            TypeError,
            ("{name} must be a real number or a CosineSchedule", "CosineSchedule(initial, epochs)"),
        ),
    ],
    "max_grad_norm": [
        *(bad for bad in bad_numbers("above 0") if bad.value is not None),
        Bad("none", 0, ValueError, ("{name} must be a finite number above 0", "got 0")),
    ],
    "optimizer": [
        Bad("a word", "adam", TypeError, ("{name} must be an SGD, Adam or AdamW", "got str")),
        Bad(
            "a class",
            Adam,
            TypeError,
            ("{name} must be an SGD,", "got the class Adam; write Adam()"),
        ),
    ],
    "optimizer_state": [
        Bad("a number", 3, TypeError, ("{name} must be an OptimizerState or None", "got int")),
        Bad(
            "of another",
            OptimizerState(0, (good_arguments()["params"],)),
            ValueError,
            ("{name} must be of SGD(momentum=0.0, nesterov=False), with 0 moments", "got 1"),
        ),
    ],
    "epochs": BAD_COUNTS,
    "early_stopping": BAD_EARLY_STOPPING,
    "progress": [],
    "backend": [
        Bad("None", None, TypeError, ("{name} must be a string", "NoneType")),
        Bad("another", "jax", ValueError, ("{name} must be 'auto', 'numpy' or 'numba'", "'jax'")),
    ],
    "loss": [
        Bad("None", None, ValueError, ("{name} must be one of softmax_cross_entropy", "None")),
        Bad("another", "hinge", ValueError, ("{name} must be one of", "'hinge'")),
    ],
    "sizes": BAD_SIZES,
    "dtype": [
        Bad("float16", np.float16, TypeError, ("dtype must be float32 or float64", "float16")),
        Bad("int", int, TypeError, ("dtype must be float32 or float64", "int64")),
        Bad("no dtype", "reel", TypeError, ("dtype must be float32 or float64", "reel")),
    ],
    "rng": [
        Bad("None", None, TypeError, ("rng must be a numpy.random.Generator", "NoneType")),
        Bad(
            "a class",
            np.random.Generator,
            TypeError,
            ("such as numpy.random.default_rng(0), got the class Generator",),
        ),
        Bad("a seed", 0, TypeError, ("rng must be a numpy.random.Generator", "int")),
        Bad(
            "a module",
            np.random,
            TypeError,
            ("rng must be a numpy.random.Generator", "module"),
        ),
    ],
}


def malformed_calls() -> Iterator[tuple[str, str, Bad]]:
    for function in FUNCTIONS:
        for name in names_of(function):
            for bad in BAD[name]:
                yield function, name, bad


@each(("function", "name", "bad"), malformed_calls())
def test_a_malformed_argument_is_named_with_what_it_was_and_what_was_expected(
    function: str, name: str, bad: Bad
) -> None:
    with pytest.raises((TypeError, ValueError)) as error_info:
        call(function, **{name: bad.value})
    message = str(error_info.value)
    assert error_info.type is bad.error
    for said in bad.said:
        assert said.format(name=name) in message
    assert "\n" not in message


@each("function", FUNCTIONS)
def test_the_good_arguments_are_good(function: str) -> None:
    call(function)


# Inputs are left as they are, results share no memory with them


def arrays_of(tree: Any) -> Iterator[Array]:
    """Find the arrays, NumPy's scalars too, in nested tuples, lists and dictionaries."""
    if isinstance(tree, np.ndarray | np.generic):
        yield np.asarray(tree)
    elif isinstance(tree, dict):
        yield from arrays_of(list(tree.values()))
    elif isinstance(tree, tuple | list):
        yield from itertools.chain.from_iterable(map(arrays_of, tree))


@each("soft", [False, True])
@each("layers", [1, 3])
@each("function", FUNCTIONS)
def test_inputs_keep_their_bits_and_results_are_new_arrays(
    function: str, layers: int, *, soft: bool
) -> None:
    sizes = [D, *[H] * (layers - 1), K]
    params, tangents = (
        manual_nn.init_params(sizes, rng=np.random.default_rng(seed)) for seed in (0, 1)
    )
    changes: dict[str, Any] = {"params": params, "tangents": tangents}
    if soft:
        changes |= {"y": SOFT.copy(), "y_train": SOFT.copy(), "y_val": SOFT.copy()}
    arguments = {name: (good_arguments() | changes)[name] for name in names_of(function)}
    arguments.pop("rng", None)
    before = copy.deepcopy(arguments)
    result = call(function, **arguments)
    for array, copied in zip(arrays_of(arguments), arrays_of(before), strict=True):
        assert array.tobytes() == copied.tobytes()
        for new in arrays_of(result):
            assert not np.shares_memory(new, array)


# Kinds and layouts of arrays. BLAS may round differently for another layout, so the networks are
# of small whole numbers, and the two columns of the last layer are equal: then p = 1/2, and with N
# a power of 2 all that follows is exact, whatever the order of the sums.

EXACT_PARAMS = (
    Dense(np.array([[1.0, -2.0, 0.0], [3.0, 1.0, -1.0]]), np.array([0.0, 1.0, 2.0])),
    Dense(np.array([[2.0, 2.0], [-1.0, -1.0], [3.0, 3.0]]), np.array([1.0, 1.0])),
)
EXACT_TANGENTS = (
    Dense(np.array([[0.0, 1.0, -1.0], [2.0, 1.0, 1.0]]), np.array([1.0, 0.0, -2.0])),
    Dense(np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, 3.0]]), np.array([0.0, -1.0])),
)
EXACT_X = np.array([[0.0, 1.0], [2.0, 3.0], [1.0, 0.0], [4.0, 2.0]])
EXACT_Y = np.array([0, 1, 1, 1])

ON_DATA = [name for name in FUNCTIONS if {"X", "y"} & set(names_of(name))]


def call_exactly(function: str, **changes: Any) -> list[Array]:
    arguments: dict[str, Any] = {
        "params": EXACT_PARAMS,
        "tangents": EXACT_TANGENTS,
        "X": EXACT_X,
        "y": EXACT_Y,
        "weight_decay": 0.25,
        "max_norm": 2.0**20,  # above every norm: then the clipped mean is exact
        "sample_weight": None,
        "chunk_size": None,
        "workspace": None,
    } | changes
    result = FUNCTIONS[function](**{name: arguments[name] for name in names_of(function)})
    return list(arrays_of(result))


def test_the_probabilities_of_the_exact_network_are_exact() -> None:
    assert np.array_equal(manual_nn.predict_proba(EXACT_PARAMS, EXACT_X), np.full((4, 2), 0.5))


def strided(array: Array) -> Array:
    """Copy into every second element, along every axis, of a larger array."""
    larger = np.full([2 * size for size in array.shape], 99, array.dtype)
    view = larger[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def backwards(array: Array) -> Array:
    """Copy with a negative stride."""
    return array[::-1].copy()[::-1]


@each("layout", [np.asfortranarray, strided, backwards, read_only, unaligned])
@each("function", ON_DATA)
def test_any_memory_layout_gives_the_same_bits(
    function: str, layout: Callable[[Array], Array]
) -> None:
    params, tangents = (
        tuple(Dense(layout(weight), layout(bias)) for weight, bias in layers)
        for layers in (EXACT_PARAMS, EXACT_TANGENTS)
    )
    got = call_exactly(
        function, params=params, tangents=tangents, X=layout(EXACT_X), y=layout(EXACT_Y)
    )
    assert same_bits(got, call_exactly(function))


@each("layout", [np.asfortranarray, strided, backwards, read_only, unaligned])
@each("function", ["loss_and_grad", "rowwise.loss_and_grad", "input_grad"])
def test_any_memory_layout_of_soft_targets_gives_the_same_gradient(
    function: str, layout: Callable[[Array], Array]
) -> None:
    def gradient(y: Array) -> list[Array]:  # but not the loss: multiples of ln 2 are not exact
        return [array for array in call_exactly(function, y=y) if array.ndim > 0]

    soft = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert same_bits(gradient(layout(soft)), gradient(soft))


@each("dtype", ["u1", "i1", "u2", "i4", "u8", "i8", "f2", "f4", ">f4", ">f8", ">i2", "longdouble"])
@each("function", ON_DATA)
def test_any_kind_of_real_input_gives_the_same_bits(function: str, dtype: str) -> None:
    got = call_exactly(function, X=EXACT_X.astype(dtype))
    assert same_bits(got, call_exactly(function))


@each("function", ON_DATA)
def test_booleans_are_the_inputs_0_and_1(function: str) -> None:
    X = np.array([[True, False], [False, True], [True, True], [False, False]])
    assert same_bits(call_exactly(function, X=X), call_exactly(function, X=X.astype(float)))


@each("function", ON_DATA)
def test_nested_lists_give_the_same_bits(function: str) -> None:
    params, tangents = (
        [[weight, bias] for weight, bias in layers] for layers in (EXACT_PARAMS, EXACT_TANGENTS)
    )
    got = call_exactly(
        function, params=params, tangents=tangents, X=EXACT_X.tolist(), y=EXACT_Y.tolist()
    )
    assert same_bits(got, call_exactly(function))


@each("dtype", ["u1", "i1", "i4", "u8", "i8", ">i2"])
@each("function", ON_DATA)
def test_class_numbers_of_any_integer_type_give_the_same_bits(function: str, dtype: str) -> None:
    got = call_exactly(function, y=EXACT_Y.astype(dtype))
    assert same_bits(got, call_exactly(function))


@each("dtype", [bool, np.uint8, int, np.float16, np.float32, np.float64])
@each("function", ON_DATA)
def test_one_hot_targets_of_any_type_are_class_numbers(function: str, dtype: npt.DTypeLike) -> None:
    got = call_exactly(function, y=np.eye(2)[EXACT_Y].astype(dtype))
    assert same_bits(got, call_exactly(function))


@each("weight_decay", [0, -0.0, np.float32(0), np.int64(0)])
def test_no_decay_may_be_any_kind_of_0(weight_decay: Any) -> None:
    got = call_exactly("loss_and_grad", weight_decay=weight_decay)
    assert same_bits(got, call_exactly("loss_and_grad", weight_decay=0.0))


@each("X_dtype", ["u1", "f4", "f8"])
@each("params_dtype", [np.float32, np.float64])
@each("function", sorted({*ON_DATA} - {"predict"}))
def test_results_have_the_dtype_of_the_parameters(
    function: str, params_dtype: npt.DTypeLike, X_dtype: str
) -> None:
    params, tangents = (
        tuple(Dense(*(array.astype(params_dtype) for array in layer)) for layer in layers)
        for layers in (EXACT_PARAMS, EXACT_TANGENTS)
    )
    result = call_exactly(
        function,
        params=params,
        tangents=tangents,
        X=EXACT_X.astype(X_dtype),
        y=np.eye(2)[EXACT_Y],
        weight_decay=np.float64(0.25),
    )
    assert {leaf.dtype for leaf in result} == {np.dtype(params_dtype)}


# Rows of target probabilities: how far from 1 they may sum


def loss_of_equal_logits(y: Array) -> float:
    classes = y.shape[1]
    zero = (Dense(np.zeros((1, classes)), np.zeros(classes)),)
    return float(manual_nn.loss(zero, np.zeros((len(y), 1)), y))


def summed_one_by_one(array: Array) -> Array:
    return np.cumsum(array, axis=1, dtype=array.dtype)[:, -1:]


@given(
    classes=st.integers(1, 1000),
    dtype=st.sampled_from([np.float32, np.float64]),
    spread=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
@example(classes=1000, dtype=np.float32, spread=0, seed=0)
@example(classes=1000, dtype=np.float32, spread=1, seed=0)
@example(classes=3, dtype=np.float32, spread=0, seed=0)
def test_rows_normalised_in_their_own_precision_are_accepted(
    classes: int, dtype: npt.DTypeLike, spread: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    e = np.exp(spread * rng.uniform(-1, 1, size=(4, classes))).astype(dtype)
    for sums in (e.sum(axis=1, keepdims=True), summed_one_by_one(e)):
        loss_of_equal_logits(e / sums)


@each("classes", [2, 3, 10, 1000])
@each("dtype", [np.float32, np.float64])
@each("sign", [-1, 1])
def test_rows_may_be_off_by_an_eps_for_each_class_and_one_more(
    classes: int, dtype: npt.DTypeLike, sign: int
) -> None:
    # 1/2 + 1/2 and zeros; eps / 2 is the distance of the numbers from 1/2 to 1: all is exact.
    eps = np.finfo(dtype).eps
    row = np.zeros((1, classes), dtype)
    row[0, :2] = 0.5, 0.5 + sign * (classes + 1) * eps
    loss_of_equal_logits(row)
    row[0, 1] += sign * eps
    with pytest.raises(ValueError, match="y must have rows that sum to 1, but row 0 sums to"):
        loss_of_equal_logits(row)


# The weights of the rows


@each("dtype", [np.float32, np.float64])
def test_without_weights_each_row_counts_its_part_of_1(dtype: npt.DTypeLike) -> None:
    params = (Dense(np.zeros((1, 2), dtype), np.zeros(2, dtype)),)
    row_weight = as_row_weight(params, 8, None)
    assert row_weight.dtype == dtype
    assert row_weight == 0.125


@each("dtype", [np.float32, np.float64])
def test_each_row_counts_its_part_of_all_the_weights(dtype: npt.DTypeLike) -> None:
    params = (Dense(np.zeros((1, 2), dtype), np.zeros(2, dtype)),)
    row_weight = as_row_weight(params, 3, [1, 0, 7])
    assert row_weight.dtype == dtype
    assert row_weight.tolist() == [[0.125], [0.0], [0.875]]


def test_weights_whose_sum_is_beyond_the_largest_float_count_alike() -> None:
    weights = [2.0**1023, 2.0**1023, 0, 2.0**1023, 2.0**1023]
    row_weight = as_row_weight((Dense(WEIGHT, BIAS),), N, weights)
    assert np.asarray(row_weight).tolist() == [[0.25], [0.25], [0.0], [0.25], [0.25]]


@each("weight_dtype", [np.float16, np.float32, np.uint8, bool])
def test_weights_of_any_type_are_divided_in_float64(weight_dtype: npt.DTypeLike) -> None:
    weights = np.ones(3, weight_dtype)
    checked = arguments.as_sample_weight(3, weights)
    assert checked is not None
    assert checked.dtype == np.float64
    row_weight = as_row_weight((Dense(WEIGHT, BIAS),), 3, weights)
    assert np.asarray(row_weight).tolist() == [[1 / 3]] * 3


# Conversions


def test_the_largest_class_number_out_of_range_is_named_wherever_it_is() -> None:
    with pytest.raises(ValueError, match="y must hold class numbers from 0 to 1, got 9"):
        as_targets((Dense(WEIGHT, BIAS),), N, [0, 9, 7, 1, 0])


def test_a_batch_without_a_weight_decay_has_the_decay_0() -> None:
    *_, weight_decay = as_batch((Dense(WEIGHT, BIAS),), np.zeros((N, D)), SOFT)
    assert weight_decay == 0.0


def test_what_needs_no_conversion_is_not_copied() -> None:
    params = (Dense(WEIGHT, BIAS),)
    X = np.zeros((N, D))
    assert as_inputs(params, X) is X
    assert as_targets(params, N, SOFT) is SOFT


@each("dtype", [np.float64, np.longdouble])
def test_the_first_input_beyond_the_dtype_of_the_parameters_is_named(dtype: npt.DTypeLike) -> None:
    X = np.full((3, 2), 0.5, dtype)
    X[1, 1], X[2, 0] = 2.0**128, -(2.0**129)
    float32 = (Dense(np.ones((2, K), np.float32), np.zeros(K, np.float32)),)
    with pytest.raises(
        ValueError, match=r"within float32 like params, got 3\.40.*e\+38 at \[1, 1\]"
    ):
        manual_nn.loss(float32, X, [0, 1, 0])


def test_the_largest_input_of_the_dtype_of_the_parameters_is_converted() -> None:
    largest = float(np.finfo(np.float32).max)
    params = (Dense(np.ones((1, 2), np.float32), np.zeros(2, np.float32)),)
    X = as_inputs(params, [[largest], [-1.0]])
    assert X.dtype == np.float32
    assert X.tolist() == [[largest], [-1.0]]
