"""Two tenants on one platform."""

from collections.abc import Callable
from typing import Any

import pytest

from scloud.tenancy.models import Tenant, User
from tests.compute.factories import Platform, make_platform
from tests.isolation.world import Caller, furnish, make_caller


@pytest.fixture(autouse=True)
def _room_for_many_requests(settings: Any) -> None:
    """The rate limit has tests of its own; here one caller asks hundreds of times."""
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 1_000_000
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000
    settings.SCLOUD_DEMO = True


@pytest.fixture
def platform(region: Any) -> Platform:
    """Two hosts with room for both tenants."""
    return make_platform(region)


@pytest.fixture
def owner(platform: Platform, tenant: Tenant, user: User) -> Caller:
    """The owner of the tenant that has one of everything."""
    return make_caller(user, furnish(platform, tenant, user, "zebra"), "zebra")


@pytest.fixture
def colleague(
    owner: Caller, tenant: Tenant, make_user: Callable[..., User]
) -> Callable[..., Caller]:
    """Return a function that makes a user of the same tenant with a role."""

    def make(role: str) -> Caller:
        return make_caller(make_user(tenant, role, f"{role}2@acme.test"), owner.samples, "zebra")

    return make


@pytest.fixture
def intruder(platform: Platform, other_tenant: Tenant, make_user: Callable[..., User]) -> Caller:
    """The owner of another tenant that has one of everything too."""
    stranger = make_user(other_tenant)
    return make_caller(stranger, furnish(platform, other_tenant, stranger, "mouse"), "mouse")
