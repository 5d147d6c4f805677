"""Staff looks at a tenant's console as one of its users would: it sees, it changes nothing, it is
seen, and it ends."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute.models import VM
from scloud.audit.models import Operation
from scloud.lib.errors import Forbidden
from scloud.tenancy import acting
from scloud.tenancy.actor import ACTING, Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm
from tests.isolation.routes import KNOWN, all_routes
from tests.isolation.world import Caller, address, fill, fingerprint, furnish, make_caller
from tests.outside import make_segment


@pytest.fixture
def member(db: None) -> User:
    return User.objects.create_user(
        "support@platform.test", "a long secret 9", is_staff=True, staff_role="support"
    )


@pytest.fixture
def support(member: User) -> Client:
    """A browser in which a member of the staff is signed in."""
    client = Client()
    client.force_login(member)
    return client


def look(client: Client, user: User, reason: str = "Ticket 4711") -> None:
    url = reverse("admin:tenancy_user_act_as", args=[user.pk])
    assert client.post(url, {"reason": reason}).status_code == 302


def log(tenant: Tenant) -> list[Operation]:
    with scopes_disabled():
        return list(Operation.objects.filter(tenant=tenant, verb=acting.RIGHT).order_by("id"))


def test_the_console_is_the_tenants_and_says_so(
    support: Client, user: User, tenant: Tenant
) -> None:
    assert tenant.name not in support.get("/tasks/").content.decode()
    look(support, user)
    html = support.get("/tasks/").content.decode()
    assert f"You look at {tenant.name} as {user.email} until" in html
    assert "data-live-socket" not in html
    # The administration goes on.
    assert support.get(reverse("admin:index")).status_code == 200
    assert support.get(reverse("second-factor"), follow=True).status_code == 200
    # Their own account is not the user's.
    assert user.email not in support.get("/profile/").content.decode()


def test_the_tenant_reads_who_looked_and_why(
    support: Client, console: Client, user: User, tenant: Tenant
) -> None:
    look(support, user)
    entry = log(tenant)[0]
    assert (entry.actor, entry.via, entry.succeeded) == ("support@platform.test", "admin", True)
    assert entry.after is not None
    assert entry.after["user"] == user.email
    assert entry.after["reason"] == "Ticket 4711"
    assert "support@platform.test" in console.get("/operations/").content.decode()
    answer = support.post(reverse("acting-end"))
    assert answer.headers["Location"] == reverse("admin:tenancy_user_change", args=[user.pk])
    assert len(log(tenant)) == 2
    assert tenant.name not in support.get("/tasks/").content.decode()


def test_the_page_of_a_vm_asks_its_guest_nothing(
    support: Client, console: Client, user: User, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor)
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(status="running", task="")
    url, asks = reverse("vm-detail", args=[vm.pk]), reverse("vm-look-facts", args=[vm.pk])
    assert asks in console.get(url).content.decode()
    look(support, user)
    html = support.get(url).content.decode()
    assert vm.name in html
    assert asks not in html
    assert "The guest agent is being asked" not in html


def test_a_request_under_way_does_not_undo_its_end(
    support: Client, user: User, tenant: Tenant
) -> None:
    look(support, user)
    key = support.session.session_key
    copy = SessionStore(key)
    assert acting.KEY in copy
    support.post(reverse("acting-end"))
    copy["seen_at"] = 0.0
    with pytest.raises(UpdateError):
        copy.save()
    assert tenant.name not in support.get("/tasks/").content.decode()
    # Nor is there a way back with the former cookie.
    former = Client()
    former.cookies[settings.SESSION_COOKIE_NAME] = str(key)
    assert former.get("/tasks/").status_code == 302


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_it_takes_a_reason(support: Client, user: User, tenant: Tenant, reason: str) -> None:
    url = reverse("admin:tenancy_user_act_as", args=[user.pk])
    assert support.post(url, {"reason": reason}).status_code == 200
    assert acting.KEY not in support.session


def test_it_ends_by_itself(
    support: Client, user: User, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(support, user)
    now = timezone.now()
    assert support.session[acting.KEY]["until"] <= now.timestamp() + 1800
    session = support.session
    session[acting.KEY] = {"user": user.pk, "until": int((now - timedelta(seconds=1)).timestamp())}
    session.save()
    assert tenant.name not in support.get("/tasks/").content.decode()
    assert acting.KEY not in support.session


@pytest.mark.parametrize("what", ["right", "user", "tenant"])
def test_it_ends_with_what_it_stands_on(
    support: Client, member: User, user: User, tenant: Tenant, what: str
) -> None:
    look(support, user)
    assert tenant.name in support.get("/tasks/").content.decode()
    if what == "right":
        User.objects.filter(pk=member.pk).update(staff_role="finance")
    elif what == "user":
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    assert tenant.name not in support.get("/tasks/").content.decode()


def test_only_users_of_tenants_are_looked_as(support: Client, user: User) -> None:
    root = User.objects.create_superuser("root@platform.test", "x")
    url = reverse("admin:tenancy_user_act_as", args=[root.pk])
    assert support.post(url, {"reason": "Why not"}).status_code == 404
    User.objects.filter(pk=user.pk).update(is_active=False)
    url = reverse("admin:tenancy_user_act_as", args=[user.pk])
    assert "Only an active user" in support.post(url, {"reason": "Gone"}).content.decode()
    assert acting.KEY not in support.session


@pytest.mark.parametrize("role", ["finance", "operations"])
def test_it_is_a_right_of_its_own(role: str, user: User) -> None:
    client = Client()
    client.force_login(
        User.objects.create_user("x@platform.test", "x", is_staff=True, staff_role=role)
    )
    url = reverse("admin:tenancy_user_act_as", args=[user.pk])
    assert client.post(url, {"reason": "Curious"}).status_code == 403


def test_a_tenants_user_cannot_forge_it(console: Client, user: User, other_tenant: Tenant) -> None:
    other = User.objects.create_user("other@elsewhere.test", "x", tenant=other_tenant)
    session = console.session
    later = int(timezone.now().timestamp()) + 1000
    session[acting.KEY] = {"user": other.pk, "until": later}
    session.save()
    html = console.get("/tasks/").content.decode()
    assert other_tenant.name not in html
    assert "You look at" not in html


@pytest.mark.unmeasured
def test_no_url_changes_anything(
    support: Client, platform: Platform, tenant: Tenant, user: User
) -> None:
    make_segment(platform.region)
    make_segment(
        platform.region,
        name="six",
        ip_version=6,
        cidr="2001:db8::/64",
        gateway=None,
        route_policy="none",
    )
    caller: Caller = make_caller(user, furnish(platform, tenant, user, "zebra"), "zebra")
    samples = defaultdict(lambda: "none", caller.samples)
    look(support, user)
    before = fingerprint()
    wrong, tried = [], 0
    for route in all_routes():
        known = KNOWN[route.name]
        if route.api or route.name in ("logout", "acting-end") or known.unlisted:
            continue
        url = address(route, known, caller.samples)
        if url.startswith(acting._OWN):
            continue
        for method, write in known.writes.items():
            tried += 1
            answer = getattr(support, method)(url, fill(write.body, samples))
            if answer.status_code != 403:
                wrong.append((method, route.name, answer.status_code))
        if "get" in route.methods:
            support.get(url)
    assert tried > 100
    assert wrong == []
    assert fingerprint() == before


def test_only_rights_to_look_are_left(member: User, tenant: Tenant) -> None:
    actor = Actor(tenant=tenant, user=member, role=Role.OWNER, via=ACTING)
    assert actor.allows("compute.view_vm")
    for right in ("compute.start_vm", "compute.download_image", "billing.spend", "platform.act_as"):
        assert not actor.allows(right)
    with pytest.raises(Forbidden) as refusal:
        actor.require("compute.start_vm")
    assert refusal.value.code == "acting_read_only"
    narrow = Actor(tenant=tenant, user=member, role=Role.OPERATOR, via=ACTING)
    assert not narrow.allows("billing.view_order")


def test_the_api_is_not_opened(support: Client, user: User) -> None:
    look(support, user)
    assert support.get("/api/v1/vms").status_code in (401, 403, 404)


def test_what_is_refused_says_why(support: Client, user: User) -> None:
    look(support, user)
    answer = support.post(reverse("set-appearance"), {"theme": "dark"})
    assert answer.status_code == 403
    assert "Nothing can be changed" in answer.content.decode()
