"""A tenant with money and a network, and its program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scloud.tenancy.models import Tenant, User
from tests.api.client import Program, program_of
from tests.billing.helpers import fund
from tests.compute.box import box, fabric, make_box
from tests.compute.factories import PASSWORD, Platform, give_network

__all__ = ["box", "fabric", "make_box"]


@pytest.fixture
def program(user: User) -> Program:
    """The owner's program."""
    return program_of(user)


@pytest.fixture
def ready(platform: Platform, tenant: Tenant) -> Platform:
    """The tenant has a network and 1000.00."""
    give_network(tenant, platform.region)
    fund(tenant, cash="1000")
    return platform


@pytest.fixture
def order(tenant: Tenant) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a good order for a platform, with changes."""

    def make(platform: Platform, **changes: Any) -> dict[str, Any]:
        network = give_network(tenant, platform.region)
        assert network.subnet is not None
        body: dict[str, Any] = {
            "region": platform.region.pk,
            "cluster": platform.cluster.pk,
            "image": platform.image.pk,
            "vcpus": 1,
            "memory_mib": 2048,
            "system_disk_type": platform.disk_type.pk,
            "system_disk_gib": 40,
            "subnet": network.subnet.pk,
            "internal_security_group": network.security_group.pk,
            "name": "web",
            "password": PASSWORD,
            "billing_method": "hour",
            "periods": 1,
            "count": 1,
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    return make


@pytest.fixture
def bought(
    program: Program, order: Callable[..., dict[str, Any]], ready: Platform
) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that quotes an order and buys it."""

    def buy(**changes: Any) -> list[dict[str, Any]]:
        body = order(ready, **changes)
        quoted = program.post("/vms/quote", body)
        assert quoted.status == 200, quoted.body
        answer = program.post("/vms", {**body, "quote_token": quoted.body["token"]})
        assert answer.status == 201, answer.body
        found: list[dict[str, Any]] = answer.body
        return found

    return buy
