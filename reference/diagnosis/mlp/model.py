"""What the diagnosis knows of our MLP beyond what it knows of any loss."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from manual_nn import Dense
from reference.bounds.rounding import Bounded
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.diagnosis.found import Found
from reference.diagnosis.mlp.explanation import Gradient, explain
from reference.diagnosis.mlp.recognition import like_ours, recognised_weight_decay
from reference.models import mlp

# What the mistakes of operations mean for this network
RELUS = {"relu", "max", "maximum", "select_n", "where", "_where"}
OF_RELUS = {
    ("identity", ""): Code.RELU_MASK_MISSING,
    ("inverted", ""): Code.RELU_MASK_INVERTED,
    ("passes_at_zero", ""): Code.RELU_MASK_INCLUDES_ZERO,
    ("whole_to_both_tied", ""): Code.RELU_MASK_INCLUDES_ZERO,
    ("applied_to_upstream", ""): Code.RELU_APPLIED_TO_GRADIENT,
    ("forgotten_upstream", ""): Code.UPSTREAM_GRADIENT_DROPPED,
    ("another_factor", "result"): Code.DELTA_TIMES_ACTIVATION,
    ("another_factor", "result * (1 - result)"): Code.SIGMOID_DERIVATIVE_ON_RELU,
    ("another_factor", "another > 0"): Code.RELU_MASK_WRONG_LAYER,
}
OF_OPERATIONS = {
    "summed_over_all": Code.BIAS_GRADIENT_SUMMED_OVER_UNITS,
    "transposed": Code.WEIGHT_TRANSPOSED_IN_BACKWARD,
    "softmax_on_top": Code.SOFTMAX_DERIVATIVE_ON_TOP,
    "softmax_on_top_of_all": Code.SOFTMAX_DERIVATIVE_ON_TOP,
    "updated_before": Code.WEIGHT_UPDATED_BEFORE_BACKWARD,
}


def recognise(difference: Difference) -> "MLP | None":
    """Take a gradient in the parameters of layers that chain, followed by X and y."""
    of_params = difference.argnums in (0, (0,), [0])
    return MLP(difference) if of_params and like_ours(difference.args) else None


class MLP:
    """Dense layers with ReLUs between them, softmax cross-entropy and weight decay.

    Its `penalty_factors` and `causes` make sure that the loss is this one; that takes the loss's
    gradient once more.
    """

    def __init__(self, difference: Difference) -> None:
        """Take a gradient whose arguments are like ours."""
        self.difference = difference

    @functools.cached_property
    def weight_decay(self) -> Bounded | None:
        """The weight decay, with a bound on what is not known of it; None for another loss."""
        return recognised_weight_decay(self.difference)

    @property
    def gradient(self) -> Gradient:
        """The leaves of the gradient, as the layers have them."""
        params = self.difference.args[0]
        layers = jax.tree.unflatten(jax.tree.structure(params), self.difference.leaves)
        return [Dense(*layer) for layer in layers]

    @property
    def penalty_factors(self) -> Sequence[float]:
        """The weight decay, if the loss is ours and has one."""
        decay = 0.0 if self.weight_decay is None else float(self.weight_decay.value)
        return [decay] if decay else []

    def causes(self) -> Iterator[Cause]:
        """List the faults that explain the gradient, each code once."""
        if self.weight_decay is None:
            return
        difference, seen = self.difference, set()
        everything = range(len(difference.leaves))
        evidence = difference.evidence(everything, explained=True)
        dtype = difference.rounding.dtype
        for fault, ratio, rate in explain(self.gradient, difference.args, self.weight_decay, dtype):
            if fault.code in seen:
                continue
            seen.add(fault.code)
            words = [fault.code.description, fault.how]
            if rate:
                words.append(f"The learning rate is {rate}.")
            yield Cause(
                fault.code,
                " ".join(filter(None, words)),
                f"{evidence}, at most {ratio:.2g} of it off",
            )

    def code_of(self, found: Found) -> Code:
        """Say what a number that explains all that is wrong means for this network.

        Of the data term alone, it has to explain every array that gets any of it.
        """
        leaves, number = self.difference.leaves, found.number
        of_biases = all(leaves[i].want.ndim == 1 for i in found.leaves)
        of_weights = all(leaves[i].want.ndim == 2 for i in found.leaves)
        if found.code == Code.LAST_ROW_ONLY and of_biases:
            return Code.BIAS_LAST_ROW_ONLY
        if number is None or self.weight_decay is None:
            return found.code
        N, decay = len(self.difference.args[1]), float(self.weight_decay.value)
        if found.code in {Code.SIGN, Code.SCALED}:
            if of_biases and 1 / N in number:
                return Code.BIAS_GRADIENT_AVERAGED
            everywhere = all(i in found.leaves or not x.want.any() for i, x in enumerate(leaves))
            codes = {-1.0: Code.SIGN_OF_DELTA, 1 / N: Code.ONE_OVER_N_TWICE, **self.data_factors}
            named = (code for c, code in codes.items() if everywhere and c in number)
            return next(named, found.code)
        if found.code == Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER and decay:
            of_penalty = {
                -2.0: Code.PENALTY_MISSING,
                -1.0: Code.PENALTY_WITHOUT_FACTOR_2,
                -4.0: Code.DECAY_SUBTRACTED,
                2.0 * (N - 1): Code.PENALTY_PER_ROW,
            }
            codes = of_penalty if of_weights else {2.0: Code.PENALTY_ON_BIAS} if of_biases else {}
            return next((code for c, code in codes.items() if c * decay in number), found.code)
        return found.code

    def code_of_operation(self, cause: Cause) -> Code:
        """Say what a mistake at one operation, or at all of its name, means for this network."""
        if self.weight_decay is None:
            return cause.code
        wrong = [self.difference.leaves[i].want.ndim for i in self.difference.wrong]
        of_biases, of_weights = max(wrong) == 1, min(wrong) == 2
        if cause.operation in RELUS:
            if cause.kind == "identity" and of_biases:
                return Code.BIAS_GRADIENT_FROM_UNMASKED_DELTA
            return OF_RELUS.get((cause.kind, cause.formula), cause.code)
        if cause.kind == "transposed" and of_weights:  # which is not what goes down
            return cause.code
        if cause.factor == 0 and self._is_of_probabilities():
            return Code.LABEL_TERM_MISSING
        return OF_OPERATIONS.get(cause.kind, cause.code)

    def _is_of_probabilities(self) -> bool:
        """Say whether the error at the logits is p / N, so that the last bias gets a sum of 1.

        Of (p - y) / N they sum to 0, and of -y / N to -1, so that half of the digits will tell.
        """
        last = np.asarray(self.gradient[-1].bias.got, np.float64)
        near = float(np.sqrt(np.finfo(self.difference.rounding.dtype).eps))
        return bool((last >= 0).all() and abs(last.sum() - 1) < near)

    @property
    def data_factors(self) -> Mapping[float, Code]:
        """What a mean over the classes, too, makes of the data term."""
        _, bias = self.difference.args[0][-1]
        classes = np.size(bias)
        known = self.weight_decay is not None and classes > 1
        return {1 / classes: Code.MEAN_OVER_CLASSES_TOO} if known else {}

    def warnings(self) -> list[str]:
        """Say if the penalty's gradient, 2 weight_decay W, is nowhere above the bound.

        Only where the loss is `reference.loss` itself with its `weight_decay` bound to it by
        `functools.partial`: finding the weight decay of any other loss would take a second
        gradient, for a warning that few need.
        """
        weight_decay = _own_weight_decay(self.difference.loss)
        if not weight_decay > 0:
            return []
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = [
                layer.weight.bound / (2 * abs(np.asarray(weight, np.float64)))
                for layer, (weight, _) in zip(self.gradient, self.difference.args[0], strict=True)
            ]
        visible = min(float(np.nanmin(array)) for array in needed)
        if weight_decay >= visible:
            return []
        warning = (
            f"the gradient of the penalty, weight_decay {weight_decay:.3g}, is lost in the bound: "
            f"a mistake in it would only show from {visible:.3g} on"
        )
        return [warning]


def _own_weight_decay(loss: Callable[..., Any]) -> float:
    """Read the weight decay off a `functools.partial` of our loss; 0 for any other loss."""
    if isinstance(loss, functools.partial) and loss.func is mlp.loss:
        return float(loss.keywords.get("weight_decay", 0.0))
    return 0.0
