"""Rows and matrices are copied whole, in the precision and the order of what is written to."""

import numpy as np
import pytest

from manual_nn.compiled import copies

pytestmark = pytest.mark.usefixtures("way")


def test_a_row_is_copied_and_nothing_beside_it() -> None:
    room = np.zeros(5, np.float32)
    copies.copy(np.array([0.1, -2.0, 3.0]), room[1:4])
    np.testing.assert_array_equal(room, np.array([0, 0.1, -2, 3, 0], np.float32))


def test_a_matrix_is_copied_and_nothing_beside_it() -> None:
    a, room = np.arange(6.0).reshape(2, 3), np.full((5, 2), 9.0)
    copies.copy_rows(a.T, room[1:4])
    np.testing.assert_array_equal(room, [[9, 9], *a.T, [9, 9]])


def test_a_transpose_is_copied_and_nothing_beside_it() -> None:
    rows = copies.BLOCK + 1
    a, room = np.arange(2.0 * rows).reshape(rows, 2), np.full((4, rows), 9.0)
    copies.copy_transposed(a, room[1:3])
    np.testing.assert_array_equal(room[1:3], a.T)
    assert (room[[0, 3]] == 9).all()
