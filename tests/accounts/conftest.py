"""The time by which codes of apps are compared."""

from types import SimpleNamespace

import pytest

from scloud.accounts import second_factor
from tests.accounts.factor import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module that compares codes."""
    made = Clock()
    monkeypatch.setattr(second_factor, "timezone", SimpleNamespace(now=lambda: made.now))
    return made
