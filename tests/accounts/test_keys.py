"""API keys: where from, how long, for what, and what ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from billing import services
from scloud.accounts import expiring
from scloud.accounts.actions import create_api_key, known_scopes
from scloud.accounts.rights import scope_words
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Forbidden, InvalidInput, Unauthenticated
from scloud.resources.models import Region
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import ApiKey, PlatformSettings, Tenant, User, UserSession
from scloud.tenancy.permissions import GRANTS, Role
from scloud.tenancy.scoping import in_scope_of, scopes_disabled
from tests.alarms.receiver import run_jobs
from tests.api.client import Program, program_of
from tests.fixtures import PASSWORD, new_user

HERE = "127.0.0.1"


@pytest.fixture
def boss(db: None) -> Client:
    """An administrator of the platform, in the administration."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss@platform.test", PASSWORD))
    return client


def key_of(user: User, **more: Any) -> tuple[ApiKey, str]:
    with in_scope_of(user.tenant):
        return apikeys.issue(user=user, name="k", **more)


def change_user(boss: Client, user: User, **changes: Any) -> int:
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
    return boss.post(f"/admin/tenancy/user/{user.pk}/change/", data).status_code


# --- moves and resets


def test_a_key_of_a_user_who_is_elsewhere_is_refused(user: User, other_tenant: Tenant) -> None:
    """However the user came there."""
    _key, secret = key_of(user)
    program = Program(secret)
    assert program.get("/vms").status == 200
    User.objects.filter(pk=user.pk).update(tenant=other_tenant)
    program.get("/vms").error(401, "invalid_api_key")
    with pytest.raises(Unauthenticated):
        apikeys.lookup(secret)


def test_moving_a_user_revokes_the_keys_and_ends_the_sessions(
    boss: Client, user: User, tenant: Tenant, other_tenant: Tenant
) -> None:
    for place in (tenant, other_tenant):
        new_user(place, email=f"another@{place.pk}.test")
    _key, secret = key_of(user)
    browser = Client()
    browser.post("/login/", {"email": user.email, "password": PASSWORD})
    assert change_user(boss, user, tenant=other_tenant.pk, full_name="Ada") == 302
    user.refresh_from_db()
    assert (user.tenant, user.full_name) == (other_tenant, "Ada")
    with scopes_disabled():
        assert ApiKey.objects.get().revoked_at is not None
        entry = Operation.objects.get(verb="platform.move_user")
    assert (entry.tenant_id, entry.actor) == (tenant.pk, "boss@platform.test")
    assert entry.before == {"tenant": tenant.pk}
    assert entry.after == {
        "tenant": other_tenant.pk, "user": user.email, "ended_sessions": 1, "revoked_keys": 1,
        "unlinked": [],
    }  # fmt: skip
    assert browser.get("/profile/").status_code == 302
    # Coming back brings nothing back.
    assert change_user(boss, user, tenant=tenant.pk) == 302
    Program(secret).get("/vms").error(401, "invalid_api_key")


def test_an_administrators_reset_of_the_password_revokes_the_keys(boss: Client, user: User) -> None:
    _key, secret = key_of(user)
    browser = Client()
    browser.post("/login/", {"email": user.email, "password": PASSWORD})
    assert change_user(boss, user, new_password="short") == 200
    assert Program(secret).get("/vms").status == 200
    assert change_user(boss, user, new_password="another good passphrase") == 302
    user.refresh_from_db()
    assert user.check_password("another good passphrase")
    Program(secret).get("/vms").error(401, "invalid_api_key")
    assert browser.get("/profile/").status_code == 302
    assert not UserSession.objects.filter(user=user).exists()
    with scopes_disabled():
        entry = Operation.objects.get(verb="platform.reset_password")
    assert "passphrase" not in str(entry.__dict__)


def test_a_reset_on_the_command_line_revokes_the_keys(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    _key, secret = key_of(user)
    browser = Client()
    browser.post("/login/", {"email": user.email, "password": PASSWORD})
    typed = iter(["another one", "a typing error", "short", "short", *["a good passphrase 7"] * 2])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    said = StringIO()
    call_command("changepassword", user.email.upper(), stdout=said, stderr=StringIO())
    assert "API keys revoked" in said.getvalue()
    user.refresh_from_db()
    assert user.check_password("a good passphrase 7")
    Program(secret).get("/vms").error(401, "invalid_api_key")
    assert browser.get("/profile/").status_code == 302
    with scopes_disabled():
        entry = Operation.objects.get(verb="platform.reset_password")
    assert (entry.tenant_id, entry.actor) == (user.tenant_id, "SCloud")
    assert "passphrase" not in str(entry.__dict__)


def test_a_reset_on_the_command_line_that_fails_changes_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    _key, secret = key_of(user)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "short")
    for who in (user.email, "nobody@acme.test", ""):
        with pytest.raises(CommandError):
            call_command("changepassword", who, stderr=StringIO())
    assert Program(secret).get("/vms").status == 200


def test_other_changes_of_a_user_leave_the_keys_alone(
    boss: Client, user: User, tenant: Tenant
) -> None:
    new_user(tenant, email="another@acme.test")
    _key, secret = key_of(user)
    assert change_user(boss, user, full_name="Ada", role=Role.OPERATOR) == 302
    assert Program(secret).get("/vms").status == 200


def test_an_administrator_makes_a_user_who_can_sign_in(boss: Client, tenant: Tenant) -> None:
    data = {
        "email": "New@Acme.test",
        "tenant": tenant.pk,
        "role": Role.OWNER,
        "is_active": "on",
        "time_zone": "UTC",
        "new_password": "another good passphrase",
    }
    assert boss.post("/admin/tenancy/user/add/", data).status_code == 302
    assert User.objects.get(email="new@acme.test").check_password("another good passphrase")


# --- spending


def test_spending_needs_a_scope_of_its_own(user: User, tenant: Tenant) -> None:
    def actor(scopes: list[str], role: str = Role.OWNER) -> Actor:
        key, _secret = key_of(user, scopes=scopes)
        return Actor(tenant=tenant, user=user, api_key=key, role=role, via="api")

    with pytest.raises(Forbidden) as refusal:
        actor(["compute.*", "billing.view*"]).require("billing.spend")
    assert refusal.value.code == "spending_not_allowed"
    for scopes in ([], ["billing.spend"], ["billing.*"], ["compute.*", "billing.spend"]):
        actor(scopes).require("billing.spend")
    # The scope gives nothing that the role has not.
    with pytest.raises(Forbidden) as refusal:
        actor(["billing.spend"], Role.READONLY).require("billing.spend")
    assert refusal.value.code == "forbidden"
    assert not actor(["billing.spend"]).allows("compute.create_vm")


@pytest.mark.parametrize(
    "spend",
    [
        lambda actor: services.purchase(
            actor=actor, region=Region(), items=[], method="hour", periods=1, resources=[],
            quote_token="",
        ),
        lambda actor: services.upgrade(actor=actor, resource_id="vm-1", items=[], quote_token=""),
        lambda actor: services.renew(actor=actor, resource_id="vm-1", periods=1, quote_token=""),
    ],
)  # fmt: skip
def test_whatever_takes_money_asks_for_it(
    user: User, tenant: Tenant, spend: Callable[[Actor], Any]
) -> None:
    key, _secret = key_of(user, scopes=["compute.*"])
    poor = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
    with in_scope_of(tenant), pytest.raises(Forbidden) as refusal:
        spend(poor)
    assert refusal.value.code == "spending_not_allowed"


def test_keys_from_before_keep_what_they_could(user: User) -> None:
    migration = import_module("scloud.tenancy.migrations.0004_spending_scope")
    cases: dict[str, tuple[list[str], list[str]]] = {
        "all": ([], []),
        "runs": (["compute.*"], ["compute.*", "billing.spend"]),
        "looks": (["compute.view*"], ["compute.view*"]),
        "pays": (["network.*", "billing.*"], ["network.*", "billing.*"]),
    }
    keys = {name: key_of(user, scopes=before)[0] for name, (before, _) in cases.items()}
    with scopes_disabled():
        migration.give_spending(apps, None)
        for name, (_, after) in cases.items():
            assert ApiKey.objects.get(pk=keys[name].pk).scopes == after, name


@pytest.mark.parametrize(
    ("role", "given", "refused"),
    [
        (Role.OPERATOR, ["compute.*", "billing.view*", "billing.spend"], ["billing.*"]),
        (Role.OPERATOR, ["network.view*"], ["tenancy.manage_api_keys", "*"]),
        (Role.ADMINISTRATOR, ["billing.*", "audit.*"], ["tenancy.view*", "tenancy.*"]),
        (Role.OWNER, ["billing.*"], ["*", "tenancy.*", "compute.*delete", ""]),
    ],
)
def test_a_key_gets_no_scope_that_its_users_role_may_not_give(
    make_user: Callable[..., User],
    tenant: Tenant,
    role: str,
    given: list[str],
    refused: list[str],
) -> None:
    """Nor one for the accounts and keys themselves, whoever makes it."""
    user = make_user(tenant, role)
    actor = Actor(tenant=tenant, user=user, role=role, via="console")
    with in_scope_of(tenant):
        for scope in refused:
            with pytest.raises(InvalidInput) as refusal:
                create_api_key(actor=actor, name="k", scopes=[*given, scope])
            assert (refusal.value.field, scope in refusal.value.message) == ("scopes", True)
        assert not ApiKey.objects.exists()
        key, _secret = create_api_key(actor=actor, name="k", scopes=given)
        assert sorted(key.scopes) == sorted(given)


@pytest.mark.parametrize("role", [Role.FINANCE, Role.READONLY])
def test_a_role_without_the_right_makes_no_key(
    make_user: Callable[..., User], tenant: Tenant, role: str
) -> None:
    actor = Actor(tenant=tenant, user=make_user(tenant, role), role=role, via="console")
    with in_scope_of(tenant), pytest.raises(Forbidden):
        create_api_key(actor=actor, name="k", scopes=[])


# --- how long


def test_a_key_expires_unless_somebody_says_otherwise(user: User, console: Client) -> None:
    PlatformSettings.objects.create(pk=1, api_key_days=30)
    key, _secret = key_of(user)
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert key_of(user, expires_at=None)[0].expires_at is None
    console.post("/api-keys/create/", {"name": "left out"})
    console.post("/api-keys/create/", {"name": "never", "expires_in_days": "0"})
    console.post("/api-keys/create/", {"name": "year", "expires_in_days": "365"})
    with in_scope_of(user.tenant):
        left = {
            key.name: round((key.expires_at - timezone.now()) / timedelta(days=1))
            if key.expires_at
            else None
            for key in ApiKey.objects.exclude(name="k")
        }
    assert left == {"left out": 30, "never": None, "year": 365}


def test_the_command_line_says_how_long_where_from_and_for_what(user: User) -> None:
    def issue(*options: str) -> ApiKey:
        out = StringIO()
        call_command("issue_api_key", user.email, *options, stdout=out)
        return apikeys.lookup(out.getvalue().strip(), "192.0.2.1")

    assert issue().expires_at is not None
    assert issue("--days", "0").expires_at is None
    key = issue("--days", "2", "--scope", "compute.*", "--network", "192.0.2.0/24")
    assert key.expires_at is not None
    assert key.expires_at < timezone.now() + timedelta(days=3)
    assert (key.scopes, key.networks) == (["compute.*"], ["192.0.2.0/24"])
    for wrong in (("--days", "-1"), ("--network", "here")):
        with pytest.raises(CommandError):
            issue(*wrong)


# --- where from


@pytest.mark.parametrize(
    ("networks", "ip", "allowed"),
    [
        ([], None, True),
        (["192.0.2.0/24"], "192.0.2.255", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.255", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["2001:db8::/64", "192.0.2.7"], "2001:db8::5", True),
        (["2001:db8::/64"], "2001:db8:1::5", False),
        (["0.0.0.0/0"], "2001:db8::5", False),
        (["0.0.0.0/0"], None, False),
        (["0.0.0.0/0"], "unknown", False),
    ],
)
def test_a_key_is_good_from_its_networks_only(
    user: User, networks: list[str], ip: str | None, allowed: bool
) -> None:
    _key, secret = key_of(user, networks=networks)
    if allowed:
        assert apikeys.lookup(secret, ip)
        return
    with pytest.raises(Forbidden) as refusal:
        apikeys.lookup(secret, ip)
    assert refusal.value.code == "address_not_allowed"
    assert refusal.value.numbers == {"address": ip}


@pytest.mark.parametrize("text", ["", "here", "192.0.2.1/24", "192.0.2.0/33", "1.2.3", "::/129"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        apikeys.check_networks([text])
    assert (refusal.value.code, refusal.value.field) == ("network_invalid", "networks")


def test_networks_are_kept_once_and_not_without_end() -> None:
    assert apikeys.check_networks([" 192.0.2.7", "192.0.2.7/32"]) == ["192.0.2.7/32"]
    with pytest.raises(InvalidInput) as refusal:
        apikeys.check_networks([f"192.0.2.{number}" for number in range(51)])
    assert refusal.value.numbers == {"limit": 50, "given": 51}


def test_the_api_refuses_a_key_from_elsewhere(user: User, settings: Any) -> None:
    _key, secret = key_of(user, networks=["192.0.2.0/24"])
    program = Program(secret)
    error = program.get("/vms").error(403, "address_not_allowed")
    assert error["numbers"] == {"address": HERE}
    # Where no proxy is expected, a header cannot speak for the caller.
    settings.SCLOUD_PROXY, settings.SCLOUD_PROXY_SAID = "none", True
    spoof = Client(headers={"X-Forwarded-For": "192.0.2.1", "Authorization": f"Bearer {secret}"})
    assert spoof.get("/api/v1/vms").status_code == 403


def test_people_say_from_where_in_the_console(
    console: Client, user: User, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    data = {"name": "k", "networks": "192.0.2.0/24,\n 127.0.0.1"}
    page = console.post("/api-keys/create/", data).content.decode()
    secret = page.split('data-copy="')[1].split('"')[0]
    assert Program(secret).get("/vms").status == 200
    with in_scope_of(tenant):
        key = ApiKey.objects.get()
    assert key.networks == ["192.0.2.0/24", "127.0.0.1/32"]
    assert "192.0.2.0/24" in console.get("/api-keys/").content.decode()
    where = f"/api-keys/{key.pk}/networks/"
    assert "127.0.0.1/32" in console.get(where).content.decode()
    refused = console.post(where, {"networks": "nonsense"})
    assert refused.status_code == 422
    assert "nonsense is neither an address nor a network." in refused.content.decode()
    assert console.post(where, {"networks": "192.0.2.0/24"}).status_code in {204, 302}
    Program(secret).get("/vms").error(403, "address_not_allowed")
    colleague = Client()
    colleague.force_login(make_user(tenant, "operator"))
    assert colleague.post(where, {"networks": ""}).status_code == 404


def test_programs_of_people_do_the_same_by_the_api(user: User, tenant: Tenant) -> None:
    person = Client()
    person.force_login(user)

    def post(path: str, body: dict[str, Any]) -> Any:
        return person.post(f"/api/v1/api-keys{path}", body, content_type="application/json")

    made = post("", {"name": "robot", "scopes": ["compute.*"], "networks": ["127.0.0.1"]})
    assert made.status_code == 201
    key, program = made.json(), Program(made.json()["secret"])
    assert key["networks"] == ["127.0.0.1/32"]
    assert key["expires_at"] is not None
    listed = program.get("/api-keys")
    # Managing keys is a right of its own, which the scopes leave out.
    listed.error(403, "forbidden")
    whole = program_of(user)
    assert {row["name"] for row in whole.get("/api-keys").body["results"]} == {"robot", "program"}
    assert "secret" not in str(whole.get("/api-keys").body)
    whole.post("/api-keys", {"name": "more"}).error(401, "person_needed")
    one = f"/{key['id']}"
    bodies: dict[str, dict[str, Any]] = {"set-networks": {"networks": []}, "revoke": {}}
    for verb, body in bodies.items():
        whole.post(f"/api-keys{one}/{verb}", body).error(401, "person_needed")
    assert post(f"{one}/set-networks", {"networks": ["x"]}).json()["code"] == "network_invalid"
    changed = post(f"{one}/set-networks", {"networks": ["192.0.2.0/24"]})
    assert changed.json()["networks"] == ["192.0.2.0/24"]
    assert program.get("/vms").status == 403
    assert post(f"{one}/revoke", {}).json()["revoked_at"] is not None
    program.get("/vms").error(401, "invalid_api_key")


def test_administrators_say_from_where_and_revoke(boss: Client, user: User, tenant: Tenant) -> None:
    key, secret = key_of(user)
    page = f"/admin/tenancy/apikey/{key.pk}"
    assert key.digest not in boss.get(f"{page}/change/").content.decode()
    assert boss.post(f"{page}/change/", {"allowed_from": "nonsense"}).status_code == 200
    assert boss.post(f"{page}/change/", {"allowed_from": "192.0.2.0/24"}).status_code == 302
    Program(secret).get("/vms").error(403, "address_not_allowed")
    assert boss.post(f"{page}/do/revoke/").status_code == 302
    Program(secret).get("/vms").error(401, "invalid_api_key")
    with in_scope_of(tenant):
        verbs = Operation.objects.values_list("via", "verb", "after")
        assert ("admin", "tenancy.manage_api_keys", {"networks": ["192.0.2.0/24"]}) in verbs


@pytest.mark.usefixtures("one_window")
def test_guesses_of_secrets_are_limited_per_source(db: None, settings: Any) -> None:
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 3
    answers = [Program(f"sck_{number}").get("/vms").status for number in range(6)]
    assert answers == [401] * 3 + [429] * 3


# --- what people see of their keys


@pytest.mark.parametrize(
    ("ip", "kept"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7")],
)
def test_a_key_knows_when_and_from_where_it_was_used_last(user: User, ip: str, kept: str) -> None:
    _key, secret = key_of(user)
    before = timezone.now()
    apikeys.lookup(secret, ip)
    with scopes_disabled():
        key = ApiKey.objects.get()
    assert key.last_used_ip == kept
    assert key.last_used_at is not None
    assert key.last_used_at >= before
    assert Program(secret).get(f"/api-keys/{key.pk}").body["last_used_ip"] == kept


def test_an_address_that_is_none_is_not_kept(user: User) -> None:
    """As that of a socket; the key may be used all the same."""
    _key, secret = key_of(user)
    apikeys.lookup(secret, "unix:/run/scloud.sock")
    with scopes_disabled():
        key = ApiKey.objects.get()
    assert (key.last_used_ip, key.last_used_at is not None) == (None, True)


def test_the_page_says_in_words_what_keys_may_do_and_when_they_were_used(
    console: Client, user: User
) -> None:
    _narrow, secret = key_of(
        user, scopes=["compute.view*", "billing.spend"], networks=["192.0.2.0/24"]
    )
    _wide, _secret = key_of(user, expires_at=None)
    key_of(user, expires_at=timezone.now() + timedelta(days=5))
    apikeys.lookup(secret, "192.0.2.7")
    page = console.get("/api-keys/").content.decode()
    for words in (
        "See VMs, disks, snapshots and images",
        "Spend money: buy, renew, upgrade",
        "Everything your role allows",
        "192.0.2.0/24",
        "192.0.2.7",
        "never",
        "Expires soon",
    ):
        assert words in page, words
    assert "compute.view*" not in page
    form = console.get("/api-keys/create/").content.decode()
    assert "Manage networks and external IPs" in form
    assert "default: in 90 days" in form


def test_every_scope_that_can_be_given_has_words() -> None:
    for role in Role:
        for scope_ in known_scopes(GRANTS[role]):
            assert scope_words(scope_) != scope_, scope_


# --- keys that expire soon


def due_in(user: User, days: float, *, lives: float = 90, **more: Any) -> ApiKey:
    """A key that expires in so many days, of so many that it lives."""
    now = timezone.now()
    key, _secret = key_of(user, expires_at=now + timedelta(days=days), **more)
    with scopes_disabled():
        ApiKey.objects.filter(pk=key.pk).update(created_at=now - timedelta(days=lives - days))
    return key


def test_people_are_told_once_that_a_key_expires_soon(user: User, settings: Any) -> None:
    due_in(user, 8)
    settings.SCLOUD_EMAIL_READY = False
    soon = due_in(user, 6)
    assert expiring.tell_of_expiring() == 0
    settings.SCLOUD_EMAIL_READY = True
    assert expiring.tell_of_expiring() == 1
    assert expiring.tell_of_expiring() == 0
    run_jobs()
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == ([user.email], "An API key expires soon")
    assert soon.pk in str(sent.body)
    assert "/api-keys/" in str(sent.body)
    with scopes_disabled():
        # It belongs to no tenant: colleagues do not see it.
        assert Job.objects.get(kind=expiring.TELL_EXPIRY).tenant is None


def test_a_key_of_a_few_days_is_told_of_in_its_last_tenth(user: User, settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    due_in(user, 4, lives=30)
    due_in(user, 0.5, lives=1)
    assert expiring.tell_of_expiring() == 0
    due_in(user, 2, lives=30)
    due_in(user, 0.09, lives=1)
    assert expiring.tell_of_expiring() == 2


def test_nobody_is_told_of_keys_that_are_of_no_use(
    user: User, other_tenant: Tenant, settings: Any, make_user: Callable[..., User]
) -> None:
    settings.SCLOUD_EMAIL_READY = True
    revoked = due_in(user, 3)
    due_in(user, -1)
    gone = make_user(user.tenant, Role.OPERATOR)
    due_in(gone, 3)
    moved = make_user(user.tenant, Role.FINANCE)
    due_in(moved, 3)
    with scopes_disabled():
        ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=timezone.now())
    User.objects.filter(pk=gone.pk).update(is_active=False)
    User.objects.filter(pk=moved.pk).update(tenant=other_tenant)
    assert expiring.tell_of_expiring() == 0
    # Nor of one that was revoked when the mail was about to be sent.
    late = due_in(user, 3)
    assert expiring.tell_of_expiring() == 1
    with scopes_disabled():
        ApiKey.objects.filter(pk=late.pk).update(revoked_at=timezone.now())
    run_jobs()
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_tell_once(user: User, settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    for _ in range(5):
        due_in(user, 3)
    start = threading.Barrier(2)
    told: list[int] = []

    def sweep() -> None:
        try:
            start.wait()
            told.append(expiring.tell_of_expiring())
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(told) == 5
    with scopes_disabled():
        assert Job.objects.filter(kind=expiring.TELL_EXPIRY).count() == 5
