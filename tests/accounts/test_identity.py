"""Signing in with an identity provider, with everything that may come back instead."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from joserfc.jwk import RSAKey

from scloud.accounts import federated, providers
from scloud.accounts.providers import Mapped
from scloud.audit.models import Operation
from scloud.lib import keys, oidc
from scloud.tenancy import housekeeping, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    ApiKey,
    CustomRole,
    Identity,
    IdentityProvider,
    Tenant,
    UsedAnswer,
    User,
    UserSession,
)
from scloud.tenancy.permissions import CUSTOM, Role
from scloud.tenancy.scoping import scopes_disabled
from tests.accounts.factor import Clock, give, is_in, secret_shown, text_of
from tests.accounts.provider import (
    CLIENT,
    IP,
    SECRET,
    Provider,
    begin,
    come_back,
    says,
    serving,
)
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user


@pytest.fixture(autouse=True)
def _room(settings: Any) -> None:
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


@pytest.fixture
def service() -> Iterator[Provider]:
    """The provider itself."""
    with serving() as made:
        yield made


def root() -> Actor:
    found = User.objects.filter(is_superuser=True).first()
    return Actor.administrator(
        found or User.objects.create_superuser("root@platform.test", PASSWORD), None
    )


def row_of(service: Provider, label: str = "Example ID", **more: Any) -> IdentityProvider:
    """Enter a provider as an administrator does, and let a worker read it."""
    row = IdentityProvider(
        label=label,
        issuer=service.issuer,
        client_id=CLIENT,
        is_on=True,
        **{"creates_users": True, "domains": "example.org", **more},
    )
    providers.save_identity_provider(actor=root(), provider=row, secret=SECRET)
    run_jobs()
    row.refresh_from_db()
    assert (row.test_error, row.is_on, bool(row.endpoints)) == ("", True, True)
    return row


@pytest.fixture
def provider(service: Provider, tenant: Tenant) -> IdentityProvider:
    """Its row: the crew are operators of the tenant, the watch support."""
    row = row_of(service)
    map_groups(
        row,
        Mapped("crew", tenant, Role.OPERATOR),
        Mapped("bosses", tenant, Role.OWNER),
        Mapped("watch", staff_role="support"),
    )
    return row


def map_groups(row: IdentityProvider, *mappings: Mapped) -> None:
    providers.set_group_mappings(actor=root(), provider=row, mappings=mappings)


def sign_in(client: Client, row: IdentityProvider, service: Provider, **claims: Any) -> Any:
    service.claims = claims
    return come_back(client, row, service, begin(client, row))


def said(client: Client) -> str:
    """Return what the next page tells."""
    return text_of(client.get("/login/"))


def links(user: User, row: IdentityProvider, subject: str = "anna") -> Identity:
    return Identity.objects.create(provider=row, issuer=row.issuer, subject=subject, user=user)


def verbs() -> list[tuple[str, str]]:
    with scopes_disabled():
        found = Operation.objects.filter(verb__startswith="tenancy.").order_by("pk")
        return list(found.values_list("verb", "error_code"))


# --- the way in


def test_who_comes_for_the_first_time_becomes_a_user_of_the_mapped_tenant(
    service: Provider, provider: IdentityProvider, tenant: Tenant
) -> None:
    client = Client()
    assert "Sign in with Example ID" in text_of(client.get("/login/"))
    answer = sign_in(client, provider, service)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    user = User.objects.get(email="anna@example.org")
    assert (user.tenant, user.role, user.full_name) == (tenant, Role.OPERATOR, "Anna Example")
    assert not user.has_usable_password()
    assert is_in(client)
    assert UserSession.objects.get(user=user).ip == IP
    assert verbs() == [("tenancy.follow_groups", ""), ("tenancy.sign_in", "")]
    assert client.get("/").status_code == 200
    # The second time there is one still.
    client.post("/logout/")
    assert not is_in(client)
    assert sign_in(client, provider, service).headers["Location"] == "/"
    assert User.objects.filter(email="anna@example.org").count() == 1
    assert Identity.objects.get().last_used_at is not None


def test_the_secrets_stay_where_they_belong(service: Provider, provider: IdentityProvider) -> None:
    client = Client()
    answer = client.post(f"/login/with/{provider.pk}/")
    cookie = answer.cookies[federated.COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    query = parse_qs(urlsplit(answer.headers["Refresh"]).query)
    assert query["redirect_uri"] == [federated.redirect_uri(provider)]
    held = keys.box().decrypt(cookie.value.encode()).decode()
    assert query["state"][0] in held
    for secret in (SECRET, query["state"][0], query["nonce"][0]):
        assert secret not in cookie.value
    assert SECRET not in text_of(answer)
    assert "verifier" not in text_of(answer)
    assert SECRET not in provider.sealed_secret
    assert answer.headers["Cache-Control"].find("no-store") >= 0
    # The way back does nothing by itself.
    code, question = service.asked(answer.headers["Refresh"].removeprefix("0;url="))
    before = list(service.requests)
    client.get(f"/login/with/{provider.pk}/answer/", {"code": code, "state": question.state})
    assert (service.requests, is_in(client), UsedAnswer.objects.count()) == (before, False, 0)


def test_the_answer_needs_the_token_of_a_form_of_this_site(
    service: Provider, provider: IdentityProvider
) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post(f"/login/with/{provider.pk}/").status_code == 403
    assert client.post(f"/login/with/{provider.pk}/answer/", {"code": "x"}).status_code == 403
    assert client.get(f"/login/with/{provider.pk}/").status_code == 405


def test_a_session_begins_under_a_new_name_and_the_one_before_is_over(
    service: Provider, provider: IdentityProvider, user: User
) -> None:
    client = Client()
    address = begin(client, provider)
    # Somebody signs in meanwhile, in the same browser.
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    before = client.session.session_key
    come_back(client, provider, service, address)
    assert client.session.session_key != before
    assert client.session["_auth_user_id"] == str(User.objects.get(email="anna@example.org").pk)
    assert not UserSession.objects.filter(session_key=before).exists()


@pytest.mark.parametrize(
    ("wanted", "comes"),
    [
        ("/vms/", "/vms/"),
        ("https://evil.example.org/", "/"),
        ("//evil.example.org/", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_it_goes_on_within_the_site_only(
    service: Provider, provider: IdentityProvider, wanted: str, comes: str
) -> None:
    client = Client()
    address = begin(client, provider, next=wanted)
    assert come_back(client, provider, service, address).headers["Location"] == comes


# --- what is no answer


def test_an_answer_counts_in_the_browser_that_asked(
    service: Provider, provider: IdentityProvider
) -> None:
    """A stranger's answer, sent to somebody else's browser, signs nobody in."""
    stranger, victim = Client(), Client()
    address = begin(stranger, provider)
    answer = come_back(victim, provider, service, address)
    assert answer.headers["Location"] == "/login/"
    assert "took too long" in said(victim)
    # Nor in a browser that has asked something else.
    begin(victim, provider)
    come_back(victim, provider, service, address)
    assert not is_in(victim)
    assert "/token" not in service.requests
    assert not User.objects.filter(email="anna@example.org").exists()


def test_an_answer_counts_once(service: Provider, provider: IdentityProvider) -> None:
    client = Client()
    address = begin(client, provider)
    cookie = client.cookies[federated.COOKIE].value
    come_back(client, provider, service, address)
    assert is_in(client)
    again = Client()
    again.cookies[federated.COOKIE] = cookie
    come_back(again, provider, service, address)
    assert not is_in(again)
    assert service.requests.count("/token") == 1


def test_a_token_of_another_question_is_refused(
    service: Provider, provider: IdentityProvider
) -> None:
    client = Client()
    service.claims = {"nonce": "of another question"}
    come_back(client, provider, service, begin(client, provider))
    assert not is_in(client)
    assert "not valid" in said(client)


def test_a_question_is_good_for_ten_minutes(
    service: Provider, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    address = begin(client, provider)
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now + 601)
        come_back(client, provider, service, address)
    assert not is_in(client)


def test_answers_of_two_providers_are_not_mixed_up(
    service: Provider, provider: IdentityProvider, tenant: Tenant
) -> None:
    with serving() as evil:
        other = row_of(evil, "Evil ID")
        map_groups(other, Mapped("crew", tenant, Role.OWNER))
        client = Client()
        address = begin(client, provider)
        # The answer of the good one at the address of the other one.
        come_back(client, other, service, address)
        assert not is_in(client)
        # The answer of another one at the address of the good one, which names itself.
        address = begin(client, provider)
        come_back(client, provider, service, address, iss=evil.issuer)
        assert not is_in(client)
        # A provider that names itself always does.
        address = begin(client, provider)
        come_back(client, provider, service, address, iss="")
        assert not is_in(client)
        assert (service.bodies, evil.bodies) == ([], [])
        # Where it never does, an answer without a name is one.
        service.metadata = {"authorization_response_iss_parameter_supported": False}
        providers.test_identity_provider(actor=root(), provider=provider)
        run_jobs()
        address = begin(client, provider)
        come_back(client, provider, service, address, iss="")
        assert is_in(client)


def test_the_same_subject_of_another_provider_is_somebody_else(
    service: Provider, provider: IdentityProvider, tenant: Tenant, user: User
) -> None:
    links(user, provider)
    with serving() as evil:
        other = row_of(evil, "Evil ID", creates_users=False)
        map_groups(other, Mapped("crew", tenant, Role.OWNER))
        client = Client()
        sign_in(client, other, evil)
        assert not is_in(client)
        assert "No account is linked" in said(client)


def test_what_the_provider_refuses_is_said(service: Provider, provider: IdentityProvider) -> None:
    client = Client()
    address = begin(client, provider)
    come_back(client, provider, service, address, code="", error="access_denied")
    assert not is_in(client)
    assert "refused the sign-in" in said(client)


def test_a_provider_that_is_off_or_was_not_read_is_not_there(
    service: Provider, provider: IdentityProvider
) -> None:
    client = Client()
    address = begin(client, provider)
    for change in ({"is_on": False}, {"is_on": True, "endpoints": {}}):
        IdentityProvider.objects.filter(pk=provider.pk).update(**change)
        assert "Example ID" not in text_of(client.get("/login/"))
        assert client.post(f"/login/with/{provider.pk}/").status_code == 404
        code, question = service.asked(address)
        sent = {"code": code, "state": question.state, "iss": service.issuer}
        assert client.post(f"/login/with/{provider.pk}/answer/", sent).status_code == 404
    assert not is_in(client)


def test_sign_ins_are_limited_by_the_source(
    service: Provider, provider: IdentityProvider, settings: Any
) -> None:
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 2
    client = Client()
    for _number in range(3):
        answer = client.post(f"/login/with/{provider.pk}/", REMOTE_ADDR="203.0.113.99")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login/")
    assert "More than 2 requests" in said(client)


def test_a_provider_that_is_away_uses_up_nobody_s_sign_ins(
    service: Provider, provider: IdentityProvider, user: User, settings: Any
) -> None:
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 20
    service.tricks = {"/token": says(b"", 503)}
    client = Client()
    for _number in range(11):
        come_back(client, provider, service, begin(client, provider))
    assert service.requests.count("/token") == 11
    assert "does not answer" in said(client)
    client.post("/login/", {"email": user.email, "password": PASSWORD}, REMOTE_ADDR=IP)
    assert is_in(client)


def test_answers_are_limited_by_the_source(
    service: Provider, provider: IdentityProvider, settings: Any
) -> None:
    """By those that ask the provider."""
    clients = [Client() for _number in range(4)]
    addresses = [begin(client, provider) for client in clients]
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 2
    # What is no answer asks nobody, and counts for nobody.
    for _number in range(3):
        come_back(Client(), provider, service, addresses[0])
    for client, address in zip(clients, addresses, strict=True):
        come_back(client, provider, service, address)
    assert [is_in(client) for client in clients] == [True, True, False, False]
    assert service.requests.count("/token") == 2


# --- keys that change


def test_a_new_key_of_the_provider_is_read_when_it_is_used(
    service: Provider, provider: IdentityProvider
) -> None:
    service.key = RSAKey.generate_key(2048, {"kid": "two"})
    IdentityProvider.objects.filter(pk=provider.pk).update(
        keys_read_at=timezone.now() - timedelta(minutes=5)
    )
    client = Client()
    sign_in(client, provider, service)
    assert is_in(client)
    assert [key["kid"] for key in IdentityProvider.objects.get().public_keys] == ["two"]


def test_an_unknown_key_does_not_have_them_read_at_every_try(
    service: Provider, provider: IdentityProvider
) -> None:
    service.header = {"kid": "nobody's"}
    before = service.requests.count("/keys")
    for _number in range(3):
        client = Client()
        sign_in(client, provider, service)
        assert not is_in(client)
    assert service.requests.count("/keys") == before


def test_a_key_that_was_withdrawn_is_believed_for_an_hour_at_most(
    service: Provider, provider: IdentityProvider
) -> None:
    stolen, service.key = service.key, RSAKey.generate_key(2048, {"kid": "two"})
    service.signed_with, service.header = stolen, {"kid": "one"}
    IdentityProvider.objects.filter(pk=provider.pk).update(
        keys_read_at=timezone.now() - timedelta(minutes=61)
    )
    client = Client()
    sign_in(client, provider, service)
    assert not is_in(client)


# --- who they are


def test_an_address_alone_links_nobody(
    service: Provider, provider: IdentityProvider, user: User
) -> None:
    IdentityProvider.objects.update(domains="acme.test")
    client = Client()
    sign_in(client, provider, service, email=user.email.upper())
    assert not is_in(client)
    assert "link it in your profile" in said(client)
    assert not Identity.objects.exists()


@pytest.mark.parametrize(
    "claims",
    [{"email": None}, {"email_verified": False}, {"email_verified": "true"}, {"email": "x"}],
    ids=str,
)
def test_nobody_is_made_without_a_verified_address(
    service: Provider, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    client = Client()
    sign_in(client, provider, service, **claims)
    assert not is_in(client)
    assert "has verified" in said(client)


@pytest.mark.parametrize(
    ("domains", "email", "made"),
    [
        ("example.com example.org", "otto@example.org", True),
        ("Example.ORG", "otto@example.org", True),
        ("*", "otto@anywhere.test", True),
        ("example.org", "otto@sub.example.org", False),
        ("example.org", "otto@badexample.org", False),
        ("example.org", '"a@example.org"@evil.test', False),
    ],
)
def test_users_are_made_of_the_domains_of_the_provider_only(
    service: Provider, provider: IdentityProvider, domains: str, email: str, made: bool
) -> None:
    IdentityProvider.objects.update(domains=domains)
    client = Client()
    sign_in(client, provider, service, email=email)
    assert is_in(client) is made
    assert User.objects.filter(email=email).exists() is made


def test_a_provider_learns_of_no_address_of_others_whether_it_is_taken(
    service: Provider, provider: IdentityProvider, user: User
) -> None:
    IdentityProvider.objects.update(domains="elsewhere.test")
    answers = []
    for email in (user.email, "nobody@acme.test"):
        client = Client()
        sign_in(client, provider, service, email=email)
        assert not is_in(client)
        # All but what is random in every page.
        page = re.sub(r"[A-Za-z0-9]{64}|nonce=\S+", "", said(client))
        assert "can make no account of your address" in page
        answers.append(page)
    assert answers[0] == answers[1]
    # Who is linked is known by that, whatever the address.
    links(user, provider)
    client = Client()
    sign_in(client, provider, service, email=user.email)
    assert is_in(client)


@pytest.mark.parametrize("groups", [None, [], ["strangers"], "strangers", [["crew"]], {"crew": 1}])
def test_who_is_in_no_mapped_group_is_refused_with_words(
    service: Provider, provider: IdentityProvider, groups: Any, user: User
) -> None:
    client = Client()
    sign_in(client, provider, service, groups=groups)
    assert not is_in(client)
    assert "give you no access here" in said(client)
    assert not User.objects.filter(email="anna@example.org").exists()
    # The same for who is linked.
    links(user, provider)
    sign_in(client, provider, service, groups=groups)
    assert not is_in(client)
    assert verbs() == [("tenancy.sign_in", "no_group")]


def test_nobody_is_made_where_the_provider_makes_none(
    service: Provider, provider: IdentityProvider
) -> None:
    IdentityProvider.objects.update(creates_users=False)
    client = Client()
    sign_in(client, provider, service)
    assert "No account is linked" in said(client)
    assert not User.objects.filter(email="anna@example.org").exists()


def test_who_was_deactivated_stays_out(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    links(user, provider)
    User.objects.filter(pk=user.pk).update(is_active=False)
    client = Client()
    sign_in(client, provider, service)
    assert not is_in(client)
    assert "not active" in said(client)
    User.objects.filter(pk=user.pk).update(is_active=True)
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    sign_in(client, provider, service)
    assert not is_in(client)
    assert verbs() == [("tenancy.sign_in", "user_off")] * 2
    # Nobody new comes into a tenant that is off, either.
    sign_in(client, provider, service, sub="otto", email="otto@example.org")
    assert not User.objects.filter(email="otto@example.org").exists()


def test_roles_follow_the_groups_at_the_next_sign_in(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    colleague = new_user(tenant, Role.READONLY)
    links(colleague, provider)
    client = Client()
    sign_in(client, provider, service, groups=["strangers", "bosses", "crew"])
    colleague.refresh_from_db()
    # The first mapping that fits.
    assert colleague.role == Role.OPERATOR
    client.post("/logout/")
    sign_in(client, provider, service, groups=["bosses"])
    colleague.refresh_from_db()
    assert colleague.role == Role.OWNER
    with scopes_disabled():
        entry = Operation.objects.filter(verb="tenancy.follow_groups").latest("pk")
    assert entry.tenant == tenant
    assert entry.before == {"user": colleague.email, "role": "operator"}
    assert entry.after == {
        "user": colleague.email,
        "role": "owner",
        "group": "bosses",
        "by": "Example ID",
    }


def test_the_last_owner_stays_one(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    links(user, provider)
    client = Client()
    sign_in(client, provider, service)
    assert is_in(client)
    user.refresh_from_db()
    assert user.role == Role.OWNER
    # With another one there is no need.
    new_user(tenant, Role.OWNER, "second@example.org")
    client.post("/logout/")
    sign_in(client, provider, service)
    user.refresh_from_db()
    assert user.role == Role.OPERATOR


def test_groups_of_another_tenant_move_nobody(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    other = Tenant.objects.create(name="Elsewhere")
    map_groups(provider, Mapped("crew", other, Role.OWNER), Mapped("watch", staff_role="support"))
    links(user, provider)
    client = Client()
    sign_in(client, provider, service, groups=["crew", "watch"])
    assert not is_in(client)
    user.refresh_from_db()
    assert (user.tenant, user.role, user.is_staff) == (tenant, Role.OWNER, False)


def test_a_role_of_the_tenants_own_is_given_as_long_as_there_is_one(
    service: Provider, provider: IdentityProvider, tenant: Tenant
) -> None:
    with scopes_disabled():
        role = CustomRole.objects.create(tenant=tenant, name="Night", permissions=["compute.view*"])
    map_groups(provider, Mapped("crew", tenant, custom_role=role))
    client = Client()
    sign_in(client, provider, service)
    user = User.objects.get(email="anna@example.org")
    assert (user.role, user.custom_role) == (CUSTOM, role)
    client.post("/logout/")
    User.objects.filter(pk=user.pk).update(role=Role.READONLY, custom_role=None)
    # As a process does that does not know of mappings.
    with scopes_disabled():
        CustomRole.objects.filter(pk=role.pk)._raw_delete("default")
    sign_in(client, provider, service)
    assert not is_in(client)
    assert "no access here" in said(client)


@pytest.mark.parametrize("first", ["a deleted role", "a tenant that is off"])
def test_no_later_group_counts_where_the_first_means_nothing_any_more(
    service: Provider, provider: IdentityProvider, tenant: Tenant, first: str
) -> None:
    other = Tenant.objects.create(name="Elsewhere")
    with scopes_disabled():
        role = CustomRole.objects.create(tenant=other, name="Night", permissions=["compute.view*"])
        map_groups(
            provider,
            Mapped("night", other, custom_role=role),
            Mapped("bosses", tenant, Role.OWNER),
            Mapped("watch", staff_role="support"),
        )
        if first == "a deleted role":
            role.delete()
        else:
            Tenant.objects.filter(pk=other.pk).update(is_active=False)
    client = Client()
    sign_in(client, provider, service, groups=["night", "bosses", "watch"])
    assert not is_in(client)
    assert "no access here" in said(client)
    assert not User.objects.filter(email="anna@example.org").exists()
    # Who is not in it comes in.
    sign_in(client, provider, service, groups=["bosses"])
    assert is_in(client)


def test_staff_comes_by_its_group_and_is_never_made_administrator(
    service: Provider, provider: IdentityProvider
) -> None:
    client = Client()
    answer = sign_in(client, provider, service, groups=["watch"])
    assert answer.headers["Location"] == "/admin/"
    made = User.objects.get(email="anna@example.org")
    assert (made.tenant, made.is_staff, made.is_superuser) == (None, True, False)
    assert made.staff_role == "support"
    assert client.get("/admin/").status_code == 200
    # An administrator that is linked stays one.
    boss = User.objects.get(email="root@platform.test")
    links(boss, provider, "otto")
    client.post("/logout/")
    sign_in(client, provider, service, sub="otto", groups=["watch"])
    boss.refresh_from_db()
    assert (boss.is_superuser, boss.staff_role) == (True, "")
    # Groups of tenants are none of the staff's.
    client.post("/logout/")
    sign_in(client, provider, service, sub="otto", groups=["crew"])
    assert not is_in(client)


# --- the second factor


def test_a_second_factor_is_asked_for_unless_the_provider_s_word_counts(
    service: Provider, provider: IdentityProvider, user: User, clock: Clock
) -> None:
    links(user, provider)
    app = give(user, clock)
    client = Client()
    # The provider says so, and nobody has said that it counts.
    answer = sign_in(client, provider, service, amr=["pwd", "mfa"])
    assert answer.headers["Location"].startswith("/login/code/")
    assert not is_in(client)
    client.post("/login/code/", {"code": app.fresh()})
    assert is_in(client)
    IdentityProvider.objects.update(factor_values="mfa otp")
    for claims, enough in (
        ({"amr": ["pwd"]}, False),
        ({"amr": "mfa"}, False),
        ({"acr": "mfa"}, True),
        ({"amr": ["pwd", "otp"]}, True),
    ):
        client = Client()
        sign_in(client, provider, service, **claims)
        assert is_in(client) is enough, claims


@pytest.mark.parametrize("what", ["unlinked", "turned off"])
def test_a_code_counts_while_the_identity_that_came_first_is_linked(
    service: Provider, provider: IdentityProvider, user: User, clock: Clock, what: str
) -> None:
    links(user, provider)
    app = give(user, clock)
    client = Client()
    answer = sign_in(client, provider, service)
    assert answer.headers["Location"].startswith("/login/code/")
    if what == "unlinked":
        Identity.objects.all().delete()
    else:
        IdentityProvider.objects.update(is_on=False)
    client.post("/login/code/", {"code": app.fresh()})
    assert not is_in(client)
    # The password goes on to be the first half of a sign-in.
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    client.post("/login/code/", {"code": app.fresh()})
    assert is_in(client)


def test_the_provider_s_factor_counts_for_no_later_sign_in_of_the_same_browser(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(second_factor_required=True)
    IdentityProvider.objects.update(factor_values="mfa")
    links(user, provider)
    client = Client()
    sign_in(client, provider, service, amr=["mfa"])
    assert client.get("/").status_code == 200
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    assert client.get("/").headers["Location"].startswith("/second-factor/")


def test_where_one_is_required_the_provider_s_counts_for_this_session(
    service: Provider, provider: IdentityProvider, tenant: Tenant
) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(second_factor_required=True)
    IdentityProvider.objects.update(factor_values="mfa")
    client = Client()
    sign_in(client, provider, service, amr=["mfa"])
    assert client.get("/").status_code == 200
    assert sessions.user_of(client.session.session_key) is not None
    assert client.get("/api/v1/vms").status_code == 200
    client.post("/logout/")
    sign_in(client, provider, service, amr=["pwd"])
    assert client.get("/").headers["Location"].startswith("/second-factor/")
    assert sessions.user_of(client.session.session_key) is None
    assert client.get("/api/v1/vms").status_code == 403
    # Who has no password sets one up without: they have just signed in.
    page = client.get("/second-factor/set-up/")
    assert 'name="password"' not in text_of(page)
    begun = client.post("/second-factor/set-up/", {})
    assert begun.headers["Location"] == "/second-factor/confirm/"
    # Later they have to prove it first.
    grow_old(client)
    asked = client.post("/second-factor/set-up/", {})
    assert asked.status_code == 422


def test_who_has_no_password_and_needs_a_factor_proves_it_at_the_provider(
    service: Provider, provider: IdentityProvider, tenant: Tenant
) -> None:
    """Nothing else is open to them, and setting one up asks for a proof of lately."""
    client = Client()
    sign_in(client, provider, service, auth_time=int(time.time()) - 3600)
    Tenant.objects.filter(pk=tenant.pk).update(second_factor_required=True)
    begun = "/second-factor/set-up/"
    asked = client.post(begun, {}, headers={"Referer": f"http://testserver{begun}"})
    assert asked.status_code == 422
    assert "Confirm with Example ID" in text_of(asked)
    # For nothing but that.
    for purpose in ("link", "sign_in", ""):
        answer = client.post(f"/login/with/{provider.pk}/", {"purpose": purpose})
        assert (answer.status_code, answer.headers.get("Refresh")) == (302, None)
        assert answer.headers["Location"].startswith("/second-factor/")
    assert client.get("/profile/identities/").status_code == 302
    service.claims = {}
    address = begin(client, provider, purpose="confirm", next=begun)
    back = come_back(client, provider, service, address)
    assert back.headers["Location"] == begun
    assert client.get(begun).status_code == 200
    done = client.post(begun, {})
    assert done.headers["Location"] == "/second-factor/confirm/"
    assert secret_shown(text_of(client.get("/second-factor/confirm/")))


# --- linking


def test_who_is_signed_in_links_and_unlinks(
    service: Provider, provider: IdentityProvider, user: User, settings: Any
) -> None:
    settings.SCLOUD_EMAIL_READY = True
    client = Client()
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    mail.outbox.clear()
    assert "Link Example ID" in text_of(client.get("/profile/identities/"))
    address = begin(client, provider, purpose="link")
    answer = come_back(client, provider, service, address)
    assert answer.headers["Location"] == "/profile/identities/"
    identity = Identity.objects.get()
    assert (identity.user, identity.subject) == (user, "anna")
    run_jobs()
    assert [one.subject for one in mail.outbox] == ["Another way to sign in"]
    other = Client()
    sign_in(other, provider, service, groups=["bosses"])
    assert is_in(other)
    mail.outbox.clear()
    client.post(f"/profile/identities/{identity.pk}/unlink/")
    assert not Identity.objects.exists()
    run_jobs()
    assert "Identity unlinked" in [one.subject for one in mail.outbox]
    assert [verb for verb, error in verbs() if "link" in verb and not error] == [
        "tenancy.link_identity",
        "tenancy.unlink_identity",
    ]


def test_unlinking_ends_the_other_sessions(
    service: Provider, provider: IdentityProvider, user: User
) -> None:
    """Whoever has the identity is out, too."""
    identity = links(user, provider)
    mine, other = Client(), Client()
    mine.post("/login/", {"email": user.email, "password": PASSWORD})
    sign_in(other, provider, service)
    assert other.get("/profile/").status_code == 200
    mine.post(f"/profile/identities/{identity.pk}/unlink/")
    assert not Identity.objects.exists()
    assert other.get("/profile/").status_code == 302
    assert mine.get("/profile/").status_code == 200
    assert UserSession.objects.filter(user=user).count() == 1
    with scopes_disabled():
        entry = Operation.objects.filter(verb="tenancy.unlink_identity").latest("pk")
    assert entry.after == {"ended_sessions": 1}


def test_linking_and_unlinking_ask_again(
    service: Provider, provider: IdentityProvider, user: User
) -> None:
    client = Client()
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    identity = links(user, provider)
    grow_old(client)
    for url, data in (
        (f"/login/with/{provider.pk}/", {"purpose": "link"}),
        (f"/profile/identities/{identity.pk}/unlink/", {}),
    ):
        asked = client.post(url, data)
        assert asked.status_code == 422
        assert "Confirm that it is you" in text_of(asked)
        assert federated.COOKIE not in asked.cookies
    assert Identity.objects.exists()


def test_an_answer_links_the_account_that_asked_only(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    client = Client()
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    address = begin(client, provider, purpose="link")
    cookie = client.cookies[federated.COOKIE].value
    colleague = new_user(tenant, Role.READONLY)
    client.post("/logout/")
    client.post("/login/", {"email": colleague.email, "password": PASSWORD})
    client.cookies[federated.COOKIE] = cookie
    come_back(client, provider, service, address)
    client.post("/logout/")
    client.cookies[federated.COOKIE] = cookie
    come_back(client, provider, service, address)
    assert not Identity.objects.exists()
    assert "/token" not in service.requests


def _end_session(user: User) -> None:
    sessions.end_all(user)


def _deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def _new_password(user: User) -> None:
    user.set_password("An0ther-one-of-theirs")
    user.save()


def _turn_off(user: User) -> None:
    IdentityProvider.objects.update(is_on=False)


@pytest.mark.parametrize("meanwhile", [_end_session, _deactivate, _new_password, _turn_off])
def test_nothing_is_linked_by_a_session_that_ends_while_the_provider_is_asked(
    service: Provider,
    provider: IdentityProvider,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Any,
) -> None:
    client = Client()
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    address = begin(client, provider, purpose="link")
    found = oidc.exchange

    def exchange(*given: Any, **more: Any) -> Any:
        meanwhile(User.objects.get(pk=user.pk))
        return found(*given, **more)

    monkeypatch.setattr(oidc, "exchange", exchange)
    come_back(client, provider, service, address)
    assert "/token" in service.requests
    assert not Identity.objects.exists()


def test_nobody_is_made_by_a_provider_that_is_turned_off_meanwhile(
    service: Provider, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = oidc.exchange

    def exchange(*given: Any, **more: Any) -> Any:
        IdentityProvider.objects.update(creates_users=False)
        return found(*given, **more)

    monkeypatch.setattr(oidc, "exchange", exchange)
    sign_in(Client(), provider, service)
    assert not User.objects.filter(email="anna@example.org").exists()


def test_an_identity_belongs_to_one_account(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    links(new_user(tenant, Role.READONLY), provider)
    client = Client()
    client.post("/login/", {"email": user.email, "password": PASSWORD})
    come_back(client, provider, service, begin(client, provider, purpose="link"))
    assert not Identity.objects.filter(user=user).exists()
    assert verbs()[-1] == ("tenancy.link_identity", "identity_taken")


def test_nobody_unlinks_what_is_another_s_or_the_last_way_in(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    theirs = links(new_user(tenant, Role.READONLY), provider, "otto")
    client = Client()
    sign_in(client, provider, service)
    mine = Identity.objects.get(subject="anna")
    assert client.post(f"/profile/identities/{theirs.pk}/unlink/").status_code == 404
    client.post(f"/profile/identities/{mine.pk}/unlink/")
    assert "no other way to sign in" in text_of(client.get("/profile/identities/"))
    assert Identity.objects.count() == 2


@pytest.mark.parametrize("other", ["off", "of an issuer of before", "on"])
def test_a_link_that_signs_nobody_in_is_no_other_way(
    service: Provider, provider: IdentityProvider, other: str
) -> None:
    client = Client()
    sign_in(client, provider, service)
    mine = Identity.objects.get()
    second = IdentityProvider.objects.create(
        label="Second",
        issuer="https://second.example.org",
        client_id=CLIENT,
        is_on=other != "off",
        endpoints=provider.endpoints,
    )
    link = links(mine.user, second)
    if other.startswith("of an"):
        Identity.objects.filter(pk=link.pk).update(issuer="https://before.example.org")
    assert second in federated.ways_to_confirm(mine.user) or other != "on"
    if other == "of an issuer of before":
        assert second not in federated.ways_to_confirm(mine.user)
    client.post(f"/profile/identities/{mine.pk}/unlink/")
    assert Identity.objects.filter(pk=mine.pk).exists() is (other != "on")


def test_who_has_no_password_gets_none_by_mail(
    service: Provider, provider: IdentityProvider, settings: Any
) -> None:
    settings.SCLOUD_EMAIL_READY = True
    sign_in(Client(), provider, service)
    mail.outbox.clear()
    Client().post("/password/forgot/", {"email": "anna@example.org"})
    run_jobs()
    assert mail.outbox == []


# --- proving it again


def from_now(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims with the moments that they give as seconds from now."""
    at = claims.get("auth_time")
    return {**claims, "auth_time": int(time.time()) + at} if isinstance(at, int) else claims


@pytest.mark.parametrize(
    ("claims", "enough"),
    [
        ({}, True),
        ({"auth_time": -3600}, False),
        ({"auth_time": None}, False),
        ({"sub": "otto"}, False),
    ],
    ids=str,
)
def test_the_provider_confirms_that_it_is_still_the_same_person(
    service: Provider, provider: IdentityProvider, claims: dict[str, Any], enough: bool
) -> None:
    client = Client()
    sign_in(client, provider, service)
    grow_old(client)
    service.claims = from_now(claims)
    address = begin(client, provider, purpose="confirm", next="/api-keys/")
    if claims.get("auth_time", 0) is None:
        address = address.replace("&max_age=0", "")
    answer = come_back(client, provider, service, address)
    assert answer.headers["Location"] == ("/api-keys/" if enough else "/profile/identities/")
    assert sessions.is_confirmed(client.session) is enough


@pytest.mark.parametrize(
    ("claims", "proven"),
    [
        ({}, True),
        ({"auth_time": -3600}, False),
        ({"auth_time": None}, False),
        ({"auth_time": 3600}, False),
        ({"auth_time": float("nan")}, False),
    ],
    ids=str,
)
def test_who_comes_in_silently_is_asked_before_what_lets_others_in(
    service: Provider,
    provider: IdentityProvider,
    tenant: Tenant,
    claims: dict[str, Any],
    proven: bool,
) -> None:
    """A browser that the provider knows signs in without a question: that proves nothing."""
    map_groups(provider, Mapped("crew", tenant, Role.OWNER))
    client = Client()
    service.claims = from_now(claims)
    address = begin(client, provider)
    assert "prompt=" not in address
    come_back(client, provider, service, address)
    assert is_in(client)
    assert sessions.is_confirmed(client.session) is proven
    asked = client.post("/api-keys/create/", {"name": "robot"})
    assert ("Confirm that it is you" in text_of(asked)) is not proven
    with scopes_disabled():
        assert ApiKey.objects.exists() is proven
    # A proof counts as it does after a password.
    service.claims = {}
    come_back(client, provider, service, begin(client, provider, purpose="confirm"))
    assert sessions.is_confirmed(client.session)


def test_a_proof_at_the_provider_counts_from_when_it_was_given(
    service: Provider, provider: IdentityProvider, settings: Any
) -> None:
    client = Client()
    sign_in(client, provider, service, auth_time=int(time.time()) - 600)
    assert sessions.is_confirmed(client.session)
    settings.SCLOUD_CONFIRM_MINUTES = 9
    assert not sessions.is_confirmed(client.session)


def test_a_code_after_the_provider_is_a_proof(
    service: Provider, provider: IdentityProvider, user: User, clock: Clock
) -> None:
    links(user, provider)
    app = give(user, clock)
    client = Client()
    sign_in(client, provider, service, auth_time=None)
    client.post("/login/code/", {"code": app.fresh()})
    assert sessions.is_confirmed(client.session)


# --- what is kept


def test_what_was_used_is_forgotten_when_it_is_good_for_nothing(
    service: Provider, provider: IdentityProvider
) -> None:
    sign_in(Client(), provider, service)
    housekeeping.forget_sign_ins()
    assert UsedAnswer.objects.count() == 1
    UsedAnswer.objects.update(at=timezone.now() - timedelta(hours=7))
    housekeeping.forget_sign_ins()
    assert UsedAnswer.objects.count() == 0
    assert federated.LIVES < housekeeping.KEEP_ANSWERS


def test_a_new_browser_is_told_of(
    service: Provider, provider: IdentityProvider, settings: Any
) -> None:
    settings.SCLOUD_EMAIL_READY = True
    client = Client()
    sign_in(client, provider, service)
    client.post("/logout/")
    sign_in(client, provider, service)
    run_jobs()
    assert mail.outbox == []
    sign_in(Client(), provider, service)
    run_jobs()
    assert [one.subject for one in mail.outbox] == ["New sign-in to your account"]


# --- where somebody is asked


def grow_old(client: Client) -> None:
    """Let it be long ago that somebody signed in with a browser."""
    kept = client.session
    kept[sessions.STARTED_KEY] = timezone.now().timestamp() - 3600
    kept.pop(sessions.CONFIRMED_KEY, None)
    kept.save()


def test_who_has_no_password_is_sent_to_the_provider_when_asked_again(
    service: Provider, provider: IdentityProvider
) -> None:
    client = Client()
    sign_in(client, provider, service)
    grow_old(client)
    key = {"name": "robot", "expires_in_days": "30"}
    asked = client.post(
        "/api-keys/create/", key, headers={"Referer": "http://testserver/api-keys/?q=x"}
    )
    page = text_of(asked)
    assert asked.status_code == 422
    assert "Your account has no password." in page
    assert 'name="identity-password"' not in page
    assert "Confirm with Example ID" in page
    assert '<input type="hidden" name="next" value="/api-keys/?q=x">' in page
    # Another site is nowhere to go on.
    asked = client.post(
        "/api-keys/create/", key, headers={"Referer": "https://evil.example.org/api-keys/"}
    )
    assert '<input type="hidden" name="next" value="/">' in text_of(asked)


def test_an_owner_without_a_password_hands_the_account_over(
    service: Provider, provider: IdentityProvider, user: User, tenant: Tenant
) -> None:
    client = Client()
    sign_in(client, provider, service, groups=["bosses"])
    me = User.objects.get(email="anna@example.org")
    heir = new_user(tenant, Role.READONLY)
    where = f"/users/{heir.pk}/hand-over/"
    assert 'name="password"' not in text_of(client.get(where))
    grow_old(client)
    asked = client.post(where, {"own_role": "finance"})
    assert asked.status_code == 422
    assert "Confirm with Example ID" in text_of(asked)
    heir.refresh_from_db()
    assert heir.role == Role.READONLY
    # It is a question, not a refusal.
    assert ("tenancy.manage_users", "no_password") not in verbs()
    come_back(client, provider, service, begin(client, provider, purpose="confirm"))
    assert client.post(where, {"own_role": "finance"}).headers["Location"] == "/"
    for one in (me, heir):
        one.refresh_from_db()
    assert (me.role, heir.role) == (Role.FINANCE, Role.OWNER)


def test_staff_links_and_is_asked_outside_of_the_console(
    service: Provider, provider: IdentityProvider
) -> None:
    boss = User.objects.get(email="root@platform.test")
    client = Client()
    client.post("/login/", {"email": boss.email, "password": PASSWORD})
    assert "Link Example ID" in text_of(client.get("/profile/identities/"))
    grow_old(client)
    asked = client.post(f"/login/with/{provider.pk}/", {"purpose": "link"})
    assert asked.status_code == 422
    assert 'name="identity-password"' in text_of(asked)
    proven = {"purpose": "link", "identity-asked": "1", "identity-password": PASSWORD}
    led = client.post(
        f"/login/with/{provider.pk}/",
        urlencode(proven),
        content_type="application/x-www-form-urlencoded",
    )
    address = led.headers["Refresh"].removeprefix("0;url=")
    come_back(client, provider, service, address)
    assert Identity.objects.get().user == boss
