"""A box with money and segments outside."""

from __future__ import annotations

import pytest

from network.models import ExternalSegment
from scloud.tenancy.actor import Actor
from tests.billing.helpers import fund
from tests.compute.box import Box
from tests.outside import make_segment


@pytest.fixture
def segment(box: Box, actor: Actor) -> ExternalSegment:
    """A segment with a default route; the tenant has money."""
    assert actor.tenant is not None
    fund(actor.tenant, cash="100000")
    made = make_segment(box.platform.region)
    box.run()
    return made


@pytest.fixture
def office(segment: ExternalSegment) -> ExternalSegment:
    """Another one on the same VLAN, with specified routes."""
    return make_segment(
        segment.region,
        name="office",
        cidr="198.51.100.0/24",
        gateway="198.51.100.1",
        route_policy="specified",
        destinations=["10.99.0.0/16"],
    )


@pytest.fixture
def sixth(segment: ExternalSegment) -> ExternalSegment:
    """One of IPv6 on the same VLAN."""
    return make_segment(
        segment.region,
        name="six",
        ip_version=6,
        cidr="2001:db8:113::/64",
        gateway="2001:db8:113::1",
    )
