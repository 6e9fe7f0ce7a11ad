"""Arrays go where they belong among what is no array."""

import pytest

from reference.arrays import merged


def test_arrays_take_the_places_of_the_chosen_leaves_in_their_order() -> None:
    assert merged(["x", "how", "y"], [True, False, True], iter([1, 2])) == [1, "how", 2]
    assert merged(["x", "how"], [False, False], []) == ["x", "how"]
    assert merged([], [], []) == []


def test_a_choice_for_other_leaves_is_no_choice() -> None:
    with pytest.raises(ValueError, match="argument"):
        merged(["x", "y"], [True], [1])
