"""The nightly replay: each night once, over every tenant, and what it finds is told."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import hooks, ledger, nightly, pricelists, services
from billing.models import (
    Charge,
    Order,
    OrderLine,
    PriceList,
    ReplayDifference,
    ReplayRun,
)
from billing.pricing import Method
from billing.replay import replay
from billing.services import QuoteItem, ResourceRef
from scloud.audit.models import Event
from scloud.jobs import periodic
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import fund
from tests.billing.test_replay import tamper

# Midnight of 2 May in Shanghai.
MIDNIGHT = datetime(2026, 5, 1, 16, tzinfo=UTC)
NIGHT = MIDNIGHT + nightly.SETTLED


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[hooks.Notice]:
    """What listeners are told."""
    told: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [])
    hooks.listen(told.append)
    return told


@pytest.mark.usefixtures("other_tenant")
def test_a_night_goes_through_all_tenants_once(
    buy: Callable[..., Order], at: Callable[[datetime], None], heard: list[hooks.Notice]
) -> None:
    at(MIDNIGHT - timedelta(hours=1))
    buy("vm-a", "vm-b")
    at(MIDNIGHT)
    buy("vm-c")
    assert nightly.run(NIGHT - timedelta(seconds=1)) is None
    done = nightly.run(NIGHT)
    assert done is not None
    assert (done.begin, done.end, done.finished_at) == (
        datetime(2026, 4, 30, 16, tzinfo=UTC),
        MIDNIGHT,
        NIGHT,
    )
    done.refresh_from_db()
    assert (done.tenants, done.charges, done.differences) == (2, 2, 0)
    assert nightly.run(NIGHT + timedelta(hours=1)) is None
    # The first night of a month is of the month before.
    first = nightly.run(datetime(2026, 5, 31, 17, tzinfo=UTC))
    assert first is not None
    assert (first.begin, first.end) == (done.begin, datetime(2026, 5, 31, 16, tzinfo=UTC))
    assert heard == []
    assert periodic.Lane.REPLAY in periodic.lanes()


def test_what_differs_is_kept_and_told(
    buy: Callable[..., Order],
    at: Callable[[datetime], None],
    heard: list[hooks.Notice],
    tenant: Tenant,
    other_tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at(MIDNIGHT - timedelta(hours=1))
    order = buy("vm-a")
    at(NIGHT)
    tamper("UPDATE billing_orderline SET unit_price = 1 WHERE sku = 'vcpu'")
    # A call that is cut off after a tenant, and books of another that cannot be computed.
    monkeypatch.setattr(nightly, "TURN_S", 0.0)
    assert nightly.run(NIGHT) is None

    def broken(whose: Tenant, since: datetime, until: datetime) -> object:
        if whose == other_tenant:
            raise KeyError("no such price")
        return replay(whose, since, until)

    monkeypatch.setattr(nightly, "replay", broken)
    monkeypatch.setattr(nightly, "TURN_S", 10.0)
    done = nightly.run(NIGHT)
    assert done is not None
    with scopes_disabled():
        found = {(one.tenant, one.what, one.stored) for one in ReplayDifference.objects.all()}
    assert found == {
        (tenant, "unit price", "1.000000"),
        (other_tenant, "error", ""),
    }
    [notice] = heard
    assert (notice.kind, notice.tenant, notice.data["differences"]) == (
        "billing.replay_differs",
        None,
        2,
    )
    with scopes_disabled():
        assert Event.objects.get(kind="billing.replay_differs").data == notice.data
    # And in the administration, with the front page.
    root = Client()
    root.force_login(User.objects.create_superuser("root@platform.test", "x"))
    front = root.get(reverse("admin:index")).content.decode()
    assert "the books need attention" in front
    page = root.get(reverse("admin:billing_replayrun_change", args=[done.pk])).content.decode()
    assert f"{order.pk} vm-a vcpu" in page
    assert "KeyError" in page
    assert 'name="_save"' not in page


def test_the_front_page_says_that_a_night_is_missing(admin_client: Client) -> None:
    assert "None yet" in admin_client.get(reverse("admin:index")).content.decode()
    end = timezone.now() - timedelta(hours=27)
    ReplayRun.objects.create(begin=end - timedelta(days=1), end=end, finished_at=end)
    assert "was not replayed" in admin_client.get(reverse("admin:index")).content.decode()


@pytest.mark.django_db(transaction=True)
def test_prices_do_not_change_under_what_is_being_charged(
    prices: PriceList, actor: Actor, region: Region, tenant: Tenant
) -> None:
    """A list that is published meanwhile waits, and counts for what is charged after it."""
    fund(tenant, cash="1000")
    dearer = pricelists.draft(
        region, {("vcpu", Method.MONTH): Decimal(40), ("vcpu", Method.HOUR): Decimal(1)}
    )
    items = [QuoteItem("vcpu", 1)]
    published: list[PriceList] = []

    def publish() -> None:
        try:
            published.append(pricelists.publish(dearer))
        finally:
            connections.close_all()

    publisher = threading.Thread(target=publish)
    with scope(tenant=tenant), transaction.atomic():
        ledger.lock_account(tenant)
        publisher.start()
        _wait_for_lock()
        token = services.quote(
            tenant=tenant, region=region, items=items, method=Method.MONTH, periods=1
        ).token
        order = services.purchase(
            actor=actor,
            region=region,
            quote_token=token,
            items=items,
            method=Method.MONTH,
            periods=1,
            resources=[ResourceRef("vm", "vm-a")],
        )
        assert not published
    publisher.join(timeout=30)
    [after] = published
    with scope(tenant=tenant):
        charge = Charge.objects.get()
        assert charge.priced_at < after.effective_from
        assert OrderLine.objects.get(order=order).unit_price == 30
        now = timezone.now()
        assert list(replay(tenant, now - timedelta(days=1), now + timedelta(days=1))) == []


def _wait_for_lock() -> None:
    """Until somebody waits for an advisory lock."""
    for _attempt in range(500):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("nobody waits")
