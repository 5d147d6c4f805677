"""Roles, patterns, actors, scopes, keys: who may do what, and whose rows are seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone
from django_scopes.exceptions import ScopeError

from compute.verbs.disks import DISK_RULES
from compute.verbs.vms import VM_RULES
from scloud.lib.errors import Forbidden, TooManyRequests, Unauthenticated
from scloud.serve import refuse_bad_settings
from scloud.tenancy import apikeys, housekeeping, lockout, ratelimit
from scloud.tenancy.actor import Actor
from scloud.tenancy.backends import EmailBackend
from scloud.tenancy.clientip import check_proxies, client_ip
from scloud.tenancy.models import (
    ApiKey,
    LoginAttempt,
    PlatformSettings,
    RateCounter,
    SignInWait,
    Tenant,
    User,
    UserSession,
)
from scloud.tenancy.permissions import GRANTS, Role, matches, role_allows
from scloud.tenancy.scoping import in_scope_of, scope, scopes_disabled
from scloud.tenancy.sessions import SEEN_KEY
from tests.fixtures import PASSWORD

# --- roles

EVERY_VERB = sorted(
    {rule.permission for rule in VM_RULES.values()}
    | {rule.permission for rule in DISK_RULES.values()}
)
# permission -> the roles that have it, beside the owner, who has all
MATRIX: dict[str, set[str]] = {
    "compute.create_vm": {Role.ADMINISTRATOR, Role.OPERATOR},
    "compute.view_vm": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "network.add_rule": {Role.ADMINISTRATOR, Role.OPERATOR},
    "network.view_vpc": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "billing.view": {Role.ADMINISTRATOR, Role.FINANCE},
    "billing.recharge": {Role.ADMINISTRATOR, Role.FINANCE},
    "billing.renew_resource": {Role.ADMINISTRATOR, Role.FINANCE},
    "billing.spend": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE},
    "billing.quote": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "billing.view_quota": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "billing.request_quota": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE},
    "audit.view": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "jobs.view": {Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY},
    "tenancy.manage_api_keys": {Role.ADMINISTRATOR, Role.OPERATOR},
    "tenancy.manage_users": set(),
}


@pytest.mark.parametrize("permission", MATRIX)
def test_the_matrix_of_roles(permission: str) -> None:
    allowed = {role for role in Role if role_allows(role, permission)}
    assert allowed == MATRIX[permission] | {Role.OWNER}


@pytest.mark.parametrize("role", [Role.FINANCE, Role.READONLY])
def test_who_only_looks_runs_nothing(role: str) -> None:
    # Who keeps the books pays for more time, too: the matrix above says who may.
    paid = {"billing.renew_resource"}
    assert [one for one in EVERY_VERB if one not in paid and role_allows(role, one)] == []


def test_patterns() -> None:
    assert matches("compute.*", "compute.start_vm")
    assert matches("compute.view*", "compute.view_vm")
    assert not matches("compute.view*", "compute.start_vm")
    assert matches("billing.quote", "billing.quote")
    assert not matches("billing.quote", "billing.quotes")
    assert not role_allows("nobody", "compute.view_vm")
    assert set(GRANTS) == set(Role)


# --- actors


def test_an_actor_is_held_to_role_key_and_tenant(tenant: Tenant, user: User) -> None:
    owner = Actor(tenant=tenant, user=user, role=Role.OWNER, via="console")
    owner.require("compute.start_vm")
    assert not owner.allows("platform.migrate_vm")
    key, _ = apikeys.issue(user=user, name="k", scopes=["compute.view*"])
    narrow = Actor(tenant=tenant, user=user, api_key=key, role=Role.OWNER, via="api")
    assert narrow.allows("compute.view_vm")
    with pytest.raises(Forbidden) as refusal:
        narrow.require("compute.start_vm")
    assert refusal.value.numbers == {"permission": "compute.start_vm", "role": "owner"}
    assert not Actor(tenant=None, role=Role.OWNER, via="api").allows("compute.view_vm")
    assert not Actor(tenant=tenant, role=None, via="api").allows("compute.view_vm")
    closed = Tenant(name="Closed", is_active=False)
    assert not Actor(tenant=closed, role=Role.OWNER, via="console").allows("compute.view_vm")


def test_the_platform_and_its_administrators_may_everything(tenant: Tenant, user: User) -> None:
    assert Actor.system(tenant).allows("platform.migrate_vm")
    root = User.objects.create_superuser("root@platform.test", "x")
    assert Actor.administrator(root, tenant).allows("compute.destroy_vm")
    # A tenant's user who claims to come from the administration is none.
    assert not Actor.administrator(user, tenant).is_platform


def test_the_log_knows_who_it_was(tenant: Tenant, user: User) -> None:
    key, _ = apikeys.issue(user=user, name="robot")
    assert Actor.system(tenant).label == "SCloud"
    assert Actor(tenant=tenant, user=user).label == user.email
    assert Actor(tenant=tenant, user=user, api_key=key).label == f"{user.email} (robot)"


# --- scopes


def test_an_unscoped_query_raises_and_a_scoped_one_sees_its_own(
    tenant: Tenant, other_tenant: Tenant, user: User, make_user: Callable[..., User]
) -> None:
    apikeys.issue(user=user, name="mine")
    apikeys.issue(user=make_user(other_tenant), name="theirs")
    for query in (ApiKey.objects.all, ApiKey.objects.count, ApiKey.objects.first):
        with pytest.raises(ScopeError):
            query()
    assert list(ApiKey.objects.none()) == []
    with scope(tenant=tenant):
        assert [key.name for key in ApiKey.objects.all()] == ["mine"]
    with scopes_disabled():
        assert ApiKey.objects.count() == 2
    with in_scope_of(None):
        assert ApiKey.objects.count() == 2
    with in_scope_of(other_tenant):
        assert [key.name for key in ApiKey.objects.all()] == ["theirs"]


# --- keys


def test_a_key_is_found_by_its_secret_only(user: User, tenant: Tenant) -> None:
    key, secret = apikeys.issue(user=user, name="k")
    assert secret.startswith("sck_")
    assert apikeys.lookup(secret).pk == key.pk
    assert str(key) == f"k ({key.pk})"
    for wrong in ("", "sck_", secret[:-1], secret + "x", key.pk, key.digest):
        with pytest.raises(Unauthenticated):
            apikeys.lookup(wrong)


def test_its_last_use_is_noted_once_a_minute(user: User, tenant: Tenant) -> None:
    key, secret = apikeys.issue(user=user, name="k")
    assert key.last_used_at is None
    apikeys.lookup(secret)
    with scope(tenant=tenant):
        first = ApiKey.objects.get(pk=key.pk).last_used_at
        assert first is not None
        apikeys.lookup(secret)
        assert ApiKey.objects.get(pk=key.pk).last_used_at == first
        ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
        apikeys.lookup(secret)
        second = ApiKey.objects.get(pk=key.pk).last_used_at
        assert second is not None
        assert second > first


def test_a_key_is_usable_until_it_is_not() -> None:
    now = timezone.now()
    assert ApiKey().is_usable
    assert ApiKey(expires_at=now + timedelta(days=1)).is_usable
    assert not ApiKey(expires_at=now - timedelta(seconds=1)).is_usable
    assert not ApiKey(revoked_at=now).is_usable


def test_administrators_have_no_keys(db: None) -> None:
    with pytest.raises(ValueError, match="belongs to a tenant"):
        apikeys.issue(user=User.objects.create_superuser("root@platform.test", "x"), name="k")


def test_a_key_is_issued_on_the_command_line(user: User) -> None:
    out = StringIO()
    call_command("issue_api_key", user.email, stdout=out)
    assert apikeys.lookup(out.getvalue().strip().split()[-1]).user == user
    with pytest.raises(CommandError):
        call_command("issue_api_key", "nobody@nowhere.test", stdout=StringIO())


# --- signing in


def test_the_backend_knows_people_by_their_address_in_any_case(user: User) -> None:
    backend = EmailBackend()
    assert backend.authenticate(None, user.email.upper(), PASSWORD) == user
    assert backend.authenticate(None, email=user.email, password=PASSWORD) == user
    assert backend.authenticate(None, user.email, "wrong") is None
    assert backend.authenticate(None, "nobody@nowhere.test", PASSWORD) is None
    assert backend.authenticate(None, None, PASSWORD) is None
    assert backend.authenticate(None, user.email, None) is None
    assert User.objects.get_by_natural_key(user.email.upper()) == user


def test_who_is_disabled_or_whose_tenant_is_does_not_get_in(user: User, tenant: Tenant) -> None:
    backend = EmailBackend()
    Tenant.objects.update(is_active=False)
    assert backend.authenticate(None, user.email, PASSWORD) is None
    Tenant.objects.update(is_active=True)
    User.objects.update(is_active=False)
    assert backend.authenticate(None, user.email, PASSWORD) is None
    assert not backend.user_can_authenticate(None)
    root = User.objects.create_superuser("root@platform.test", PASSWORD)
    assert backend.authenticate(None, root.email, PASSWORD) == root


def test_passwords_are_kept_with_argon2(db: None, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    user = User.objects.create_user("a@b.test", PASSWORD)
    assert user.password.startswith("argon2")
    assert user.check_password(PASSWORD)


# --- lockout


def _fails(account: str, source: str = "192.0.2.1", *, known_browser: bool = False) -> LoginAttempt:
    return lockout.begin(
        account=account, email="a@b.test", ip=None, source=source, known_browser=known_browser
    )


def test_five_failures_in_a_row_lock_for_a_quarter_of_an_hour(db: None) -> None:
    for _ in range(5):
        _fails("a")
    with pytest.raises(TooManyRequests) as refusal:
        _fails("a")
    assert refusal.value.code == "account_locked"
    numbers = refusal.value.numbers or {}
    assert 0 < numbers["retry_after_s"] <= 901
    _fails("b")
    _fails("a", "192.0.2.2")
    LoginAttempt.objects.update(at=timezone.now() - lockout.LOCK - timedelta(seconds=1))
    _fails("a")


def test_a_success_among_them_does_not_lock(db: None) -> None:
    for number in range(6):
        attempt = _fails("a")
        if number == 3:
            lockout.succeeded(attempt)
    _fails("a")


def test_the_lock_can_be_switched_off(db: None) -> None:
    PlatformSettings.objects.create(pk=1, login_lockout=False)
    for _ in range(9):
        _fails("a")
    with pytest.raises(TooManyRequests):
        lockout.begin(account="a", email="a@b.test", ip=None, source="192.0.2.1", always=True)


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_source_is_an_address_or_the_network_of_one_customer(ip: str | None, source: str) -> None:
    assert lockout.source_of(ip) == source


def test_an_account_is_a_user_or_an_address_in_one_spelling(user: User) -> None:
    assert lockout.account_of("whatever", user) == f"user:{user.pk}"
    assert lockout.account_of(" Nobody@B.test ", None) == "email:nobody@b.test"


# --- rate limits


@pytest.mark.usefixtures("one_window")
def test_the_limit_holds_within_its_window_and_by_key(db: None) -> None:
    for _ in range(3):
        ratelimit.hit("a", limit=3, window_s=3600)
    with pytest.raises(TooManyRequests) as refusal:
        ratelimit.hit("a", limit=3, window_s=3600)
    numbers = refusal.value.numbers or {}
    assert numbers["limit"] == 3
    assert 1 <= numbers["retry_after_s"] <= 3601
    ratelimit.hit("b", limit=3, window_s=3600)
    ratelimit.hit("k" * 500, limit=3)


def test_old_windows_are_forgotten(db: None) -> None:
    ratelimit.hit("now", limit=3)
    old = timezone.now() - timedelta(hours=2)
    RateCounter.objects.create(key="then", window_start=old, count=5)
    assert ratelimit.forget_old_windows() == 1
    assert RateCounter.objects.get().key == "now"


def test_sign_ins_are_forgotten_when_nobody_needs_them(db: None, user: User) -> None:
    def signed_in(lasts: timedelta) -> str:
        session = SessionStore()
        session.set_expiry(timezone.now() + lasts)
        session.save()
        key = str(session.session_key)
        UserSession.objects.create(session_key=key, user=user)
        return key

    lives, _ran_out = signed_in(timedelta(hours=1)), signed_in(timedelta(hours=-1))
    UserSession.objects.create(session_key="ended", user=user)
    lockout.succeeded(_fails("a"))
    SignInWait.objects.create(account="a", source="now")
    SignInWait.objects.create(
        account="a", source="then", since=timezone.now() - housekeeping.KEEP_WAITS * 2
    )
    long_ago = timezone.now() - housekeeping.KEEP_ATTEMPTS - timedelta(hours=1)
    LoginAttempt.objects.create(email=user.email, succeeded=False, at=long_ago)
    assert housekeeping.forget_sign_ins() == 3
    assert [one.session_key for one in UserSession.objects.all()] == [lives]
    assert Session.objects.get().session_key == lives
    assert LoginAttempt.objects.get().succeeded
    assert str(SignInWait.objects.get()) == "now waits for a"


# --- where somebody comes from


def test_only_a_trusted_proxy_may_say_where_somebody_comes_from(
    rf: RequestFactory, settings: Any
) -> None:
    def request(peer: str, forwarded: str = "") -> HttpRequest:
        return rf.get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)

    assert client_ip(request("198.51.100.1", "203.0.113.9")) == "198.51.100.1"
    settings.SCLOUD_TRUSTED_PROXIES = ["198.51.100.1"]
    assert client_ip(request("198.51.100.1", "10.0.0.1, 203.0.113.9")) == "203.0.113.9"
    assert client_ip(request("198.51.100.1")) == "198.51.100.1"
    assert client_ip(request("192.0.2.1", "203.0.113.9")) == "192.0.2.1"
    assert client_ip(request("")) is None


# --- sessions


def _age(client: Client, seconds: float | None) -> None:
    session = client.session
    if seconds is None:
        session.pop(SEEN_KEY, None)
    else:
        session[SEEN_KEY] = timezone.now().timestamp() - seconds
    session.save()


def test_an_idle_session_ends(console: Client, db: None) -> None:
    assert console.get("/profile/").status_code == 200
    _age(console, 14 * 60)
    assert console.get("/profile/").status_code == 200
    _age(console, 16 * 60)
    assert console.get("/profile/").status_code == 302
    assert console.get("/profile/").status_code == 302


def test_the_limit_is_a_switch(console: Client, db: None) -> None:
    PlatformSettings.objects.create(pk=1, idle_logout_min=60)
    _age(console, 59 * 60)
    assert console.get("/profile/").status_code == 200


def test_a_session_notes_when_it_was_seen(console: Client, user: User) -> None:
    then = timezone.now() - timedelta(hours=1)
    session_key = console.session.session_key
    assert session_key is not None
    row = UserSession.objects.create(session_key=session_key, user=user, last_seen_at=then)
    _age(console, 5)
    console.get("/profile/")
    row.refresh_from_db()
    assert row.last_seen_at == then
    _age(console, 31)
    console.get("/profile/")
    row.refresh_from_db()
    assert row.last_seen_at > then
    assert str(row) == f"{user.email} from 127.0.0.1"


def test_a_platform_administrator_sees_all_in_the_administration_only(
    client: Client, db: None
) -> None:
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    assert client.get("/admin/").status_code == 200
    assert client.get("/").status_code == 403


# --- words


def test_rows_have_names(user: User, tenant: Tenant) -> None:
    assert (str(tenant), str(user)) == ("Acme", user.email)
    assert str(LoginAttempt(email="a", succeeded=True)) == "a ok"
    assert str(LoginAttempt(email="a", succeeded=False)) == "a failed"
    assert str(PlatformSettings()) == "Platform settings"
    assert PlatformSettings.load().bin_retention == timedelta(seconds=360_000)
    assert tenant.pk.startswith("tenant-")


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ("unknown", "198.51.100.1"),
        ("203.0.113.9, unknown", "198.51.100.1"),
        ("_hidden", "198.51.100.1"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.2", "203.0.113.9"),
        ("\x00", "198.51.100.1"),
        ("1" * 5000, "198.51.100.1"),
    ],
)
def test_what_a_proxy_wrote_is_an_address_or_nothing(
    client: Client, rf: RequestFactory, settings: Any, db: None, forwarded: str, found: str
) -> None:
    settings.SCLOUD_TRUSTED_PROXIES = ["198.51.100.1", "198.51.100.2"]
    settings.SCLOUD_PROXY_SAID = True
    behind = {"REMOTE_ADDR": "198.51.100.1", "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_ip(rf.get("/", **behind)) == found  # type: ignore[arg-type]  # WSGI's own keys
    form = {"email": "nobody@a.test", "password": "wrong"}
    assert client.post("/login/", form, **behind).status_code == 422  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
@pytest.mark.parametrize("path", ["/login/", "/admin/login/", "/api/v1/vms", "/static/x.css"])
def test_an_unannounced_proxy_is_refused_rather_than_shared(
    client: Client, settings: Any, header: str, path: str
) -> None:
    answer = client.get(path, headers={header: "for=203.0.113.9"})
    assert answer.status_code == 503
    assert "proxy_unknown" in answer.content.decode()


def test_an_announced_or_ignored_proxy_is_let_through(
    client: Client, settings: Any, db: None
) -> None:
    settings.SCLOUD_PROXY_SAID = True
    answer = client.get("/login/", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, []),
        ({"SCLOUD_HTTPS": True}, ["scloud.E004"]),
        ({"SCLOUD_HTTPS": True, "SCLOUD_PROXY_SAID": True}, []),
        ({"SCLOUD_PROXY": "maybe"}, ["scloud.E002"]),
        ({"SCLOUD_PROXY": "trusted"}, ["scloud.E003"]),
        ({"SCLOUD_PROXY": "trusted", "SCLOUD_TRUSTED_PROXIES": ["192.0.2.1"]}, []),
        ({"SCLOUD_TRUSTED_PROXIES": ["proxy.example.com"]}, ["scloud.E001"]),
        ({"SCLOUD_TRUSTED_PROXIES": ["192.0.2.0/24"]}, ["scloud.E001"]),
    ],
)
def test_settings_that_make_all_callers_one_are_refused(
    settings: Any, values: dict[str, Any], found: list[str]
) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    assert [one.id for one in check_proxies()] == found


def test_the_console_does_not_start_with_them(settings: Any) -> None:
    settings.SCLOUD_PROXY = "trusted"
    with pytest.raises(SystemExit, match="names no proxy"):
        refuse_bad_settings()
