"""A neural network whose every derivative is derived by hand, in plain NumPy."""

from manual_nn import rowwise
from manual_nn.backprop import Dense
from manual_nn.curvature import fisher_diagonal, ggn, ggn_diagonal, ggnvp, hessian, hvp, jvp
from manual_nn.network import (
    init_params,
    input_grad,
    logits,
    loss,
    loss_and_grad,
    predict,
    predict_proba,
)
from manual_nn.per_example import clipped_grad, per_example_grad_norms, per_example_grads
from manual_nn.training import EarlyStopping, History, TrainingResult, train

__all__ = [
    "Dense",
    "EarlyStopping",
    "History",
    "TrainingResult",
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
    "rowwise",
    "train",
]
