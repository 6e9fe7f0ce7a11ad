"""Arrays of other libraries, such as PyTorch's and CuPy's: how they come here and go back.

They come by the DLPack protocol, which they all speak. PyTorch's are told apart where that falls
short: no tensor is exported that requires a gradient, and NumPy takes no bfloat16. A check computes
with NumPy's arrays, gives them to JAX, and to handwritten functions those of the caller's kind.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import jax
import ml_dtypes
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from reference.arrays import PRECISION, Array

HOST = 1  # DLPack's number of the kind of device

# PyTorch's tensors, which a type checker need not know.
Tensor: TypeAlias = Any


class Exchange:
    """How the arguments of a check become NumPy's arrays, and again what they were.

    Attributes:
        args: the arguments, each array of another library copied into NumPy's.
        kind: an array of the kind that has real numbers among them, if there is one.
    """

    def __init__(self, args: Sequence[Any]) -> None:
        """Copy the arrays.

        Raises:
            TypeError: one of them cannot be copied to the host's memory.
        """
        paths = [
            f"args[{i}]{keystr(path)}"
            for i, arg in enumerate(args)
            for path, _ in tree_leaves_with_path(arg)
        ]
        self._given, structure = jax.tree.flatten(tuple(args))
        hosted = [
            np.array(_at_home(leaf, path)) if is_foreign(leaf) else leaf
            for leaf, path in zip(self._given, paths, strict=True)
        ]
        self._any = any(map(is_foreign, self._given))
        self.args: tuple[Any, ...] = tuple(args)  # the caller's own, lists and dicts too
        if self._any:
            self.args = jax.tree.unflatten(structure, hosted)
        self.kind = next(
            (
                leaf
                for leaf, array in zip(self._given, hosted, strict=True)
                if is_foreign(leaf) and jax.numpy.issubdtype(array.dtype, np.inexact)
            ),
            None,
        )

    def handed(self, *arrays: Any) -> tuple[Any, ...]:
        """Give arrays the kinds that they came in: a direction, if there is one, and the arguments.

        What PyTorch has on the host shares the memory of the array that it is made of.
        """
        count = len(arrays) - len(self.args)
        directions, args = arrays[:count], arrays[count:]
        leaves, structure = jax.tree.flatten(args)
        leaves = [
            as_kind(leaf, given) if is_foreign(given) else leaf
            for leaf, given in zip(leaves, self._given, strict=True)
        ]
        if self.kind is not None:
            directions = jax.tree.map(lambda leaf: as_kind(leaf, self.kind, plain=True), directions)
        return (*directions, *jax.tree.unflatten(structure, leaves))

    def hosted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function of arrays as they were given one of NumPy's arrays.

        What it writes to an argument is written to NumPy's array too, wherever it is.
        """

        def of_hosted(*arrays: Any) -> Any:
            if not self._any:
                return at_home(function(*arrays))
            handed = self.handed(*arrays)
            structure: Any = jax.tree.structure(handed)
            result = at_home(function(*handed))
            if structure != jax.tree.structure(handed):
                raise ValueError("the function must not change the structure of its arguments")
            for array, leaf in zip(jax.tree.leaves(arrays), jax.tree.leaves(handed), strict=True):
                if is_foreign(leaf) and not np.shares_memory(now := at_home(leaf), array):
                    np.copyto(array, now)
            return result

        return of_hosted


def at_home(result: Any) -> Any:
    """Make NumPy's arrays of those in a tree; on the host they share the memory."""
    if isinstance(result, Iterator):  # which is none of JAX's trees
        return np.array(result, object)
    return jax.tree.map(
        lambda leaf: _at_home(leaf, "the result") if is_foreign(leaf) else leaf, result
    )


def is_foreign(leaf: Any) -> bool:
    """Say whether it is an array that is neither NumPy's nor JAX's, and speaks DLPack."""
    if isinstance(leaf, (np.ndarray, np.generic, jax.Array, type)):
        return False
    return hasattr(leaf, "__dlpack__") and hasattr(leaf, "__dlpack_device__")


def _at_home(leaf: Any, name: str) -> Array:
    """Give an array of another library as NumPy's: on the host a view, or else a copy.

    Raises:
        TypeError: it cannot be had there, or NumPy has no such arrays.
    """
    torch = _torch_of(leaf)
    if torch is not None and leaf.layout != torch.strided:
        kind = str(leaf.layout).removeprefix("torch.")
        raise TypeError(f"{name} must be a dense tensor, got a {kind} one: call .to_dense()")
    if torch is not None and str(leaf.dtype).startswith("torch.float8"):
        raise TypeError(f"{name} {PRECISION}, got {str(leaf.dtype).removeprefix('torch.')}")
    try:
        return _of_dlpack(leaf) if torch is None else _of_torch(leaf, torch)
    except Exception as error:  # each library has its own
        msg = (
            f"{name} must be an array that can be copied to the host's memory, got "
            f"{type(leaf).__module__}.{type(leaf).__name__} ({str(error).partition(chr(10))[0]})"
        )
        raise TypeError(msg) from error


def as_kind(array: Array, like: Any, *, plain: bool = False) -> Any:
    """Make an array one of the library, and on the device, of another.

    Args:
        array: NumPy's.
        like: of the library.
        plain: whether it never requires a gradient, as PyTorch's may.

    Raises:
        TypeError: the library has no `asarray`.
    """
    torch = _torch_of(like)
    if torch is not None:
        tensor = _to_torch(np.asarray(array), torch).to(like.device)
        return tensor.requires_grad_(requires_grad=like.requires_grad and not plain)
    if hasattr(like, "__array_namespace__"):
        library = like.__array_namespace__()
    else:
        library = sys.modules[type(like).__module__.partition(".")[0]]
    if not hasattr(library, "asarray"):
        raise TypeError(f"{library.__name__} must have a function asarray, to be given arrays")
    return library.asarray(array)


def _torch_of(leaf: Any) -> ModuleType | None:
    """Give PyTorch if it is one of its tensors."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(leaf, torch.Tensor) else None


def _of_torch(tensor: Tensor, torch: Any) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return np.from_dlpack(tensor.view(torch.int16)).view(ml_dtypes.bfloat16)
    return np.from_dlpack(tensor)


def _to_torch(array: Array, torch: Any) -> Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _of_dlpack(leaf: Any) -> Array:
    """Take an array, by a copy if it is not on the host."""
    on_host = leaf.__dlpack_device__()[0] == HOST
    try:
        return np.from_dlpack(leaf) if on_host else np.from_dlpack(leaf, device="cpu")
    except Exception:
        if hasattr(leaf, "get"):  # CuPy's, where its DLPack does not copy
            return np.asarray(leaf.get())
        if on_host:
            return np.asarray(jax.dlpack.from_dlpack(leaf))  # which knows bfloat16
        raise
