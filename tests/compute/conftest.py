"""What the compute tests share."""

import pytest

from compute.models import VM
from scloud.tenancy.actor import Actor
from tests.compute.box import box, fabric, make_box
from tests.compute.factories import Platform, make_vm
from tests.compute.things import program, rival, things

__all__ = ["box", "fabric", "make_box", "program", "rival", "things"]


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM of the tenant."""
    return make_vm(platform, actor, name="web")
