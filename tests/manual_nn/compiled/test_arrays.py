"""Arrays in the form that is compiled for."""

import numpy as np
import pytest

from manual_nn.compiled.arrays import in_order
from reference.campaign.draws import LAYOUTS


def test_an_array_in_order_is_taken_as_it_is_and_another_is_copied() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert in_order(array) is array
    for name, layout in LAYOUTS.items():
        laid = layout(array)
        ordered = in_order(laid)
        assert ordered.flags.carray
        np.testing.assert_array_equal(ordered, array)
        assert (ordered is laid) == (name == "C order")


def test_of_a_subclass_the_numbers_are_taken_but_not_where_some_are_masked() -> None:
    ordered = in_order(np.array([[1.0, 2.0]]).view(np.recarray))
    assert type(ordered) is np.ndarray
    np.testing.assert_array_equal(ordered, [[1.0, 2.0]])
    with pytest.raises(TypeError, match="without a mask, got a MaskedArray"):
        in_order(np.ma.masked_array([1.0, 2.0], [True, False]))
