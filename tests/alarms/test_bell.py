"""The bell: what each user has not read of what nobody has taken care of."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.actions.alarms import acknowledge_alarm
from alarms.models import Alarm, BellMark
from billing.models import Reminder, Subscription
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from tests.alarms.stories import Story, minutely


def told(console: Client) -> str:
    """What the bell says on a page."""
    page = console.get(reverse("profile")).content.decode()
    found = re.search(r'href="/notifications/".*?class="value[^"]*">(\d*)<', page, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_bell_counts_for_each_user(
    console: Client, story: Story, actor: Actor, make_user: Callable[..., User]
) -> None:
    assert actor.tenant is not None
    other = Client()
    other.force_login(make_user(actor.tenant, Role.READONLY))
    assert told(console) == told(other) == ""
    story.template(minutely(severity="critical"))
    story.cpu(0.95, 0.95)
    assert told(console) == told(other) == "2"
    page = console.get(reverse("bell")).content.decode()
    assert page.count("CPU usage &gt; 90 %") == page.count(">New<") == 2
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    # Looking changes nothing, and a time ahead takes nothing for read that comes later.
    assert told(console) == "2"
    assert console.get(reverse("bell-read")).status_code == 405
    assert console.post(reverse("bell-read"), {"until": "soon"}).status_code == 400
    sent = console.post(reverse("bell-read"), {"until": until[1]})
    assert sent.headers["Location"] == reverse("bell")
    assert (told(console), told(other)) == ("", "2")
    assert ">New<" not in console.get(reverse("bell")).content.decode()
    with scope(tenant=actor.tenant):
        alarm = Alarm.objects.first()
        assert alarm is not None
    acknowledge_alarm(actor=actor, alarm=alarm)
    assert told(other) == "1"
    # What is marked again with an older time stays read.
    console.post(reverse("bell-read"), {"until": "2020-01-01T00:00:00Z"})
    assert told(console) == ""


def test_the_bell_tells_what_expires_until_it_does_not(
    console: Client, story: Story, actor: Actor, make_user: Callable[..., User]
) -> None:
    assert actor.tenant is not None
    end = timezone.now() + timedelta(days=3)
    with scope(tenant=actor.tenant):
        rows = Subscription.objects.filter(resource_id=story.vms[0].pk)
        rows.update(paid_until=end)
        row = rows.get()
        for days in (7, 3):
            Reminder.objects.create(
                tenant=actor.tenant, subscription=row, paid_until=end, days=days
            )
    assert told(console) == "1"
    page = console.get(reverse("bell")).content.decode()
    assert page.count("Expires at") == 1
    assert reverse("vm-detail", args=[story.vms[0].pk]) in page
    without_billing = Client()
    without_billing.force_login(make_user(actor.tenant, Role.READONLY))
    assert told(without_billing) == ""
    console.post(reverse("bell-read"), {})
    assert told(console) == ""
    with scope(tenant=actor.tenant):
        BellMark.objects.all().delete()
        rows.update(paid_until=end + timedelta(days=30))
    assert told(console) == ""
