"""Reminders before a resource runs out, and the dates that are said beforehand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from alarms.models import Contact, NotificationGroup
from alarms.models import Notice as NoticeOfAlarms
from billing import hooks, queries, reminding, services
from billing.models import Order, Reminder, Subscription
from billing.pricing import Method
from scloud.audit.models import Event
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.billing.helpers import fund

pytestmark = pytest.mark.usefixtures("scoped")

BOUGHT = datetime(2026, 5, 1, 12, tzinfo=UTC)
END = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str]]:
    """What listeners are told: resource, days, reason."""
    told: list[tuple[str, int, str]] = []
    monkeypatch.setattr(hooks, "_listeners", [])
    hooks.listen(lambda n: told.append((n.resource_id, n.data["days"], n.data["reason"])))
    return told


def test_each_reminder_is_told_once_of_what_will_expire(
    buy: Callable[..., Order],
    at: Callable[[datetime], None],
    tenant: Tenant,
    heard: list[tuple[str, int, str]],
) -> None:
    at(BOUGHT)
    buy("vm-off", "vm-on", "vm-bin", cash="490")
    buy("vm-hour", cash="0", method=Method.HOUR, periods=24)
    Subscription.objects.filter(resource_id__in=["vm-off", "vm-hour"]).update(auto_renew=False)
    services.set_in_bin("vm-bin", True)
    assert reminding.run(END - timedelta(days=7, seconds=1)) == []
    assert reminding.run(END - timedelta(days=7)) == ["vm-off"]
    assert reminding.run(END - timedelta(days=6)) == []
    # The money for the one that renews is spent meanwhile.
    buy("vm-late", cash="0")
    assert sorted(reminding.run(END - timedelta(days=5))) == ["vm-late", "vm-on"]
    # What was missed is not told later: only what is true now.
    assert len(reminding.run(END - timedelta(hours=12))) == 3
    assert reminding.run(END - timedelta(hours=11)) == []
    assert sorted(heard) == [
        ("vm-late", 1, "balance"),
        ("vm-late", 7, "balance"),
        ("vm-off", 1, "auto_renew_off"),
        ("vm-off", 7, "auto_renew_off"),
        ("vm-on", 1, "balance"),
        ("vm-on", 7, "balance"),
    ]
    assert Event.objects.filter(kind="billing.expiring", resource_id="vm-off").count() == 2
    # A renewal begins anew.
    fund(tenant, cash="1000")
    at(END - timedelta(hours=10))
    assert services.renew_due(tenant=tenant, resource_id="vm-on", now=END) is not None
    Subscription.objects.filter(resource_id="vm-on").update(auto_renew=False)
    later = Subscription.objects.get(resource_id="vm-on").paid_until
    assert "vm-on" in reminding.run(later - timedelta(days=7))


def test_one_that_cannot_be_told_is_told_by_the_next_round(
    buy: Callable[..., Order], at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(BOUGHT)
    buy("vm-a")
    Subscription.objects.update(auto_renew=False)

    def fail(notice: hooks.Notice) -> None:
        raise RuntimeError("no mail today")

    monkeypatch.setattr(hooks, "_listeners", [fail])
    assert reminding.run(END - timedelta(days=1)) == []
    assert not Reminder.objects.exists()
    monkeypatch.setattr(hooks, "_listeners", [])
    assert reminding.run(END - timedelta(hours=23)) == ["vm-a"]


def test_what_will_happen_is_said_beforehand(
    buy: Callable[..., Order], at: Callable[[datetime], None]
) -> None:
    at(BOUGHT)
    buy("vm-a")
    settings = PlatformSettings()
    row = Subscription.objects.get()

    def said(now: datetime = BOUGHT) -> list[tuple[str, datetime]]:
        return [(one.kind, one.at) for one in queries.upcoming(row, settings, now)]

    assert said() == [("renewal", END)]
    row.auto_renew = False
    day = timedelta(days=1)
    binned = [("bin", END + 7 * day), ("destruction", END + 7 * day + settings.bin_retention)]
    assert said() == [
        ("reminder", END - 7 * day),
        ("reminder", END - 3 * day),
        ("reminder", END - day),
        ("expiry", END),
        *binned,
    ]
    assert said(END - 2 * day)[0] == ("reminder", END - day)
    row.status, row.expired_at = "expired", END
    assert said() == binned
    settings.auto_destroy = False
    assert said() == binned[:1]
    # What has no recycle bin is gone at the end of the grace.
    row.resource_kind = "eni"
    assert said() == [("destruction", END + 7 * day)]
    row.status = "active"
    assert said(END)[-3:] == [("expiry", END), ("unbinding", END), ("destruction", END + 7 * day)]
    row.in_bin = True
    assert said() == []


def test_a_reminder_reaches_the_tenants_groups(
    buy: Callable[..., Order], at: Callable[[datetime], None], tenant: Tenant
) -> None:
    at(BOUGHT)
    buy("vm-a")
    Subscription.objects.update(auto_renew=False)
    contact = Contact.objects.create(
        tenant=tenant, name="own", email="own@example.org", verified_at=BOUGHT
    )
    NotificationGroup.objects.create(tenant=tenant, name="days").contacts.add(contact)
    for hours in (24, 23):
        reminding.run(END - timedelta(hours=hours))
    notice = NoticeOfAlarms.objects.get()
    assert (notice.contact, notice.what, notice.at) == (contact, "notice", END - timedelta(days=1))
    assert notice.about is not None
    assert notice.about["text"] == "Expires at 2026-06-01 12:00 UTC: auto-renew is off."
    assert notice.about["resource_id"] == "vm-a"
