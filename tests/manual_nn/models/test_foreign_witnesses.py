"""Foreign witnesses: the twins' derivatives by the autodiff of other libraries than JAX.

Each library that is installed writes the network down once more in its own words and takes every
derivative by its own transforms; what comes out must be within the derived bound of JAX's, as the
handwritten results must. Each also checks the handwritten pass, made one of its own functions, by
its own finite differences. The end of the run says which were there: autograd always is, with the
extra `dev`; PyTorch comes with `peers`. Axes: N rows in the batch, D inputs, H hidden units,
K classes, P parameters.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from reference import Comparer, Comparison, Verdict
from tests.conftest import Tally, depth
from tests.support.strategies import (
    TRAITS,
    Shape,
    make_directed_network,
    seeds,
    shapes,
    small_shapes,
    weight_decays,
)

# PyTorch says it of itself, the first time that its forward mode is used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

FEWER = settings(max_examples=depth().compilations)  # JAX compiles for seconds

DTYPES = (np.float32, np.float64)


class WeightedNetwork(NamedTuple):
    """A network with a direction, and what its rows count in the loss and its gradient."""

    params: Params
    tangents: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float
    sample_weight: Array | None  # (N,)


def make_weighted_network(
    shape: Shape,
    dtype: npt.DTypeLike,
    *,
    seed: int,
    weighted: bool,
    trait: str = "plain",
    weight_decay: float = 0.0,
) -> WeightedNetwork:
    """Make a network; of its rows, where they are weighted, all but the first may count nothing."""
    network = make_directed_network(
        shape, dtype, seed=seed, trait=trait, weight_decay=weight_decay
    )[:-1]
    sample_weight = np.random.default_rng([seed, 2]).integers(0, 5, size=shape.N).astype(dtype)
    sample_weight[0] = 1
    return WeightedNetwork(*network, sample_weight if weighted else None)


# Every derivative, by the twins and by the witnesses


def derivatives_by(package: Any) -> Callable[..., dict[str, Any]]:
    """Make the function that computes every derivative with one of the twins."""

    def derivatives(
        params: Params,
        tangents: Params,
        X: Array,
        y: Array,
        weight_decay: float,
        sample_weight: Array | None,
    ) -> dict[str, Any]:
        weights: Any = {"weight_decay": weight_decay, "sample_weight": sample_weight}
        return {
            "loss": package.loss(params, X, y, **weights),
            "loss_and_grad": package.loss_and_grad(params, X, y, **weights),
            "per_example_grads": package.per_example_grads(params, X, y),
            **{
                name: getattr(package, name)(params, tangents, X, y, weight_decay=weight_decay)
                for name in ("jvp", "hvp", "ggnvp")
            },
        }

    return derivatives


def derivatives_by_autograd(
    params: Any, tangents: Any, X: Any, y: Any, weight_decay: float, sample_weight: Any
) -> dict[str, Any]:
    """Compute every derivative with HIPS autograd, whose containers are plain tuples."""
    import autograd  # noqa: PLC0415, only this witness needs it
    from autograd import numpy as anp  # noqa: PLC0415
    from autograd.tracer import getval  # noqa: PLC0415

    def logits(params: Any, X: Any) -> Any:
        a = X
        *hidden, (weight, bias) = params
        for hidden_weight, hidden_bias in hidden:
            z = anp.dot(a, hidden_weight) + hidden_bias
            a = z * (z > 0)  # the derivative of its maximum is 1/2 at 0
        return anp.dot(a, weight) + bias

    def cross_entropy(z: Any, y: Any) -> Any:  # (N,)
        z = z - getval(z).max(axis=1, keepdims=True)  # a constant: what it is changes nothing
        log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        return -log_p[np.arange(len(y)), y] if y.ndim == 1 else -anp.sum(y * log_p, axis=1)

    def penalty(params: Any) -> Any:
        return weight_decay * sum(anp.sum(weight**2) for weight, _ in params)

    def loss(params: Any) -> Any:
        return anp.mean(cross_entropy(logits(params, X), y)) + penalty(params)

    def weighted_loss(params: Any) -> Any:
        losses = cross_entropy(logits(params, X), y)
        return anp.sum(sample_weight * losses) / anp.sum(sample_weight) + penalty(params)

    def row_loss(params: Any, x: Any, t: Any) -> Any:
        return cross_entropy(logits(params, x[None]), t[None])[0]

    def in_layers(params: Any) -> Params:
        return tuple(Dense(*layer) for layer in params)

    params, tangents = (tuple(tuple(layer) for layer in tree) for tree in (params, tangents))
    mean = loss if sample_weight is None else weighted_loss
    value, gradient = autograd.value_and_grad(mean)(params)
    rows = [autograd.grad(row_loss)(params, x, t) for x, t in zip(X, y, strict=True)]
    product = autograd.make_ggnvp(
        lambda params: logits(params, X), lambda z: anp.mean(cross_entropy(z, y))
    )(params)(tangents)
    decay_product = autograd.make_hvp(penalty)(params)[0](tangents)
    return {
        "loss": mean(params),
        "loss_and_grad": (value, in_layers(gradient)),
        "per_example_grads": in_layers(jax.tree.map(lambda *leaves: np.stack(leaves), *rows)),
        "jvp": autograd.make_jvp(loss)(params)(tangents),
        "hvp": in_layers(autograd.make_hvp(loss)(params)[0](tangents)),
        "ggnvp": in_layers(jax.tree.map(np.add, product, decay_product)),
    }


def derivatives_by_torch(
    params: Any, tangents: Any, X: Any, y: Any, weight_decay: float, sample_weight: Any
) -> dict[str, Any]:
    """Compute every derivative with torch.func, second ones forward over reverse."""
    import torch  # noqa: PLC0415, only this witness needs it
    from torch.func import grad, grad_and_value, jvp, vjp, vmap  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    def logits(params: Any, X: Any) -> Any:
        a = X
        *hidden, (weight, bias) = params
        for hidden_weight, hidden_bias in hidden:
            a = functional.relu(a @ hidden_weight + hidden_bias)
        return a @ weight + bias

    def cross_entropy(z: Any, y: Any) -> Any:  # (N,)
        return functional.cross_entropy(z, y, reduction="none")

    def penalty(params: Any) -> Any:
        return weight_decay * sum(weight.square().sum() for weight, _ in params)

    def loss(params: Any) -> Any:
        return cross_entropy(logits(params, X), y).mean() + penalty(params)

    def weighted_loss(params: Any) -> Any:
        losses = cross_entropy(logits(params, X), y)
        return (sample_weight * losses).sum() / sample_weight.sum() + penalty(params)

    def row_loss(params: Any, x: Any, t: Any) -> Any:
        return cross_entropy(logits(params, x[None]), t[None])[0]

    def ggnvp(params: Any, tangents: Any) -> Any:
        z, R_z = jvp(lambda params: logits(params, X), (params,), (tangents,))
        _, R_d_z = jvp(grad(lambda z: cross_entropy(z, y).mean()), (z,), (R_z,))
        _, pull_back = vjp(lambda params: logits(params, X), params)
        _, decay_product = jvp(grad(penalty), (params,), (tangents,))
        return jax.tree.map(torch.add, *pull_back(R_d_z), decay_product)

    params, tangents, X, y, sample_weight = jax.tree.map(
        lambda array: torch.from_numpy(array.copy()),  # which takes no negative strides
        (params, tangents, X, y, sample_weight),
    )
    weight_decay = torch.tensor(weight_decay, dtype=X.dtype)  # a float makes the jvp float64
    mean = loss if sample_weight is None else weighted_loss
    results = {
        "loss": mean(params),
        "loss_and_grad": grad_and_value(mean)(params)[::-1],
        "per_example_grads": vmap(grad(row_loss), (None, 0, 0))(params, X, y),
        "jvp": jvp(loss, (params,), (tangents,)),
        "hvp": jvp(grad(loss), (params,), (tangents,))[1],
        "ggnvp": ggnvp(params, tangents),
    }
    return jax.tree.map(lambda tensor: tensor.numpy(), results)


# The handwritten pass as a function of the witness, for its own check by finite differences


class Handwritten(NamedTuple):
    """The handwritten pass over one batch, as functions of all parameters as one vector, (P,)."""

    loss: Callable[[Any], Any]  # of the parameters
    gradient: Callable[[Any], Any]  # (P,)
    d_loss: Callable[[Any, Any], Any]  # and of a direction, (P,): manual_nn.jvp
    hvp: Callable[[Any, Any], Any]  # (P,)


def handwritten(network: WeightedNetwork) -> Handwritten:
    """Take `manual_nn`'s functions of this batch; d_loss and hvp know of no sample_weight."""
    _, _, X, y, weight_decay, sample_weight = network
    weights: Any = {"weight_decay": weight_decay, "sample_weight": sample_weight}

    def params(theta: Array) -> Params:
        return layers(theta, network.params)

    def loss(theta: Array) -> Any:
        return manual_nn.loss(params(theta), X, y, **weights)

    def gradient(theta: Array) -> Array:
        return vector(manual_nn.loss_and_grad(params(theta), X, y, **weights)[1])

    def d_loss(theta: Array, v: Array) -> Any:
        return manual_nn.jvp(params(theta), params(v), X, y, weight_decay=weight_decay)[1]

    def hvp(theta: Array, v: Array) -> Array:
        return vector(manual_nn.hvp(params(theta), params(v), X, y, weight_decay=weight_decay))

    return Handwritten(loss, gradient, d_loss, hvp)


def vector(params: Params) -> Array:
    """Lay all weights and biases into one vector, (P,)."""
    return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])


def layers(theta: Array, params: Params) -> Params:
    """Cut a vector, (P,), into layers of the shapes of these."""
    leaves, structure = jax.tree.flatten(params)
    parts = np.split(theta, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return jax.tree.unflatten(
        structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    )


def check_by_autograd(functions: Handwritten, theta: Array, *, order: int) -> None:
    """Have autograd.test_util.check_grads check the pass, a primitive of autograd."""
    from autograd.extend import defjvp, defvjp, primitive  # noqa: PLC0415, see above
    from autograd.test_util import check_grads  # noqa: PLC0415

    loss, gradient, d_loss, hvp = map(primitive, functions)
    defvjp(loss, lambda _, theta: lambda d: d * gradient(theta))
    defjvp(loss, lambda v, _, theta: d_loss(theta, v))
    defvjp(gradient, lambda _, theta: lambda v: hvp(theta, v))  # the Hessian is symmetric
    defjvp(gradient, lambda v, _, theta: hvp(theta, v))
    defvjp(
        d_loss,
        lambda _, theta, v: lambda d: d * hvp(theta, v),
        lambda _, theta, v: lambda d: d * gradient(theta),  # noqa: ARG005, autograd passes it
    )
    defjvp(
        d_loss,
        lambda u, _, theta, v: (hvp(theta, v) * u).sum(),
        lambda u, _, theta, v: d_loss(theta, u),  # noqa: ARG005, the same
    )
    check_grads(loss, modes=["rev"] if order == 1 else ["fwd", "rev"], order=order)(theta)


def check_by_torch(functions: Handwritten, theta: Array, *, order: int) -> None:
    """Have gradcheck and gradgradcheck check the pass, a torch.autograd.Function."""
    import torch  # noqa: PLC0415, see above
    from torch.autograd import gradcheck, gradgradcheck  # noqa: PLC0415
    from torch.autograd.function import once_differentiable  # noqa: PLC0415

    def tensor(function: Callable[..., Any], *tensors: Any) -> Any:
        return torch.as_tensor(function(*(tensor.detach().numpy() for tensor in tensors)))

    class OfTheta(torch.autograd.Function):  # type: ignore[misc] # it is Any to mypy
        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004, as called
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

    class Gradient(OfTheta):
        @staticmethod
        def forward(theta: Any) -> Any:
            return tensor(functions.gradient, theta)

        @staticmethod
        @once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, v: Any) -> Any:  # the Hessian is symmetric
            return tensor(functions.hvp, *ctx.saved_tensors, v)

        @staticmethod
        def jvp(ctx: Any, v: Any) -> Any:
            return tensor(functions.hvp, *ctx.saved_tensors, v)

    class Loss(OfTheta):
        @staticmethod
        def forward(theta: Any) -> Any:
            return tensor(functions.loss, theta)

        @staticmethod
        def backward(ctx: Any, d: Any) -> Any:
            return d * Gradient.apply(*ctx.saved_tensors)

        @staticmethod
        def jvp(ctx: Any, v: Any) -> Any:
            return tensor(functions.d_loss, *ctx.saved_tensors, v)

    at = torch.tensor(theta, requires_grad=True)
    gradcheck(Loss.apply, at, check_forward_ad=order > 1)
    if order > 1:
        d = torch.tensor(0.75, dtype=at.dtype, requires_grad=True)  # else it is drawn
        gradgradcheck(Loss.apply, at, d, check_fwd_over_rev=True)


class Witness(NamedTuple):
    """A library with an autodiff of its own.

    Attributes:
        derivatives: computes every derivative with the library alone.
        check: lets the library check the handwritten pass by differences, up to this order.
    """

    derivatives: Callable[..., dict[str, Any]]
    check: Callable[..., None]


WITNESSES = {
    "autograd": Witness(derivatives_by_autograd, check_by_autograd),
    "torch": Witness(derivatives_by_torch, check_by_torch),
}
HERE = [name for name in WITNESSES if importlib.util.find_spec(name)]


def test_at_least_one_foreign_witness_is_installed(tally: Tally) -> None:
    """Without one what follows would test nothing; the end of the run says which are not."""
    tally.foreign.update({f"{name} (not installed)": 0 for name in WITNESSES if name not in HERE})
    assert HERE


def agree(comparison: Comparison, dtype: npt.DTypeLike) -> bool:
    """Say whether all are within the bound; but for a kink within rounding, unambiguously."""
    allowed = {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
    right_dtype = all(leaf.got.dtype == dtype for leaf in comparison.leaves)
    return right_dtype and comparison.verdict in allowed


@pytest.mark.parametrize("name", HERE)
@FEWER
@given(shape=shapes, weighted=st.booleans(), data=st.data())
def test_witness_and_handwritten_pass_agree_with_jax(
    name: str, shape: Shape, *, weighted: bool, data: st.DataObject, draws: int, tally: Tally
) -> None:
    comparer = Comparer(
        derivatives_by(reference),
        *make_weighted_network(shape, np.float64, seed=0, weighted=weighted),
    )
    tally.shapes += 1
    for draw in range(draws):
        dtype = DTYPES[draw % 2]
        network = make_weighted_network(
            shape,
            dtype,
            seed=data.draw(seeds),
            weighted=weighted,
            trait=data.draw(st.sampled_from(TRAITS)),
            weight_decay=data.draw(weight_decays),
        )
        ours = comparer(derivatives_by(manual_nn)(*network), *network, dtype=dtype)
        theirs = comparer(WITNESSES[name].derivatives(*network), *network, dtype=dtype)
        assert agree(ours, dtype), ours
        assert agree(theirs, dtype), theirs
        tally.add(ours)
        tally.foreign[name] += 1


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(
    ("shape", "weighted"),
    [
        pytest.param(Shape((3, 4, 1), 4, soft=True), True, id="one class"),
        pytest.param(Shape((2, 3, 2), 1, soft=False), False, id="one row"),
    ],
)
def test_witness_agrees_with_jax_in_every_trap(
    name: str, shape: Shape, *, weighted: bool, tally: Tally
) -> None:
    """The handwritten pass in the same traps is the subject of the other modules."""
    example = make_weighted_network(shape, np.float64, seed=0, weighted=weighted)
    comparer = Comparer(derivatives_by(reference), *example)
    for dtype in DTYPES:
        for seed, trait in enumerate(TRAITS):
            network = make_weighted_network(
                shape, dtype, seed=seed, weighted=weighted, trait=trait, weight_decay=0.1
            )
            theirs = comparer(WITNESSES[name].derivatives(*network), *network, dtype=dtype)
            assert agree(theirs, dtype), (trait, theirs)
            tally.foreign[name] += 1


# Their own finite differences, under their own tolerances. These are for any function: 1e-3 of a
# derivative and 1e-5 in torch, 1e-6 in autograd, above what their steps of 1e-6 make of curvature
# and rounding. Our bounds are of rounding alone, and the bound of our own differences, in
# test_witnesses.py, is of their step. A test below shows that theirs still see faults.

REACH = 1e-5  # torch moves a parameter by 1e-6, autograd by 5e-7 times a normal number


def away_from_kinks(params: Params, X: Array) -> bool:
    """Say whether no ReLU changes sides, however far within REACH each parameter moves.

    z' - z = (a' - a) W' + a (W' - W) + b' - b, and a = relu(z) moves no farther than z.
    """
    a, moved = X, np.zeros_like(X)
    for weight, bias in params[:-1]:
        z = a @ weight + bias
        moved = moved @ (abs(weight) + REACH) + REACH * (abs(a).sum(axis=1, keepdims=True) + 1)
        if (abs(z) <= moved).any():
            return False
        a = np.maximum(z, 0)
    return True


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("weighted", [False, True])
@given(shape=small_shapes, seed=seeds, weight_decay=weight_decays)
def test_the_witness_s_own_differences_confirm_the_handwritten_pass(
    name: str, shape: Shape, seed: int, weight_decay: float, *, weighted: bool
) -> None:
    """Loss, gradient, jvp and hvp; with weights on the rows, which the last two lack, the first."""
    network = make_weighted_network(
        shape, np.float64, seed=seed, weighted=weighted, weight_decay=weight_decay
    )
    assume(away_from_kinks(network.params, network.X))
    order = 1 if weighted else 2
    WITNESSES[name].check(handwritten(network), vector(network.params), order=order)


def without_decay(network: WeightedNetwork) -> Handwritten:
    return handwritten(network._replace(weight_decay=0.0))


def by_ggnvp(network: WeightedNetwork) -> Callable[[Array, Array], Array]:
    """The product with the Gauss-Newton matrix, for the Hessian's, at the network's parameters."""
    params, _, X, y, weight_decay, _ = network
    return lambda _, v: vector(
        manual_nn.ggnvp(params, layers(v, params), X, y, weight_decay=weight_decay)
    )


FAULTS: dict[str, Callable[[WeightedNetwork], dict[str, Any]]] = {
    "a gradient without the decay": lambda network: {"gradient": without_decay(network).gradient},
    "a jvp without the decay": lambda network: {"d_loss": without_decay(network).d_loss},
    "an hvp without the decay": lambda network: {"hvp": without_decay(network).hvp},
    "ggnvp for hvp": lambda network: {"hvp": by_ggnvp(network)},
}


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("fault", FAULTS)
@given(seed=seeds)
@settings(max_examples=3)
def test_the_witness_s_own_differences_refute_a_fault(name: str, fault: str, seed: int) -> None:
    network = make_weighted_network(
        Shape((2, 3, 2), 4, soft=True), np.float64, seed=seed, weighted=False, weight_decay=0.1
    )
    assume(away_from_kinks(network.params, network.X))
    faulty = handwritten(network)._replace(**FAULTS[fault](network))
    with pytest.raises((AssertionError, RuntimeError), match=r"(?i)check of|mismatch"):
        WITNESSES[name].check(faulty, vector(network.params), order=2)
