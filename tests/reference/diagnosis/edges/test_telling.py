"""Which of the mistakes that explain a difference are told."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reference.diagnosis.edges.telling import Telling


@pytest.mark.parametrize(("sketches", "count"), [([], 1), ([[0, 999]], 1), ([[1, 0], [2, 1]], 2)])
def test_at_least_one_mistake_was_tried_along_the_error(
    sketches: list[list[float]], count: int
) -> None:
    """Of none that were tried, anything at all would be no chance."""
    weight, error = np.ones(4), np.array([3.0, 0, 0, 0])
    target = SimpleNamespace(weight=weight, error=error, sketch=lambda x: x[:2])
    judge: Any = SimpleNamespace(target=target, choices=None, changes=SimpleNamespace(tapped=None))
    tried: Any = [SimpleNamespace(sketch=np.array(sketch, float)) for sketch in sketches]
    assert Telling(judge)._along_the_error(tried) == count
