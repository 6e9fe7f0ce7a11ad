"""Arrays in the form that is compiled for."""

import numpy as np

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
