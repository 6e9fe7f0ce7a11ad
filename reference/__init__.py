"""The network of `manual_nn` by JAX autodiff, and the comparison of any result with JAX's.

CHECK_ANYTHING.md has a recipe for each kind of backward pass: NumPy, C, PyTorch, JAX and CUDA.
"""

from manual_nn import Dense
from reference.bounds import rules  # registers the rounding rules of JAX's primitives
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.tracing import Traced
from reference.check import check_gradient
from reference.check_autograd_function import check_autograd_function
from reference.check_custom_rule import check_custom_rule
from reference.check_jvp import check_hvp, check_jvp
from reference.check_layer import check_layer, check_vjp
from reference.compare import Comparer, Comparison, Leaf, Verdict
from reference.derivatives import (
    clipped_grad,
    fisher_diagonal,
    ggn,
    ggn_diagonal,
    ggnvp,
    hessian,
    hvp,
    jvp,
    per_example_grad_norms,
    per_example_grads,
)
from reference.diagnosis.codes import Cause, Code
from reference.models.mlp import (
    init_params,
    input_grad,
    logits,
    loss,
    loss_and_grad,
    predict,
    predict_proba,
)
from reference.report import GradientReport

__all__ = [
    "Bounded",
    "Cause",
    "Code",
    "Comparer",
    "Comparison",
    "Dense",
    "GradientReport",
    "Leaf",
    "Rounding",
    "Traced",
    "Verdict",
    "check_autograd_function",
    "check_custom_rule",
    "check_gradient",
    "check_hvp",
    "check_jvp",
    "check_layer",
    "check_vjp",
    "clipped_grad",
    "fisher_diagonal",
    "ggn",
    "ggn_diagonal",
    "ggnvp",
    "hessian",
    "hvp",
    "init_params",
    "input_grad",
    "jvp",
    "logits",
    "loss",
    "loss_and_grad",
    "per_example_grad_norms",
    "per_example_grads",
    "predict",
    "predict_proba",
    "register_rule",
    "rules",
]
