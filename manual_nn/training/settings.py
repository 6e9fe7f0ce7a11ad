"""The settings of a training in a file: what JSON can hold of them."""

import dataclasses
from typing import Any


def as_json(setting: Any) -> Any:
    """Turn a setting into what JSON can hold; what has settings itself is named by its kind.

    >>> from manual_nn.training.sgd import SGD
    >>> as_json(SGD(momentum=0.5)), as_json(0.1)
    ({'kind': 'SGD', 'momentum': 0.5, 'nesterov': False}, 0.1)
    """
    if dataclasses.is_dataclass(setting):
        return {"kind": type(setting).__name__, **vars(setting)}
    if isinstance(setting, tuple) and hasattr(setting, "_asdict"):
        return {"kind": type(setting).__name__, **setting._asdict()}
    return setting
