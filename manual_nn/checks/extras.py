"""What only an extra of the package installs."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def train_extra(package: str) -> Iterator[None]:
    """Where an import fails, say how to install what it needs."""
    try:
        yield
    except ImportError as error:
        msg = f"this needs {package} ({error}): pip install 'manual-nn[train]'"
        raise ImportError(msg) from error
