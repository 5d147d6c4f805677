"""Who is told what: from an alarm to a message, and everything that may keep it from arriving."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import mail

from alarms.actions import notices as actions
from alarms.models import Contact, Delivery, Notice, NotificationGroup, Webhook
from alarms.rules.messages import Item, message, post
from alarms.rules.quiet import quiet_until
from alarms.states.notices import RETRIES_S
from alarms.sweeps import notifying
from alarms.tasks import notify
from scloud.jobs.models import Job, JobStatus
from scloud.lib.errors import InvalidInput
from scloud.lib.text import one_line
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.alarms.receiver import Receiver, receiver, run_jobs, tell
from tests.alarms.stories import Story, minutely

__all__ = ["receiver"]

SECRET = "s3cret of the hook"


@pytest.fixture
def group(story: Story, settings: Any) -> NotificationGroup:
    """A verified contact in a group; the story's template names it."""
    settings.SCLOUD_EMAIL_READY = True
    actor = story.actor
    contact = actions.create_contact(actor=actor, name="on-call", email="On-Call@example.org")
    run_jobs()
    code = mail.outbox.pop().body.split("The code is ")[1][:9]
    with pytest.raises(InvalidInput, match="not the code"):
        actions.verify_contact(actor=actor, contact=contact, code="AAAA-AAAA")
    actions.verify_contact(actor=actor, contact=contact, code=code.lower())
    made = actions.create_notification_group(actor=actor, name="ops", contacts=[contact])
    template = story.template(minutely(severity="critical"))
    actions.set_alarm_template_group(actor=actor, template=template, group=made)
    return made


def deliveries() -> list[Delivery]:
    with scopes_disabled():
        return list(Delivery.objects.order_by("created_at", "pk"))


def hook(story: Story, group: NotificationGroup, receiver: Receiver, **more: Any) -> Webhook:
    return actions.add_webhook(
        actor=story.actor, group=group, name="hook", url=receiver.url, **more
    )


def test_one_message_tells_all_and_is_signed(
    story: Story, group: NotificationGroup, receiver: Receiver
) -> None:
    webhook = hook(story, group, receiver, secret=SECRET)
    story.cpu(0.95, 0.97)
    tell()
    (letter,) = mail.outbox
    assert letter.to == ["on-call <on-call@example.org>"]
    assert letter.subject == "2 alarms: 2 opened"
    for vm in story.vms:
        assert f"http://localhost:8000/vms/{vm.pk}/" in letter.body
    ((_path, headers, body),) = receiver.seen
    stamp, _, mac = headers["X-SCloud-Signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert mac == expected
    said = json.loads(body)
    assert (said["total"], said["alarms"][0]["event"]) == (2, "opened")
    assert {one.state for one in deliveries()} == {"sent"}
    # Told once.
    tell()
    assert (len(mail.outbox), len(receiver.seen)) == (1, 1)
    # Neither URL nor secret is anywhere in the clear.
    with scopes_disabled():
        row = Webhook.objects.get(pk=webhook.pk)
        assert SECRET not in row.sealed_secret
        assert "token" not in row.sealed_url
        assert not Job.objects.filter(payload__icontains="token").exists()
    story.cpu(0.1)
    tell()
    assert mail.outbox[-1].subject == "2 alarms: 2 ended"


def test_a_webhook_that_fails_is_tried_again_and_told_all_that_happened_since(
    story: Story, group: NotificationGroup, receiver: Receiver
) -> None:
    hook(story, group, receiver)
    receiver.status = 500
    story.cpu(0.95, 0.95)
    tell()
    (failed,) = [one for one in deliveries() if one.webhook_id]
    assert (failed.state, failed.http_status, failed.tries) == ("sending", 500, 1)
    with scopes_disabled():
        job = Job.objects.get(kind=notify.NOTIFY, target_kind="webhook")
    assert job.status == JobStatus.QUEUED
    story.cpu(0.1)
    # The job that waits takes the news along: no second one is queued.
    assert notifying.notify() == 1
    receiver.status, receiver.endless = 200, True
    run_jobs()
    (sent,) = [one for one in deliveries() if one.webhook_id]
    assert (sent.state, sent.tries, sent.notices) == ("sent", 2, 4)
    assert [json.loads(body)["total"] for *_rest, body in receiver.seen] == [2, 4]


def test_what_cannot_be_sent_is_given_up(
    story: Story, group: NotificationGroup, receiver: Receiver
) -> None:
    hook(story, group, receiver)
    receiver.status = 503
    story.cpu(0.95, 0.95)
    for _ in range(len(RETRIES_S) + 3):
        tell()
    (failed,) = [one for one in deliveries() if one.webhook_id]
    assert (failed.state, failed.tries) == ("failed", len(RETRIES_S) + 1)
    receiver.status = 410
    story.cpu(0.1)
    tell()
    assert [one.tries for one in deliveries() if one.webhook_id] == [len(RETRIES_S) + 1, 1]
    with scopes_disabled():
        assert not Notice.objects.filter(state="waiting").exists()


def test_no_webhook_reaches_the_platform(
    story: Story, group: NotificationGroup, receiver: Receiver, settings: Any
) -> None:
    hook(story, group, receiver)
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = []
    story.cpu(0.95, 0.95)
    tell()
    (refused,) = [one for one in deliveries() if one.webhook_id]
    assert (refused.state, refused.error) == ("failed", "127.0.0.1 is not a public address.")
    assert receiver.seen == []
    with pytest.raises(InvalidInput, match="Port 22"):
        actions.add_webhook(
            actor=story.actor, group=group, name="ssh", url="http://example.org:22/"
        )


def test_silences_quiet_hours_and_unverified_addresses(
    story: Story, group: NotificationGroup, actor: Actor
) -> None:
    actions.create_contact(actor=actor, name="other", email="other@example.org")
    run_jobs()
    mail.outbox.clear()
    with scope(tenant=actor.tenant):
        group.contacts.add(Contact.objects.get(email="other@example.org"))
    actions.create_silence(
        actor=actor,
        reason="New kernel",
        resource_id=story.vms[0].pk,
        starts_at=story.now,
        ends_at=story.now + timedelta(hours=3),
    )
    story.cpu(0.95, 0.95)
    tell()
    (letter,) = mail.outbox
    assert letter.to == ["on-call <on-call@example.org>"]
    assert letter.subject == "[Critical] Opened: web-2: CPU usage > 90 %"
    begin = (story.now - timedelta(hours=1)).time()
    with scope(tenant=actor.tenant):
        NotificationGroup.objects.update(
            quiet_from=begin, quiet_until=(story.now + timedelta(hours=2)).time(),
            quiet_critical=True, time_zone="UTC",
        )  # fmt: skip
    story.cpu(0.1)
    tell()
    assert len(mail.outbox) == 1
    story.now += timedelta(hours=3)
    tell()
    assert mail.outbox[-1].subject == "[Critical] Ended: web-2: CPU usage > 90 %"


# -- pure ----------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (time(11), time(13), NOON + timedelta(hours=1)),
        (time(13), time(14), None),
        (time(12, 0, 1), time(12), None),
        (time(22), time(13), NOON + timedelta(hours=1)),
        (time(12), time(11), NOON + timedelta(hours=23)),
        (time(12), time(12), None),
    ],
)
def test_quiet_hours(begin: time, end: time, expected: datetime | None) -> None:
    assert quiet_until(NOON, begin, end, "UTC") == expected


def item(number: int) -> Item:
    return Item(
        "alarm-1", "opened", "critical", "Critical", "vm", "vm-1", f"web\r\nBcc: x{number}",
        "CPU usage > 90 %", "", 0.95, "95 %", NOON, "https://c.test/vms/vm-1/",
    )  # fmt: skip


def test_messages_in_every_format() -> None:
    said = message("delivery-1", [item(n) for n in range(1000)], console_url="https://c.test")
    assert said.subject == "1000 alarms: 1000 opened"
    assert "980 more alarms: https://c.test/alarms/" in said.text
    one = message("delivery-1", [item(1)], console_url="https://c.test")
    assert "\n" not in one.subject
    assert one_line("a\x00b\r\nc") == "a b c"
    for form in ("slack", "wecom", "dingtalk"):
        sent = post(form, "https://x.test/a?access_token=1", "key", said, now=NOON)
        assert len(sent.body) < 20_000
        body = json.loads(sent.body)
        text = body["text"] if form == "slack" else body["text"]["content"]
        assert text.startswith("1000 alarms")
    query = parse_qs(
        urlsplit(post("dingtalk", "https://x.test/?a=1", "key", one, now=NOON).url).query
    )
    assert set(query) == {"a", "timestamp", "sign"}
