"""A second factor: turned on, asked for, used up, moved, turned off."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from scloud.accounts import devices, halfway, onetime, second_factor
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy import apikeys, lockout, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    LoginAttempt,
    PlatformSettings,
    RecoveryCode,
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
    actor_of,
    codes_shown,
    comes_in,
    first_step,
    give,
    is_in,
    second_step,
    secret_shown,
    text_of,
)
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user
from tests.locks import locking

NEW_PASSWORD = "a passphrase of one's own"


@pytest.fixture(autouse=True)
def _mail_and_room(settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


@pytest.fixture
def app(user: User, clock: Clock) -> App:
    """The owner's app: the second factor is on."""
    return give(user, clock)


def verbs() -> list[tuple[str, str]]:
    with scopes_disabled():
        return list(Operation.objects.order_by("pk").values_list("verb", "error_code"))


def subjects() -> list[str]:
    """Send what waits; return the subjects of the mails since the last call."""
    run_jobs()
    found = [str(one.subject) for one in mail.outbox]
    mail.outbox.clear()
    return found


def proven(app: App, **more: str) -> dict[str, str]:
    """Return what forms ask for that change something: the password and a fresh code."""
    return {"password": PASSWORD, "code": app.fresh(), **more}


# --- signing in


def test_the_session_begins_when_password_and_code_were_right(user: User, app: App) -> None:
    browser = Client()
    before = verbs()
    answer = first_step(browser, user, next="/operations/?q=x")
    assert answer["Location"] == "/login/code/?next=%2Foperations%2F%3Fq%3Dx"
    assert not is_in(browser)
    assert not UserSession.objects.exists()
    assert devices.COOKIE not in browser.cookies
    assert browser.get("/").status_code == 302
    assert browser.get("/api/v1/vms").status_code == 401
    page = text_of(browser.get(answer["Location"]))
    assert 'name="next" value="/operations/?q=x"' in page
    assert user.email in page

    wrong = second_step(browser, app.wrong())
    assert wrong.status_code == 422
    assert "This code is wrong or was used before." in text_of(wrong)
    assert not is_in(browser)
    answer = second_step(browser, app.code(), next="/operations/?q=x")
    assert answer["Location"] == "/operations/?q=x"
    assert is_in(browser)
    assert UserSession.objects.get().user == user
    assert browser.get("/").status_code == 200
    assert verbs()[len(before) :] == [
        ("tenancy.sign_in", "code_wrong"),
        ("tenancy.sign_in", ""),
    ]


@pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test"])
def test_the_second_step_never_leads_to_another_site(user: User, app: App, target: str) -> None:
    browser = Client()
    assert first_step(browser, user, next=target)["Location"] == "/login/code/"
    assert second_step(browser, app.code(), next=target)["Location"] == "/"


@pytest.mark.parametrize("path", ["/", "/second-factor/", "/api/v1/vms"])
def test_a_session_that_began_without_the_code_is_over(
    user: User, tenant: Tenant, app: App, path: str
) -> None:
    browser = Client()
    # As a console of an earlier release begins it.
    browser.force_login(user)
    key = str(browser.session.session_key)
    assert sessions.user_of(key) is None
    assert not consumers.still_valid(user.pk, tenant.pk, key)
    assert browser.get(path).status_code == (401 if path.startswith("/api/") else 302)
    assert not Session.objects.filter(session_key=key).exists()
    assert comes_in(user, app.code(), browser)
    assert browser.get(path).status_code == 200
    assert sessions.user_of(browser.session.session_key) == user


def test_a_session_in_which_it_is_set_up_goes_on_wherever_it_began(
    console: Client, user: User, tenant: Tenant, clock: Clock
) -> None:
    key = str(console.session.session_key)
    assert consumers.still_valid(user.pk, tenant.pk, key)
    console.post("/second-factor/set-up/", {"password": PASSWORD})
    app = App(secret_shown(text_of(console.get("/second-factor/confirm/"))), clock)
    assert console.post("/second-factor/confirm/", {"code": app.code()}).status_code == 200
    assert console.get("/").status_code == 200
    assert consumers.still_valid(user.pk, tenant.pk, key)


def test_nothing_tells_of_a_second_factor_before_the_right_password(
    user: User, tenant: Tenant, app: App
) -> None:
    plain = new_user(tenant, Role.OPERATOR)
    answers = []
    for who in (user, plain):
        browser = Client()
        answer = first_step(browser, who, "guess")
        page = text_of(answer).replace(who.email, "EMAIL")
        page = re.sub(r"\w{64}", "TOKEN", page)
        answers.append((answer.status_code, page, sorted(browser.cookies)))
        assert browser.get("/login/code/")["Location"] == "/login/"
        assert second_step(browser, app.code())["Location"] == "/login/"
        assert not is_in(browser)
    assert answers[0] == answers[1]
    # Codes are not even looked at: the one above was not used up.
    assert comes_in(user, app.code())


def test_a_code_is_accepted_once_and_none_before_it_any_more(user: User, app: App) -> None:
    app.clock.go_on(5)
    assert not comes_in(user, app.code(-2))
    assert not comes_in(user, app.code(2))
    assert comes_in(user, app.code(-1))
    assert not comes_in(user, app.code(-1))
    assert comes_in(user, f" {app.code(1)[:3]} {app.code(1)[3:]} ")
    for steps in (-1, 0, 1):
        assert not comes_in(user, app.code(steps))
    LoginAttempt.objects.all().delete()
    app.clock.go_on()
    assert not comes_in(user, app.code())
    assert comes_in(user, app.code(1))


def race(attempts: list[Callable[[], int]]) -> list[int]:
    """Do all at the same time; return the statuses."""
    start = threading.Barrier(len(attempts))
    statuses: list[int] = []

    def run(attempt: Callable[[], int]) -> None:
        try:
            start.wait()
            statuses.append(attempt())
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(one,)) for one in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("of", ["app", "recovery"])
def test_of_two_who_bring_the_same_code_one_comes_in(user: User, app: App, of: str) -> None:
    code = app.code() if of == "app" else app.recovery[0]
    taken: list[second_factor.Used | None] = []

    def use() -> int:
        # What stands behind the lock of the count of guesses, which lets them in one by one.
        found = second_factor._use(user, onetime.cleaned(code), "192.0.2.7")
        taken.append(found)
        return 200 if found is not None else 422

    assert race([use] * 4) == [200, 422, 422, 422]
    assert [str(one) for one in taken if one] == [of]


@pytest.mark.django_db(transaction=True)
def test_the_same_sign_in_sent_twice_comes_in_once(user: User, app: App) -> None:
    browsers = [Client(), Client()]
    for browser in browsers:
        first_step(browser, user)
    code = app.recovery[0]

    def enter(browser: Client) -> int:
        return int(second_step(browser, code).status_code)

    statuses = race([partial(enter, browser) for browser in browsers])
    assert [is_in(browser) for browser in browsers].count(True) == 1
    # The second one is refused for its code, or has to begin again: there was a sign-in meanwhile.
    assert statuses in ([302, 302], [302, 422])
    assert RecoveryCode.objects.filter(used_at=None).count() == 9


@pytest.mark.django_db(transaction=True)
def test_who_signs_in_while_it_is_turned_on_is_not_in_without_a_code(
    user: User, clock: Clock
) -> None:
    actor = actor_of(user)
    pending = second_factor.begin(actor=actor, password=PASSWORD)
    app = App(second_factor.secret_of(actor=actor, pending=pending) or "", clock)
    browser = Client()

    def turn_on() -> int:
        second_factor.turn_on(actor=actor, pending=pending, code=app.code(), keep_session=None)
        return 200

    race([turn_on, lambda: first_step(browser, user).status_code])
    assert browser.get("/").status_code == 302


# --- guessing


def test_wrong_codes_lock_all_browsers_out_that_are_not_known(user: User, app: App) -> None:
    known = Client()
    assert comes_in(user, app.fresh(), known)
    known.post("/logout/")

    for number in range(5):
        stranger, ip = Client(), f"198.51.100.{number}"
        # A password that is right takes no wrong code back.
        assert first_step(stranger, user, ip=ip).status_code == 302
        assert second_step(stranger, app.wrong(), ip=ip).status_code == 422
    stranger = Client()
    assert first_step(stranger, user, ip="198.51.100.99").status_code == 302
    locked = second_step(stranger, app.fresh(), ip="198.51.100.99")
    assert locked.status_code == 429
    assert "this account is locked" in text_of(locked)
    assert [code for verb, code in verbs() if code] == ["code_wrong"] * 5 + ["account_locked"]
    # Whoever has signed in with a browser before is not kept out by others.
    assert comes_in(user, app.fresh(), known)

    LoginAttempt.objects.update(at=timezone.now() - lockout.LOCK)
    assert comes_in(user, app.fresh(), stranger)


def test_wrong_codes_are_counted_where_wrong_passwords_are_not(user: User, app: App) -> None:
    PlatformSettings.objects.create(login_lockout=False)
    inside, stranger = Client(), Client()
    assert comes_in(user, app.code(), inside)
    for _number in range(5):
        assert first_step(stranger, user, "guess").status_code == 422
    assert first_step(stranger, user)["Location"] == "/login/code/"
    for _number in range(5):
        assert second_step(stranger, app.wrong()).status_code == 422
    assert second_step(stranger, app.fresh()).status_code == 429
    assert not is_in(stranger)
    for path in ("off", "codes", "set-up", "off", "codes"):
        wrong = inside.post(f"/second-factor/{path}/", proven(app, code=app.wrong()))
        assert wrong.status_code == 422
    for path in ("off", "codes", "set-up"):
        assert inside.post(f"/second-factor/{path}/", proven(app)).status_code == 429
    assert SecondFactor.objects.exists()


def test_a_user_whose_codes_are_guessed_is_told_once_a_day(user: User, app: App) -> None:
    subjects()
    stranger = Client()
    first_step(stranger, user)

    def guess() -> int:
        return int(second_step(stranger, app.wrong(), ip="198.51.100.9").status_code)

    assert [guess() for _number in range(4)] == [422] * 4
    assert subjects() == []
    assert guess() == 422
    run_jobs()
    (sent,) = mail.outbox
    assert (sent.subject, sent.to) == ("Wrong codes for your account", [user.email])
    assert "wrong codes of the second factor: 5 in a day." in str(sent.body)
    assert "From: 198.51.100.9" in str(sent.body)
    mail.outbox.clear()
    assert guess() == 429
    LoginAttempt.objects.update(at=timezone.now() - lockout.LOCK)
    assert guess() == 422
    assert subjects() == []
    with scopes_disabled():
        Job.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert guess() == 422
    assert subjects() == ["Wrong codes for your account"]


def test_a_few_typing_errors_are_not_told(user: User, app: App) -> None:
    subjects()
    LoginAttempt.objects.bulk_create(
        LoginAttempt(
            email=user.email,
            succeeded=False,
            account=f"code:{user.pk}",
            source="signed in",
            at=timezone.now() - timedelta(hours=25),
        )
        for _number in range(5)
    )
    browser = Client()
    assert first_step(browser, user).status_code == 302
    assert second_step(browser, app.wrong()).status_code == 422
    assert second_step(browser, app.code()).status_code == 302
    assert subjects() == ["New sign-in to your account"]


def test_browsers_known_by_the_password_alone_have_one_count_together(
    user: User, clock: Clock
) -> None:
    browsers = [Client() for _ in range(3)]
    for browser in browsers:
        assert first_step(browser, user)["Location"] == "/"
    app = give(user, clock)
    for number in range(5):
        browser = browsers[number % 3]
        assert first_step(browser, user)["Location"] == "/login/code/"
        assert second_step(browser, app.wrong()).status_code == 422
    for browser in browsers:
        assert second_step(browser, app.code()).status_code == 429


def knows(browser: Client, user: User) -> bool:
    """Tell whether a browser is one that the user has signed in with."""
    request = RequestFactory().get("/")
    request.COOKIES[devices.COOKIE] = browser.cookies[devices.COOKIE].value
    return devices.name_of(request, user) is not None


def test_the_browser_that_changes_the_second_factor_stays_known(user: User, clock: Clock) -> None:
    browser, other = Client(), Client()
    for one in (browser, other):
        assert first_step(one, user)["Location"] == "/"
        assert knows(one, user)
    browser.post("/second-factor/set-up/", {"password": PASSWORD})
    app = App(secret_shown(text_of(browser.get("/second-factor/confirm/"))), clock)
    browser.post("/second-factor/confirm/", {"code": app.code()})
    assert (knows(browser, user), knows(other, user)) == (True, False)
    assert comes_in(user, app.fresh(), other)
    assert knows(other, user)
    assert browser.post("/second-factor/off/", proven(app))["Location"] == "/profile/"
    assert (knows(browser, user), knows(other, user)) == (True, False)


@pytest.mark.usefixtures("one_window")
def test_codes_are_limited_per_source(user: User, app: App, settings: Any) -> None:
    browser = Client()
    first_step(browser, user)
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 3
    for _number in range(2):
        assert second_step(browser, app.wrong()).status_code == 422
    assert second_step(browser, app.code()).status_code == 429
    assert not is_in(browser)


# --- half-way


def test_half_a_sign_in_is_for_its_user_and_opens_nothing(
    user: User, tenant: Tenant, app: App, settings: Any
) -> None:
    settings.SESSION_COOKIE_SECURE = True
    other = give(new_user(tenant, Role.OPERATOR), app.clock)
    browser = Client()
    first_step(browser, user)
    cookie = browser.cookies[halfway.COOKIE]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Strict")
    assert int(cookie["max-age"]) == halfway.LIVES.total_seconds() <= 600
    assert user.password not in cookie.value
    app.clock.go_on()
    assert second_step(browser, other.code()).status_code == 422
    for value in ("", "x", cookie.value[:-1], cookie.value + "x"):
        stranger = Client()
        stranger.cookies[halfway.COOKIE] = value
        assert second_step(stranger, app.code())["Location"] == "/login/"
        assert not is_in(stranger)
    second_step(browser, app.code())
    assert is_in(browser)


@pytest.mark.parametrize(
    "change",
    ["time", "password", "deactivated", "tenant", "reset", "moved", "deleted"],
)
def test_half_a_sign_in_ends_with_time_and_with_what_it_rests_on(
    change: str, user: User, tenant: Tenant, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Client()
    assert first_step(browser, user).status_code == 302
    match change:
        case "time":
            monkeypatch.setattr(halfway, "LIVES", timedelta(seconds=-1))
        case "password":
            user.set_password(NEW_PASSWORD)
            user.save()
        case "deactivated":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "tenant":
            Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
        case "reset":
            SecondFactor.objects.all().delete()
        case "moved":
            SecondFactor.objects.update(turned_on_at=app.clock.now)
        case "deleted":
            SecondFactor.objects.all().delete()
            User.objects.filter(pk=user.pk).delete()
    answer = second_step(browser, app.fresh())
    assert answer["Location"] == "/login/"
    assert not is_in(browser)
    assert not UserSession.objects.exists()
    assert "Sign in with your password first." in text_of(browser.get("/login/"))


@pytest.mark.parametrize("change", ["password", "reset", "moved"])
def test_no_session_begins_on_what_has_changed_while_the_code_was_looked_at(
    change: str, user: User, tenant: Tenant, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = second_factor.confirm_code

    def meanwhile(*given: Any, **more: Any) -> second_factor.Used:
        used = confirm(*given, **more)
        match change:
            case "password":
                user.set_password(NEW_PASSWORD)
                user.save()
            case "reset":
                second_factor.reset_second_factor(actor=Actor.system(tenant), user=user)
            case "moved":
                SecondFactor.objects.update(turned_on_at=app.clock.now)
        return used

    monkeypatch.setattr(second_factor, "confirm_code", meanwhile)
    browser = Client()
    assert first_step(browser, user).status_code == 302
    assert second_step(browser, app.code())["Location"] == "/login/"
    assert not is_in(browser)
    assert not UserSession.objects.exists()
    assert verbs()[-1] == ("tenancy.sign_in", "sign_in_again")


def test_who_resets_it_waits_for_a_session_that_is_about_to_begin(
    user: User, tenant: Tenant, app: App
) -> None:
    locks = locking(
        lambda: second_factor.reset_second_factor(actor=Actor.system(tenant), user=user)
    )
    assert "FOR NO KEY UPDATE" in locks


def test_half_a_sign_in_is_good_for_one(user: User, app: App) -> None:
    browser = Client()
    first_step(browser, user)
    kept = browser.cookies[halfway.COOKIE].value
    assert second_step(browser, app.code()).status_code == 302
    thief = Client()
    thief.cookies[halfway.COOKIE] = kept
    assert second_step(thief, app.fresh())["Location"] == "/login/"
    assert not is_in(thief)


# --- turning it on


def test_it_is_turned_on_by_the_first_code_and_tells_no_secret(console: Client, user: User) -> None:
    other = Client()
    first_step(other, user)
    subjects()
    assert "</svg>Off</span>" in text_of(console.get("/profile/"))
    assert console.get("/second-factor/")["Location"] == "/second-factor/set-up/"
    assert console.get("/second-factor/confirm/")["Location"] == "/second-factor/set-up/"
    wrong = console.post("/second-factor/set-up/", {"password": "guess"})
    assert "This is not your current password." in text_of(wrong)
    begun = console.post("/second-factor/set-up/", {"password": PASSWORD})
    assert begun["Location"] == "/second-factor/confirm/"
    page = text_of(console.get("/second-factor/confirm/"))
    # Drawn in the page: no picture comes from elsewhere, and no style is in it.
    assert "<svg viewBox" in page
    assert "data:" not in page
    assert "style=" not in page
    assert "data-live-socket" not in page
    app = App(secret_shown(page), Clock())
    app.clock.now = timezone.now()
    assert not SecondFactor.objects.exists()
    refused = console.post("/second-factor/confirm/", {"code": app.wrong()})
    assert "This is not the code of the new secret." in text_of(refused)
    assert secret_shown(text_of(refused)) == app.secret
    done = text_of(console.post("/second-factor/confirm/", {"code": app.code()}))
    codes = codes_shown(done)
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert console.get("/second-factor/confirm/")["Location"] == "/second-factor/set-up/"
    assert console.get("/").status_code == 200
    assert other.get("/").status_code == 302

    page = text_of(console.get("/second-factor/"))
    assert codes_shown(page) == []
    assert ">10</dd>" in page
    assert "</svg>On</span>" in text_of(console.get("/profile/"))
    assert subjects() == ["Second factor turned on"]
    assert [one for one in verbs() if "second_factor" in one[0]] == [
        ("tenancy.set_up_second_factor", "wrong_password"),
        ("tenancy.set_up_second_factor", ""),
        ("tenancy.turn_on_second_factor", "code_wrong"),
        ("tenancy.turn_on_second_factor", ""),
    ]
    with scopes_disabled():
        rows = [
            *Operation.objects.values(),
            *Job.objects.values(),
            *SecondFactor.objects.values(),
            *RecoveryCode.objects.values(),
            *LoginAttempt.objects.values(),
            *(session.get_decoded() for session in Session.objects.all()),
        ]
    told = str(rows)
    assert app.secret not in told
    assert not any(code in told or code.replace("-", "") in told for code in codes)


def test_a_new_secret_waits_for_its_maker_only_and_not_for_long(
    user: User, tenant: Tenant, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = actor_of(user)
    pending = second_factor.begin(actor=actor, password=PASSWORD)
    app = App(second_factor.secret_of(actor=actor, pending=pending) or "", clock)
    assert app.secret not in pending

    def turn_on(who: Actor, what: str) -> str:
        try:
            second_factor.turn_on(actor=who, pending=what, code=app.code(), keep_session=None)
        except ScloudError as error:
            return error.code
        return ""

    assert turn_on(actor_of(new_user(tenant, Role.OPERATOR)), pending) == "set_up_expired"
    assert turn_on(actor, f"{pending[:-2]}xx") == "set_up_expired"
    assert turn_on(actor, "") == "set_up_expired"
    with monkeypatch.context() as patched:
        patched.setattr(second_factor, "SET_UP", timedelta(seconds=-1))
        assert turn_on(actor, pending) == "set_up_expired"
    assert turn_on(actor, pending) == ""
    clock.go_on()
    # Sent twice: what it was to replace is not there any more.
    assert turn_on(actor, pending) == "set_up_expired"
    assert second_factor.secret_of(actor=actor, pending=pending) is None


def test_a_page_that_was_open_for_too_long_begins_again(
    console: Client, user: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.post("/second-factor/set-up/", {"password": PASSWORD})
    app = App(secret_shown(text_of(console.get("/second-factor/confirm/"))), clock)
    monkeypatch.setattr(second_factor, "SET_UP", timedelta(seconds=-1))
    answer = console.post("/second-factor/confirm/", {"code": app.code()}, follow=True)
    assert answer.redirect_chain[-1][0] == "/second-factor/set-up/"
    assert "The new secret is no longer valid. Begin again." in text_of(answer)
    assert not SecondFactor.objects.exists()


def test_a_key_has_no_second_factor(user: User, tenant: Tenant, app: App) -> None:
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=user, name="leaked")
    actor = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
    with pytest.raises(NotFound):
        second_factor.turn_off(actor=actor, password=PASSWORD, code=app.code())
    with pytest.raises(NotFound):
        second_factor.begin(actor=actor, password=PASSWORD, code=app.code())
    assert SecondFactor.objects.exists()


# --- recovery codes


def test_a_recovery_code_signs_in_once_and_is_told(user: User, app: App) -> None:
    subjects()
    browser = Client()
    first_step(browser, user)
    assert second_step(browser, app.recovery[0].upper().replace("-", " ")).status_code == 302
    assert "You used a recovery code. 9 are left." in text_of(browser.get("/"))
    run_jobs()
    assert "Recovery codes left: 9" in str([one.body for one in mail.outbox])
    assert sorted(subjects()) == ["New sign-in to your account", "Recovery code used"]
    assert ("tenancy.use_recovery_code", "") in verbs()
    assert not comes_in(user, app.recovery[0])
    assert comes_in(user, app.recovery[1])
    assert RecoveryCode.objects.filter(used_at=None).count() == 8


def test_a_new_set_of_recovery_codes_voids_the_old_one(user: User, app: App) -> None:
    browser = Client()
    assert comes_in(user, app.code(), browser)
    subjects()
    where = "/second-factor/codes/"
    assert browser.post(where, proven(app, password="guess")).status_code == 422
    assert browser.post(where, proven(app, code=app.wrong())).status_code == 422
    fresh = codes_shown(text_of(browser.post(where, proven(app))))
    assert len(fresh) == 10
    assert set(fresh).isdisjoint(app.recovery)
    assert subjects() == ["New recovery codes"]
    assert not comes_in(user, app.recovery[0])
    assert comes_in(user, fresh[0])
    assert [code for verb, code in verbs() if verb == "tenancy.renew_recovery_codes"] == [
        "wrong_password",
        "code_wrong",
        "",
    ]


# --- moved, turned off


def test_it_moves_to_another_device_after_a_code_of_the_present_one(user: User, app: App) -> None:
    browser = Client()
    assert comes_in(user, app.code(), browser)
    page = text_of(browser.get("/second-factor/set-up/"))
    assert 'name="code"' in page
    assert "The app on the other device replaces the present one." in page
    assert browser.post("/second-factor/set-up/", {"password": PASSWORD}).status_code == 422
    refused = browser.post("/second-factor/set-up/", proven(app, code=app.wrong()))
    assert refused.status_code == 422
    # Who has lost the device has a recovery code.
    begun = browser.post("/second-factor/set-up/", proven(app, code=app.recovery[0]))
    assert begun.status_code == 302
    moved = App(secret_shown(text_of(browser.get("/second-factor/confirm/"))), app.clock)
    answer = browser.post("/second-factor/confirm/", {"code": moved.code()})
    assert len(codes_shown(text_of(answer))) == 10
    app.clock.go_on()
    assert not comes_in(user, app.code())
    assert not comes_in(user, app.recovery[1])
    assert comes_in(user, moved.code())


def test_it_is_turned_off_with_password_and_code(user: User, app: App) -> None:
    browser = Client()
    assert comes_in(user, app.code(), browser)
    subjects()
    where = "/second-factor/off/"
    assert browser.get(where).status_code == 200
    assert browser.post(where, {"password": PASSWORD}).status_code == 422
    assert browser.post(where, proven(app, password="guess")).status_code == 422
    assert browser.post(where, proven(app, code=app.wrong())).status_code == 422
    assert SecondFactor.objects.exists()
    assert browser.post(where, proven(app))["Location"] == "/profile/"
    assert not SecondFactor.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert subjects() == ["Second factor turned off"]
    for path in (where, "/second-factor/codes/"):
        assert browser.get(path)["Location"] == "/second-factor/"
        assert browser.post(path, proven(app))["Location"] == "/second-factor/"
    assert first_step(Client(), user)["Location"] == "/"
    for act in (second_factor.turn_off, second_factor.renew_codes):
        with pytest.raises(ScloudError) as refusal:
            act(actor=actor_of(user), password=PASSWORD, code=app.code())
        assert refusal.value.code == "second_factor_off"


def test_guesses_of_who_is_signed_in_are_counted(user: User, app: App) -> None:
    browser = Client()
    assert comes_in(user, app.code(), browser)
    for _number in range(5):
        wrong = {"password": PASSWORD, "code": app.wrong()}
        assert browser.post("/second-factor/off/", wrong).status_code == 422
    assert browser.post("/second-factor/off/", proven(app)).status_code == 429
    assert SecondFactor.objects.exists()


# --- administrators of the platform


def test_an_administrator_has_one_by_the_same_pages(db: None, clock: Clock) -> None:
    boss = User.objects.create_superuser("boss@platform.test", PASSWORD)
    app = give(boss, clock)
    browser = Client()
    asked = first_step(browser, boss, next="/admin/jobs/job/")
    assert asked["Location"] == "/login/code/?next=%2Fadmin%2Fjobs%2Fjob%2F"
    assert browser.get("/admin/").status_code == 302
    done = second_step(browser, app.code(), next="/admin/jobs/job/")
    assert done["Location"] == "/admin/jobs/job/"
    assert 'href="/second-factor/"' in text_of(browser.get("/admin/"))
    assert "/admin/" in text_of(browser.get("/second-factor/"))
    assert browser.post("/second-factor/off/", proven(app))["Location"] == "/admin/"
    assert first_step(Client(), boss)["Location"] == "/admin/"
    with scopes_disabled():
        every, own = Operation.objects.all(), Operation.objects.filter(via="admin", tenant=None)
        assert 0 < own.count() == every.count()
