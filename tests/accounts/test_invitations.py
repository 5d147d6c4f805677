"""From an address that an owner names to a user who is in, and what keeps others out."""

from __future__ import annotations

import re
from datetime import timedelta
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import timezone

from scloud.accounts import invitations, roles
from scloud.audit.models import Operation
from scloud.jobs.models import Job, JobStatus
from scloud.lib.errors import Conflict, Unauthenticated
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import CustomRole, Invitation, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.alarms.receiver import run_jobs
from tests.fixtures import PASSWORD, new_user

NEW_PASSWORD = "a passphrase of one's own"


@pytest.fixture(autouse=True)
def _mail_and_room(settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 1_000_000


def invite(console: Client, email: str = "New@Example.org", role: str = "operator") -> int:
    return console.post("/users/invite/", {"email": email, "role": role}).status_code


def code_sent() -> str:
    """Send what waits; return the code of the last mail."""
    run_jobs()
    found = re.search(r"/join/#(\S+)", str(mail.outbox[-1].body))
    assert found is not None
    return found[1]


def join(code: str, client: Client | None = None, **values: str) -> Any:
    data = {"code": code, "full_name": "New Person", "password": NEW_PASSWORD, **values}
    return (client or Client()).post("/join/", data)


def the_invitation() -> Invitation:
    with scopes_disabled():
        found: Invitation = Invitation.objects.latest("created_at")
        return found


def test_an_invited_person_sets_a_password_and_is_in(console: Client, tenant: Tenant) -> None:
    assert invite(console) == 302
    code = code_sent()
    sent = mail.outbox[-1]
    assert sent.to == ["new@example.org"]
    assert "owner@acme.test invites you to the account Acme" in str(sent.body)
    # The code stands in the mail and nowhere else.
    with scopes_disabled():
        rows = [*Invitation.objects.values(), *Job.objects.values(), *Operation.objects.values()]
    assert code not in str(rows)
    page = console.get("/users/invitations/").content.decode()
    assert "new@example.org" in page
    assert ">Sent<" in page

    browser = Client()
    assert "New Person" not in browser.get("/join/").content.decode()
    for wrong in (code[:-1], "x", code.swapcase()):
        answer = join(wrong, browser)
        assert answer.status_code == 422
        assert "There is no valid invitation with this code." in answer.content.decode()
    # A password that is refused uses nothing up.
    assert join(code, browser, password="new@example.org").status_code == 422
    assert not User.objects.filter(email="new@example.org").exists()
    assert join(code, browser)["Location"] == "/"
    assert "Welcome to Acme." in browser.get("/").content.decode()
    person = User.objects.get(email="new@example.org")
    assert (person.tenant, person.role, person.full_name) == (tenant, Role.OPERATOR, "New Person")
    assert person.check_password(NEW_PASSWORD)

    assert join(code).status_code == 422
    menu = console.get(f"/users/invitations/?menu={the_invitation().pk}").content.decode()
    assert "The invitation was accepted." in menu
    assert invite(console) == 422
    with scope(tenant=tenant):
        log = list(Operation.objects.order_by("pk").values_list("actor", "verb", "error_code"))
    assert log == [
        ("owner@acme.test", "tenancy.manage_users", ""),
        ("new@example.org", "tenancy.accept_invitation", ""),
        ("new@example.org", "tenancy.sign_in", ""),
        ("owner@acme.test", "tenancy.manage_users", "user_exists"),
    ]


def test_only_the_last_code_counts_and_none_that_was_withdrawn_or_is_old(console: Client) -> None:
    invite(console)
    first = code_sent()
    assert invite(console, "new@example.org") == 422
    where = f"/users/invitations/{the_invitation().pk}"
    assert console.post(f"{where}/send/").status_code == 302
    second = code_sent()
    assert join(first).status_code == 422
    with scopes_disabled():
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert join(second).status_code == 422
    assert ">Expired<" in console.get("/users/invitations/").content.decode()
    console.post(f"{where}/send/")
    third = code_sent()
    assert console.post(f"{where}/withdraw/").status_code == 302
    assert join(third).status_code == 422
    assert console.post(f"{where}/send/").status_code == 422
    assert console.post(f"{where}/withdraw/").status_code == 422
    # An invitation that was withdrawn while its mail waited sends nothing.
    assert invite(console, "second@example.org") == 302
    console.post(f"/users/invitations/{the_invitation().pk}/withdraw/")
    sent = len(mail.outbox)
    run_jobs()
    assert len(mail.outbox) == sent


def test_a_mail_that_is_not_taken_is_tried_again_unless_the_address_is_refused(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [
        SMTPServerDisconnected("gone"),
        SMTPRecipientsRefused({"x": (550, b"no such user at relay-7")}),
    ]

    def send(message: EmailMessage, **options: object) -> int:
        if errors:
            raise errors.pop(0)
        mail.outbox.append(message)
        return 1

    monkeypatch.setattr(EmailMessage, "send", send)
    mail.outbox = []
    assert invite(console, "someone@bücher.example") == 302
    run_jobs()
    assert ">Not sent yet<" in console.get("/users/invitations/").content.decode()
    run_jobs()
    with scopes_disabled():
        job = Job.objects.get(kind="user.invite")
    assert (job.status, job.error_code) == (JobStatus.FAILED, "mail_not_sent")
    assert "relay-7" not in f"{job.error_message} {job.error_detail}"
    console.post(f"/users/invitations/{the_invitation().pk}/send/")
    code = code_sent()
    assert mail.outbox[-1].to == ["someone@xn--bcher-kva.example"]
    assert join(code).status_code == 302


def test_an_address_of_another_tenant_is_told_and_the_inviter_is_not(console: Client) -> None:
    new_user(Tenant.objects.create(name="Rival"), email="taken@example.org")
    answers = []
    for email in ("taken@example.org", "free@example.org"):
        answer = console.post("/users/invite/", {"email": email, "role": "readonly"}, follow=True)
        run_jobs()
        page = console.get(f"/users/invitations/?q={email}").content.decode()
        answers.append((answer.status_code, "The invitation is being sent" in str(answer.content)))
        assert ">Sent<" in page
    assert answers[0] == answers[1]
    to_taken, to_free = mail.outbox
    assert "belongs to another account" in str(to_taken.body)
    assert "/join/" not in str(to_taken.body)
    assert "/join/#" in str(to_free.body)
    # Who takes the address in between keeps it.
    code = code_sent()
    new_user(Tenant.objects.get(name="Rival"), email="free@example.org")
    answer = join(code)
    assert answer.status_code == 422
    assert "There is an account with this address." in answer.content.decode()


def test_who_may_invite_whom_and_how_often(
    console: Client, user: User, tenant: Tenant, one_window: None, settings: Any
) -> None:
    assert invite(console, role="owner") == 422
    assert invite(console, email="nobody") == 422
    clerk = Client()
    clerk.force_login(new_user(tenant, Role.ADMINISTRATOR))
    assert invite(clerk) == 403
    with scope(tenant=tenant):
        key, _secret = apikeys.issue(user=user, name="leaked")
    actor = Actor(tenant=tenant, user=user, api_key=key, role=user.role, via="api")
    with pytest.raises(Unauthenticated):
        invitations.invite_user(actor=actor, email="new@example.org", role="readonly")

    assert invite(console) == 302
    where = f"/users/invitations/{the_invitation().pk}/send/"
    statuses = [console.post(where).status_code for _ in range(invitations.PER_ADDRESS)]
    assert statuses == [302] * (invitations.PER_ADDRESS - 1) + [422]
    settings.SCLOUD_EMAIL_READY = False
    assert invite(console, "another@example.org") == 422
    assert not mail.outbox

    rival = Client()
    rival.force_login(new_user(Tenant.objects.create(name="Rival")))
    assert rival.post(where).status_code == 404
    # The limit of an address holds for all tenants together.
    settings.SCLOUD_EMAIL_READY = True
    assert invite(rival) == 422


def test_who_joins_in_a_browser_of_somebody_else_is_somebody_new(
    console: Client, user: User
) -> None:
    invite(console)
    code = code_sent()
    browser = Client()
    browser.post("/login/", {"email": user.email, "password": PASSWORD})
    before = browser.session.session_key
    assert join(code, browser)["Location"] == "/"
    assert browser.session.session_key != before
    assert "new@example.org" in browser.get("/profile/").content.decode()
    assert not user.sessions.filter(session_key=before).exists()


def test_an_invitation_can_be_for_a_role_that_the_tenant_has_made(
    console: Client, tenant: Tenant, actor: Actor, other_tenant: Tenant
) -> None:
    role = roles.create_role(actor=actor, name="Night shift", abilities=["compute-power"])
    with scope(tenant=other_tenant):
        theirs = CustomRole.objects.create(tenant=other_tenant, name="Theirs", permissions=["*"])
    assert invite(console, role=theirs.pk) == 422
    assert invite(console, role="custom") == 422
    assert invite(console, role=role.pk) == 302
    with scopes_disabled():
        # Workers of an earlier release leave it to others.
        assert Job.objects.get(target_kind=Invitation.KIND).kind == "user.invite_as"
    code = code_sent()
    assert "as: Night shift." in str(mail.outbox[-1].body)
    assert "Night shift" in console.get("/users/invitations/").content.decode()
    # It stays as long as somebody may come with it.
    with pytest.raises(Conflict, match="1 invitations are for this role"):
        roles.delete_role(actor=actor, role=role)
    assert join(code).status_code == 302
    user = User.objects.get(email="new@example.org")
    assert (user.role, user.custom_role) == ("custom", role)
    assert "compute.start_vm" in user.custom_grants
    with scope(tenant=tenant):
        entry = Operation.objects.get(verb="tenancy.accept_invitation")
    assert entry.after == {"user": "new@example.org", "role": "Night shift"}


def test_a_role_whose_invitation_was_withdrawn_can_be_deleted(
    console: Client, actor: Actor
) -> None:
    role = roles.create_role(actor=actor, name="Night shift", abilities=["compute-power"])
    assert invite(console, role=role.pk) == 302
    found = the_invitation()
    assert console.post(f"/users/invitations/{found.pk}/withdraw/").status_code == 302
    roles.delete_role(actor=actor, role=role)
    found = the_invitation()
    assert (found.custom_role, found.role_name) == (None, "None")
    assert console.get("/users/invitations/").status_code == 200
