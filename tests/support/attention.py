"""Inputs of both forms of attention, for the proof of a layer."""

from typing import Any

from manual_nn.layers.attention import Inputs
from tests.support.layer_proof import Subject


def subject_of(
    batch: list[int], T: int, S: int, D: int, K: int, *, group: int = 1, **options: Any
) -> Subject:
    """Make inputs in which each head of keys, the last axis of the batch, is seen by a group."""
    heads = [*batch[:-1], batch[-1] * group] if batch else []
    return Subject(
        lambda draw, _: ((), Inputs(draw(*heads, T, D), draw(*batch, S, D), draw(*batch, S, K))),
        options,
    )
