"""What is taken for the structure of the parameters, and what is said of any other."""

from typing import Any

import jax
import numpy as np
import pytest

from reference import Code, Verdict, check_gradient
from tests.support.cases import each

A, B = np.ones(2), np.array([[2.0, -1.0, 0.5]])


def square(*args: Any) -> Any:
    """Have the gradient 2 x in each array."""
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(args))


def test_a_list_is_as_good_as_a_tuple_wherever_it_stands() -> None:
    for kind in (list, tuple):
        for grad in (kind((2 * A, 2 * B)), lambda a, b, kind=kind: kind((2 * a, 2 * b))):
            assert check_gradient(grad, square, A, B, argnums=(0, 1)).ok
        assert check_gradient(lambda ab, kind=kind: kind(2 * x for x in ab), square, [A, B]).ok
    assert check_gradient({"w": [2 * A], "v": 2 * B}, square, {"w": (A,), "v": B}).ok
    wrong = check_gradient([2 * A, 3 * B], square, A, B, argnums=(0, 1))
    assert [leaf.verdict for leaf in wrong.leaves] == [Verdict.MATCH, Verdict.MISMATCH]


@each(
    ("result", "words"),
    [
        (
            (1.0, 2 * A),
            "you returned (loss, gradient), a number and an array of shape (2,)",
        ),
        ((2 * A, 2 * B), "the gradient in argument 0 alone is 1: did you forget argnums=(0, 1)?"),
        (
            [2 * A],
            "you returned 1 array in a list, the gradient in argument 0 is an array",
        ),
        (
            (2 * B, 2 * B),
            "you returned 2 arrays in a tuple, the gradient in argument 0 alone",
        ),
        (None, "got None, expected an array of shape (2,)"),
        ([2.0, 2.0], "you returned a list of 2 numbers: return an array of shape (2,)"),
        ((2.0,), "you returned a tuple of 1 number: return an array of shape (2,)"),
        ([[2.0], [1.0, 3.0]], "you returned numbers in lists: return an array of shape (2,)"),
        ([2.0, None], "you returned 2 arrays in a list"),
        ([], "you returned 0 arrays in a list"),
        ("x", "gradient is of type str, expected an array of shape (2,)"),
        (lambda a, _: (2 * x for x in a), "gradient is of type generator, expected an array of"),
        (np.array([2, None]), "gradient is an array of Python objects, expected an array of"),
    ],
)
def test_another_structure_is_told_in_words(result: Any, words: str) -> None:
    report = check_gradient(result, square, A, B)
    assert report.verdict == Verdict.WRONG_STRUCTURE
    assert words in report.causes[0].evidence


@each(
    ("dtype", "words"),
    [
        (int, "gradient is an array of integers (int64), expected float64"),
        (bool, "gradient is an array of booleans (bool), expected float64"),
        (complex, "gradient is an array of complex numbers (complex128), expected float64"),
        (np.float16, "gradient is float16, expected float64"),
    ],
)
def test_another_dtype_is_told_in_words(dtype: Any, words: str) -> None:
    report = check_gradient((2 * A).astype(dtype), square, A)
    assert report.verdict == Verdict.WRONG_DTYPE
    assert report.causes[0].evidence == words
    assert "float32" not in report


def test_argnums_may_be_left_to_the_arguments_and_gives_each_once() -> None:
    assert check_gradient(lambda a, _: 2 * a, lambda a, n: (a**n).sum(), A, 2, argnums=None).ok
    assert check_gradient((2 * A, 2 * B), square, A, B, argnums=None).ok
    for argnums in ((0, 0), (1, -1), [1, 1]):
        with pytest.raises(ValueError, match="argnums must give each argument once, got "):
            check_gradient(None, square, A, B, argnums=argnums)


def test_none_for_a_gradient_of_zeros_is_named() -> None:
    report = check_gradient((2 * A, None), square, A, B, argnums=(0, 1))
    assert report.causes[0].evidence.startswith("None is returned for gradient[1]; where the loss ")


def test_float32_for_float64_is_compared_in_float32() -> None:
    """With three thirds, so that float32 rounds."""
    x = np.full(3, 1 / 3)
    for grad in (lambda x: np.float32(2) * x.astype(np.float32), (2 * x).astype(np.float32)):
        report = check_gradient(grad, square, x)
        assert (report.verdict, report.dtype) == (Verdict.MATCH, "float32")
        assert report.warnings[0].endswith("so that it was compared in float32")
    off = (2.00001 * x).astype(np.float32)
    assert not check_gradient(off, square, x, explain_seconds=0).ok
    with jax.enable_x64(new_val=False):
        report = check_gradient(jax.grad(square), square, x)
    assert report.ok
    assert "jax_enable_x64" in report.warnings[0]


def test_what_a_float64_scalar_of_numpy_does_is_said_of_numpys_arrays() -> None:
    x = A.astype(np.float32)
    by_numpy = check_gradient(x * np.sqrt(4.0), square, x)
    by_jax = check_gradient(jax.numpy.asarray(2 * A), square, x)
    for report, end in ((by_numpy, "math.sqrt(2) does not"), (by_jax, "expected float32")):
        assert report.verdict == Verdict.WRONG_DTYPE
        assert report.causes[0].evidence.endswith(end)


def test_float32_beside_float64_is_another_dtype() -> None:
    """Or the float64 array would be held to float32's rounding."""
    report = check_gradient(((2 * A).astype(np.float32), np.zeros(2)), square, A, B, argnums=(0, 1))
    assert report.verdict == Verdict.WRONG_DTYPE
    assert "float32 is compared in float32 only where all arrays are" in report.causes[0].evidence


def test_a_gradient_that_is_added_up_from_call_to_call_is_said_to_be() -> None:
    total = np.zeros(2)

    def adding(x: Any) -> Any:
        total[:] += 2 * x
        return total.copy()

    report = check_gradient(adding, square, A)
    assert report.verdict == Verdict.NONDETERMINISTIC
    assert report.causes[0].code == Code.NONDETERMINISTIC
    assert "the third result is the sum of the two before" in report.causes[0].evidence


def test_a_result_of_the_call_before_is_not_the_sum_of_it_and_of_zeros() -> None:
    """The first call has none before it."""
    kept = np.zeros(2)

    def late(x: Any) -> Any:
        result = kept.copy()
        kept[:] = 2 * x
        return result

    report = check_gradient(late, square, A)
    assert not report.ok
    assert not any("the sum of the two before" in cause.evidence for cause in report.causes)
