"""check_autograd_function, where PyTorch is installed: tensors in, tensors out, in their dtypes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from reference import Verdict, check_autograd_function, check_gradient, check_layer
from reference.foreign import Exchange, as_kind

torch: Any = pytest.importorskip("torch")


class Dense(torch.autograd.Function):  # type: ignore[misc, unused-ignore]  # PyTorch or not
    """A dense layer with a tanh, and an unused argument; a factor spoils the gradient of w."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, _: Any, factor: float) -> Any:
        """Keep what the backward pass needs."""
        out = torch.tanh(x @ w)
        ctx.save_for_backward(x, w, out)
        ctx.factor = factor
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Any) -> Any:
        """Give the gradients in x and w; that in the unused argument is 0, which is None."""
        x, w, out = ctx.saved_tensors
        assert d_out.dtype == out.dtype == x.dtype
        d_z = d_out * (1 - out**2)
        return d_z @ w.T, x.T @ d_z * ctx.factor, None, None


def twin(x: Any, w: Any, unused: Any, factor: float) -> Any:  # noqa: ARG001, as the function's
    return jnp.tanh(x @ w)


def tensors(dtype: Any, *shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=shape) / 4).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_right_function_matches_and_a_wrong_one_is_named_in_its_own_precision(
    dtype: str,
) -> None:
    args = tensors(getattr(torch, dtype), (4, 3), (3, 2), (2,))
    args[0].requires_grad_()
    report = check_autograd_function(Dense, twin, *args, 1.0)
    assert (report.verdict, report.dtype) == (Verdict.MATCH, dtype)
    assert [leaf.got.dtype.name for leaf in (*report.leaves, *report.forward)] == [dtype] * 4
    wrong = check_autograd_function(Dense, twin, *args, 2.0)
    assert wrong.causes[0].code.value == "scaled"
    assert [leaf.path for leaf in wrong.leaves if leaf.wrong.any()] == ["['w']"]
    assert args[0].grad is None


def test_a_gradient_that_is_none_and_should_not_be_is_said_to_be() -> None:
    class Bias(Dense):
        """The dense layer, which forgets the gradient of w."""

        @staticmethod
        def backward(ctx: Any, d_out: Any) -> Any:
            """Give the gradient in x alone, three times."""
            d_x, *_ = Dense.backward(ctx, d_out)
            return 3 * d_x, None, None, None

    args = tensors(torch.float64, (4, 3), (3, 2), (2,))
    report = check_autograd_function(Bias, twin, *args, 1.0, explain_seconds=0)
    first, second = report.causes
    assert (first.code.value, second.code.value) == ("zero", "scaled")
    assert first.sentence.endswith("None was returned in its place (['w']).")
    assert "hands down" not in str(report)


def test_several_outputs_and_a_function_that_applies_another() -> None:
    def both(x: Any, w: Any) -> Any:
        return Dense.apply(x, w, None, 1.0), x.detach()  # whose gradient is not taken

    def twins(x: Any, w: Any) -> Any:
        return jnp.tanh(x @ w), x

    x, w = tensors(torch.float64, (4, 3), (3, 2))
    report = check_autograd_function(both, twins, x, w)
    assert report.verdict == Verdict.MISMATCH
    assert "(d_out[1] is taken for 0)" in report
    assert check_autograd_function(both, twins, x, w, argnums="w").ok
    report = check_autograd_function(lambda x, w: (2 * both(x, w)[0], x), twins, x, w)
    assert report.verdict == Verdict.WRONG_FORWARD


def test_a_gradient_by_pytorch_and_a_layer_of_tensors_are_checked_as_they_are() -> None:
    def by_pytorch(x: Any) -> Any:
        x = x.detach().requires_grad_()
        return torch.autograd.grad((x**3).sum(), x)[0]

    (x,) = tensors(torch.float32, (3,))
    assert check_gradient(by_pytorch, lambda x: (x**3).sum(), x.requires_grad_()).ok
    x = x.detach()
    buffer = torch.empty(3)

    def overwrites(d_out: Any, x: Any) -> Any:
        return torch.mul(d_out, 2 * x, out=buffer)

    def writes(d_out: Any, x: Any) -> Any:
        return d_out * x.mul_(2)

    for backward, verdict in (
        (overwrites, Verdict.ALIASED_OUTPUT),
        (writes, Verdict.MUTATED_INPUT),
    ):
        report = check_layer(lambda x: x**2, backward, jnp.square, x)
        assert report.verdict == verdict


def test_tensors_require_gradients_as_they_did_and_directions_never_do() -> None:
    x, w = tensors(torch.bfloat16, (3,), (3,))
    exchange = Exchange((x.requires_grad_(), w))
    d_out, *args = exchange.handed(exchange.args[0], *exchange.args)
    assert [tensor.requires_grad for tensor in (d_out, *args)] == [False, True, False]
    assert all(tensor.dtype == torch.bfloat16 for tensor in (d_out, *args))
    assert torch.equal(args[0], x)
    assert not as_kind(exchange.args[0], x, plain=True).requires_grad
    assert as_kind(exchange.args[0], x).requires_grad


def test_a_module_is_a_function_too() -> None:
    (x,) = tensors(torch.float32, (3,))
    assert check_autograd_function(torch.nn.Tanh(), jnp.tanh, x).ok


def test_what_is_no_function_or_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"function must be a torch.autograd.Function, got 'tanh'"):
        check_autograd_function("tanh", jnp.tanh, torch.ones(3))
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got ndarray"):
        check_autograd_function(Dense, twin, np.ones((4, 3)), torch.ones(3, 2), None, 1.0)
    sparse = torch.ones(3, 3).to_sparse()
    with pytest.raises(TypeError, match=r"args\[0\] must be a dense tensor, got a sparse_coo one"):
        check_autograd_function(Dense, twin, sparse, torch.ones(3, 2), None, 1.0)
    words = "must return what the function does, a Tensor, got a tuple of 1"
    with pytest.raises(TypeError, match=words):
        check_autograd_function(torch.tanh, lambda x: (jnp.tanh(x),), torch.ones(3))
    words = r"square hands something what .* write it with jax.numpy \(.* must be Tensor"
    with pytest.raises(TypeError, match=words):
        check_autograd_function(torch.square, torch.square, torch.ones(3))


def test_a_tensor_that_numpy_has_no_array_for_is_refused_with_what_to_do() -> None:
    x = torch.ones(3, 3)
    with pytest.raises(TypeError, match=r"the result must be a dense tensor, got .*\.to_dense\(\)"):
        check_gradient(lambda x: (2 * x).to_sparse(), lambda x: (x**2).sum(), x)
    words = r"args\[0\] must be bfloat16, float16, float32 or float64, got float8_e4m3fn"
    with pytest.raises(TypeError, match=words):
        check_gradient(lambda x: 2 * x, lambda x: (x**2).sum(), x.to(torch.float8_e4m3fn))
