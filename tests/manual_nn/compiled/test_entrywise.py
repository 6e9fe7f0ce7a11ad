"""Loops over the entries of arrays, in every layout."""

from typing import Any

import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled.entrywise import as_row, entrywise
from reference.campaign.draws import LAYOUTS

A, B = np.arange(6.0).reshape(2, 3), np.arange(6.0, 12).reshape(2, 3)


def combine(a: Array, b: Array, factor: Any, out: Array) -> None:
    """Take rows alone, as what is compiled does."""
    assert all(row.ndim == 1 and row.flags.carray for row in (a, b, out))
    for i in range(len(a)):
        out[i] = a[i] + factor * b[i]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_entry_comes_to_its_place(layout: str) -> None:
    a, b = LAYOUTS[layout](A), LAYOUTS[layout](B)
    out = entrywise(combine, a, b, numbers=(2,))
    np.testing.assert_array_equal(out, A + 2 * B)
    assert not np.shares_memory(out, a)
    assert not np.shares_memory(out, entrywise(combine, a, b, numbers=(2,)))
    np.testing.assert_array_equal(as_row(a), A.ravel())


def test_the_result_has_the_dtype_of_the_first_array() -> None:
    assert entrywise(combine, A.astype(np.float32), B > 7, numbers=(2,)).dtype == np.float32


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
def test_it_writes_to_the_array_that_it_is_given_which_may_be_an_argument(layout: str) -> None:
    a = LAYOUTS[layout](A.copy())
    assert entrywise(combine, a, B, numbers=(2,), out=a) is a
    np.testing.assert_array_equal(a, A + 2 * B)


def test_an_array_to_write_to_may_overlap_with_an_argument() -> None:
    """What is written to one entry is read as another one of the argument."""
    for shift in (1, -1):
        memory = np.arange(6.0)
        a, out = (memory[:-1], memory[1:]) if shift == 1 else (memory[1:], memory[:-1])
        want = a + 2 * np.ones(5)
        assert entrywise(combine, a, np.ones(5), numbers=(2,), out=out) is out
        np.testing.assert_array_equal(out, want)
        want = 1 + 2 * a
        entrywise(combine, np.ones(5), a, numbers=(2,), out=out)
        np.testing.assert_array_equal(out, want)
