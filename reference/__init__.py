"""The network of `manual_nn` by JAX autodiff, and the comparison of any result with JAX's."""

from manual_nn import Dense
from reference import rules  # registers the rounding rules of JAX's primitives
from reference.comparison import Comparer, Comparison, Leaf, Verdict
from reference.network import (
    init_params,
    input_grad,
    logits,
    loss,
    loss_and_grad,
    predict,
    predict_proba,
)
from reference.rounding import Bounded, Rounding, Traced, register_rule

__all__ = [
    "Bounded",
    "Comparer",
    "Comparison",
    "Dense",
    "Leaf",
    "Rounding",
    "Traced",
    "Verdict",
    "init_params",
    "input_grad",
    "logits",
    "loss",
    "loss_and_grad",
    "predict",
    "predict_proba",
    "register_rule",
    "rules",
]
