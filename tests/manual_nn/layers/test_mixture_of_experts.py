"""A mixture of experts, proven against JAX's that computes all of them, and on exact numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import mixture_of_experts
from manual_nn.layers.mixture_of_experts import Kept, MixtureOfExperts, init
from reference.layers import mixture_of_experts as twin
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], H: int, E: int, *, top_k: int, **options: Any) -> Subject:
    """Draw until no two logits of a token are so close that rounding chooses between them.

    The first feature is 1, and its row of the router different for each expert.
    """
    D = shape[-1]

    def arguments(draw: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        gap = 0.0
        while gap < 1 / 256:
            x, router = draw(*shape), draw(D, E)
            x[..., 0], router[0] = 1, (rng.permutation(E) + rng.normal(size=E) / 8) / 64
            logits = np.sort((x @ router).reshape(-1, E))
            gap = np.diff(logits).min(initial=1)
        return MixtureOfExperts(router, draw(E, D, H), draw(E, H), draw(E, H, D), draw(E, D)), x

    return Subject(arguments, {"top_k": top_k, **options})


@given(
    rows=st.lists(st.integers(1, 2), max_size=2),
    D=st.integers(1, 3),
    H=st.integers(1, 3),
    E=st.integers(1, 4),
    data=st.data(),
    renormalise=st.booleans(),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    rows: list[int], D: int, H: int, E: int, data: st.DataObject, renormalise: bool, seed: int
) -> None:
    """Some experts are chosen by no token."""
    top_k = data.draw(st.integers(1, E))
    subject = subject_of([*rows, D], H, E, top_k=top_k, renormalise=renormalise)
    prove(mixture_of_experts, twin, subject, seed)


def with_constant_gates(params: Any, kept: Kept, d_out: Any) -> Any:
    """Leave out what comes back through the router, for its matrix and for x."""
    d_params, _ = mixture_of_experts.backward(params, kept, d_out)
    without = params._replace(router=np.zeros_like(params.router))
    _, d_x = mixture_of_experts.backward(without, kept, d_out)
    return d_params._replace(router=0 * d_params.router), d_x


def without_the_router_in_d_x(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, _ = mixture_of_experts.backward(params, kept, d_out)
    without = params._replace(router=np.zeros_like(params.router))
    return d_params, mixture_of_experts.backward(without, kept, d_out)[1]


def with_gates_of_1_in_the_experts(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = mixture_of_experts.backward(params, kept, d_out)
    ungated = kept._replace(p=kept.chosen.astype(kept.p.dtype))
    (_, *of_experts), _ = mixture_of_experts.backward(params, ungated, d_out)
    return MixtureOfExperts(d_params.router, *of_experts), d_x


def with_gates_of_1(params: Any, kept: Kept, d_out: Any) -> Any:
    """Leave the gates out of all that comes back through the experts, for x too."""
    (d_router, *_), d_x = mixture_of_experts.backward(params, kept, d_out)
    without = params._replace(router=np.zeros_like(params.router))
    _, through_experts = mixture_of_experts.backward(without, kept, d_out)
    ungated = kept._replace(p=kept.chosen.astype(kept.p.dtype))
    (_, *of_experts), of_x = mixture_of_experts.backward(without, ungated, d_out)
    return MixtureOfExperts(d_router, *of_experts), d_x - through_experts + of_x


def with_the_jacobian_of_the_chosen_alone(params: Any, kept: Kept, d_out: Any) -> Any:
    """Put gates of a softmax over all through the softmax over the chosen."""
    d_params, d_x = mixture_of_experts.backward(params, kept, d_out)
    over_the_chosen = kept._replace(p=np.where(kept.chosen, kept.p, 0))
    renormalised, _ = mixture_of_experts.backward(params, over_the_chosen, d_out)
    return d_params._replace(router=renormalised.router), d_x


def by_the_last_expert_alone(params: Any, kept: Kept, d_out: Any) -> Any:
    """Write a token's gradient where those of its experts must be added."""
    d_params, d_x = mixture_of_experts.backward(params, kept, d_out)
    without = params._replace(router=np.zeros_like(params.router))
    _, of_all = mixture_of_experts.backward(without, kept, d_out)
    E = kept.p.shape[1]
    last = E - 1 - kept.chosen[:, ::-1].argmax(axis=1)
    p = np.where(np.arange(E) == last[:, None], kept.p, 0)
    _, of_the_last = mixture_of_experts.backward(without, kept._replace(p=p), d_out)
    return d_params, d_x - of_all + of_the_last


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        mixture_of_experts,
        twin,
        subject_of([2, 3, 3], 2, 4, top_k=2, renormalise=False),
        Named(with_constant_gates, "jnp.expand_dims(p, -1) * f"),
        Named(without_the_router_in_d_x, "logits = x @ router"),
        with_gates_of_1_in_the_experts,
        Named(with_gates_of_1, "jnp.expand_dims(p, -1) * f"),
        with_the_jacobian_of_the_chosen_alone,
        by_the_last_expert_alone,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(dtype: type[np.floating[Any]]) -> None:
    """Gates of 1/2, of the first two of three equal logits; silu(0) = 0 has the slope 1/2."""
    one = np.ones((3, 1, 1), dtype)
    values = np.array([[8], [4], [100]], dtype)
    params = MixtureOfExperts(np.zeros((1, 3), dtype), one, 0 * one[:, 0], 2 * one, values)
    x, d_out = np.array([[0], [0]], dtype), np.array([[1], [3]], dtype)
    out, kept = mixture_of_experts.forward(params, x, top_k=2)
    np.testing.assert_array_equal(out, np.array([[6], [6]], dtype))
    d_params, d_x = mixture_of_experts.backward(params, kept, d_out)
    np.testing.assert_array_equal(d_params.bias_down, np.array([[2], [2], [0]], dtype))
    np.testing.assert_array_equal(d_params.weight_down, np.zeros((3, 1, 1), dtype))
    # d_z = 1/2 d_out 2 1/2 of each of the two experts
    np.testing.assert_array_equal(d_params.bias_up, np.array([[2], [2], [0]], dtype))
    np.testing.assert_array_equal(d_x, np.array([[1], [3]], dtype))
    np.testing.assert_array_equal(d_params.router, np.zeros((1, 3), dtype))
    constant = params._replace(weight_up=0 * one)
    _, kept = mixture_of_experts.forward(constant, x + 1, top_k=2)
    (d_router, *_), _ = mixture_of_experts.backward(constant, kept, d_out)
    # d_logits = 1/2 (d_p - 6 d_out) with d_p = 8 d_out and 4 d_out
    np.testing.assert_array_equal(d_router, np.array([[4, -4, 0]], dtype))
    assert out.dtype == d_x.dtype == dtype


def test_a_router_of_one_expert_whose_gate_is_1_learns_nothing() -> None:
    rng = np.random.default_rng(0)
    params, x = init(3, 4, 5, rng=rng), rng.normal(size=(6, 3))
    for renormalise in (True, False):
        out, kept = mixture_of_experts.forward(params, x, top_k=1, renormalise=renormalise)
        d_params, _ = mixture_of_experts.backward(params, kept, np.ones_like(out))
        assert d_params.router.any() != renormalise


def test_arguments_that_do_not_fit_are_refused() -> None:
    params, x = init(3, 4, 2, rng=np.random.default_rng(0)), np.ones((5, 3))
    _, kept = mixture_of_experts.forward(params, x, top_k=1)
    forward = mixture_of_experts.forward
    with pytest.raises(ValueError, match="top_k must be at most 2, the number of experts, got 3"):
        forward(params, x, top_k=3)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        forward(params, x, top_k=0)
    with pytest.raises(TypeError, match="renormalise must be a bool, got str"):
        forward(params, x, top_k=1, renormalise="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"params.router must have shape \(4, 2\) .* got \(3, 2\)"):
        forward(params, np.ones((5, 4)), top_k=1)
    with pytest.raises(ValueError, match=r"params.weight_down must have shape \(2, 4, 3\)"):
        forward(params._replace(weight_down=np.ones((2, 3, 3))), x, top_k=1)
    with pytest.raises(ValueError, match=r"params.bias_down must have shape \(2, 3\)"):
        forward(params._replace(bias_down=np.ones((2, 4))), x, top_k=1)
    for name in ("router", "bias_down"):
        with pytest.raises(ValueError, match=rf"params.{name} must have at least 2 axes .* \(3,\)"):
            forward(params._replace(**{name: np.ones(3)}), x, top_k=1)
    for name in ("weight_up", "bias_up", "weight_down"):
        one = params._replace(**{name: getattr(params, name)[0]})
        with pytest.raises(ValueError, match=rf"params.{name} must have at least"):
            forward(one, x, top_k=1)
    with pytest.raises(ValueError, match=r"params.router must have shape \(3, 5\)"):
        forward(params._replace(router=np.ones((3, 2, 5))), x, top_k=1)
    with pytest.raises(ValueError, match="x must have at least 1 axis"):
        forward(params, np.ones(()), top_k=1)
    with pytest.raises(TypeError, match=r"params.router must be float32 like x"):
        forward(params, x.astype(np.float32), top_k=1)
    with pytest.raises(TypeError, match="x must be a NumPy array, got list"):
        forward(params, [1.0], top_k=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"d_out must have shape \(5, 3\) to fit out, got \(3,\)"):
        mixture_of_experts.backward(params, kept, np.ones(3))
