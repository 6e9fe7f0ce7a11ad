"""What arguments of any kind must be: the least that is allowed, and what is not converted.

What is refused, and in which words, is tested with the public functions in
tests/manual_nn/models/test_arguments.py.
"""

import numpy as np
import pytest

from manual_nn.checks import arguments


def test_a_generator_is_given_back_itself() -> None:
    rng = np.random.default_rng(0)
    assert arguments.as_rng(rng) is rng


def test_a_count_may_be_the_least_that_is_allowed() -> None:
    assert arguments.as_count(np.int8(1), name="epochs") == 1
    assert arguments.as_count(0, name="seed", minimum=0) == 0
    assert arguments.as_sizes([1, 1]) == [1, 1]


def test_weights_that_need_no_conversion_are_not_copied() -> None:
    weights = np.ones(5)
    assert arguments.as_sample_weight(5, weights) is weights


def test_a_number_is_rounded_to_the_precision_that_it_is_used_in() -> None:
    assert arguments.as_number(0.1, name="eps", minimum=0) == 0.1
    assert arguments.as_number(0.1, name="eps", minimum=0, dtype=np.float32) == np.float32(0.1)
    for value in (1e-60, 1e39):
        with pytest.raises(ValueError, match="eps must be a finite number above 0 in float32, got"):
            arguments.as_number(value, name="eps", minimum=0, strict=True, dtype=np.float32)
        assert arguments.as_number(value, name="eps", minimum=0, strict=True) == value
