"""A neural network whose every derivative is derived by hand, in plain NumPy.

The network and its gradient are imported at once, the rest when it is first asked for, so that
importing the package takes hardly longer than importing NumPy.
"""

import importlib
from typing import TYPE_CHECKING

from manual_nn.layers.dense import Dense
from manual_nn.models.mlp import (
    init_params,
    input_grad,
    logits,
    loss,
    loss_and_grad,
    predict,
    predict_proba,
)
from manual_nn.models.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manual_nn.derivatives.curvature import (
        fisher_diagonal,
        ggn,
        ggn_diagonal,
        ggnvp,
        hessian,
        hvp,
        jvp,
    )
    from manual_nn.derivatives.per_example import (
        clipped_grad,
        per_example_grad_norms,
        per_example_grads,
    )
    from manual_nn.interfaces import distributed as distributed
    from manual_nn.interfaces.estimator import BackpropClassifier as BackpropClassifier
    from manual_nn.models import mlp_by_rows as rowwise
    from manual_nn.training.adam import Adam, AdamW
    from manual_nn.training.early_stopping import Convergence, EarlyStopping, Patience
    from manual_nn.training.history import History, TrainingDiverged, TrainingResult
    from manual_nn.training.loop import train
    from manual_nn.training.optimizer import OptimizerState
    from manual_nn.training.schedule import CosineSchedule
    from manual_nn.training.sgd import SGD

    check_autograd_function: Callable[..., Any]
    check_custom_rule: Callable[..., Any]
    check_gradient: Callable[..., Any]
    check_hvp: Callable[..., Any]
    check_jvp: Callable[..., Any]
    check_layer: Callable[..., Any]
    check_vjp: Callable[..., Any]

# Without checks and estimator: a star import must not need JAX or scikit-learn, nor wait for them.
__all__ = [  # noqa: RUF022, SGD is a class like the others
    "Adam",
    "AdamW",
    "Convergence",
    "CosineSchedule",
    "Dense",
    "EarlyStopping",
    "History",
    "OptimizerState",
    "Patience",
    "SGD",
    "TrainingDiverged",
    "TrainingResult",
    "Workspace",
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

_MODULE_OF = {
    name: f"manual_nn.{module}"
    for module, names in {
        "derivatives.curvature": "fisher_diagonal ggn ggn_diagonal ggnvp hessian hvp jvp",
        "derivatives.per_example": "clipped_grad per_example_grad_norms per_example_grads",
        "interfaces.estimator": "BackpropClassifier",
        "training.adam": "Adam AdamW",
        "training.early_stopping": "Convergence EarlyStopping Patience",
        "training.history": "History TrainingDiverged TrainingResult",
        "training.loop": "train",
        "training.optimizer": "OptimizerState",
        "training.schedule": "CosineSchedule",
        "training.sgd": "SGD",
    }.items()
    for name in names.split()
}

# What the package `reference` has, which needs JAX.
_CHECKS = (
    "check_autograd_function",
    "check_custom_rule",
    "check_gradient",
    "check_hvp",
    "check_jvp",
    "check_layer",
    "check_vjp",
)

_MODULES = {
    "distributed": "manual_nn.interfaces.distributed",
    "rowwise": "manual_nn.models.mlp_by_rows",
}

if not TYPE_CHECKING:  # to a type checker it would make every name exist

    def __getattr__(name: str) -> object:
        """Import what is asked for."""
        if name in _MODULES:
            value: object = importlib.import_module(_MODULES[name])
        elif name in _CHECKS:
            checks = importlib.import_module("manual_nn.interfaces.checks")
            value = getattr(checks.package(), name)
        elif name in _MODULE_OF:
            value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List what there is, the estimator and the checks only where what they need is installed."""
    from importlib.util import find_spec  # noqa: PLC0415, not needed otherwise

    names = {*globals(), *__all__}
    names |= {"BackpropClassifier"} if find_spec("sklearn") else set()
    return sorted(names | set(_CHECKS if find_spec("jax") else ()))
