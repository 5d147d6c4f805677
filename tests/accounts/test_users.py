"""What owners do about the users of their account."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client

from scloud.accounts import users
from scloud.audit.models import Operation
from scloud.lib.errors import ScloudError, Unauthenticated
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from tests.fixtures import PASSWORD, new_user


def as_actor(user: User) -> Actor:
    return Actor(tenant=user.tenant, user=user, role=user.role, via="console", ip="192.0.2.7")


def role_of(user: User) -> str:
    return User.objects.get(pk=user.pk).role


def log(tenant: Tenant) -> list[tuple[str, bool, str]]:
    with scope(tenant=tenant):
        rows = Operation.objects.filter(verb=users.MANAGE).order_by("pk")
        return [(row.actor, row.succeeded, row.error_code) for row in rows]


def test_an_owner_manages_the_users_of_the_account(
    console: Client, user: User, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    clerk = make_user(tenant, Role.OPERATOR, "clerk@acme.test")
    stranger = new_user(Tenant.objects.create(name="Rival"))
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=clerk, name="robot")
    browser = Client()
    browser.post("/login/", {"email": clerk.email, "password": PASSWORD})
    assert browser.get("/users/").status_code == 403
    assert browser.post(f"/users/{clerk.pk}/role/", {"role": "owner"}).status_code == 403

    page = console.get("/users/").content.decode()
    assert f"Actions of {clerk.email}" in page
    assert stranger.email not in page
    for what in ("role", "deactivate", "activate", "hand-over"):
        assert console.post(f"/users/{stranger.pk}/{what}/").status_code == 404
    menu = console.get(f"/users/?menu={user.pk}").content.decode()
    assert "You cannot change your own role or access." in menu
    assert f"/users/{clerk.pk}/role/" in console.get(f"/users/?menu={clerk.pk}").content.decode()

    answer = console.post(f"/users/{clerk.pk}/role/", {"role": "finance"})
    assert answer["Location"] == "/users/"
    assert role_of(clerk) == Role.FINANCE
    # Ownership is handed over, never given by the way.
    assert console.post(f"/users/{clerk.pk}/role/", {"role": "owner"}).status_code == 422
    assert console.post(f"/users/{user.pk}/role/", {"role": "readonly"}).status_code == 422
    assert console.post(f"/users/{user.pk}/deactivate/").status_code == 422

    assert browser.get("/").status_code == 200
    assert console.post(f"/users/{clerk.pk}/deactivate/").status_code == 302
    assert browser.get("/").status_code == 302
    key.refresh_from_db()
    assert not key.is_usable
    data = {"email": clerk.email, "password": PASSWORD}
    assert browser.post("/login/", data).status_code == 422
    assert console.post(f"/users/{clerk.pk}/role/", {"role": "operator"}).status_code == 422
    assert clerk.email not in console.get("/users/?status=active").content.decode()

    assert console.post(f"/users/{clerk.pk}/activate/").status_code == 302
    assert browser.post("/login/", data).status_code == 302
    key.refresh_from_db()
    assert not key.is_usable
    codes = [code for _actor, _succeeded, code in log(tenant)]
    assert codes == ["", "own_account", "own_account", "", "user_not_active", ""]


def test_ownership_is_handed_over_with_the_password_only(
    console: Client, user: User, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    heir = make_user(tenant, Role.READONLY, "heir@acme.test")
    where = f"/users/{heir.pk}/hand-over/"
    wrong = console.post(where, {"own_role": "finance", "password": "guess"})
    assert wrong.status_code == 422
    assert "This is not your current password." in wrong.content.decode()
    assert role_of(heir) == Role.READONLY
    answer = console.post(where, {"own_role": "finance", "password": PASSWORD})
    assert answer["Location"] == "/"
    assert (role_of(user), role_of(heir)) == (Role.FINANCE, Role.OWNER)
    assert console.get("/users/").status_code == 403
    # An owner may also stay one.
    heirs = Client()
    heirs.force_login(heir)
    back = {"own_role": "owner", "password": PASSWORD}
    assert heirs.post(f"/users/{user.pk}/hand-over/", back)["Location"] == "/users/"
    assert (role_of(user), role_of(heir)) == (Role.OWNER, Role.OWNER)
    assert [line[1:] for line in log(tenant)] == [
        (False, "wrong_password"),
        (True, ""),
        (True, ""),
    ]
    # Guesses of the password here count like those of a sign-in.
    for _ in range(5):
        console.post(where, {"own_role": "finance", "password": "guess"})
    assert "this account is locked for your address" in (
        console.post(where, {"own_role": "finance", "password": PASSWORD}).content.decode()
    )


def test_a_key_manages_no_users(tenant: Tenant, user: User) -> None:
    clerk = new_user(tenant, Role.OPERATOR)
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=user, name="leaked")
    actor = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
    with pytest.raises(Unauthenticated):
        users.deactivate_user(actor=actor, user=clerk)
    with pytest.raises(Unauthenticated):
        users.hand_over(actor=actor, user=clerk, password=PASSWORD, own_role="owner")


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_act_on_each_other_leave_one(tenant: Tenant, user: User) -> None:
    other = new_user(tenant, email="other@acme.test")
    start = threading.Barrier(2)
    said: list[str] = []

    def act(me: User, them: User, verb: Callable[..., User], **values: str) -> None:
        try:
            start.wait()
            verb(actor=as_actor(me), user=them, **values)
            said.append("done")
        except ScloudError as error:
            said.append(error.code)
        finally:
            connection.close()

    pairs = [
        threading.Thread(target=act, args=(user, other, users.deactivate_user)),
        threading.Thread(
            target=act, args=(other, user, users.change_role), kwargs={"role": Role.READONLY}
        ),
    ]
    for thread in pairs:
        thread.start()
    for thread in pairs:
        thread.join()
    assert sorted(said) == ["done", "owner_no_longer"]
    assert User.objects.filter(tenant=tenant, role=Role.OWNER, is_active=True).count() == 1


# --- the administration


@pytest.fixture
def boss(db: None) -> Client:
    """An administrator of the platform, in the administration."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss@platform.test", PASSWORD))
    return client


def saved(boss: Client, user: User, **changes: str | None) -> tuple[int, str]:
    """Save a user in the administration; None leaves a box unchecked."""
    data = {
        "email": user.email,
        "full_name": user.full_name,
        "tenant": user.tenant_id,
        "role": user.role,
        "is_active": "on",
        "time_zone": user.time_zone,
        "new_password": "",
        **changes,
    }
    sent = {name: value for name, value in data.items() if value is not None}
    answer = boss.post(f"/admin/tenancy/user/{user.pk}/change/", sent)
    return answer.status_code, answer.content.decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"is_active": None},
        {"role": "finance"},
        {"tenant": "other"},
        {"tenant": "", "is_staff": "on"},
    ],
)
def test_the_administration_leaves_every_tenant_an_owner(
    boss: Client, user: User, tenant: Tenant, other_tenant: Tenant, changes: dict[str, str | None]
) -> None:
    if changes.get("tenant") == "other":
        changes = {**changes, "tenant": other_tenant.pk}
    status, page = saved(boss, user, **changes)
    assert status == 200
    assert f"{user.email} is the last owner of {tenant.name}." in page
    before = User.objects.get(pk=user.pk)
    assert (before.is_active, before.role, before.tenant) == (True, Role.OWNER, tenant)
    # What leaves the owner one is none of its business.
    assert saved(boss, user, full_name="Ada")[0] == 302
    # One who is deactivated does not count, one who is active does.
    heir = new_user(tenant, Role.OWNER, "heir@acme.test")
    User.objects.filter(pk=heir.pk).update(is_active=False)
    assert saved(boss, user, **changes)[0] == 200
    User.objects.filter(pk=heir.pk).update(is_active=True)
    assert saved(boss, user, **changes)[0] == 302


def test_the_administration_deletes_nobody(boss: Client, user: User) -> None:
    assert boss.post(f"/admin/tenancy/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    boss.post("/admin/tenancy/user/", data)
    assert User.objects.filter(pk=user.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_administrators_who_act_on_two_owners_at_once_leave_one(tenant: Tenant, user: User) -> None:
    other = new_user(tenant, email="other@acme.test")
    bosses = []
    for number in range(2):
        client = Client()
        client.force_login(User.objects.create_superuser(f"boss{number}@platform.test", PASSWORD))
        bosses.append(client)
    start = threading.Barrier(2)
    said: list[int] = []

    def act(boss: Client, them: User) -> None:
        try:
            start.wait()
            said.append(saved(boss, them, is_active=None)[0])
        finally:
            connection.close()

    threads = [
        threading.Thread(target=act, args=(boss, them))
        for boss, them in zip(bosses, (user, other), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [200, 302]
    assert User.objects.filter(tenant=tenant, is_active=True, role=Role.OWNER).count() == 1
