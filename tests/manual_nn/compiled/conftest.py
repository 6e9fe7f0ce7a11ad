"""What these tests share."""

import pytest

from tests.support import compiled


@pytest.fixture(params=compiled.WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: on the compiled functions, and on those that Python runs."""
    compiled.take(request.param, monkeypatch)
