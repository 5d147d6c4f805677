"""A time zone of a person is one that exists, wherever it is set."""

from __future__ import annotations

import pytest
from django.test import Client

from scloud.accounts.actions import update_profile
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role

# What the data base of zones has beside zones, what looks like one, and what leads elsewhere.
NO_ZONES = ["Factory", "localtime", "posixrules", "Mars/Olympus", "europe/berlin", "../UTC", ""]


@pytest.fixture
def boss(db: None) -> Client:
    """A platform administrator's browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def form_of(user: User, **changes: str) -> dict[str, str]:
    return {
        "email": user.email,
        "tenant": str(user.tenant_id),
        "role": user.role,
        "is_active": "on",
        "time_zone": user.time_zone,
        **changes,
    }


@pytest.mark.parametrize("zone", NO_ZONES)
def test_an_administrator_sets_real_zones_only(
    boss: Client, user: User, tenant: Tenant, zone: str
) -> None:
    url, before = f"/admin/tenancy/user/{user.pk}/change/", user.time_zone
    answer = boss.post(url, form_of(user, time_zone=zone))
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == ["time_zone"]
    new = {"email": "new@acme.test", "new_password": "another good passphrase", "time_zone": zone}
    answer = boss.post("/admin/tenancy/user/add/", form_of(user, role=Role.OWNER, **new))
    assert list(answer.context["adminform"].form.errors) == ["time_zone"]
    user.refresh_from_db()
    assert user.time_zone == before
    assert not User.objects.filter(email="new@acme.test").exists()
    assert boss.post(url, form_of(user, time_zone="Europe/Berlin")).status_code == 302
    user.refresh_from_db()
    assert user.time_zone == "Europe/Berlin"


@pytest.mark.parametrize("zone", NO_ZONES)
def test_the_action_refuses_for_every_caller(actor: Actor, user: User, zone: str) -> None:
    before = user.time_zone
    with pytest.raises(InvalidInput) as refused:
        update_profile(actor=actor, values={"time_zone": zone, "full_name": "Ada"})
    assert (refused.value.code, refused.value.field) == ("time_zone_unknown", "time_zone")
    user.refresh_from_db()
    assert (user.time_zone, user.full_name) == (before, "")
    update_profile(actor=actor, values={"time_zone": "Europe/Berlin"})
    user.refresh_from_db()
    assert user.time_zone == "Europe/Berlin"


def test_a_zone_that_is_none_any_more_keeps_nobody_from_other_changes(
    actor: Actor, user: User
) -> None:
    User.objects.filter(pk=user.pk).update(time_zone="Factory")
    user.refresh_from_db()
    assert actor.user is not None
    actor.user.time_zone = "Factory"
    update_profile(actor=actor, values={"time_zone": "Factory", "full_name": "Ada"})
    user.refresh_from_db()
    assert (user.time_zone, user.full_name) == ("Factory", "Ada")
