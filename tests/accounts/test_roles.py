"""Roles that the owners of a tenant make: what they allow, and what becomes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from scloud.accounts import actions, rights, roles, users
from scloud.audit.action import _actions
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import CustomRole, Tenant, User
from scloud.tenancy.permissions import CUSTOM, GRANTS, SPEND, Role, covers
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program
from tests.fixtures import PASSWORD, new_user


@pytest.fixture
def clerk(tenant: Tenant) -> User:
    return new_user(tenant, Role.READONLY, "clerk@acme.test")


def fresh(user: User) -> User:
    return User.objects.get(pk=user.pk)


def as_actor(user: User) -> Actor:
    found = fresh(user)
    return Actor(tenant=found.tenant, user=found, role=found.role, via="console")


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def made(actor: Actor, *abilities: str, name: str = "Night shift") -> CustomRole:
    return roles.create_role(actor=actor, name=name, abilities=abilities)


# --- what they allow


@pytest.mark.usefixtures("region")
def test_a_role_allows_what_it_includes_and_nothing_else(
    actor: Actor, clerk: User, user: User
) -> None:
    role = made(actor, "compute-view", "compute-power", "api-keys")
    users.change_role(actor=actor, user=clerk, role=role)
    them = as_actor(clerk)
    assert (them.role, fresh(clerk).role_name) == (CUSTOM, "Night shift")
    assert them.allows("compute.start_vm")
    assert them.allows("compute.view_vm")
    for denied in (
        "compute.delete_vm", "network.view_vpc", "billing.spend", users.MANAGE, "platform.lock_host"
    ):  # fmt: skip
        assert not them.allows(denied), denied
    browser = browser_of(clerk)
    assert browser.get("/vms/").status_code == 200
    assert browser.get("/network/vpcs/").status_code == 403
    assert browser.get("/users/").status_code == 403
    # It holds from the next request on.
    roles.change_custom_role(actor=actor, role=role, name="Night shift", abilities=["network-view"])
    assert browser.get("/vms/").status_code == 403
    assert browser.get("/network/vpcs/").status_code == 200


def test_a_key_allows_no_more_than_the_role_of_its_user(
    actor: Actor, clerk: User, tenant: Tenant
) -> None:
    role = made(actor, "compute-view", "api-keys")
    users.change_role(actor=actor, user=clerk, role=role)
    with scope(tenant=tenant):
        _key, secret = apikeys.issue(user=fresh(clerk), name="k", scopes=["compute.*"])
        _every, free = apikeys.issue(user=fresh(clerk), name="k2")
    for one in (secret, free):
        assert Program(one).get("/vms").status == 200
        Program(one).get("/vpcs").error(403, "forbidden")
    Program(secret).post("/vms/vm-none/start", {}).error(404, "not_found")
    # What the role does not include cannot be given to a key either.
    with pytest.raises(InvalidInput, match="cannot grant"):
        actions.create_api_key(actor=as_actor(clerk), name="more", scopes=["network.view*"])
    assert actions.known_scopes(as_actor(clerk).grants) == ["compute.view*"]
    roles.change_custom_role(actor=actor, role=role, name="Other", abilities=["network-view"])
    Program(secret).get("/vms").error(403, "forbidden")


def test_a_role_of_another_tenant_gives_nothing(
    actor: Actor, clerk: User, other_tenant: Tenant
) -> None:
    stranger = new_user(other_tenant)
    theirs = made(as_actor(stranger), "compute-all")
    with pytest.raises(NotFound):
        users.change_role(actor=actor, user=clerk, role=theirs)
    with pytest.raises(NotFound):
        roles.change_custom_role(actor=actor, role=theirs, name="Mine", abilities=["api-keys"])
    with pytest.raises(NotFound):
        roles.delete_role(actor=actor, role=theirs)
    # Even where the row says so.
    User.objects.filter(pk=clerk.pk).update(role=CUSTOM, custom_role=theirs)
    assert as_actor(clerk).grants == ()
    console = browser_of(actor.user) if actor.user else Client()
    for what in ("edit", "delete"):
        assert console.get(f"/users/roles/{theirs.pk}/{what}/").status_code == 404
    assert theirs.pk not in console.get("/users/roles/").content.decode()


def test_who_moves_takes_no_role_along(
    actor: Actor, clerk: User, other_tenant: Tenant, tenant: Tenant
) -> None:
    users.change_role(actor=actor, user=clerk, role=made(actor, "compute-all"))
    boss = User.objects.create_superuser("boss@platform.test", PASSWORD)
    actions.move_user(actor=Actor.administrator(boss, tenant), user=fresh(clerk), to=other_tenant)
    moved = fresh(clerk)
    assert (moved.role, moved.custom_role, moved.tenant) == (Role.READONLY, None, other_tenant)


def test_a_process_that_knows_no_such_role_allows_nothing(actor: Actor, clerk: User) -> None:
    """It looks the role's name up among those of the platform."""
    assert CUSTOM not in GRANTS
    assert CUSTOM not in Role.values
    # One that gives another role leaves the column, which then counts for nothing.
    users.change_role(actor=actor, user=clerk, role=made(actor, "compute-all"))
    User.objects.filter(pk=clerk.pk).update(role=Role.FINANCE)
    assert not as_actor(clerk).allows("compute.start_vm")
    assert fresh(clerk).role_name == "Finance"


# --- the list of abilities


def test_abilities_name_rights_that_exist_and_none_lets_manage_users() -> None:
    import_module("compute.urls")
    known = {*_actions, "billing.spend", "billing.quote", "compute.view_catalogue"}
    for ability in rights.ABILITIES:
        for permission in ability.permissions:
            assert not covers([permission], users.MANAGE), ability.key
            assert not covers([permission], "platform.lock_host"), ability.key
            if not permission.endswith("*"):
                assert permission in known, permission
    keys = [ability.key for ability in rights.ABILITIES]
    assert len(keys) == len(set(keys))
    # Together they are what owners have, but for the users.
    every = rights.permissions_of(keys)
    for permission in _actions:
        if not permission.startswith("platform.") and permission != users.MANAGE:
            assert covers(every, permission), permission


def test_the_form_shows_what_a_role_includes() -> None:
    for keys in (["compute-view"], ["compute-power", "audit-view"], ["billing-spend"]):
        found = [ability.key for ability in rights.abilities_in(rights.permissions_of(keys))]
        assert found == keys
    everything = {ability.key for ability in rights.abilities_in(["compute.*"])}
    assert everything == {
        ability.key for ability in rights.ABILITIES if ability.key.startswith("compute")
    }
    with pytest.raises(KeyError):
        rights.permissions_of(["tenancy.manage_users"])


# --- making and deleting


def test_owners_make_change_and_delete_roles_in_the_console(
    console: Client, tenant: Tenant, clerk: User
) -> None:
    data = {"name": "Night  shift", "abilities": ["compute-view", "compute-power"]}
    assert console.post("/users/roles/create/", data)["Location"] == "/users/roles/"
    with scope(tenant=tenant):
        role = CustomRole.objects.get()
    assert role.name == "Night shift"
    assert role.permissions[0] == "compute.view*"
    assert "compute.start_vm" in role.permissions
    page = console.get("/users/roles/").content.decode()
    assert "Night shift" in page
    assert "Start, stop and restart VMs" in page

    where = f"/users/{clerk.pk}/role/"
    assert f'value="{role.pk}"' in console.get(where).content.decode()
    assert console.post(where, {"role": role.pk})["Location"] == "/users/"
    assert fresh(clerk).custom_role == role
    users_page = console.get("/users/?role=custom").content.decode()
    assert clerk.email in users_page
    assert "Night shift" in users_page
    assert clerk.email not in console.get("/users/?role=readonly").content.decode()
    assert "Users have this role." in console.get(f"/users/roles/?menu={role.pk}").content.decode()
    refused = console.post(f"/users/roles/{role.pk}/delete/")
    assert refused.status_code == 422
    assert "1 users have this role." in refused.content.decode()

    edit = f"/users/roles/{role.pk}/edit/"
    assert "checked" in console.get(edit).content.decode()
    assert console.post(edit, {"name": "Nights", "abilities": ["audit-view"]}).status_code == 302
    role.refresh_from_db()
    assert (role.name, role.permissions) == ("Nights", ["audit.view*"])
    assert console.post(where, {"role": "finance"}).status_code == 302
    assert (fresh(clerk).role, fresh(clerk).custom_role) == (Role.FINANCE, None)
    assert console.post(f"/users/roles/{role.pk}/delete/").status_code == 302
    with scope(tenant=tenant):
        assert not CustomRole.objects.exists()
        log = Operation.objects.filter(verb=users.MANAGE).order_by("pk")
        assert [row.error_code for row in log] == ["", "", "role_in_use", "", "", ""]
        given = log[1]
        assert given.before == {"user": clerk.email, "role": "readonly"}
        assert given.after == {"user": clerk.email, "role": "Night shift"}


def test_only_owners_make_roles_and_no_key_does(
    tenant: Tenant, user: User, clerk: User, make_user: Callable[..., User]
) -> None:
    admin = browser_of(make_user(tenant, Role.ADMINISTRATOR))
    data = {"name": "n", "abilities": ["audit-view"]}
    assert admin.get("/users/roles/").status_code == 403
    assert admin.post("/users/roles/create/", data).status_code == 403
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=user, name="leaked")
        robot = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
        with pytest.raises(ScloudError, match="signed-in users"):
            made(robot, "audit-view")
        assert not CustomRole.objects.exists()


def test_what_no_role_can_be(actor: Actor, tenant: Tenant) -> None:
    def refused(**changes: Any) -> tuple[str, str | None]:
        values: dict[str, Any] = {"name": "A role", "abilities": ["audit-view"], **changes}
        with pytest.raises(ScloudError) as error:
            roles.create_role(actor=actor, **values)
        return error.value.code, error.value.field

    assert refused(name="  ") == ("invalid_name", "name")
    assert refused(name="x" * 41) == ("invalid_name", "name")
    assert refused(name="a\u0007b") == ("invalid_name", "name")
    # Whoever reads it would take it for that of the platform.
    assert refused(name="OWNER") == ("name_taken", "name")
    assert refused(abilities=["users"]) == ("abilities_unknown", "abilities")
    assert refused(abilities=[]) == ("abilities_missing", "abilities")
    first = made(actor, "audit-view")
    assert refused(name="night SHIFT") == ("name_taken", "name")
    other = made(actor, "audit-view", name="Days")
    with pytest.raises(Conflict):
        roles.change_custom_role(actor=actor, role=other, name=first.name, abilities=["audit-view"])
    for number in range(roles.MAX_ROLES - 2):
        made(actor, "audit-view", name=f"role {number}")
    assert refused() == ("too_many_roles", None)


def test_a_role_that_nobody_has_any_more_can_be_deleted(actor: Actor, clerk: User) -> None:
    """Also where a process that knows no such roles has given the user another one."""
    role = made(actor, "audit-view")
    users.change_role(actor=actor, user=clerk, role=role)
    User.objects.filter(pk=clerk.pk).update(role=Role.FINANCE)
    roles.delete_role(actor=actor, role=role)
    assert fresh(clerk).custom_role is None
    with pytest.raises(InvalidInput):
        users.change_role(actor=actor, user=clerk, role=role)


def test_who_is_handed_the_account_has_no_role_of_its_own(actor: Actor, clerk: User) -> None:
    users.change_role(actor=actor, user=clerk, role=made(actor, "audit-view"))
    users.hand_over(actor=actor, user=clerk, password=PASSWORD, own_role="finance")
    assert (fresh(clerk).role, fresh(clerk).custom_role) == (Role.OWNER, None)


def at_once(*calls: Callable[[], object]) -> list[str]:
    """Make calls at the same moment; return what each of them said, sorted."""
    start = threading.Barrier(len(calls))
    said: list[str] = []

    def run(call: Callable[[], object]) -> None:
        try:
            start.wait()
            call()
            said.append("done")
        except ScloudError as error:
            said.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(said)


@pytest.mark.django_db(transaction=True)
def test_a_role_is_not_deleted_while_it_is_given(tenant: Tenant, user: User) -> None:
    """Whoever is first, nobody has a role that is gone."""
    clerk = new_user(tenant, Role.READONLY, "clerk@acme.test")
    for attempt in range(4):
        role = made(as_actor(user), "audit-view", name=f"role {attempt}")
        said = at_once(
            partial(users.change_role, actor=as_actor(user), user=clerk, role=role),
            partial(roles.delete_role, actor=as_actor(user), role=role),
        )
        assert said in (["done", "role_in_use"], ["done", "role_unknown"])
        with scopes_disabled():
            having = fresh(clerk).custom_role_id == role.pk
            assert having is CustomRole.objects.filter(pk=role.pk).exists()


def test_the_administration_shows_roles_and_keeps_them(actor: Actor, clerk: User) -> None:
    users.change_role(actor=actor, user=clerk, role=made(actor, "audit-view"))
    boss = browser_of(User.objects.create_superuser("boss@platform.test", PASSWORD))
    assert "Night shift" in boss.get("/admin/tenancy/user/").content.decode()
    assert "Night shift" in boss.get("/admin/tenancy/customrole/").content.decode()
    url = f"/admin/tenancy/user/{clerk.pk}/change/"
    assert "Night shift" in boss.get(url).content.decode()
    data = {
        "email": clerk.email, "full_name": "Cleo", "tenant": clerk.tenant_id, "role": CUSTOM,
        "is_active": "on", "time_zone": clerk.time_zone, "new_password": "",
    }  # fmt: skip
    assert boss.post(url, data).status_code == 302
    assert (fresh(clerk).full_name, fresh(clerk).role_name) == ("Cleo", "Night shift")
    assert boss.post(url, {**data, "role": "operator"}).status_code == 302
    assert (fresh(clerk).role, fresh(clerk).custom_role) == (Role.OPERATOR, None)
    # Only owners give it.
    assert boss.post(url, data).status_code == 200


def test_who_uses_screens_looks_at_guests_too() -> None:
    role = CustomRole(permissions=rights.permissions_of(["compute-view", "compute-screen"]))
    assert all(covers(role.permissions, f"compute.{one}") for one in ("open_vnc", "look_at_guest"))


def test_an_ability_to_spend_says_so() -> None:
    for ability in rights.ABILITIES:
        if covers(ability.permissions, SPEND):
            assert "spend money" in str(ability.label).lower(), ability.key
