"""What the compute tests share."""

import pytest

from compute.models import VM
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from tests.compute.factories import Platform, make_platform, make_vm


@pytest.fixture
def platform(region: Region) -> Platform:
    """Two hosts with room, sizes, an image and prices."""
    return make_platform(region)


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM of the tenant."""
    return make_vm(platform, actor, name="web")
