"""pocketsphinx, where it is installed."""

import pytest


@pytest.fixture
def sphinx():
    """The module; skips where the extra `align` is missing."""
    return pytest.importorskip("pocketsphinx", reason="no pocketsphinx (the extra align)")
