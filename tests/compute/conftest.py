"""What the compute tests share."""

import pytest

from compute.models import VM
from scloud.tenancy.actor import Actor
from tests.compute.factories import Platform, make_vm


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM of the tenant."""
    return make_vm(platform, actor, name="web")
