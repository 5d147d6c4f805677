"""What people do by mail: a forgotten password, a new address, and what they are told of."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from scloud.accounts import recovering
from scloud.audit.models import Operation
from scloud.tenancy.models import LoginAttempt, RateCounter, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user

NEW_PASSWORD = "a passphrase of one's own"


@pytest.fixture(autouse=True)
def _mail_and_room(settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


def sign_in(browser: Client, user: User, password: str = PASSWORD) -> int:
    return browser.post("/login/", {"email": user.email, "password": password}).status_code


def forgot(email: str) -> str:
    answer = Client().post("/password/forgot/", {"email": email})
    assert answer.status_code == 200
    return re.sub(r"[A-Za-z0-9]{64}", "TOKEN", answer.content.decode())


def reset(code: str, new: str = NEW_PASSWORD) -> int:
    return Client().post("/password/reset/", {"code": code, "new": new}).status_code


def code_of(path: str) -> str:
    """Send what waits; return the code of the last mail."""
    run_jobs()
    found = re.search(rf"{path}#(\S+)", str(mail.outbox[-1].body))
    assert found is not None
    return found[1]


def verbs(tenant: Tenant) -> list[tuple[str, str]]:
    with scope(tenant=tenant):
        return list(Operation.objects.order_by("pk").values_list("verb", "error_code"))


def subjects() -> list[str]:
    """Send what waits; return the subjects of the mails since the last call."""
    run_jobs()
    found = [str(one.subject) for one in mail.outbox]
    mail.outbox.clear()
    return found


def test_a_forgotten_password_is_replaced_once(user: User, tenant: Tenant) -> None:
    browser = Client()
    assert sign_in(browser, user) == 302
    page = forgot(user.email.upper())
    code = code_of("/password/reset/")
    assert mail.outbox[-1].to == [user.email]
    assert "a link is on its way" in page

    for wrong in (f"{code[:-1]}x", code.split("-", 1)[1], f"zzzzzzzzzzzzz-{code}", "1", "é-x"):
        assert reset(wrong) == 422
    assert reset(code, user.email) == 422
    assert browser.get("/").status_code == 200
    # Wrong guesses from here do not keep out who has shown that the mailbox is theirs.
    for _ in range(5):
        sign_in(Client(), user, "guess")
    assert reset(code) == 302
    assert browser.get("/").status_code == 302
    assert reset(code) == 422
    assert sign_in(Client(), user) == 422
    assert sign_in(Client(), user, NEW_PASSWORD) == 302
    assert sorted(subjects()) == [
        "New sign-in to your account",
        "Set a new password",
        "Your password was changed",
    ]
    assert [one for one in verbs(tenant) if "reset" in one[0]] == [
        ("tenancy.ask_reset", ""),
        ("tenancy.reset_own_password", ""),
    ]
    assert LoginAttempt.objects.filter(succeeded=True).count() == 3


def test_a_code_ends_with_time_with_a_sign_in_and_with_access(
    user: User, tenant: Tenant, settings: Any
) -> None:
    forgot(user.email)
    code = code_of("/password/reset/")
    sign_in(Client(), user)
    assert reset(code) == 422
    forgot(user.email)
    code = code_of("/password/reset/")
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert reset(code) == 422
    settings.PASSWORD_RESET_TIMEOUT = 1800
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert reset(code) == 422
    subjects()
    forgot(user.email)
    assert subjects() == []
    User.objects.filter(pk=user.pk).update(is_active=True)
    # The limit of an address has a test of its own.
    RateCounter.objects.all().delete()
    forgot(User.objects.create_superuser("boss@platform.test", PASSWORD).email)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    forgot(user.email)
    assert subjects() == []
    User.objects.filter(pk=user.pk).update(is_staff=False)
    RateCounter.objects.all().delete()
    forgot(user.email)
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    assert subjects() == []


def test_no_answer_and_no_work_tells_which_addresses_exist(user: User, one_window: None) -> None:
    # What is asked once per process is asked by now.
    forgot("warm@acme.test")
    pages, work = [], []
    for email in (user.email, "nobody@acme.test"):
        with CaptureQueriesContext(connection) as asked:
            pages.append(forgot(email))
        work.append(len(asked))
    assert pages[0] == pages[1]
    assert work[0] == work[1]
    for _ in range(recovering.PER_ADDRESS + 2):
        assert forgot(user.email) == pages[0]
    assert subjects() == ["Set a new password"] * recovering.PER_ADDRESS


def test_without_a_mail_server_there_is_no_such_page(
    console: Client, user: User, settings: Any
) -> None:
    assert "/password/forgot/" in Client().get("/login/").content.decode()
    assert "/profile/address/" in console.get("/profile/").content.decode()
    assert "/users/invite/" in console.get("/users/").content.decode()
    settings.SCLOUD_EMAIL_READY = False
    assert "/password/forgot/" not in Client().get("/login/").content.decode()
    assert "/profile/address/" not in console.get("/profile/").content.decode()
    assert "/users/invite/" not in console.get("/users/").content.decode()
    for path in ("/password/forgot/", "/password/reset/"):
        assert Client().get(path).status_code == 404
        assert Client().post(path, {"email": user.email}).status_code == 404
    sign_in(Client(), user)
    sign_in(Client(), user)
    assert subjects() == []


def test_a_new_address_is_verified_and_the_old_one_told(
    console: Client, user: User, tenant: Tenant
) -> None:
    def ask(email: str, password: str = PASSWORD) -> int:
        data = {"email": email, "password": password}
        return console.post("/profile/address/", data).status_code

    taken = new_user(Tenant.objects.create(name="Rival"), email="taken@example.org")
    assert ask("new@example.org", "guess") == 422
    assert ask(user.email.upper()) == 422
    assert ask(taken.email) == 302
    run_jobs()
    assert "belongs to a user already" in str(mail.outbox[-1].body)
    assert ask("New@Example.org") == 302
    code = code_of("/profile/address/verify/")
    assert mail.outbox[-1].to == ["new@example.org"]

    colleague = Client()
    colleague.force_login(new_user(tenant, Role.READONLY))
    where = "/profile/address/verify/"
    assert colleague.post(where, {"code": code}).status_code == 422
    for wrong in (f"{code}x", "x", "x.y", "_._", f"dGFrZW5AZXhhbXBsZS5vcmc.{code.split('.')[1]}"):
        assert console.post(where, {"code": wrong}).status_code == 422
    mail.outbox.clear()
    # Whoever has been signed out meanwhile signs in first.
    console.logout()
    assert sign_in(console, user) == 302
    assert console.post(where, {"code": code})["Location"] == "/profile/"
    user.refresh_from_db()
    assert user.email == "new@example.org"
    assert console.post(where, {"code": code}).status_code == 422
    run_jobs()
    told = {str(one.subject): one for one in mail.outbox}
    assert set(told) == {"New sign-in to your account", "Your address was changed"}
    assert told["Your address was changed"].to == ["owner@acme.test"]
    assert "new@example.org" in str(told["Your address was changed"].body)
    assert ("tenancy.change_address", "") in verbs(tenant)


def test_people_are_told_what_happens_to_their_account(user: User) -> None:
    browser = Client(headers={"User-Agent": "Browser\r\nof a stranger"})
    # The first sign-in of all is no news.
    assert sign_in(browser, user) == 302
    assert subjects() == []
    sign_in(browser, user)
    assert subjects() == []
    assert sign_in(Client(headers={"User-Agent": "Another browser"}), user) == 302
    run_jobs()
    assert mail.outbox[0].to == [user.email]
    assert "Another browser" in str(mail.outbox[0].body)
    assert subjects() == ["New sign-in to your account"]
    browser.post("/api-keys/create/", {"name": "robot", "expires_in_days": "30"})
    run_jobs()
    assert "An API key was created: robot" in str(mail.outbox[0].body)
    assert subjects() == ["New API key"]
    data = {"current": PASSWORD, "new": NEW_PASSWORD}
    assert browser.post("/profile/password/", data).status_code == 302
    assert subjects() == ["Your password was changed"]
