"""Rotary position embedding, proven against JAX, and what it is for."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import rope
from manual_nn.layers.rope import Kept
from reference.layers import rope as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), options)


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    T=st.integers(1, 5),
    half=st.integers(1, 3),
    options=st.sampled_from([{}, {"halves": True}, {"base": 3.5, "halves": True}]),
    moved=st.sampled_from(["not", "each place", "all places alike"]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    batch: list[int], T: int, half: int, options: dict[str, Any], moved: str, seed: int
) -> None:
    """At positions far out, which differ from one sequence to the next, or at the default ones."""
    if moved != "not":
        T_or_1 = T if moved == "each place" else 1
        shape = *batch[:1], *[1] * len(batch[1:]), T_or_1
        positions = np.random.default_rng(seed).integers(-10, 100_000, shape)
        options = options | {"positions": positions}
    prove(rope, twin, subject_of([*batch, T, 2 * half], **options), seed)


def test_sequences_of_more_axes_may_differ_in_one_of_them() -> None:
    positions = np.array([[[[0, 1], [5, 9]]]])  # (1, 1, 2, T)
    prove(rope, twin, subject_of([1, 1, 2, 2, 2], positions=positions), seed=0)


def turned_forward(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return rope.backward(params, kept._replace(sin=-kept.sin), d_out)


def not_turned_back(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out.copy()


def with_the_other_pairs(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return rope.backward(params, kept._replace(halves=not kept.halves), d_out)


def pairs_of(x: Any, *, halves: bool) -> tuple[Any, Any]:
    half = x.shape[-1] // 2
    return (x[..., :half], x[..., half:]) if halves else (x[..., ::2], x[..., 1::2])


def overwritten_in_place(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    d_x = d_out.copy()
    a, b = pairs_of(d_x, halves=kept.halves)
    a[...] = a * kept.cos + b * kept.sin
    b[...] = -a * kept.sin + b * kept.cos
    return (), d_x


def reflected(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = rope.backward(params, kept, d_out)
    (a, b), (_, turned) = (pairs_of(array, halves=kept.halves) for array in (d_out, d_x))
    turned[...] = a * kept.sin + b * kept.cos
    return (), d_x


@pytest.mark.parametrize("halves", [False, True])
def test_the_mistakes_that_people_make_are_seen(halves: bool) -> None:
    refute(
        rope,
        twin,
        subject_of([2, 3, 4], halves=halves),
        Named(turned_forward, "turned = jnp.sum("),
        Named(not_turned_back, "return jnp.reshape(turned"),
        Named(with_the_other_pairs, "jnp.swapaxes(pairs" if halves else "pairs = jnp.reshape("),
        overwritten_in_place,
        reflected,
    )


@of_each_implementation(rope)
def test_inner_products_hang_on_the_difference_of_the_positions_alone(layer: ModuleType) -> None:
    """Moved by 64 places, up to rounding.

    An angle of up to 68 is rounded 3 times, twice in the power; 4 roundings of the turn and 6 of
    the product follow, each of the size of the two vectors' lengths at most. That is for either
    vector, at either place.
    """
    query, key = np.random.default_rng(0).normal(size=(2, 5, 6))
    near, far = (
        layer.forward((), query, positions=np.arange(5) + p)[0]
        @ layer.forward((), key, positions=np.arange(5) + p)[0].T
        for p in (0, 64)
    )
    lengths = np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(key, axis=1))
    assert (abs(near - far) <= 4 * (3 * 68 + 4 + 6) * 2.0**-53 * lengths).all()
    assert (abs(near - query @ key.T) > 0.01).any()


@of_each_implementation(rope)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_place_0_is_left_as_it_is_and_pairs_are_as_the_option_says(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = np.array([[1, 2, 3, 4]], dtype)
    out, kept = layer.forward((), x)
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(layer.backward((), kept, x)[1], x)
    one = np.array([1])
    cos, sin = np.cos(1.0).astype(dtype), np.sin(1.0).astype(dtype)
    out, _ = layer.forward((), np.array([[1, 0, 0, 0]], dtype), positions=one)
    np.testing.assert_array_equal(out, [[cos, sin, 0, 0]])
    out, _ = layer.forward((), np.array([[1, 0, 0, 0]], dtype), positions=one, halves=True)
    np.testing.assert_array_equal(out, [[cos, 0, sin, 0]])


@of_each_implementation(rope)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 1), (1, 3), (3, 1), (3, 3)])
def test_positions_broadcast_as_those_that_are_written_out(
    layer: ModuleType, shape: tuple[int, ...]
) -> None:
    """There are as many heads as places, so that their number does not say which of them differ."""
    rng = np.random.default_rng(0)
    x, d_out = rng.normal(size=(2, 3, 3, 4))
    positions = rng.integers(1000, size=shape)
    passes = []
    for written in (positions, np.array(np.broadcast_to(positions, (3, 3)))):
        out, kept = layer.forward((), x, positions=written)
        passes.append((out, layer.backward((), kept, d_out)[1]))
    got, want = passes
    np.testing.assert_array_equal(got, want)


def test_the_angles_of_places_in_order_are_kept_for_the_next_call_and_cannot_be_changed() -> None:
    x = np.ones((3, 4), np.float32)
    _, kept = rope.forward((), x)
    _, again = rope.forward((), 2 * x)
    _, other = rope.forward((), x.astype(np.float64))
    _, given = rope.forward((), x, positions=np.arange(3))
    assert kept.cos is again.cos
    assert other.cos.dtype == np.float64
    np.testing.assert_array_equal((given.cos, given.sin), (kept.cos, kept.sin))
    for table in (kept.cos, kept.sin):
        assert not table.flags.writeable


@of_each_implementation(rope)
def test_pairs_are_neighbours_or_halves_apart(layer: ModuleType) -> None:
    """The same pairs, whose features stand in another order; with one of 1 nothing is rounded."""
    x = np.repeat(np.eye(6)[:, np.newaxis], 3, axis=1)  # (6, T, D)
    order = [0, 2, 4, 1, 3, 5]  # the first of each pair, and then the second
    neighbours, _ = layer.forward((), x)
    halves, _ = layer.forward((), x[..., order], halves=True)
    np.testing.assert_array_equal(halves, neighbours[..., order])


@of_each_implementation(rope)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x = np.ones((2, 3, 4))
    _, kept = layer.forward((), x)
    with pytest.raises(ValueError, match="x must have an even number of features, got 3"):
        layer.forward((), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"x must have at least 2 axes .* got shape \(4,\)"):
        layer.forward((), np.ones(4))
    with pytest.raises(ValueError, match="base must be a finite number above 0, got 0"):
        layer.forward((), x, base=0)
    with pytest.raises(TypeError, match="halves must be a bool, got str"):
        layer.forward((), x, halves="no")
    with pytest.raises(TypeError, match="positions must be a NumPy array of integers, got float64"):
        layer.forward((), x, positions=np.ones(3))
    for shape in [(4,), (3, 3), (1, 1, 3)]:
        with pytest.raises(ValueError, match=r"positions must have a shape that .* \(2, 3\), "):
            layer.forward((), x, positions=np.ones(shape, int))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3, 4\) to fit out, got \(4,"):
        layer.backward((), kept, np.ones(4))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3, 4), np.float32))
