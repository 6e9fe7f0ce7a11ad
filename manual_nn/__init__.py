"""A neural network whose every derivative is derived by hand, in plain NumPy."""

from manual_nn import rowwise
from manual_nn.backprop import Dense
from manual_nn.network import (
    init_params,
    input_grad,
    logits,
    loss,
    loss_and_grad,
    predict,
    predict_proba,
)
from manual_nn.training import EarlyStopping, History, TrainingResult, train

__all__ = [
    "Dense",
    "EarlyStopping",
    "History",
    "TrainingResult",
    "init_params",
    "input_grad",
    "logits",
    "loss",
    "loss_and_grad",
    "predict",
    "predict_proba",
    "rowwise",
    "train",
]
