"""A gradient beside JAX's, with everything that a hypothesis may want to know of it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from reference.arguments import Derivative, argument_names, is_array
from reference.arrays import Array, counted
from reference.bounds.rounding import Bounded, Rounding
from reference.compare import Leaf, Verdict
from reference.diagnosis.fitting import positive_numbers
from reference.diagnosis.model import Model
from reference.digits import FEWEST, most_roundings
from reference.limit import Limit


@dataclass(frozen=True)
class Difference:
    """A gradient beside JAX's, and where both were computed.

    Nothing is computed before it is asked for, so that one costs nothing where all is right.

    Attributes:
        leaves: the arrays of the gradient beside JAX's, in the order of its tree.
        loss: what it is the gradient of.
        args: the arguments of the loss.
        argnums: which of them the gradient is taken in.
        undecided: the places of the leaves whose errors are so small that they may be lost digits.
        of_layers: whether the leaves may be those of layers, one above the other, rather than the
            arguments of a single one.
        names_of_args: their names, as far as they have any; by default those in the loss.
        limit: on the search for causes.
        nothing: the places of the leaves in whose place None was returned, which counts as zeros.
        gradient: of the loss at these arguments, if it was traced before.
        model: that the loss and its arguments look like, where the diagnosis has recognised one.
    """

    leaves: Sequence[Leaf]
    loss: Callable[..., Any]
    args: tuple[Any, ...]
    argnums: int | Sequence[int]
    undecided: frozenset[int] = frozenset()
    of_layers: bool = True
    names_of_args: Sequence[str] = ()
    limit: Limit = field(default_factory=Limit)
    nothing: frozenset[int] = frozenset()
    gradient: Derivative | None = None
    model: Model | None = None

    @functools.cached_property
    def wrong(self) -> frozenset[int]:
        """The places in `leaves` of those that are a mismatch."""
        return frozenset(
            i for i, leaf in enumerate(self.leaves) if leaf.verdict == Verdict.MISMATCH
        )

    @functools.cached_property
    def places(self) -> tuple[int, ...]:
        """The numbers of the arguments that the gradient is taken in, counted from 0."""
        given = (self.argnums,) if isinstance(self.argnums, int) else tuple(self.argnums)
        return tuple(place % len(self.args) for place in given)

    @functools.cached_property
    def params(self) -> list[Array]:
        """The parameter of each leaf, in float64."""
        leaves = jax.tree.leaves([self.args[i] for i in self.places])
        return [np.asarray(leaf, np.float64) for leaf in leaves]

    @property
    def names_in_loss(self) -> list[str]:
        """The names of the arguments, or else their numbers."""
        names = self.names_of_args or argument_names(self.loss, len(self.args))
        return [name or f"argument {i}" for i, name in enumerate(names)]

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays among the arguments, by their names."""
        return {
            name + jax.tree_util.keystr(path): np.asarray(leaf)
            for name, arg in zip(self.names_in_loss, self.args, strict=True)
            for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
            if is_array(leaf)
        }

    @property
    def others(self) -> list[Any]:
        """The arguments that the gradient is not taken in."""
        return [arg for i, arg in enumerate(self.args) if i not in self.places]

    @functools.cached_property
    def N(self) -> int | None:  # noqa: N802, as in the equations
        """The number of rows: the length of the first array that is no parameter, if any."""
        shapes = (np.shape(leaf) for leaf in jax.tree.leaves(self.others))
        return next((shape[0] for shape in shapes if shape), None)

    @functools.cached_property
    def rounding(self) -> Rounding:
        """The arithmetic of the gradient, with every kink within rounding left open."""
        dtype = np.result_type(*(leaf.got.dtype for leaf in self.leaves))
        return Rounding(dtype, kinks="open")

    @functools.cached_property
    def penalty_factors(self) -> Sequence[float]:
        """Numbers that may be a weight decay: what the model says, or those among the arguments."""
        of_model = self.model.penalty_factors if self.model else ()
        return of_model or positive_numbers(self.others)

    def is_telling(self, leaves: frozenset[int]) -> bool:
        """Say whether errors of these leaves can tell a number that is fitted to them from chance.

        The few errors that lost digits have made may well be multiples of anything.
        """
        wrong = sum(int(self.leaves[i].wrong.sum()) for i in leaves)
        return not leaves <= self.undecided or wrong >= FEWEST

    def of_row(self, row: int) -> Iterator[dict[int, Bounded]]:
        """Compute the gradient of the loss of one row alone, for each leaf that has one.

        The batch is taken to be the arrays of N rows among the other arguments and then, in case
        the gradient is taken in a part of the batch, among all of them.
        """
        if self.N is None or self.N < 2:
            return

        def cut(leaf: Any) -> Any:
            shape = np.shape(leaf)
            return leaf[row : row + 1] if shape and shape[0] == self.N else leaf

        others = tuple(
            arg if i in self.places else jax.tree.map(cut, arg) for i, arg in enumerate(self.args)
        )
        batches = [others]
        if any(np.shape(leaf)[:1] == (self.N,) for leaf in self.params):
            batches.append(jax.tree.map(cut, self.args))
        for which, batch in enumerate(batches):
            rounding = Rounding(self.rounding.dtype, kinks="open")
            try:
                gradient = self._of_one_row.get(which)
                if gradient is None:
                    gradient = Derivative(
                        jax.grad(self.loss, self.argnums), batch, traced=self.places
                    )
                    arrays = sum(map(is_array, jax.tree.leaves(batch)))
                    if len(gradient.where) >= arrays:  # nothing of the row is built in
                        self._of_one_row[which] = gradient
                result = gradient.traced.bounded(*gradient.arrays(batch), rounding=rounding)
            except Exception:  # noqa: S112, a stranger's loss need not take a single row
                continue
            leaves = jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounded))
            yield {
                i: leaf
                for i, leaf in enumerate(leaves)
                if leaf.value.shape == self.leaves[i].want.shape
            }

    @functools.cached_property
    def _of_one_row(self) -> dict[int, Derivative]:
        """The gradient of the loss of one row, traced, for each way to take one."""
        return {}

    def names(self, leaves: Iterable[int]) -> str:
        """Name these leaves in words."""
        leaves = sorted(leaves)
        if len(leaves) == len(self.leaves) > 1:
            return "every array"
        shown = [self.leaves[i].path or "the array" for i in leaves[:4]]
        return ", ".join(shown) + (f" and {len(leaves) - 4} more" if len(leaves) > 4 else "")

    def evidence(self, leaves: Iterable[int], *, explained: bool = False) -> str:
        """Count the elements of these leaves that are wrong and, perhaps, explained."""
        text, size = outside([self.leaves[i] for i in sorted(leaves)])
        return f"{text}; with this mistake all {size:,} are within its bound" if explained else text

    def doubt(self, leaves: Iterable[int]) -> str:
        """Say how small the errors of these leaves are, and what would tell their origin."""
        leaves = sorted(leaves)
        most = int(np.ceil(max(most_roundings(self.leaves[i]) for i in leaves)))
        roundings = f"{most} roundings" if most > 1 else "one rounding"
        array = "the" if len(self.leaves) == 1 else "its array's"
        finer = ", or check in float64" if self.leaves[0].got.dtype != np.float64 else ""
        return (
            f"{self.evidence(leaves)}, none by more than {roundings} of {array} "
            f"largest element; hand in a function that takes both precisions{finer}: the "
            "other precision will tell lost digits from a mistake"
        )


def outside(leaves: Iterable[Leaf], witness: str = "autodiff") -> tuple[str, int]:
    """Count the elements of these leaves that are wrong, in words, and all of them."""
    chosen = list(leaves)
    wrong = sum(int(leaf.wrong.sum()) for leaf in chosen)
    size = sum(leaf.want.size for leaf in chosen)
    are = "is" if wrong == 1 else "are"
    text = f"{wrong:,} of {counted(size, 'element')} {are} farther from {witness}"
    return f"{text} than rounding allows", size
