"""Tenants, users and actors for tests."""

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled

PASSWORD = "correct horse 9 battery"


@pytest.fixture
def region(db: None) -> Region:
    """A region without hosts."""
    return Region.objects.create(id="box", name="Box")


@pytest.fixture
def tenant(db: None) -> Tenant:
    """The tenant that most tests act for."""
    return Tenant.objects.create(name="Acme")


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    """Somebody else."""
    return Tenant.objects.create(name="Rival")


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    """Return a function that makes a user of a tenant with a role."""

    def make(tenant: Tenant, role: str = Role.OWNER, email: str | None = None) -> User:
        return User.objects.create_user(
            email or f"{role}@{tenant.name.lower()}.test", PASSWORD, tenant=tenant, role=role
        )

    return make


@pytest.fixture
def user(tenant: Tenant, make_user: Callable[..., User]) -> User:
    """The owner of the tenant."""
    return make_user(tenant)


@pytest.fixture
def actor(tenant: Tenant, user: User) -> Actor:
    """The owner, in the console."""
    return Actor(tenant=tenant, user=user, role=user.role, via="console", ip="192.0.2.7")


@pytest.fixture
def scoped(tenant: Tenant) -> Iterator[Tenant]:
    """Run the test inside the scope of the tenant."""
    with scope(tenant=tenant):
        yield tenant


@pytest.fixture
def unscoped() -> Iterator[None]:
    """Run the test with a view of all tenants, as the platform has."""
    with scopes_disabled():
        yield


@pytest.fixture
def console(user: User) -> Client:
    """A browser in which the owner is signed in."""
    client = Client()
    client.force_login(user)
    return client
