"""The one way in: what is counted, who waits, what is written down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.db import connection
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone

from scloud.accounts import devices
from scloud.audit.models import Operation
from scloud.tenancy import lockout
from scloud.tenancy.models import LoginAttempt, SignInWait, Tenant, User, UserSession
from scloud.tenancy.scoping import scopes_disabled
from scloud.tenancy.sessions import SEEN_KEY, STARTED_KEY
from tests.fixtures import PASSWORD

OWNER_IP = "203.0.113.7"
STRANGER_IP = "198.51.100.9"
NEW_PASSWORD = "another good passphrase"


@pytest.fixture(autouse=True)
def _room_for_many_requests(settings: Any) -> None:
    """The limit per source has a test of its own."""
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


@pytest.fixture
def boss(db: None) -> User:
    """An administrator of the platform."""
    return User.objects.create_superuser("boss@platform.test", PASSWORD)


def attempt(
    email: str, password: str = PASSWORD, ip: str = OWNER_IP, client: Client | None = None
) -> int:
    """Try to sign in; return the status: 302 is a success."""
    data = {"email": email, "password": password}
    return (client or Client()).post("/login/", data, REMOTE_ADDR=ip).status_code


def attack(user: User, sources: int = lockout.MANY_FAILURES) -> None:
    """Strangers guess, each from an address of its own."""
    for number in range(sources):
        assert attempt(user.email, "guess", f"198.51.100.{number}") in {422, 429}


def operations() -> list[tuple[str, str, str]]:
    with scopes_disabled():
        rows = Operation.objects.order_by("id").values_list("verb", "actor", "error_code")
        return [(str(verb), str(actor), str(code)) for verb, actor, code in rows]


# --- one way


def test_the_administrations_own_login_takes_no_password(client: Client, boss: User) -> None:
    data = {"username": boss.email, "password": "guess"}
    for _ in range(25):
        response = client.post("/admin/login/?next=/admin/jobs/job/", data)
        assert response["Location"] == "/login/?next=/admin/jobs/job/"
    response = client.post("/admin/login/", {**data, "password": PASSWORD})
    assert response["Location"] == "/login/?next=/admin/"
    assert "_auth_user_id" not in client.session
    assert client.get("/admin/").status_code == 302


def test_an_administrator_comes_in_by_the_login_of_everybody(client: Client, boss: User) -> None:
    page = client.get("/admin/jobs/job/", follow=True)
    assert page.redirect_chain[-1][0] == "/login/?next=/admin/jobs/job/"
    for _ in range(5):
        assert attempt(boss.email, "guess") == 422
    assert attempt(boss.email) == 429
    data = {"email": boss.email, "password": PASSWORD, "next": "/admin/jobs/job/"}
    assert client.post("/login/", data)["Location"] == "/admin/jobs/job/"
    assert UserSession.objects.get().user == boss
    failed = ("tenancy.sign_in", boss.email, "login_failed")
    assert operations() == [failed] * 5 + [("tenancy.sign_in", boss.email, "")]
    assert client.get("/admin/login/")["Location"] == "/admin/"


def test_a_tenants_user_is_not_sent_in_circles(console: Client) -> None:
    assert console.get("/admin/").status_code == 302
    assert console.get("/admin/login/?next=/admin/").status_code == 403


def test_leaving_the_administration_ends_the_session_and_is_logged(
    client: Client, boss: User
) -> None:
    attempt(boss.email, client=client)
    assert client.get("/admin/logout/").status_code == 405
    assert client.post("/admin/logout/")["Location"] == "/login/"
    assert not UserSession.objects.exists()
    assert operations()[-1] == ("tenancy.sign_out", boss.email, "")


@pytest.mark.parametrize("where", ["/profile/password/", "/admin/password_change/"])
def test_guessing_the_present_password_is_counted_and_logged(
    where: str, user: User, boss: User
) -> None:
    who = user if where.startswith("/profile") else boss
    client, other = Client(), Client()
    for one in (client, other):
        attempt(who.email, client=one)

    def change(current: str) -> str:
        names = ["current", "new"] if who == user else ["old_password", "new_password1"]
        data = {names[0]: current, names[1]: NEW_PASSWORD, "new_password2": NEW_PASSWORD}
        response = client.post(where, data)
        return response.content.decode() if response.status_code != 302 else "done"

    for _ in range(5):
        assert "not your current password" in change("guess")
    assert "this account is locked" in change(PASSWORD)
    who.refresh_from_db()
    assert who.check_password(PASSWORD)
    codes = [code for verb, _who, code in operations() if verb == "tenancy.change_password"]
    assert codes == ["wrong_password"] * 5 + ["account_locked"]
    # Signing in is counted by itself.
    assert attempt(who.email) == 302

    LoginAttempt.objects.update(at=timezone.now() - lockout.LOCK)
    assert change(PASSWORD) == "done"
    who.refresh_from_db()
    assert who.check_password(NEW_PASSWORD)
    page = "/profile/" if who == user else "/admin/"
    assert client.get(page).status_code == 200
    assert other.get(page).status_code == 302
    assert UserSession.objects.filter(user=who).count() == 1
    assert operations()[-1] == ("tenancy.change_password", who.email, "")


@pytest.mark.usefixtures("one_window")
def test_attempts_are_limited_per_source(user: User, settings: Any) -> None:
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 3
    for number in range(3):
        assert attempt(f"nobody{number}@acme.test", "guess", "2001:db8::1") == 422
    # Another address of the same customer.
    assert attempt(user.email, ip="2001:db8::2") == 429
    assert attempt(user.email, ip="2001:db8:1::2") == 302


# --- by user, not by spelling


def test_another_spelling_is_the_same_account(user: User) -> None:
    for spelling in (user.email.upper(), user.email.title(), f" {user.email}"):
        assert attempt(spelling, "guess") == 422
    for _ in range(2):
        attempt(user.email, "guess")
    assert attempt(user.email.upper()) == 429


def test_an_address_that_looks_alike_in_capitals_is_somebody_else(
    tenant: Tenant, make_user: Callable[..., User]
) -> None:
    alice = make_user(tenant, email="alice@acme.test")
    for _ in range(5):
        attempt(alice.email, "guess")
    assert attempt("al\u0131ce@acme.test") == 422
    assert authenticate(None, username="al\u0131ce@acme.test", password=PASSWORD) is None
    assert attempt(alice.email) == 429


def test_an_address_that_was_stored_in_capitals_is_found(user: User) -> None:
    User.objects.filter(pk=user.pk).update(email="Old.Owner@Acme.test")
    assert attempt("old.owner@acme.test") == 302


def test_addresses_that_nobody_has_are_locked_just_the_same(db: None) -> None:
    for _ in range(5):
        assert attempt("nobody@acme.test", "guess") == 422
    assert attempt("Nobody@acme.test", "guess") == 429


# --- side by side


@pytest.mark.django_db(transaction=True)
def test_guesses_side_by_side_are_counted_like_one_after_the_other(user: User) -> None:
    start = threading.Barrier(15)
    statuses: list[int] = []

    def guess() -> None:
        try:
            start.wait()
            statuses.append(attempt(user.email, "guess", STRANGER_IP))
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [422] * 5 + [429] * 10
    assert attempt(user.email, ip=STRANGER_IP) == 429


# --- strangers lock nobody out


def test_a_stranger_locks_only_himself_out(user: User) -> None:
    for _ in range(9):
        attempt(user.email, "guess", STRANGER_IP)
    assert attempt(user.email, ip=STRANGER_IP) == 429
    assert attempt(user.email) == 302


def test_a_known_browser_comes_in_whatever_strangers_do(user: User) -> None:
    browser = Client()
    assert attempt(user.email, client=browser) == 302
    browser.post("/logout/")
    # Behind the same address, and from everywhere.
    for _ in range(6):
        attempt(user.email, "guess", OWNER_IP)
    attack(user)
    assert attempt(user.email) == 429
    assert attempt(user.email, client=browser) == 302


def test_everybody_else_waits_for_himself_only(user: User) -> None:
    attack(user)
    data = {"email": user.email, "password": PASSWORD}
    response = Client().post("/login/", data, REMOTE_ADDR=OWNER_IP)
    assert response.status_code == 429
    assert "Somebody is guessing the password" in response.content.decode()
    assert "Try again in 1 minute." in response.content.decode()
    # Asking again makes the wait no longer, and neither does what strangers do meanwhile.
    began = SignInWait.objects.get(source=OWNER_IP).since
    assert attempt(user.email) == 429
    attack(user, 5)
    assert SignInWait.objects.get(source=OWNER_IP).since == began
    SignInWait.objects.filter(source=OWNER_IP).update(since=began - lockout.WAIT)
    assert attempt(user.email) == 302


def test_a_wait_is_good_for_one_guess_and_not_for_ever(user: User) -> None:
    attack(user)
    waits = SignInWait.objects.filter(source=STRANGER_IP)
    assert attempt(user.email, "guess", STRANGER_IP) == 429
    waits.update(since=timezone.now() - lockout.WAIT)
    assert attempt(user.email, "guess", STRANGER_IP) == 422
    assert attempt(user.email, "guess", STRANGER_IP) == 429
    waits.update(since=timezone.now() - lockout.WAIT - lockout.TURN - timedelta(seconds=1))
    assert attempt(user.email, "guess", STRANGER_IP) == 429
    assert attempt(user.email, "guess", STRANGER_IP) == 429


def test_failures_of_known_browsers_delay_nobody(user: User) -> None:
    browsers = [Client() for _ in range(6)]
    for browser in browsers:
        attempt(user.email, client=browser)
    for browser in browsers:
        for _ in range(5):
            assert attempt(user.email, "typo", client=browser) == 422
        assert attempt(user.email, client=browser) == 429
    assert attempt(user.email) == 302


# --- known browsers


def browser_cookie(client: Client) -> Any:
    return client.cookies[devices.COOKIE]


def carrying(value: str) -> HttpRequest:
    request = RequestFactory().get("/login/")
    request.COOKIES[devices.COOKIE] = value
    return request


@pytest.mark.parametrize("https", [False, True])
def test_the_cookie_is_for_the_server_alone(user: User, settings: Any, https: bool) -> None:
    settings.SESSION_COOKIE_SECURE = https
    client = Client()
    attempt(user.email, client=client)
    cookie = browser_cookie(client)
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert bool(cookie["secure"]) is https
    assert int(cookie["max-age"]) == devices.KEEP.total_seconds()
    assert user.email not in cookie.value


def test_a_browser_is_known_to_those_who_signed_in_with_it(
    user: User, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    colleague, client = make_user(tenant, "operator"), Client()
    attempt(user.email, client=client)
    value = browser_cookie(client).value
    name = devices.name_of(carrying(value), user)
    assert name
    assert devices.name_of(carrying(value), colleague) is None
    assert devices.name_of(carrying(value), None) is None
    client.post("/logout/")
    attempt(colleague.email, client=client)
    shared = browser_cookie(client).value
    assert devices.name_of(carrying(shared), user) == name
    assert devices.name_of(carrying(shared), colleague) == name
    for wrong in ("", "x", value[:-1], value + "x"):
        assert devices.name_of(carrying(wrong), user) is None


def test_a_new_password_makes_every_browser_unknown_but_the_one_that_set_it(user: User) -> None:
    client, other = Client(), Client()
    for one in (client, other):
        attempt(user.email, client=one)
    change = {"current": PASSWORD, "new": NEW_PASSWORD}
    assert client.post("/profile/password/", change).status_code == 302
    user.refresh_from_db()
    assert devices.name_of(carrying(browser_cookie(client).value), user)
    assert devices.name_of(carrying(browser_cookie(other).value), user) is None


def test_a_browser_outlives_a_change_of_the_sites_key(user: User, settings: Any) -> None:
    client = Client()
    attempt(user.email, client=client)
    value = browser_cookie(client).value
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    assert devices.name_of(carrying(value), user)
    settings.SECRET_KEY_FALLBACKS = []
    assert devices.name_of(carrying(value), user) is None


# --- how long a session lives


def age(client: Client, key: str, span: timedelta) -> None:
    session = client.session
    session[key] = timezone.now().timestamp() - span.total_seconds()
    session.save()


@pytest.mark.parametrize("path", ["/profile/", "/api/v1/vms"])
@pytest.mark.parametrize(
    ("key", "lives", "over"),
    [
        (SEEN_KEY, timedelta(minutes=14), timedelta(minutes=16)),
        (STARTED_KEY, timedelta(hours=11), timedelta(hours=13)),
    ],
)
def test_a_session_ends_for_pages_and_for_the_api(
    path: str, key: str, lives: timedelta, over: timedelta, user: User
) -> None:
    client = Client()
    attempt(user.email, client=client)
    assert client.get(path).status_code == 200
    age(client, key, lives)
    assert client.get(path).status_code == 200
    age(client, key, over)
    gone = 302 if path == "/profile/" else 401
    assert client.get(path).status_code == gone
    # It is over for good, whatever the way.
    assert client.get("/api/v1/vms").status_code == 401
    assert client.get("/profile/").status_code == 302
    assert not UserSession.objects.exists()


def test_work_with_the_api_is_being_there_and_what_pages_fetch_is_not(user: User) -> None:
    client = Client()
    attempt(user.email, client=client)
    age(client, SEEN_KEY, timedelta(minutes=10))
    before = client.session[SEEN_KEY]
    client.get("/api/v1/vms", headers={"X-Scloud-Passive": "1"})
    assert client.session[SEEN_KEY] == before
    client.get("/api/v1/vms")
    assert client.session[SEEN_KEY] > before


def test_a_session_from_before_the_limit_gets_its_age_from_now_on(console: Client) -> None:
    session = console.session
    session.pop(STARTED_KEY, None)
    session.save()
    assert console.get("/api/v1/vms").status_code == 200
    assert console.session[STARTED_KEY] == pytest.approx(timezone.now().timestamp(), abs=60)
