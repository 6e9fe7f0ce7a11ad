"""The passes of a layer by hand, in NumPy and compiled, by JAX and by PyTorch, and bare products.

A forward pass makes what its backward pass needs: by hand `kept`, by JAX the residuals of
`jax.vjp`, jitted, by PyTorch the graph of its eager autograd. A backward pass starts there, so that
the two can be timed apart. JAX and PyTorch are imported where they are used, as PyTorch may be
missing and JAX reads its settings when it starts.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from benchmarks.layers.table import TABLE, Arguments, Axes, Draws, Product, Row
from benchmarks.speed.timing import installed
from manual_nn.arrays import Array


class Passes(NamedTuple):
    """One way to compute a layer.

    Attributes:
        forward, backward: what is timed.
        kept: bytes that the forward pass leaves for the backward pass, beside the arguments.
        gradients: turns what `backward` returns into (d_params, d_x) in our form, or those of them
            that there are, as a flat list of arrays.
        out: turns what `forward` returns into the output in our form.
    """

    forward: Callable[[], Any]
    backward: Callable[[], Any]
    kept: int
    out: Callable[[Any], Array]
    gradients: Callable[[Any], list[Array]]


CONTENDERS = ("ours", "compiled", "JAX", "PyTorch")
OUR_LAYERS = {"ours": "manual_nn.layers", "compiled": "manual_nn.compiled.layers"}


def passes_of(
    name: str, draws: Draws | None = None, contenders: Sequence[str] = CONTENDERS
) -> dict[str, Passes]:
    """Set up the layer of this name in every way that there is: not every one is compiled."""
    modules = {who: f"{room}.{name}" for who, room in OUR_LAYERS.items()}
    ours = {who: importlib.import_module(one) for who, one in modules.items() if find_spec(one)}
    twin = importlib.import_module(f"reference.layers.{name}")
    return all_passes(TABLE[name], ours, twin, draws, contenders)


def all_passes(
    row: Row,
    ours: Mapping[str, Any],
    twin: Any,
    draws: Draws | None = None,
    contenders: Sequence[str] = CONTENDERS,
) -> dict[str, Passes]:
    """Set up what has the forward and the backward pass of a layer, its twin, and PyTorch's."""
    arguments = row.draw(draws or Draws())
    d_out = draw_d_out(ours["ours"], arguments)
    makers: dict[str, Callable[[], Passes]] = {
        who: functools.partial(by_hand, layer, arguments, d_out) for who, layer in ours.items()
    }
    makers["JAX"] = lambda: by_jax(twin, arguments, d_out)
    if installed("torch"):
        makers["PyTorch"] = lambda: by_torch(row, arguments, d_out)
    return {who: makers[who]() for who in contenders if who in makers}


def draw_d_out(layer: Any, arguments: Arguments) -> Array:
    """Draw what comes back to the output; 1 to a loss."""
    params, x, options, _ = arguments
    out, _ = layer.forward(params, x, **options)
    return Draws().normal(*out.shape) if np.ndim(out) else np.ones((), np.float32)


def leaves(tree: Any) -> list[Any]:
    """List the arrays in it, in order."""
    import jax  # noqa: PLC0415

    return list(jax.tree.leaves(tree))


def by_hand(layer: Any, arguments: Arguments, d_out: Array) -> Passes:
    """The layer of manual_nn; a loss is not told that its d_out is 1."""
    params, x, options, _ = arguments
    _, kept = layer.forward(params, x, **options)
    given = [leaf for leaf in leaves((params, x, options)) if isinstance(leaf, np.ndarray)]
    last = (d_out,) if d_out.ndim else ()
    return Passes(
        lambda: layer.forward(params, x, **options),
        lambda: layer.backward(params, kept, *last),
        sum(array.nbytes for array in arrays_kept(kept, given)),
        lambda result: np.asarray(result[0]),
        leaves,
    )


def arrays_kept(kept: Any, given: list[Array]) -> list[Array]:
    """List the arrays of `kept` that are none of the arguments, each once."""
    found: dict[int, Array] = {}
    for leaf in leaves(kept):
        if isinstance(leaf, np.ndarray) and not any(np.shares_memory(leaf, one) for one in given):
            whole = leaf.base if isinstance(leaf.base, np.ndarray) else leaf
            found[id(whole)] = whole
    return list(found.values())


def fields_kept(name: str, draws: Draws | None = None) -> list[str]:
    """Name the fields of `kept` that hold arrays, whether new ones or arguments."""
    params, x, options, _ = TABLE[name].draw(draws or Draws())
    _, kept = importlib.import_module(f"manual_nn.layers.{name}").forward(params, x, **options)
    fields = kept._asdict().items()
    return [name for name, value in fields if any(np.ndim(leaf) for leaf in leaves(value))]


def by_jax(twin: Any, arguments: Arguments, d_out: Array) -> Passes:
    """The twin, jitted, and its vjp: arrays among the options are arguments of the program."""
    import jax  # noqa: PLC0415

    params, x, options, of_twin = arguments
    options = options if of_twin is None else of_twin
    arrays = {key: leaf for key, leaf in options.items() if isinstance(leaf, np.ndarray)}
    constants = {key: leaf for key, leaf in options.items() if key not in arrays}
    has_d_x = all(leaf.dtype.kind == "f" for leaf in leaves(x))

    def forward(params: Any, x: Any, arrays: Mapping[str, Any]) -> Any:
        if has_d_x:
            return jax.vjp(lambda p, x: twin.forward(p, x, **arrays, **constants), params, x)
        return jax.vjp(lambda p: twin.forward(p, x, **arrays, **constants), params)

    jitted: Any = jax.jit(forward)
    pull: Any = jax.jit(lambda vjp, d_out: vjp(d_out))
    given = jax.device_put((params, x, arrays))
    _, vjp = jitted(*given)
    on_device = jax.device_put(d_out)
    places = {leaf.unsafe_buffer_pointer() for leaf in leaves(given)}
    kept = {leaf.unsafe_buffer_pointer(): leaf.nbytes for leaf in leaves(vjp)}
    return Passes(
        lambda: jax.block_until_ready(jitted(*given)),
        lambda: jax.block_until_ready(pull(vjp, on_device)),
        sum(size for place, size in kept.items() if place not in places),
        lambda result: np.asarray(result[0]),
        lambda result: [np.asarray(leaf) for leaf in leaves(result)],
    )


def by_torch(row: Row, arguments: Arguments, d_out: Array) -> Passes:
    """PyTorch's eager autograd."""
    import jax  # noqa: PLC0415
    import torch  # noqa: PLC0415, it may be missing

    params, x, options, _ = arguments
    line, axes = row.torch, row.axes

    def laid_out(name: str, leaf: Array) -> Any:
        made = torch.tensor(leaf.transpose(order_of(axes, name, leaf)).copy())
        if not row.channels_last or made.ndim != 4:
            return made
        return made.contiguous(memory_format=torch.channels_last)

    def tensor(path: Any, leaf: Array) -> Any:
        made = laid_out(name_of(path), leaf)
        return made.requires_grad_(made.is_floating_point())

    params, x = jax.tree_util.tree_map_with_path(tensor, Given(params, x))
    constants = {
        key: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf
        for key, leaf in options.items()
    }
    inputs = [leaf for leaf in leaves((params, x)) if leaf.requires_grad]
    names = [
        name_of(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(Given(params, x))
        if leaf.requires_grad
    ]
    saved: dict[int, int] = {}

    def pack(kept: Any) -> Any:
        saved[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        out = line(params, x, **constants)
    upstream = laid_out("out", d_out)
    for leaf in leaves((params, x, constants)):
        if isinstance(leaf, torch.Tensor):
            saved.pop(leaf.untyped_storage().data_ptr(), None)

    def back(result: Any) -> list[Array]:
        return [
            in_our_order(axes, name, leaf.numpy()) for name, leaf in zip(names, result, strict=True)
        ]

    return Passes(
        lambda: line(params, x, **constants),
        lambda: torch.autograd.grad(out, inputs, upstream, retain_graph=True),
        sum(saved.values()),
        lambda result: in_our_order(axes, "out", result.detach().numpy()),
        back,
    )


class Given(NamedTuple):
    """The arguments, so that the paths of their arrays end in their names."""

    params: Any
    x: Any


def name_of(path: Any) -> str:
    """Give the name of the last field on the way to an array."""
    return str(next(key.name for key in reversed(path) if hasattr(key, "name")))


def order_of(axes: Axes, name: str, leaf: Array) -> tuple[int, ...]:
    """Say in which order PyTorch has the axes of an array."""
    order = axes.get(name, ())
    return order if len(order) == leaf.ndim else tuple(range(leaf.ndim))


def in_our_order(axes: Axes, name: str, leaf: Array) -> Array:
    """Undo that."""
    return leaf.transpose(np.argsort(order_of(axes, name, leaf)))


def bare(products: tuple[Product, ...]) -> Callable[[], None]:
    """Make products of matrices of these shapes, into arrays made before."""
    draws = Draws()
    operands = []
    for times, left, right in products:
        a, b = draws.normal(*left), draws.normal(*right)
        operands += [(a, b, np.matmul(a, b))] * times

    def run() -> None:
        for a, b, out in operands:
            np.matmul(a, b, out=out)

    return run
