"""What is not installed is named with the extra that installs it."""

import pytest

from manual_nn.checks.extras import train_extra


def test_an_import_that_fails_says_how_to_install_what_it_needs() -> None:
    with pytest.raises(ImportError) as caught, train_extra("a parser"):
        raise ImportError("No module named 'parser'")
    wanted = "this needs a parser (No module named 'parser'): pip install 'manual-nn[train]'"
    assert str(caught.value) == wanted


def test_what_can_be_imported_goes_through() -> None:
    with train_extra("a parser"):
        reached = True
    assert reached
