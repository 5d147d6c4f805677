"""Budgets: months of time zones, steps told once, purchases stopped at the exact amount, tags."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import budgets, hooks, services, spending
from billing.budgeting import create_budget, delete_budget, edit_budget
from billing.models import BUDGETS_PER_TENANT, Budget, BudgetMark, Charge, Order, PriceList
from billing.pricing import Method
from billing.services import QuoteItem, ResourceRef
from compute.actions.disks import quote_expansion
from compute.actions.vms.create import quote_vms
from compute.models import VM, Disk
from scloud.audit.models import Event
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.billing.helpers import fund
from tests.billing.test_purchase_race import race
from tests.compute.factories import Platform, make_vm
from tests.compute.factories import make_order as vm_order

HX = {"HX-Request": "true"}
# In New York it is still October, in Shanghai November.
HALLOWEEN = datetime(2026, 11, 1, 3, 59, 59, tzinfo=UTC)
VCPU = [QuoteItem("vcpu", 1)]  # 30.00 a month


def spent(tenant: Tenant, now: datetime) -> dict[str, tuple[str, str, str]]:
    """The month, what was spent and the forecast of each budget."""
    rows = list(Budget.objects.all())
    return {
        one.budget.name: (f"{one.first_day:%Y-%m}", str(one.spent), str(one.forecast))
        for one in budgets.standings(tenant, rows, now)
    }


@pytest.mark.usefixtures("scoped")
def test_the_month_is_that_of_the_budgets_own_zone(
    buy: Callable[..., Order],
    actor: Actor,
    tenant: Tenant,
    at: Callable[[datetime], None],
) -> None:
    for zone in ("America/New_York", "Asia/Shanghai", "Pacific/Kiritimati"):
        create_budget(actor=actor, name=zone[-8:], amount=Decimal(500), time_zone=zone)
    create_budget(actor=actor, name="default", amount=Decimal(500))
    at(HALLOWEEN)
    buy("vm-a")  # 120.00 for a month
    at(HALLOWEEN + timedelta(seconds=1))
    buy("vm-b", method=Method.HOUR)  # 0.24
    now = HALLOWEEN + timedelta(minutes=30)
    # vm-b renews each hour from 05:00 UTC until the month ends: 720 times in New York, where the
    # clocks are set back in between and vm-a renews as well, 707 times in Shanghai.
    shanghai = ("2026-11", "120.24", "289.92")
    assert spent(tenant, now) == {
        "New_York": ("2026-11", "0.24", "293.04"),
        "Shanghai": shanghai,
        "ritimati": ("2026-11", "120.24", "288.48"),
        "default": shanghai,
    }
    (before,) = budgets.standings(tenant, [Budget.objects.get(name="New_York")], HALLOWEEN)
    assert (f"{before.first_day}", before.spent_minor) == ("2026-10-01", 120_00)


# --- stopping purchases


def quote(tenant: Tenant, region: Region, **changes: Any) -> Any:
    wanted: dict[str, Any] = {"items": VCPU, "method": Method.MONTH, "periods": 1, **changes}
    return services.quote(tenant=tenant, region=region, **wanted)


def purchase(actor: Actor, region: Region, resource_id: str, token: str) -> Order:
    return services.purchase(
        actor=actor,
        region=region,
        quote_token=token,
        items=VCPU,
        method=Method.MONTH,
        periods=1,
        resources=[ResourceRef("vm", resource_id)],
    )


@pytest.mark.usefixtures("scoped")
def test_purchases_stop_at_the_exact_amount_and_renewals_go_on(
    prices: PriceList, actor: Actor, tenant: Tenant, region: Region
) -> None:
    fund(tenant, cash="1000")
    budget = create_budget(
        actor=actor, name="all", amount=Decimal(120), block_percent=50, warn_percents=[]
    )
    one, two, three = (quote(tenant, region).token for _ in range(3))
    purchase(actor, region, "vm-a", one)
    purchase(actor, region, "vm-b", two)  # exactly 60.00
    for refuse in (
        lambda: purchase(actor, region, "vm-c", three),
        lambda: quote(tenant, region),
        lambda: services.quote_upgrade(
            tenant=tenant, resource_id="vm-a", items=[QuoteItem("vcpu", 2)]
        ),
    ):
        with pytest.raises(Conflict) as refused:
            refuse()
        assert refused.value.code == "budget_exceeded"
    assert Charge.objects.count() == 2
    with pytest.raises(Conflict) as refused:
        quote(tenant, region)
    numbers = refused.value.numbers
    assert numbers is not None
    assert (numbers["budget"], numbers["limit"], numbers["spent"], numbers["asked"]) == (
        budget.pk,
        "60.00",
        "60.00",
        "30.00",
    )
    assert refused.value.remedy
    # A renewal is never stopped, and a smaller size costs nothing now.
    token = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1).token
    services.renew(actor=actor, resource_id="vm-a", periods=1, quote_token=token)
    # One cent less than the next purchase needs, then exactly that.
    wide: dict[str, Any] = {"tag": "", "warn_percents": [], "block_percent": 100, "time_zone": ""}
    edit_budget(actor=actor, budget=budget, name="all", amount=Decimal("119.99"), **wide)
    with pytest.raises(Conflict):
        purchase(actor, region, "vm-c", three)
    edit_budget(actor=actor, budget=budget, name="all", amount=Decimal(120), **wide)
    purchase(actor, region, "vm-c", three)
    delete_budget(actor=actor, budget=budget)
    purchase(actor, region, "vm-d", quote(tenant, region).token)


@pytest.mark.django_db(transaction=True)
def test_two_purchases_at_once_do_not_pass_together(
    prices: PriceList, actor: Actor, tenant: Tenant, region: Region
) -> None:
    fund(tenant, cash="1000")
    with scope(tenant=tenant):
        create_budget(actor=actor, name="all", amount=Decimal("59.99"), block_percent=100)
    tokens = [quote(tenant, region).token for _ in range(4)]

    def work(number: int) -> None:
        purchase(actor, region, f"vm-{number}", tokens[number])

    assert race(work, buyers=4) == {"ok": 1, "budget_exceeded": 3}


# --- tags


@pytest.mark.usefixtures("scoped")
def test_what_loses_its_tag_leaves_the_budget(
    platform: Platform, actor: Actor, tenant: Tenant
) -> None:
    fund(tenant, cash="100000")
    web = make_vm(platform, actor, name="web", tags=["web"], method="month")
    cost = sum(Charge.objects.filter(resource_id=web.pk).values_list("amount_minor", flat=True))
    make_vm(platform, actor, name="other", method="month")
    budget = create_budget(
        actor=actor, name="web", amount=Decimal(cost) / 100, tag=" web ", block_percent=100
    )
    assert budget.tag == "web"
    now = Charge.objects.latest("pk").created_at

    def standing() -> int:
        (found,) = budgets.standings(tenant, [budget], now)
        return found.spent_minor

    assert standing() == cost
    # What has the tag is stopped, as it is quoted already; what has not is not.
    with pytest.raises(Conflict) as refused:
        quote_vms(actor=actor, order=vm_order(platform, tenant, tags=["web "]))
    assert refused.value.code == "budget_exceeded"
    assert quote_vms(actor=actor, order=vm_order(platform, tenant, tags=["db"]))
    disk = Disk.objects.get(vm=web, is_system=True)
    with pytest.raises(Conflict):
        quote_expansion(actor=actor, disk=disk, size_gib=disk.size_gib + 10)
    VM.objects.filter(pk=web.pk).update(tags=["db"])
    assert standing() == 0
    assert quote_vms(actor=actor, order=vm_order(platform, tenant, tags=["web"]))
    assert quote_expansion(actor=actor, disk=disk, size_gib=disk.size_gib + 10)
    # What is gone keeps what it had.
    VM.objects.filter(pk=web.pk).update(
        tags=["web"], status="destroyed", host=None, destroyed_at=now
    )
    assert standing() == cost


# --- telling


@pytest.mark.usefixtures("scoped")
def test_each_step_is_told_once_a_month(
    buy: Callable[..., Order],
    actor: Actor,
    tenant: Tenant,
    at: Callable[[datetime], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [heard.append])
    may = datetime(2026, 4, 30, 16, tzinfo=UTC)  # the first of May in Shanghai
    at(may)
    budget = create_budget(
        actor=actor, name="all", amount=Decimal(240), warn_percents=[100, 50, 50, 75]
    )
    assert budget.warn_percents == [50, 75, 100]
    assert spending.run() == []
    buy("vm-a")  # 120.00, exactly half
    assert spending.run() == [(budget.pk, 50)]
    assert spending.run() == []
    buy("vm-b")
    # A notice that cannot be told is told by the next round.
    monkeypatch.setattr(hooks, "_listeners", [_fail])
    assert spending.run() == []
    monkeypatch.setattr(hooks, "_listeners", [heard.append])
    assert spending.run() == [(budget.pk, 75), (budget.pk, 100)]
    assert [notice.data["percent"] for notice in heard] == [50, 75, 100]
    assert heard[0].kind == "billing.budget"
    assert heard[0].data == {
        "name": "all",
        "tag": "",
        "percent": 50,
        "month": "2026-05",
        "amount": "240.00",
        "spent": "120.00",
        "forecast": "120.00",
        "currency": "CNY",
        "stops_purchases": False,
    }
    assert Event.objects.filter(kind="billing.budget", resource_id=budget.pk).count() == 3
    # The last instant of May, and June with its first renewal.
    at(datetime(2026, 5, 31, 15, 59, 59, tzinfo=UTC))
    assert spending.run() == []
    at(datetime(2026, 5, 31, 16, tzinfo=UTC))
    assert spending.run() == []
    buy("vm-c")
    assert spending.run() == [(budget.pk, 50)]
    assert BudgetMark.objects.count() == 4


def _fail(notice: hooks.Notice) -> None:
    raise RuntimeError("no mail today")


# --- making them


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"name": "a b"}, "invalid_name", "name"),
        ({"amount": Decimal(0)}, "amount_out_of_range", "amount"),
        ({"amount": Decimal("0.001")}, "amount_too_exact", "amount"),
        ({"tag": "a b"}, "tag_invalid", "tag"),
        ({"warn_percents": [0]}, "percent_out_of_range", "warn_percents"),
        ({"warn_percents": range(1, 12)}, "too_many_steps", "warn_percents"),
        ({"block_percent": 1001}, "percent_out_of_range", "block_percent"),
        ({"time_zone": "Mars/Olympus"}, "time_zone_invalid", "time_zone"),
    ],
)
def test_what_makes_no_sense_is_refused(
    actor: Actor, changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_budget(actor=actor, **{"name": "x", "amount": Decimal(1), **changes})
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not Budget.objects.exists()


def test_console_and_api_make_show_and_change_them(
    console: Client, tenant: Tenant, actor: Actor, buy: Callable[..., Order]
) -> None:
    with scope(tenant=tenant):
        buy("vm-a")
    form = {"name": "all", "amount": "150", "warn_percents": "50, 100", "time_zone": "UTC"}
    assert console.post(reverse("budget-create"), form, headers=HX).status_code == 204
    with scope(tenant=tenant):
        budget = Budget.objects.get()
    assert (budget.warn_percents, budget.block_percent, budget.tag) == ([50, 100], None, "")
    page = console.get(reverse("budget-list")).content.decode()
    assert "All resources" in page
    assert "80 %" in page
    edit = reverse("budget-edit", args=[budget.pk])
    assert 'value="50, 100"' in console.get(edit, headers=HX).content.decode()
    wrong = console.post(edit, {**form, "warn_percents": "half"}, headers=HX).content.decode()
    assert "Enter whole numbers" in wrong
    assert console.post(edit, {**form, "block_percent": "80"}, headers=HX).status_code == 204
    assert "It stops purchases" in console.get(reverse("budget-list")).content.decode()
    api = "/api/v1/billing/budgets"
    (told,) = console.get(api).json()["results"]
    assert (told["spent"], told["forecast"][:3], told["percent"]) == ("120.00", "120", 80)
    assert (told["amount"], told["block_percent"], told["tag"]) == ("150.00", 80, None)
    assert told["allowed_actions"] == ["edit_budget", "delete_budget"]
    body = {"name": "web", "amount": "20.000000", "tag": "web"}
    made = console.post(api, body, content_type="application/json")
    assert made.status_code == 201, made.content
    assert (made.json()["time_zone"], made.json()["warn_percents"]) == ("Asia/Shanghai", [80, 100])
    one = f"{api}/{made.json()['id']}"
    put = console.put(one, {**body, "block_percent": 90}, content_type="application/json")
    assert (put.status_code, put.json()["block_percent"]) == (200, 90)
    assert console.delete(one).status_code == 204
    assert console.get(one).status_code == 404
    with scope(tenant=tenant):
        Budget.objects.bulk_create(
            Budget(tenant=tenant, name=f"b-{n}", amount_minor=1, time_zone="UTC")
            for n in range(BUDGETS_PER_TENANT - 1)
        )
    full = console.post(api, body, content_type="application/json")
    assert (full.status_code, full.json()["code"]) == (409, "too_many_budgets")
