"""The operations of a jaxpr in NumPy, one by one, with every sum added up in an order of its own.

XLA chooses one order of summation; a right implementation may have any. Here each sum and each
product of matrices is added up forward, backward, shuffled, in blocks, pairwise, or by fused
multiply-adds, in the precision under test.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special
from jax.extend import core

from reference.arrays import Array
from reference.bounds.registry import RULES
from reference.bounds.rounding import Rounding, exact
from reference.bounds.rules.calls import scan_counts
from reference.bounds.rules.indexing import scatter_add
from reference.jaxprs import is_exp_neg_sq

BLOCKS = 8


class Numpy:
    """The operations of a jaxpr in NumPy, in one precision, with its own order of summation.

    Attributes:
        dtype: the precision of every real number.
        order: "forward" or "backward" one after the other, "shuffled", "blocked" in eight sums
            at once, "pairwise" as NumPy does, and, for products of matrices, "fused" multiply-adds.
    """

    ORDERS = ("forward", "backward", "shuffled", "blocked", "pairwise", "fused")

    def __init__(self, dtype: npt.DTypeLike, order: str, rng: np.random.Generator) -> None:
        """Take the precision and the order; rng shuffles."""
        self.dtype, self.order, self.rng = np.dtype(dtype), order, rng
        self.layout = Rounding(dtype)

    def evaluate(self, jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Evaluate a jaxpr operation by operation."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        known = {variable: self.held(value) for variable, value in known.items()}

        def read(atom: Any) -> Array:
            return self.held(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            results = self.apply(eqn.primitive.name, [read(a) for a in eqn.invars], eqn.params)
            results = results if isinstance(results, list) else [results]
            known.update(zip(eqn.outvars, map(self.held, results), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def held(self, value: Any) -> Array:
        """Round to the precision."""
        array = np.asarray(value)
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def apply(self, name: str, args: list[Array], params: dict[str, Any]) -> Any:
        """Apply a primitive."""
        if name == "scan":
            return self._scan(*args, **params)
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        if inner is not None and is_exp_neg_sq(inner):
            return np.exp(-args[0] * args[0])
        if inner is not None:
            return self.evaluate(inner.jaxpr, inner.consts, args)
        if (own := getattr(self, "_" + name.replace("-", "_"), None)) is not None:
            return own(*args, **params)
        if name in ELEMENTWISE and args[0].dtype.kind == "f":
            return ELEMENTWISE[name](*args)
        # What moves elements, or chooses between them, does not round: the rule's value will do.
        if name not in EXACT:
            raise NotImplementedError(name)
        result = RULES[name](self.layout, *map(exact, args), **params)
        return [part.value for part in result] if isinstance(result, list) else result.value

    def add_up(self, terms: Array) -> Array:
        """Add up along the first axis."""
        if self.order == "pairwise":
            return np.asarray(terms.sum(axis=0, dtype=self.dtype))
        if self.order == "blocked" and len(terms) > BLOCKS:
            return self._one_by_one(
                np.stack([self._one_by_one(terms[i::BLOCKS]) for i in range(BLOCKS)])
            )
        if self.order == "backward":
            terms = terms[::-1]
        elif self.order == "shuffled":
            terms = self.rng.permutation(terms, axis=0)
        return self._one_by_one(terms)

    def _one_by_one(self, terms: Array) -> Array:
        total = np.zeros(terms.shape[1:], self.dtype)
        for term in terms:
            total = total + term
        return total

    def _scan(
        self, *args: Array, jaxpr: Any, length: int, reverse: bool, **params: Any
    ) -> list[Array]:
        """Take the steps one after the other."""
        num_consts, num_carry = scan_counts(params)
        consts, carry = args[:num_consts], list(args[num_consts : num_consts + num_carry])
        sequences = args[num_consts + num_carry :]
        outputs: list[list[Array]] = []
        for step in range(length)[::-1] if reverse else range(length):
            items = [sequence[step] for sequence in sequences]
            results = self.evaluate(jaxpr.jaxpr, jaxpr.consts, [*consts, *carry, *items])
            carry, ys = results[:num_carry], results[num_carry:]
            outputs.append(ys)
        in_order = outputs[::-1] if reverse else outputs
        return carry + [np.stack(column) for column in zip(*in_order, strict=True)]

    def _integer_pow(self, x: Array, *, y: int) -> Array:
        power = x
        for _ in range(abs(y) - 1):
            power = power * x
        return power if y > 0 else 1 / power

    def _reduce_sum(self, x: Array, *, axes: tuple[int, ...], **_: Any) -> Array:
        if x.dtype.kind != "f":
            return np.asarray(x.sum(axis=axes))
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        return self.add_up(
            x.transpose([*axes, *kept]).reshape(-1, *(x.shape[axis] for axis in kept))
        )

    def _dot_general(self, a: Array, b: Array, *, dimension_numbers: Any, **_: Any) -> Array:
        (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
        a_free = [axis for axis in range(a.ndim) if axis not in (*a_sum, *a_batch)]
        b_free = [axis for axis in range(b.ndim) if axis not in (*b_sum, *b_batch)]
        batch = [a.shape[axis] for axis in a_batch]
        rows, columns = [a.shape[axis] for axis in a_free], [b.shape[axis] for axis in b_free]
        A = a.transpose([*a_sum, *a_batch, *a_free])
        B = b.transpose([*b_sum, *b_batch, *b_free])
        A = A.reshape(-1, math.prod(batch), math.prod(rows), 1)
        B = B.reshape(-1, math.prod(batch), 1, math.prod(columns))
        return self._products(A, B).reshape(*batch, *rows, *columns)

    def _products(self, A: Array, B: Array) -> Array:
        if self.order != "fused":
            return self.add_up(A * B)
        total = np.zeros(np.broadcast_shapes(A.shape, B.shape)[1:], self.dtype)
        wide = np.float64 if self.dtype == np.float32 else np.longdouble
        for a, b in zip(A, B, strict=True):
            total = (total + np.multiply(a, b, dtype=wide)).astype(self.dtype)
        return total

    def _conv_general_dilated(
        self, x: Array, kernel: Array, *, dimension_numbers: Any, padding: Any, **params: Any
    ) -> Array:
        """Multiply each window of the images with the kernel, for strides and dilations of 1."""
        steps = (*params["window_strides"], *params["lhs_dilation"], *params["rhs_dilation"])
        assert set(steps) == {1}, steps
        x = np.pad(x.transpose(dimension_numbers.lhs_spec), ((0, 0), (0, 0), *padding))
        kernel = kernel.transpose(dimension_numbers.rhs_spec)
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
        images, _, height, width, *_ = windows.shape
        A = windows.transpose(1, 4, 5, 0, 2, 3).reshape(-1, images, 1, height, width)
        B = kernel.transpose(1, 2, 3, 0).reshape(-1, 1, len(kernel), 1, 1)
        return self._products(A, B).transpose(np.argsort(dimension_numbers.out_spec))

    def _scatter_add(self, x: Array, indices: Array, updates: Array, **params: Any) -> Array:
        """Add the rows in another order, where there are rows."""
        if self.order in {"backward", "shuffled"} and indices.ndim == 2:
            order = np.arange(len(indices))[::-1]
            order = self.rng.permutation(order) if self.order == "shuffled" else order
            indices, updates = indices[order], updates[order]
        return scatter_add(x, indices, updates, **params)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "square": lambda x: x * x,
    "one_minus_square": lambda x: (1 + x) * (1 - x),
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "erf": scipy.special.erf,
    "erfc": lambda x: 1 - scipy.special.erf(x),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "pow": np.power,
}
EXACT = {
    *("add", "sub", "mul", "neg", "abs", "sign", "max", "min", "reduce_max", "eq", "ne", "lt"),
    *("le", "gt", "ge", "and", "or", "not", "is_finite", "select_n", "convert_element_type"),
    *("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "slice"),
    *("concatenate", "pad", "copy", "stop_gradient", "iota", "gather", "split", "reduce_or"),
}
