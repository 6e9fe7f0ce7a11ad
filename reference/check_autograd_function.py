"""Check a torch.autograd.Function against JAX autodiff of its twin."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax

from reference.arguments import Argnums, in_words, same_structure
from reference.check_layer import Pullback, check_passes
from reference.limit import SECONDS
from reference.report import GradientReport

Tensor: TypeAlias = Any  # PyTorch's, which a type checker need not know


def check_autograd_function(
    function: Any,
    twin: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = None,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check both passes of a torch.autograd.Function against its JAX twin, element by element.

    |torch.autograd.grad(out, args, d_out) - jax.vjp(twin, *args)[1](d_out)| <= bound

    at several upstream gradients d_out, dense, sparse and one-hot ones; and likewise the outputs.
    The function is applied as in a training, by PyTorch's autograd engine, to tensors of the
    arguments' dtypes on their devices. The bound is that of `check_gradient`, and the report that
    of `check_layer`.

    Args:
        function: a subclass of `torch.autograd.Function`, or any function of tensors that PyTorch
            differentiates, such as a module or what calls `MyFunction.apply`. Returns a tensor or a
            tuple of tensors. A gradient of None counts as zeros, as it does in PyTorch.
        twin: the forward pass for JAX; takes the same arguments, as arrays of JAX's, and returns
            arrays in the same structure.
        *args: where to check. Tensors of real numbers are float32, float64, bfloat16 or float16;
            whatever is no tensor, such as a flag, an axis or a string, is passed on unchanged.
        argnums: which arguments the gradient is taken in, by number or by name; by default those
            that hold a tensor of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether both passes are right.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: the function cannot be called; an argument at argnums is no tensor of real
            numbers; the twin returns something that is not real, or in another structure.
        ValueError: there are no arguments at argnums; explain_seconds is negative.
    """
    import torch  # noqa: PLC0415, an extra

    is_class = isinstance(function, type) and issubclass(function, torch.autograd.Function)
    apply = function.apply if is_class else function  # a module's `apply` is something else
    if not callable(apply):
        raise TypeError(f"function must be a torch.autograd.Function, got {function!r}")
    layer = Pullback(twin, args, argnums, explain_seconds)
    for place in layer.places:
        for leaf in jax.tree.leaves(args[place]):
            if not isinstance(leaf, torch.Tensor):
                kind = type(leaf).__name__
                raise TypeError(f"{layer.name(place)} must be a torch.Tensor, got {kind}")

    def forward(*args: Any) -> tuple[Any, _Applied]:
        chosen, structure = jax.tree.flatten(layer.chosen(args))
        tensors = [tensor.detach().requires_grad_() for tensor in chosen]
        every = layer.of_chosen(apply, [_detached(arg) for arg in args])
        with torch.enable_grad():
            out = every(*jax.tree.unflatten(structure, tensors))
        if not same_structure(out, layer.out):
            wanted, got = in_words(layer.out), in_words(out)
            raise TypeError(f"the twin must return what the function does, {got}, got {wanted}")
        return jax.tree.map(_detached, out), _Applied(out, tensors, structure)

    def backward(d_out: Any, kept: _Applied) -> Any:
        """Take d_out back through the outputs that depend on anything."""
        outs, d_outs = jax.tree.leaves(kept.out), jax.tree.leaves(d_out)
        pairs = [(out, d) for out, d in zip(outs, d_outs, strict=True) if out.requires_grad]
        gradients: Sequence[Tensor | None] = [None] * len(kept.tensors)
        if pairs:
            gradients = torch.autograd.grad(
                [out for out, _ in pairs], kept.tensors, [d for _, d in pairs], allow_unused=True
            )
        layer.nothing = frozenset(i for i, one in enumerate(gradients) if one is None)
        filled = [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(kept.tensors, gradients, strict=True)
        ]
        return jax.tree.unflatten(kept.structure, filled)

    return check_passes(layer, forward, backward, what="autograd function")


class _Applied(NamedTuple):
    """What a function was applied to, and its output, with what PyTorch has noted of it."""

    out: Any
    tensors: list[Tensor]
    structure: Any


def _detached(arg: Any) -> Any:
    """Take tensors out of the graph that they are in."""
    return jax.tree.map(lambda leaf: leaf.detach() if hasattr(leaf, "detach") else leaf, arg)
