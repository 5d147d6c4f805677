"""A second factor that is required, and one that is reset by somebody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from scloud.accounts import second_factor, users
from scloud.audit.models import Operation
from scloud.lib import keys
from scloud.lib.errors import ScloudError, Unauthenticated
from scloud.tenancy import apikeys, factors, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    Invitation,
    PlatformSettings,
    SecondFactor,
    Tenant,
    User,
    UserSession,
)
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.web import consumers
from tests.accounts.factor import (
    App,
    Clock,
    codes_shown,
    comes_in,
    first_step,
    give,
    secret_shown,
    text_of,
)
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user

HTMX = {"HX-Request": "true"}
SET_UP = "/second-factor/"


@pytest.fixture(autouse=True)
def _mail_and_room(settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


@pytest.fixture
def boss(db: None) -> User:
    """An administrator of the platform."""
    return User.objects.create_superuser("boss@platform.test", PASSWORD)


def require(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(second_factor_required=True)


def is_required(tenant: Tenant) -> bool:
    return Tenant.objects.get(pk=tenant.pk).second_factor_required


def set_up(browser: Client, clock: Clock) -> App:
    """Set a second factor up by the pages."""
    begun = browser.post("/second-factor/set-up/", {"password": PASSWORD})
    assert begun["Location"] == "/second-factor/confirm/"
    app = App(secret_shown(text_of(browser.get("/second-factor/confirm/"))), clock)
    done = browser.post("/second-factor/confirm/", {"code": app.code()})
    app.recovery = codes_shown(text_of(done))
    assert len(app.recovery) == second_factor.RECOVERY_CODES
    clock.go_on()
    return app


def log(verb: str) -> list[tuple[str, bool, str]]:
    with scopes_disabled():
        rows = Operation.objects.filter(verb=verb).order_by("pk")
        return [(row.actor, row.succeeded, row.error_code) for row in rows]


# --- required by the tenant


def test_who_lacks_one_can_only_set_it_up_or_sign_out(
    user: User, tenant: Tenant, clock: Clock
) -> None:
    browser = Client()
    assert first_step(browser, user)["Location"] == "/"
    with scope(tenant=tenant):
        _key, secret = apikeys.issue(user=user, name="robot")
    key = {"Authorization": f"Bearer {secret}"}
    session = str(browser.session.session_key)
    assert browser.get("/").status_code == 200
    assert browser.get("/api/v1/vms").status_code == 200
    assert consumers.still_valid(user.pk, tenant.pk, session)

    require(tenant)
    for path in ("/", "/profile/", "/users/", "/tasks/", "/nowhere/", "/admin/", "/login/"):
        assert browser.get(path)["Location"] == SET_UP, path
    part = browser.get("/tasks/", headers=HTMX)
    assert (part.status_code, part["HX-Redirect"]) == (403, SET_UP)
    change = {"full_name": "Eve", "time_zone": "UTC", "language": "", "theme": "auto"}
    assert browser.post("/profile/", change)["Location"] == SET_UP
    made = browser.post("/api-keys/create/", {"name": "k", "expires_in_days": "30"})
    assert made["Location"] == SET_UP
    assert browser.post("/second-factor/off/", {"password": PASSWORD})["Location"] == SET_UP
    user.refresh_from_db()
    assert user.full_name == ""
    for answer in (
        browser.get("/api/v1/vms"),
        browser.post("/api/v1/api-keys", {"name": "k"}, content_type="application/json"),
    ):
        assert answer.status_code == 403
        assert answer.json()["code"] == "second_factor_missing"
        assert answer.json()["remedy"]
    assert not consumers.still_valid(user.pk, tenant.pk, session)
    assert sessions.user_of(session) is None
    # Programs are a matter of their own, with and without the cookie of the session.
    assert Client().get("/api/v1/vms", headers=key).status_code == 200
    assert browser.get("/api/v1/vms", headers=key).status_code == 200

    page = text_of(browser.get(SET_UP, follow=True))
    assert "A second factor is required here." in page
    assert 'action="/logout/"' in page
    assert "data-live-socket" not in page
    set_up(browser, clock)
    assert browser.get("/").status_code == 200
    assert browser.get("/api/v1/vms").status_code == 200
    assert consumers.still_valid(user.pk, tenant.pk, session)
    with scope(tenant=tenant):
        assert not Operation.objects.filter(verb="tenancy.update_profile").exists()


def test_who_lacks_one_can_sign_out(console: Client, tenant: Tenant) -> None:
    require(tenant)
    assert console.post("/logout/")["Location"] == "/login/"
    assert console.get("/")["Location"].startswith("/login/")


def test_a_session_that_has_run_out_sets_nothing_up(user: User, tenant: Tenant) -> None:
    browser = Client()
    first_step(browser, user)
    require(tenant)
    session = browser.session
    session[sessions.SEEN_KEY] = 1_000_000
    session.save()
    assert browser.get(SET_UP)["Location"].startswith("/login/")


def test_an_invited_person_sets_one_up_first(console: Client, tenant: Tenant) -> None:
    require(tenant)
    with scope(tenant=tenant):
        Invitation.objects.create(
            tenant=tenant,
            email="new@example.org",
            role=Role.OPERATOR,
            digest=keys.digest("a code"),
            expires_at=timezone.now() + timedelta(days=1),
        )
    browser = Client()
    data = {"code": "a code", "full_name": "New", "password": "a passphrase of one's own"}
    assert browser.post("/join/", data)["Location"] == "/"
    assert browser.get("/")["Location"] == SET_UP


def test_one_that_is_required_is_not_turned_off(user: User, tenant: Tenant, clock: Clock) -> None:
    app = give(user, clock)
    browser = Client()
    assert comes_in(user, app.code(), browser)
    assert "/second-factor/off/" in text_of(browser.get(SET_UP))
    require(tenant)
    assert browser.get("/").status_code == 200
    page = text_of(browser.get(SET_UP))
    assert "/second-factor/off/" not in page
    assert "It cannot be turned off." in page
    code = app.fresh()
    answer = browser.post("/second-factor/off/", {"password": PASSWORD, "code": code})
    assert answer.status_code == 422
    assert "Move it to another device instead." in text_of(answer)
    assert SecondFactor.objects.filter(pk=user.pk).exists()
    assert log("tenancy.turn_off_second_factor") == [(user.email, False, "second_factor_required")]
    # The refusal has used nothing up.
    begun = browser.post("/second-factor/set-up/", {"password": PASSWORD, "code": code})
    assert begun["Location"] == "/second-factor/confirm/"


def test_owners_say_whether_everyone_needs_one(
    console: Client, user: User, tenant: Tenant, clock: Clock
) -> None:
    clerk = new_user(tenant, Role.ADMINISTRATOR)
    app = give(clerk, clock)
    where = "/users/second-factor/"
    page = text_of(console.get(where, headers=HTMX))
    assert "1 of 2" in page
    assert "checked" not in page
    clerks = Client()
    assert comes_in(clerk, app.code(), clerks)
    assert clerks.post(where, {"required": "on"}).status_code == 403
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=user, name="leaked")
    robot = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
    with pytest.raises(Unauthenticated):
        users.change_security(actor=robot, required=True)
    assert not is_required(tenant)

    assert console.post(where, {"required": "on"})["Location"] == "/users/"
    assert is_required(tenant)
    # Owners are no exception.
    assert console.get("/users/")["Location"] == SET_UP
    assert clerks.get("/").status_code == 200
    set_up(console, clock)
    assert "checked" in text_of(console.get(where, headers=HTMX))
    assert console.post(where, {})["Location"] == "/users/"
    assert not is_required(tenant)
    with scope(tenant=tenant):
        rows = Operation.objects.filter(verb=users.MANAGE, succeeded=True).order_by("pk")
        told = [row.after for row in rows]
    assert told == [{"second_factor_required": True}, {"second_factor_required": False}]


def test_other_tenants_are_not_touched(other_tenant: Tenant, console: Client, boss: User) -> None:
    require(other_tenant)
    stranger = Client()
    first_step(stranger, new_user(other_tenant))
    assert stranger.get("/")["Location"] == SET_UP
    assert console.get("/").status_code == 200
    administrator = Client()
    first_step(administrator, boss)
    assert administrator.get("/admin/").status_code == 200


# --- required by the platform


def test_administrators_who_lack_one_can_only_set_it_up(
    boss: User, console: Client, clock: Clock
) -> None:
    browser = Client()
    assert first_step(browser, boss)["Location"] == "/admin/"
    assert browser.get("/admin/").status_code == 200
    PlatformSettings.objects.create(second_factor_required=True)
    for path in ("/admin/", "/admin/tenancy/user/", f"/admin/tenancy/user/{boss.pk}/change/", "/"):
        assert browser.get(path)["Location"] == SET_UP, path
    name = {"name": "New", "is_active": "on"}
    assert browser.post("/admin/tenancy/tenant/add/", name)["Location"] == SET_UP
    assert not Tenant.objects.filter(name="New").exists()
    assert sessions.user_of(browser.session.session_key) is None
    # Tenants have a setting of their own.
    assert console.get("/").status_code == 200
    page = text_of(browser.get(SET_UP, follow=True))
    assert 'action="/admin/logout/"' in page
    app = set_up(browser, clock)
    assert browser.get("/admin/").status_code == 200
    answer = browser.post("/second-factor/off/", {"password": PASSWORD, "code": app.fresh()})
    assert answer.status_code == 422

    other = Client()
    assert comes_in(boss, app.fresh(), other)
    assert other.post("/admin/logout/")["Location"] == "/login/"


def test_the_setting_is_off_until_somebody_turns_it_on(boss: User) -> None:
    assert not factors.is_required(boss)
    browser = Client()
    first_step(browser, boss)
    page = text_of(browser.get("/admin/tenancy/platformsettings/", follow=True))
    assert 'name="second_factor_required"' in page
    assert "checked" not in page.split('name="second_factor_required"')[1].split(">")[0]


# --- reset


def test_an_owner_resets_that_of_a_user(
    console: Client, user: User, tenant: Tenant, clock: Clock
) -> None:
    clerk = new_user(tenant, Role.OPERATOR, "clerk@acme.test")
    app = give(clerk, clock)
    stranger = new_user(Tenant.objects.create(name="Rival"))
    give(stranger, clock)
    mine = give(user, clock)
    assert comes_in(user, mine.code(), console)
    browser = Client()
    assert comes_in(clerk, app.code(), browser)
    assert browser.post(f"/users/{user.pk}/reset-second-factor/").status_code == 403
    assert console.post(f"/users/{stranger.pk}/reset-second-factor/").status_code == 404
    assert console.get(f"/users/{stranger.pk}/reset-second-factor/").status_code == 404
    own = console.post(f"/users/{user.pk}/reset-second-factor/")
    assert own.status_code == 422
    assert "You cannot reset your own second factor." in text_of(own)
    assert SecondFactor.objects.count() == 3
    run_jobs()
    mail.outbox.clear()

    where = f"/users/{clerk.pk}/reset-second-factor/"
    assert where in text_of(console.get(f"/users/?menu={clerk.pk}"))
    assert console.post(where)["Location"] == "/users/"
    assert set(SecondFactor.objects.values_list("pk", flat=True)) == {user.pk, stranger.pk}
    assert browser.get("/").status_code == 302
    assert not UserSession.objects.filter(user=clerk).exists()
    run_jobs()
    assert [(one.subject, one.to) for one in mail.outbox] == [
        ("Second factor reset", [clerk.email])
    ]
    assert f"was removed by {user.email}" in str(mail.outbox[0].body)
    assert first_step(browser, clerk)["Location"] == "/"
    again = console.post(where)
    assert again.status_code == 422
    assert f"{clerk.email} has no second factor." in text_of(again)
    assert [code for _who, _well, code in log(users.MANAGE)] == [
        "own_account",
        "",
        "second_factor_off",
    ]
    with scope(tenant=tenant):
        told = Operation.objects.filter(verb=users.MANAGE, succeeded=True).get().after
    assert told == {"user": clerk.email, "second_factor": "reset", "ended_sessions": 1}


def test_users_are_shown_with_and_without(
    console: Client, user: User, tenant: Tenant, clock: Clock
) -> None:
    clerk = new_user(tenant, Role.OPERATOR, "clerk@acme.test")
    give(clerk, clock)
    page = text_of(console.get("/users/"))
    assert (page.count("</svg>On</span>"), page.count("</svg>Off</span>")) == (1, 1)
    for values, seen in (
        ("on", {clerk.email}),
        ("off", {user.email}),
        ("on&second_factor=off", {clerk.email, user.email}),
    ):
        page = text_of(console.get(f"/users/?second_factor={values}"))
        assert {
            email for email in (clerk.email, user.email) if f"Actions of {email}" in page
        } == seen


def test_an_administrator_resets_any_but_the_own(
    user: User, tenant: Tenant, boss: User, clock: Clock
) -> None:
    app, own = give(user, clock), give(boss, clock)
    browser, admin = Client(), Client()
    assert comes_in(user, app.code(), browser)
    assert comes_in(boss, own.code(), admin)
    run_jobs()
    mail.outbox.clear()

    def press(who: User) -> str:
        where = f"/admin/tenancy/user/{who.pk}/do/reset_second_factor/"
        assert "password alone signs in" in text_of(admin.get(where))
        return text_of(admin.post(where, follow=True))

    assert "is removed" in press(user)
    assert browser.get("/").status_code == 302
    assert first_step(browser, user)["Location"] == "/"
    run_jobs()
    (sent,) = [one for one in mail.outbox if one.subject == "Second factor reset"]
    assert sent.to == [user.email]
    assert boss.email not in sent.message().as_string()
    assert "by an administrator of the platform." in str(sent.body)
    assert "No second factor is turned on." in press(user)
    assert "You cannot reset your own second factor." in press(boss)
    assert set(SecondFactor.objects.values_list("pk", flat=True)) == {boss.pk}
    assert log("platform.reset_second_factor") == [
        (boss.email, True, ""),
        (boss.email, False, "second_factor_off"),
        (boss.email, False, "own_account"),
    ]
    assert "has_second_factor" in text_of(admin.get("/admin/tenancy/user/"))


def test_a_command_resets_that_of_an_administrator(boss: User, clock: Clock) -> None:
    app = give(boss, clock)
    browser = Client()
    assert comes_in(boss, app.code(), browser)
    said = StringIO()
    call_command("reset_second_factor", boss.email.upper(), stdout=said)
    assert "sessions ended" in said.getvalue()
    assert browser.get("/admin/").status_code == 302
    assert first_step(browser, boss)["Location"] == "/admin/"
    with pytest.raises(CommandError, match="No second factor"):
        call_command("reset_second_factor", boss.email)
    with pytest.raises(CommandError, match="There is no user"):
        call_command("reset_second_factor", "nobody@platform.test")


@pytest.mark.parametrize("reset", [users.reset_second_factor, second_factor.reset_second_factor])
def test_a_foreign_user_is_unknown_to_the_actions(
    reset: Callable[..., Any], user: User, other_tenant: Tenant, clock: Clock
) -> None:
    stranger = new_user(other_tenant)
    give(stranger, clock)
    actor = Actor(tenant=user.tenant, user=user, role=user.role, via="console", ip="192.0.2.7")
    with pytest.raises(ScloudError) as refusal:
        reset(actor=actor, user=stranger)
    assert refusal.value.code == "not_found"
    assert SecondFactor.objects.filter(pk=stranger.pk).exists()
