"""Identity providers in Django admin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from scloud.accounts import actions, providers, roles
from scloud.accounts.providers import Mapped
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib import keys, oidc
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    CustomRole,
    GroupMapping,
    Identity,
    IdentityProvider,
    Tenant,
    User,
    UserSession,
)
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from tests.accounts.factor import is_in, text_of
from tests.accounts.provider import (
    CLIENT,
    SECRET,
    Provider,
    begin,
    come_back,
    says,
    serving,
)
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user

LIST = "/admin/tenancy/identityprovider/"


@pytest.fixture
def service() -> Iterator[Provider]:
    with serving() as made:
        yield made


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@platform.test", PASSWORD)


@pytest.fixture
def desk(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def sent(service: Provider, *groups: dict[str, Any], **change: Any) -> dict[str, Any]:
    """Return what the form sends."""
    data = {
        "label": "Example ID",
        "is_on": "on",
        "issuer": service.issuer,
        "client_id": CLIENT,
        "new_secret": SECRET,
        "scopes": "openid email profile",
        "groups_claim": "groups",
        "domains": "",
        "factor_values": "",
        "mappings-TOTAL_FORMS": str(len(groups)),
        "mappings-INITIAL_FORMS": "0",
        **change,
    }
    for number, group in enumerate(groups):
        given = {"position": number, "role": "", "staff_role": "", "own_role": "", **group}
        data |= {f"mappings-{number}-{name}": str(value) for name, value in given.items()}
    return data


def test_a_provider_is_entered_read_and_its_groups_mapped(
    desk: Client, service: Provider, tenant: Tenant
) -> None:
    with scopes_disabled():
        own = CustomRole.objects.create(tenant=tenant, name="Night", permissions=["compute.view*"])
    answer = desk.post(
        f"{LIST}add/",
        sent(
            service,
            {"group": "crew", "tenant": tenant.pk, "role": "operator", "position": 2},
            {"group": "night", "tenant": tenant.pk, "own_role": "night", "position": 1},
            {"group": "watch", "staff_role": "support", "position": 3},
        ),
    )
    assert answer.status_code == 302, text_of(answer)
    row = IdentityProvider.objects.get()
    assert row.endpoints == {}
    assert service.requests == [], "no page waits on a provider"
    found = GroupMapping.objects.values_list("group", "tenant", "role", "custom_role", "staff_role")
    assert list(found) == [
        ("night", tenant.pk, "", own.pk, ""),
        ("crew", tenant.pk, "operator", None, ""),
        ("watch", None, "", None, "support"),
    ]
    run_jobs()
    row.refresh_from_db()
    assert row.endpoints["token"] == f"{service.issuer}/token"
    assert [key["kid"] for key in row.public_keys] == ["one"]
    assert row.tested_at is not None
    page = text_of(desk.get(f"{LIST}{row.pk}/change/"))
    assert f"/login/with/{row.pk}/answer/" in page
    # The secret is nowhere but in its column, sealed.
    assert keys.box().decrypt(row.sealed_secret.encode()).decode() == SECRET
    with scopes_disabled():
        written = [
            *Operation.objects.values_list("before", "after", "detail"),
            *Job.objects.values_list("payload", "error_detail", "title"),
        ]
    for text in (page, str(written)):
        assert SECRET not in text
        assert row.sealed_secret not in text


def test_groups_are_replaced_together_and_removed(
    desk: Client, service: Provider, tenant: Tenant
) -> None:
    crew = {"group": "crew", "tenant": tenant.pk, "role": "operator"}
    desk.post(f"{LIST}add/", sent(service, crew, {"group": "watch", "staff_role": "support"}))
    row = IdentityProvider.objects.get()
    ids = list(GroupMapping.objects.values_list("pk", flat=True))
    answer = desk.post(
        f"{LIST}{row.pk}/change/",
        sent(
            service,
            {**crew, "role": "finance", "id": ids[0], "provider": row.pk},
            {"group": "watch", "staff_role": "support", "id": ids[1], "DELETE": "on"},
            new_secret="",
            **{"mappings-INITIAL_FORMS": "2"},
        ),
    )
    assert answer.status_code == 302, text_of(answer)
    assert list(GroupMapping.objects.values_list("group", "role")) == [("crew", "finance")]
    with scopes_disabled():
        entry = Operation.objects.filter(verb="platform.save_identity_provider").latest("pk")
    assert entry.after == {"groups": [f"crew: {tenant.pk} finance"]}


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "without groups"])
def test_a_provider_is_turned_off_while_its_groups_stay_as_they_are(
    desk: Client, service: Provider, tenant: Tenant, mapped: bool
) -> None:
    crew: dict[str, Any] = {"group": "crew", "tenant": tenant.pk, "role": "operator"}
    groups = [crew] if mapped else []
    assert desk.post(f"{LIST}add/", sent(service, *groups)).status_code == 302
    row = IdentityProvider.objects.get()
    for one in groups:
        one |= {"id": GroupMapping.objects.get().pk, "provider": row.pk, "position": 0}
    kept = sent(service, *groups, new_secret="", **{"mappings-INITIAL_FORMS": str(len(groups))})
    del kept["is_on"]
    answer = desk.post(f"{LIST}{row.pk}/change/", kept)
    assert answer.status_code == 302, text_of(answer)
    row.refresh_from_db()
    assert not row.is_on
    before = row.sealed_secret
    desk.post(f"{LIST}{row.pk}/change/", {**kept, "new_secret": "another"})
    row.refresh_from_db()
    assert row.sealed_secret != before
    assert GroupMapping.objects.count() == len(groups)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "http://id.example.org"},
        {"issuer": "https://id.example.org?x=1"},
        {"issuer": "id.example.org"},
        {"scopes": "email"},
        {"new_secret": ""},
        {"new_secret": "ü"},
        {"label": ""},
        {"domains": "example.org, example.com"},
        {"domains": "-"},
        {"domains": "", "creates_users": "on"},
    ],
    ids=str,
)
def test_what_can_be_no_provider_is_refused_at_its_field(
    desk: Client, service: Provider, change: dict[str, str]
) -> None:
    answer = desk.post(f"{LIST}add/", sent(service, **change))
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [next(iter(change))]
    assert not IdentityProvider.objects.exists()


@pytest.mark.parametrize(
    "group",
    [
        {"role": "operator"},
        {"staff_role": "support", "role": "operator"},
        {"tenant": "T"},
        {"tenant": "T", "staff_role": "support"},
        {"tenant": "T", "own_role": "none of theirs"},
        {"tenant": "T", "own_role": "Night", "role": "operator"},
    ],
    ids=str,
)
def test_a_group_means_one_thing(
    desk: Client, service: Provider, tenant: Tenant, group: dict[str, str]
) -> None:
    with scopes_disabled():
        CustomRole.objects.create(tenant=tenant, name="Night", permissions=["compute.view*"])
    given = {name: tenant.pk if value == "T" else value for name, value in group.items()}
    answer = desk.post(f"{LIST}add/", sent(service, {"group": "crew", **given}))
    assert answer.status_code == 200
    assert not IdentityProvider.objects.exists()
    assert not GroupMapping.objects.exists()


def test_a_role_of_another_tenant_is_none_of_this_one(tenant: Tenant) -> None:
    other = Tenant.objects.create(name="Elsewhere")
    with scopes_disabled():
        role = CustomRole.objects.create(tenant=other, name="Night", permissions=[])
    with pytest.raises(InvalidInput) as refusal:
        providers.check_mapping(Mapped("crew", tenant, custom_role=role))
    assert refusal.value.code == "mapping_invalid"


def entered(service: Provider, root: User) -> IdentityProvider:
    row = IdentityProvider(label="ID", issuer=service.issuer, client_id=CLIENT, is_on=True)
    actor = Actor.administrator(root, None)
    providers.save_identity_provider(actor=actor, provider=row, secret=SECRET)
    run_jobs()
    row.refresh_from_db()
    return row


def test_a_secret_is_never_sent_to_another_place(service: Provider, root: User) -> None:
    row, actor = entered(service, root), Actor.administrator(root, None)
    row.issuer = "https://elsewhere.example.org"
    with pytest.raises(InvalidInput) as refusal:
        providers.save_identity_provider(actor=actor, provider=row)
    assert refusal.value.code == "secret_missing"
    providers.save_identity_provider(actor=actor, provider=row, secret="another")
    # What was read belongs to the other issuer.
    row.refresh_from_db()
    assert (row.endpoints, row.public_keys, row.keys_read_at) == ({}, [], None)


def test_the_issuer_stays_while_somebody_is_linked(
    desk: Client, service: Provider, root: User, user: User
) -> None:
    row = entered(service, root)
    identity = Identity.objects.create(provider=row, issuer=row.issuer, subject="anna", user=user)
    change = sent(service, label="ID", issuer="https://elsewhere.example.org")
    answer = desk.post(f"{LIST}{row.pk}/change/", change)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == ["issuer"]
    assert "as a new provider" in text_of(answer)
    row.issuer = change["issuer"]
    with pytest.raises(Conflict) as refusal:
        providers.save_identity_provider(
            actor=Actor.administrator(root, None), provider=row, secret=SECRET
        )
    assert refusal.value.code == "provider_in_use"
    # The rest can be changed, and this too when nobody is.
    kept = sent(service, label="Another", new_secret="")
    assert desk.post(f"{LIST}{row.pk}/change/", kept).status_code == 302
    identity.delete()
    assert desk.post(f"{LIST}{row.pk}/change/", change).status_code == 302
    row.refresh_from_db()
    assert row.issuer == change["issuer"]


def test_a_provider_that_cannot_be_read_says_why_and_goes_on_with_what_was_read(
    desk: Client, service: Provider, root: User
) -> None:
    row = entered(service, root)
    before = row.endpoints
    service.tricks = {"/keys": says(b"{}")}
    assert desk.post(f"{LIST}{row.pk}/do/test/").status_code == 302
    run_jobs()
    row.refresh_from_db()
    assert "The answer of the provider is not valid." in row.test_error
    assert row.endpoints == before
    assert row.test_error in text_of(desk.get(f"{LIST}{row.pk}/change/"))


def test_an_answer_for_another_issuer_than_the_present_one_is_not_kept(
    service: Provider, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = entered(service, root)
    elsewhere = "https://elsewhere.example.org"
    found = oidc.read_keys

    def meanwhile(issuer: str, endpoints: Any) -> Any:
        IdentityProvider.objects.update(issuer=elsewhere, endpoints={})
        return found(issuer, endpoints)

    providers.test_identity_provider(actor=Actor.administrator(root, None), provider=row)
    monkeypatch.setattr(oidc, "read_keys", meanwhile)
    run_jobs()
    row.refresh_from_db()
    assert (row.issuer, row.endpoints) == (elsewhere, {})


def test_only_who_nobody_is_linked_to_is_deleted(
    desk: Client, service: Provider, root: User, user: User
) -> None:
    row = entered(service, root)
    identity = Identity.objects.create(provider=row, issuer=row.issuer, subject="anna", user=user)
    with pytest.raises(Conflict) as refusal:
        providers.delete_identity_provider(actor=Actor.administrator(root, None), provider=row)
    assert refusal.value.code == "provider_in_use"
    desk.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert IdentityProvider.objects.exists()
    identity.delete()
    desk.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert not IdentityProvider.objects.exists()


def test_an_administrator_unlinks_and_ends_sessions(
    desk: Client, service: Provider, root: User, user: User, settings: Any
) -> None:
    settings.SCLOUD_EMAIL_READY = True
    row = entered(service, root)
    identity = Identity.objects.create(provider=row, issuer=row.issuer, subject="anna", user=user)
    browser = Client()
    browser.post("/login/", {"email": user.email, "password": PASSWORD})
    assert UserSession.objects.filter(user=user).exists()
    mail.outbox.clear()
    assert desk.post(f"/admin/tenancy/identity/{identity.pk}/do/unlink/").status_code == 302
    assert not Identity.objects.exists()
    assert not UserSession.objects.filter(user=user).exists()
    run_jobs()
    assert [one.subject for one in mail.outbox] == ["Identity unlinked"]


def test_many_are_unlinked_at_a_time(
    desk: Client, service: Provider, root: User, user: User, tenant: Tenant
) -> None:
    row = entered(service, root)
    colleague = new_user(tenant, Role.READONLY)
    browsers = {one: Client() for one in (user, colleague)}
    for one, browser in browsers.items():
        Identity.objects.create(provider=row, issuer=row.issuer, subject=str(one.pk), user=one)
        browser.post("/login/", {"email": one.email, "password": PASSWORD})
    chosen = {
        "action": "unlink",
        "_selected_action": [one.pk for one in Identity.objects.all()],
    }
    url = "/admin/tenancy/identity/"
    assert "sessions of the user end" in text_of(desk.post(url, chosen))
    assert Identity.objects.count() == 2
    assert desk.post(url, {**chosen, "confirmed": "1"}).status_code == 200
    assert not Identity.objects.exists()
    for browser in browsers.values():
        assert browser.get("/profile/").status_code == 302


def _reset(root: User, user: User, elsewhere: Tenant) -> None:
    actor = Actor.administrator(root, user.tenant)
    actions.reset_password(actor=actor, user=user, password="An0ther-one-of-theirs")


def _move(root: User, user: User, elsewhere: Tenant) -> None:
    actions.move_user(actor=Actor.administrator(root, user.tenant), user=user, to=elsewhere)


@pytest.mark.parametrize("shut_out", [_reset, _move])
def test_who_is_shut_out_comes_in_by_no_identity(
    service: Provider, root: User, user: User, tenant: Tenant, settings: Any, shut_out: Any
) -> None:
    """An intruder may have linked their own."""
    settings.SCLOUD_EMAIL_READY = True
    row = entered(service, root)
    elsewhere = Tenant.objects.create(name="Elsewhere")
    IdentityProvider.objects.filter(pk=row.pk).update(creates_users=True, domains="*")
    row.refresh_from_db()
    providers.set_group_mappings(
        actor=Actor.administrator(root, None),
        provider=row,
        mappings=[
            Mapped("crew", tenant, Role.OPERATOR),
            Mapped("crew", elsewhere, Role.OPERATOR),
        ],
    )
    Identity.objects.create(provider=row, issuer=row.issuer, subject="anna", user=user)
    browser = Client()
    service.claims = {"email": user.email}
    come_back(browser, row, service, begin(browser, row))
    assert is_in(browser)
    mail.outbox.clear()
    shut_out(root, user, elsewhere)
    assert not Identity.objects.filter(user=user).exists()
    with scopes_disabled():
        written = Operation.objects.latest("pk").after
    assert written is not None
    assert written["unlinked"] == ["ID"]
    run_jobs()
    assert [one.subject for one in mail.outbox] == ["Identity unlinked"]
    browser = Client()
    come_back(browser, row, service, begin(browser, row))
    assert not is_in(browser)
    assert not Identity.objects.exists()


@pytest.mark.parametrize("role", ["support", "finance", "operations"])
def test_only_administrators_have_anything_to_do_with_providers(
    service: Provider, root: User, user: User, role: str
) -> None:
    row = entered(service, root)
    member = User.objects.create_user(
        f"{role}@platform.test", PASSWORD, is_staff=True, staff_role=role
    )
    client = Client()
    client.force_login(member)
    for answer in (
        client.post(f"{LIST}add/", sent(service)),
        client.post(f"{LIST}{row.pk}/change/", sent(service, label="changed")),
        client.post(f"{LIST}{row.pk}/do/test/"),
        client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}),
    ):
        assert answer.status_code == 403
    actor = Actor.administrator(member, None)
    with pytest.raises(Forbidden):
        providers.set_group_mappings(actor=actor, provider=row, mappings=[])
    identity = Identity.objects.create(provider=row, issuer=row.issuer, subject="anna", user=user)
    assert client.post(f"/admin/tenancy/identity/{identity.pk}/do/unlink/").status_code == 403
    assert Identity.objects.filter(provider=row).exists()


def test_a_role_of_the_tenant_can_be_deleted_although_a_group_means_it(
    service: Provider, root: User, tenant: Tenant
) -> None:
    row = entered(service, root)
    with scopes_disabled():
        role = CustomRole.objects.create(tenant=tenant, name="Night", permissions=[])
        providers.set_group_mappings(
            actor=Actor.administrator(root, None),
            provider=row,
            mappings=[
                Mapped("night", tenant, custom_role=role),
                Mapped("all", tenant, Role.READONLY),
            ],
        )
        roles.delete_role(actor=owner_of(tenant), role=role)
        assert not CustomRole.objects.exists()
    # It stays, so that nobody comes in by the next one, which may mean more.
    assert list(GroupMapping.objects.values_list("group", flat=True)) == ["night", "all"]


def owner_of(tenant: Tenant) -> Actor:
    owner = User.objects.filter(tenant=tenant, role=Role.OWNER).first()
    owner = owner or new_user(tenant, Role.OWNER, "another@owner.test")
    return Actor(tenant=tenant, user=owner, role=owner.role, via="console")


def test_a_group_of_a_deleted_role_is_shown_and_kept_until_it_is_changed(
    desk: Client, service: Provider, root: User, tenant: Tenant
) -> None:
    row = entered(service, root)
    with scopes_disabled():
        role = CustomRole.objects.create(tenant=tenant, name="Night", permissions=[])
        providers.set_group_mappings(
            actor=Actor.administrator(root, None),
            provider=row,
            mappings=[Mapped("night", tenant, custom_role=role)],
        )
    page = f"{LIST}{row.pk}/change/"
    assert "the tenant has deleted the role" not in text_of(desk.get(page))
    with scopes_disabled():
        CustomRole.objects.get(pk=role.pk).delete()
    shown = text_of(desk.get(page))
    assert "night: the tenant has deleted the role" in shown
    assert f'value="{role.pk}"' in shown
    kept = GroupMapping.objects.get()
    night = {"group": "night", "tenant": tenant.pk, "own_role": role.pk, "position": 0}
    night |= {"id": kept.pk, "provider": row.pk}
    crew = {"group": "crew", "tenant": tenant.pk, "role": "operator"}

    def send(*groups: dict[str, Any]) -> Any:
        form = sent(service, *groups, label="ID", new_secret="", **{"mappings-INITIAL_FORMS": "1"})
        return desk.post(page, form)

    answer = send(night, crew)
    assert answer.status_code == 302, text_of(answer)
    found = GroupMapping.objects.values_list("group", "role", "custom_role")
    assert list(found) == [("night", "", role.pk), ("crew", "operator", None)]
    night["id"] = GroupMapping.objects.get(group="night").pk
    # Nowhere else is it a role.
    assert send(night, {**crew, "role": "", "own_role": role.pk}).status_code == 200
    with pytest.raises(InvalidInput):
        providers.set_group_mappings(
            actor=Actor.administrator(root, None),
            provider=row,
            mappings=[Mapped("crew", tenant, gone="role-of-nobody")],
        )
    assert GroupMapping.objects.filter(custom_role=role.pk).count() == 1
