"""Two tenants on one platform, furnished once for all tests of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from billing import pdf
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.permissions import Role
from scloud.web import pages
from tests.compute.factories import Platform, make_platform
from tests.fixtures import new_user
from tests.isolation.world import Caller, furnish, make_caller, quote_anew
from tests.outside import make_segment


@pytest.fixture(autouse=True)
def _room_for_many_requests(settings: Any) -> None:
    """The rate limit has tests of its own; here one caller asks hundreds of times."""
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 1_000_000
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000
    settings.SCLOUD_DEMO = True
    # Invitations can be sent.
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_PAYMENT_SANDBOX = True


@pytest.fixture(autouse=True)
def _style_guide_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a page of development; without it its URLs would not be looked at."""
    monkeypatch.setattr(pages, "_guide_allowed", lambda: None)


@pytest.fixture(autouse=True)
def _sheets_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a PDF would be drawn of can be searched, and takes no second to draw."""
    monkeypatch.setattr(pdf, "_draw", str.encode)


@dataclass(frozen=True)
class World:
    """Who is there; every test starts from these rows."""

    platform: Platform
    owner: Caller
    intruder: Caller
    colleagues: dict[str, Caller]


@pytest.fixture(scope="module")
def world(module_transaction: Callable[[], Any]) -> World:
    """Two hosts with room, and two tenants with one of everything."""
    with module_transaction():
        return _make_world()


def _make_world() -> World:
    platform = make_platform(Region.objects.create(id="box", name="Box"))
    make_segment(platform.region)
    make_segment(
        platform.region,
        name="six",
        ip_version=6,
        cidr="2001:db8::/64",
        gateway=None,
        route_policy="none",
    )
    callers: list[Caller] = []
    for name, mark in (("Acme", "zebra"), ("Rival", "mouse")):
        tenant = Tenant.objects.create(name=name)
        user = new_user(tenant)
        callers.append(make_caller(user, furnish(platform, tenant, user, mark), mark))
    owner, intruder = callers
    assert owner.user.tenant is not None
    colleagues = {
        str(role): make_caller(
            new_user(owner.user.tenant, role, f"{role}2@acme.test"), owner.samples, "zebra"
        )
        for role in Role
    }
    return World(platform, owner, intruder, colleagues)


@pytest.fixture
def owner(world: World, db: None) -> Caller:
    """The owner of the tenant that has one of everything."""
    return world.owner.anew(**quote_anew(world.platform, world.owner))


@pytest.fixture
def colleague(world: World, owner: Caller) -> Callable[[str], Caller]:
    """Return a function that returns the user of the same tenant with a role."""
    quotes = {name: value for name, value in owner.samples.items() if name.endswith("_token")}
    return lambda role: world.colleagues[role].anew(**quotes)


@pytest.fixture
def intruder(world: World, db: None) -> Caller:
    """The owner of another tenant that has one of everything too."""
    return world.intruder.anew(**quote_anew(world.platform, world.intruder))
