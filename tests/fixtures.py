"""Tenants, users and actors for tests."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.test import Client
from django.utils import timezone

from scloud.tenancy import ratelimit
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled

PASSWORD = "correct horse 9 battery"


def new_user(tenant: Tenant, role: str = Role.OWNER, email: str | None = None) -> User:
    """Make a user of a tenant with a role."""
    return User.objects.create_user(
        email or f"{role}@{tenant.name.lower()}.test", PASSWORD, tenant=tenant, role=role
    )


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    """Return a function that makes a user of a tenant with a role."""
    return new_user


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


@pytest.fixture
def one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of the test are counted in the same window.

    Windows begin with the minute of the clock; a test that counts to a limit would else pass or
    fail by the second in which it begins.
    """
    moment = timezone.now().replace(second=30)
    monkeypatch.setattr(ratelimit, "timezone", SimpleNamespace(now=lambda: moment))
