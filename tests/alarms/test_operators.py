"""Operators are told of the platform's conditions: once when one opens, once when it recovers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from alarms.actions import notices
from alarms.models import (
    Contact,
    Delivery,
    Notice,
    OperatorContact,
    OperatorWebhook,
    PlatformAlarm,
)
from alarms.queries import capacity, clock
from alarms.queries import platform as figures
from alarms.store.fake import FakeStore
from alarms.sweeps import operators
from billing import hooks
from compute.models import Host, StoragePool
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.alarms.receiver import Receiver, receiver, tell
from tests.compute.factories import Platform

__all__ = ["receiver"]

SECRET = "the operators' s3cret"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIST = "admin:alarms_platformalarm_changelist"


class Time:
    """What sweeps and jobs take for the time."""

    def __init__(self) -> None:
        self.now = START

    def after(self, seconds: float) -> int:
        """Let time pass, look at the conditions, and send what waits; return what opened."""
        self.now += timedelta(seconds=seconds)
        opened = operators.look()
        tell()
        return opened


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    for module in (capacity, figures):
        monkeypatch.setattr(module, "metrics_store", lambda: made)
    return made


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch, store: FakeStore, settings: Any) -> Time:
    """Time that passes when the test says so, on a platform that sends e-mail."""
    settings.SCLOUD_EMAIL_READY = True
    settings.SCLOUD_CERTIFICATES, settings.SCLOUD_DATES = [], {}
    made = Time()
    monkeypatch.setattr(clock, "now", lambda: made.now)
    return made


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ops@scloud.test", "correct horse 9"))
    return client


def add(operator: Client, model: str, **fields: str) -> str:
    """Send the form of a new row; return what the next page says."""
    url = reverse(f"admin:alarms_{model}_add")
    return operator.post(url, fields, follow=True).content.decode()


def silence(host: Host, since: datetime | None) -> None:
    Host.objects.filter(pk=host.pk).update(unreachable_since=since)


def subjects() -> list[str]:
    return [str(letter.subject) for letter in mail.outbox]


def test_operators_are_told_once(
    platform: Platform,
    operator: Client,
    passing: Time,
    store: FakeStore,
    receiver: Receiver,
    actor: Actor,
) -> None:
    add(operator, "operatorcontact", name="on-call", email="On-Call@example.org")
    refused = add(operator, "operatorcontact", name="again", email="on-call@example.org")
    assert "There is a contact with this address." in refused
    hook = {"name": "pager", "format": "scloud", "enabled": "on"}
    refused = add(operator, "operatorwebhook", **hook, url="http://example.org:22/")
    assert "Port 22 is not allowed" in refused
    page = add(operator, "operatorwebhook", **hook, url=receiver.url, secret=SECRET)
    assert "token=x" not in page
    assert SECRET not in page

    host = platform.hosts[0]
    silence(host, START - timedelta(seconds=60))
    assert passing.after(0) == 0
    assert passing.after(60) == 1
    opened = f"[Critical] Opened: Host {host.name} has not answered for 2 min."
    assert subjects() == [opened]
    ((_path, headers, body),) = receiver.seen
    assert headers["X-SCloud-Signature"].startswith("t=")
    (said,) = json.loads(body)["alarms"]
    assert (said["event"], said["resource"]["kind"]) == ("opened", "host_silent")
    assert json.loads(body)["url"].endswith(reverse(LIST))
    alarm = PlatformAlarm.objects.get()
    assert f"http://localhost:8000/admin/alarms/platformalarm/{alarm.pk}/change/" in (
        mail.outbox[0].body
    )

    # Acknowledged by POST, once, and in the operation log.
    button = reverse("admin:alarms_platformalarm_do", args=[alarm.pk, "acknowledge"])
    operator.get(button)
    alarm.refresh_from_db()
    assert alarm.acknowledged_at is None
    operator.post(button)
    assert "has acknowledged it already" in operator.post(button, follow=True).content.decode()
    alarm.refresh_from_db()
    assert alarm.acknowledged_by == "ops@scloud.test"
    with scopes_disabled():
        log = Operation.objects.filter(verb="platform.acknowledge_alarm").order_by("pk")
        assert [one.succeeded for one in log] == [True, False]

    # One that comes and goes is one alarm.
    for since in (None, passing.now - timedelta(seconds=120), None):
        silence(host, since)
        assert passing.after(120) == 0
    assert passing.after(120) == 0
    assert len(mail.outbox) == 1
    assert passing.after(120) == 0
    assert subjects()[1:] == [f"[Critical] Ended: Host {host.name} has not answered for 6 min."]
    assert PlatformAlarm.objects.get().recovered_at == passing.now
    assert passing.after(3600) == 0
    assert len(mail.outbox) == len(receiver.seen) == 2

    pools = StoragePool.objects.filter(pk=platform.pool.pk)
    # What goes up and down opens when it has held for a while, and is not seen before.
    pools.update(total_bytes=100, available_bytes=10, observed_at=START)
    assert passing.after(30) == 0
    pools.update(available_bytes=50)
    assert passing.after(30) == 0
    assert PlatformAlarm.objects.count() == 1
    pools.update(available_bytes=10)
    assert passing.after(30) == 0
    text = operator.get(reverse(LIST)).content.decode()
    assert "has not answered for" in text
    assert "is 90 % full" not in text
    store.faults.away = True
    assert passing.after(300) == 1
    assert subjects()[2:] == [f"[Warning] Opened: Storage pool {platform.pool.pk} is 90 % full."]
    text = operator.get(reverse(LIST), {"recovered_at__isempty": "1"}).content.decode()
    assert "is 90 % full" in text
    assert "has not answered for" not in text

    # Nothing of it is a tenant's, and no secret is in the clear anywhere.
    with scope(tenant=actor.tenant):
        assert not Contact.objects.exists()
        assert not Delivery.objects.exists()
    with scopes_disabled():
        row = OperatorWebhook.objects.get()
        assert (row.host, row.group) == ("127.0.0.1", None)
        assert "token" not in row.sealed_url + row.sealed_secret
        assert not Job.objects.filter(payload__icontains="token").exists()
        assert not Operation.objects.filter(after__icontains="token").exists()
        assert {one.state for one in Delivery.objects.all()} == {"sent"}


def test_addresses_of_operators_are_tested_changed_and_removed(
    operator: Client, passing: Time, receiver: Receiver, actor: Actor
) -> None:
    add(operator, "operatorcontact", name="on-call", email="on-call@example.org")
    hook = {"name": "pager", "format": "scloud", "enabled": "on"}
    add(operator, "operatorwebhook", **hook, url=receiver.url)
    with scopes_disabled():
        contact, webhook = OperatorContact.objects.get(), OperatorWebhook.objects.get()
        own = notices.create_contact(actor=actor, name="own", email="on-call@example.org")
    listed = operator.get(reverse("admin:alarms_operatorcontact_changelist")).content.decode()
    assert contact.pk in listed
    assert own.pk not in listed
    for model, row in (("operatorcontact", contact), ("operatorwebhook", webhook)):
        operator.post(reverse(f"admin:alarms_{model}_do", args=[row.pk, "test"]))
    tell()
    assert "Test message from SCloud" in subjects()
    assert json.loads(receiver.seen[0][2])["url"].endswith(reverse(LIST))
    url = reverse("admin:alarms_operatorwebhook_change", args=[webhook.pk])
    operator.post(url, {"name": "chat", "format": "slack"})
    operator.post(
        reverse("admin:alarms_operatorcontact_change", args=[contact.pk]), {"name": "nights"}
    )
    with scopes_disabled():
        changed = OperatorWebhook.objects.get()
        assert (changed.name, changed.format, changed.enabled) == ("chat", "slack", False)
        assert changed.sealed_url == webhook.sealed_url
        contact.refresh_from_db()
        assert (contact.name, contact.email) == ("nights", "on-call@example.org")
    for model, row in (("operatorcontact", contact), ("operatorwebhook", webhook)):
        sure = reverse(f"admin:alarms_{model}_delete", args=[row.pk])
        assert operator.post(sure, {"post": "yes"}).status_code == 302
    with scopes_disabled():
        assert [one.pk for one in Contact.objects.all()] == [own.pk]
        assert not OperatorWebhook.objects.exists()


def test_the_books_tell_tenants_and_operators(
    operator: Client, passing: Time, actor: Actor, make_verified: Callable[..., Contact]
) -> None:
    add(operator, "operatorcontact", name="on-call", email="on-call@example.org")
    contact = make_verified("own@example.org")
    for name in ("days", "nights"):
        notices.create_notification_group(actor=actor, name=name, contacts=[contact])
    until = START + timedelta(days=3)
    data = {"paid_until": until.isoformat(), "days": 3, "reason": "balance", "name": "web-1"}
    hooks.tell(
        hooks.Notice("billing.expiring", START, actor.tenant, "vm", "vm-123456789", "web-1", data)
    )
    hooks.tell(
        hooks.Notice(
            "billing.replay_differs",
            START,
            resource_kind="replay",
            resource_id="7",
            data={"begin": "", "end": "", "charges": 900, "differences": 2},
        )
    )
    waits = {"amount": "5000.00", "currency": "CNY"}
    hooks.tell(
        hooks.Notice(
            "billing.top_up_waits", START, resource_kind="topup", resource_id="9", data=waits
        )
    )
    raising = {"tenant": "Acme", "item": "VMs", "limit": 900}
    hooks.tell(
        hooks.Notice(
            "billing.quota_request_waits",
            START,
            resource_kind="quotarequest",
            resource_id="quota-1",
            data=raising,
        )
    )
    of_payment = {"payment": "pay-123456789", "amount": "7.00", "currency": "CNY"}
    for kind, model in (
        ("payment_differs", "payment"),
        ("payment_refund_failed", "payment"),
        ("payment_refund_waits", "paymentrefund"),
    ):
        hooks.tell(
            hooks.Notice(
                f"billing.{kind}",
                START,
                resource_kind=model,
                resource_id="pay-123456789",
                data=of_payment,
            )
        )
    tell()
    tell()
    by_reader = {letter.to[0]: letter for letter in mail.outbox}
    assert len(mail.outbox) == len(by_reader) == 2
    own = by_reader["own <own@example.org>"]
    assert own.subject == (
        "[Warning] Notice: web-1: Expires at 2026-03-04 12:00 UTC: the balance does not cover its "
        "renewal."
    )
    assert "http://localhost:8000/vms/vm-123456789/" in own.body
    theirs = by_reader["on-call <on-call@example.org>"]
    assert theirs.subject == "6 notices"
    assert "the provider says 7.00 CNY, which differs from the books." in theirs.body
    assert "did not pay back 7.00 CNY. They are in the account again." in theirs.body
    assert "A refund of 7.00 CNY to a payment waits for a second administrator." in theirs.body
    assert "Acme: raising the quota VMs to 900 waits for a second administrator." in theirs.body
    assert "/admin/billing/quotarequest/quota-1/change/" in theirs.body
    assert "computed again: 2 of 900." in theirs.body
    assert "A top-up of 5000.00 CNY waits for a second administrator." in theirs.body
    assert "/admin/billing/topup/9/change/" in theirs.body
    with scopes_disabled():
        assert Notice.objects.filter(state="sent").count() == 7


LOW = {
    "balance": "40.00",
    "below": "100.00",
    "currency": "CNY",
    "lasts_until": (START + timedelta(days=2)).isoformat(),
}
RAISED = {
    "item": "vms",
    "region": "box",
    "expires_at": (START + timedelta(days=3)).isoformat(),
    "days": 3,
    "limit": 80,
    "limit_afterwards": 50,
    "used": 60,
}
SPENT = {
    "name": "web",
    "tag": "env=prod",
    "percent": 100,
    "month": "2026-03",
    "amount": "500.00",
    "spent": "501.20",
    "forecast": "700.00",
    "currency": "CNY",
    "stops_purchases": True,
}
CLOSED = {
    "month": "2026-02",
    "number": "2026-02-0001",
    "charged": "12.30",
    "closing": "87.70",
    "currency": "CNY",
}


@pytest.mark.parametrize(
    ("kind", "resource", "data", "subject", "page"),
    [
        (
            "billing.low_balance", "account", LOW,
            ("[Warning] Notice: The balance of 40.00 CNY is below 100.00 CNY. It covers automatic "
            "renewals until 2026-03-03 12:00 UTC."),
            "/billing/",
        ),
        (
            "billing.low_balance", "account", {**LOW, "lasts_until": None},
            "[Warning] Notice: The balance of 40.00 CNY is below 100.00 CNY.",
            "/billing/",
        ),
        (
            "billing.budget", "budget", SPENT,
            ("[Warning] Notice: Budget web: 100 % of 2026-03 is spent, 501.20 of 500.00 CNY. "
            "Nothing more can be bought on it this month."),
            "/budgets/",
        ),
        (
            "billing.budget", "budget", {**SPENT, "percent": 80, "stops_purchases": False},
            "[Warning] Notice: Budget web: 80 % of 2026-03 is spent, 501.20 of 500.00 CNY.",
            "/budgets/",
        ),
        (
            "billing.quota_expiring", "quota_request", RAISED,
            ("[Warning] Notice: The quota VMs in box is 80 until 2026-03-04 12:00 UTC, then 50. "
            "60 are used; what exists stays."),
            "/quotas/",
        ),
        (
            "billing.statement", "statement", CLOSED,
            ("[Info] Notice: The statement of 2026-02 is ready: 12.30 CNY were charged, the "
            "balance at its end was 87.70 CNY."),
            "/billing/statements/2026-02/",
        ),
    ],
)  # fmt: skip
def test_tenants_are_told_of_their_money(
    passing: Time,
    actor: Actor,
    make_verified: Callable[..., Contact],
    kind: str,
    resource: str,
    data: dict[str, Any],
    subject: str,
    page: str,
) -> None:
    contact = make_verified("own@example.org")
    notices.create_notification_group(actor=actor, name="days", contacts=[contact])
    hooks.tell(hooks.Notice(kind, START, actor.tenant, resource, "id-1", "name", data))
    tell()
    [letter] = mail.outbox
    assert letter.subject == subject
    assert f"http://localhost:8000{page}" in letter.body


@pytest.fixture
def make_verified(actor: Actor) -> Callable[..., Contact]:
    """A function that makes a verified contact of the tenant."""

    def make(email: str) -> Contact:
        with scope(tenant=actor.tenant):
            made: Contact = Contact.objects.create(
                tenant=actor.tenant, name="own", email=email, verified_at=START
            )
        return made

    return make
