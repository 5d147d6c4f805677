"""A month computed again: nothing differs, unless somebody changed an input or the books."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from billing import services, sweep
from billing.models import Account, Charge, Discount, Order, OrderLine
from billing.pricing import Method
from billing.replay import replay
from billing.services import QuoteItem
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.billing.helpers import fund

pytestmark = pytest.mark.usefixtures("prices", "scoped")

SINCE, UNTIL = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
BIGGER = [QuoteItem("vcpu", 8), QuoteItem("memory_gib", 2)]


@pytest.fixture
def busy_months(
    buy: Callable[..., Order], actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    """Purchases, an upgrade that mixes up and down, renewals, refunds, gift and a discount."""
    at(datetime(2026, 4, 3, 7, 13, 11, 17, tzinfo=UTC))
    fund(tenant, gift="333.33")
    buy("vm-a", "vm-b", "vm-c")
    buy("vm-h", method=Method.HOUR, periods=24)
    Discount.objects.create(
        tenant=tenant,
        sku_prefix="vcpu",
        part_off="0.1375",
        effective_from=timezone.now() + timedelta(hours=1),
    )
    at(datetime(2026, 4, 3, 9, 1, 2, 3, tzinfo=UTC))
    for resource_id in ("vm-a", "vm-h"):
        quoted = services.quote_upgrade(tenant=tenant, resource_id=resource_id, items=BIGGER)
        services.upgrade(
            actor=actor, resource_id=resource_id, items=BIGGER, quote_token=quoted.token
        )
    services.refund_failed("vm-b", "No host answered")
    sweep.run(datetime(2026, 4, 4, 8, tzinfo=UTC))
    services.refund_unused("vm-h", datetime(2026, 4, 4, 8, 30, tzinfo=UTC))
    sweep.run(datetime(2026, 6, 5, tzinfo=UTC))
    services.refund_unused("vm-a", datetime(2026, 6, 17, 3, 4, 5, 6, tzinfo=UTC))


@pytest.mark.usefixtures("busy_months")
def test_what_was_charged_is_what_the_inputs_say(tenant: Tenant) -> None:
    assert list(replay(tenant, SINCE, UNTIL)) == []
    assert {"new", "renewal", "upgrade", "refund"} == set(
        Order.objects.values_list("kind", flat=True)
    )


def tamper(statement: str) -> None:
    """Change the books behind the triggers' back, as only a database superuser could."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")


@pytest.mark.usefixtures("busy_months")
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE billing_orderline SET amount_minor = amount_minor - 1 WHERE id = %d",
            {"amount", "sum of lines"},
        ),
        (
            "UPDATE billing_orderline SET unit_price = 1, discount = 0.5 WHERE id = %d",
            {"unit price", "discount"},
        ),
        ("UPDATE billing_orderline SET sku = 'gpu:T4' WHERE id = %d", {"unit price"}),
        (
            """UPDATE billing_charge SET "end" = "end" + interval '1 day'
                WHERE id = (SELECT charge_id FROM billing_orderline WHERE id = %d)""",
            {"periods", "amount"},
        ),
    ],
)
def test_a_changed_line_is_found(tenant: Tenant, statement: str, found: set[str]) -> None:
    line = OrderLine.objects.filter(charge__resource_id="vm-a", order__kind="new").first()
    assert line is not None
    tamper(statement % line.pk)
    assert {difference.what for difference in replay(tenant, SINCE, UNTIL)} == found


@pytest.mark.usefixtures("busy_months")
def test_changed_totals_refunds_and_balances_are_found(tenant: Tenant) -> None:
    refund = Charge.objects.filter(refunds__isnull=False).first()
    assert refund is not None
    tamper(f"UPDATE billing_charge SET amount_minor = -1 WHERE id = {refund.pk}")
    tamper("UPDATE billing_order SET gift_minor = 0 WHERE gift_minor > 0")
    Account.objects.update(cash_minor=1)
    found = {difference.what for difference in replay(tenant, SINCE, UNTIL)}
    sums = {"cost of the day", "cost of the month"}
    assert found == {"amount", "sum of lines", "total", "gift", "cash", *sums}


@pytest.mark.usefixtures("busy_months")
def test_a_discount_or_price_list_put_in_afterwards_is_found(
    tenant: Tenant, prices: object
) -> None:
    Discount.objects.create(
        tenant=tenant, sku_prefix="memory", part_off="0.5", effective_from=SINCE
    )
    assert {d.what for d in replay(tenant, SINCE, UNTIL)} == {"discount", "amount"}
    tamper("UPDATE billing_pricelist SET published_at = NULL")
    assert "price list" in {d.what for d in replay(tenant, SINCE, UNTIL)}


@pytest.mark.usefixtures("busy_months")
def test_the_command_says_that_all_is_well_or_fails(tenant: Tenant) -> None:
    out = StringIO()
    call_command("replay_charges", "--month", "2026-04", "--tenant", tenant.pk, stdout=out)
    assert out.getvalue() == "2026-04: everything adds up for 1 tenant(s)\n"
    call_command("replay_charges", stdout=out)
    Account.objects.update(cash_minor=1)
    with pytest.raises(CommandError, match="1 difference"):
        call_command("replay_charges", "--month", "2026-04", stdout=out)
    assert f"{tenant.pk} account: cash is 0.01, computed" in out.getvalue()


@pytest.mark.parametrize(
    "arguments", [["--month", "2026-13"], ["--month", "last"], ["--tenant", "tenant-x"]]
)
def test_the_command_refuses_what_it_does_not_understand(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("replay_charges", *arguments)


def test_hourly_renewals_of_a_day_are_replayed(
    buy: Callable[..., Order], tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(SINCE + timedelta(days=1))
    buy("vm-a", method=Method.HOUR)
    sweep.run(SINCE + timedelta(days=2))
    assert Charge.objects.count() == 25
    assert list(replay(tenant, SINCE, UNTIL)) == []
