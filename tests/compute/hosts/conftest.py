"""What the tests of hosts share."""

import pytest

from scloud.tenancy.models import User
from tests.compute.hosts.yard import at_once, yard

__all__ = ["at_once", "yard"]


@pytest.fixture
def superuser(db: None) -> User:
    """An administrator of the platform."""
    return User.objects.create_superuser("root@example.org", "pw")
