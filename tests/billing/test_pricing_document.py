"""docs/pricing.md: every table is done as it says, and every amount is what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from billing import hooks, metering, money, pricelists, services, usage
from billing.hooks import Held, Meter
from billing.models import PriceList, Subscription
from billing.pricing import Method, Tier, round_money
from billing.replay import replay
from billing.services import QuoteItem, ResourceRef
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("scoped")

DOCUMENT = Path(settings.BASE_DIR) / "docs/pricing.md"
SKUS = {
    "vCPU": "vcpu",
    "GB memory": "memory_gib",
    "GB SSD": "disk_gib:ssd",
    "Mb/s": "mbps:net",
    "GPU T4": "gpu:T4",
    "partner Mb/s": "mbps:partners",
}
METERED = {
    "GB snapshot": "snapshot_gib",
    "GB image": "image_gib",
    "GB in the recycle bin": "bin_gib",
}
METHODS = {"hour": Method.HOUR, "month": Method.MONTH, "year": Method.YEAR}


@dataclass(frozen=True)
class Row:
    """A line of an example."""

    at: datetime
    what: str
    charged: Decimal
    because: str


def tables(head: str) -> Iterator[list[list[str]]]:
    """Yield the cells of every table with this first cell, without head and rule."""
    found: list[list[str]] = []
    for line in [*DOCUMENT.read_text().splitlines(), ""]:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
        elif found:
            if found[0][0] == head:
                yield found[2:]
            found = []


def examples() -> list[list[Row]]:
    return [
        [
            Row(
                datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=money.zone()),
                what,
                Decimal(charged),
                because,
            )
            for when, what, charged, because in table
        ]
        for table in tables("When")
    ]


def prices_of_the_document() -> dict[tuple[str, Method], Decimal]:
    (table,) = tables("Item")
    (metered,) = tables("Metered")
    periods = {
        (SKUS[item], method): Decimal(figure)
        for item, *figures in table
        for method, figure in zip(Method, figures, strict=True)
    }
    return periods | {(METERED[item], Method.HOUR): Decimal(figure) for item, figure in metered}


def tiers_of_the_document() -> dict[tuple[str, Method], list[Tier]]:
    """All tiers, the first ones included."""
    item = "partner Mb/s"
    (table,) = tables(f"Tier of {item}")
    found: dict[tuple[str, Method], list[Tier]] = {}
    for above, *figures in table:
        for method, figure in zip(Method, figures, strict=True):
            tier = Tier(Decimal(above.removeprefix("above ")), Decimal(figure))
            found.setdefault((SKUS[item], method), []).append(tier)
    return found


def computed(text: str) -> Decimal:
    """The value of sums of products and quotients, such as ``2 × 26 × 15 ÷ 30 - 1``."""
    value, sign = Decimal(0), 1
    for term in re.split(r" ([+-]) ", text):
        if term in "+-":
            sign = 1 if term == "+" else -1
            continue
        product, times = Decimal(1), True
        for factor in re.split(r" ([×÷]) ", term):
            if factor in "×÷":
                times = factor == "×"
            else:
                product = product * Decimal(factor) if times else product / Decimal(factor)
        value += sign * product
    return value


@pytest.fixture
def listed(region: Region) -> PriceList:
    """The prices of the document, in force."""
    tiers = tiers_of_the_document()
    first = {key: rows[0].unit_price for key, rows in tiers.items()}
    found = pricelists.draft(
        region,
        prices_of_the_document() | first,
        tiers={key: rows[1:] for key, rows in tiers.items()},
    )
    since = datetime(2020, 1, 1, tzinfo=UTC)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    return found


@dataclass
class Story:
    """Does what the lines of an example say, for one resource."""

    actor: Actor
    tenant: Tenant
    region: Region
    now: datetime
    opened: Decimal = Decimal(0)
    promised: Decimal | None = None
    binned_at: datetime | None = None
    # What is measured, by the sku of its meter, and until when it has been.
    held: dict[str, int] = field(default_factory=dict)
    measured: datetime | None = None
    # What was put into the account by the line, or taken out of it.
    moved: Decimal = Decimal(0)

    def do(self, row: Row) -> None:
        """Find the verb of a line and do it."""
        self.measure(row.at)
        self.now = row.at
        for pattern, verb in (
            (r"Buys (\d+) (hour|month|year)s? of (.+)", self.buys),
            (r"Changes to (.+)", self.changes),
            (r"Renews (\d+) (?:hour|month|year)s?", self.renews),
            (r"Renews until (\d+-\d+-\d+)", self.aligns),
            (r"The next (?:hour|month|year) begins", self.begins),
            (r"Deletes it to the recycle bin", self.deletes),
            (r"Destroys it", self.destroys),
            (r"Refunds become exactly pro rata", self.switch),
            (r"Takes a snapshot of (\d+) GB", self.takes("snapshot_gib")),
            (r"Makes an image of (\d+) GB", self.takes("image_gib")),
            (r"Deletes the snapshot", self.held.clear),
            (r"The day is over", self.charges),
            (r"Has (.+) left", self.has),
            (r"Tops up (.+)", self.tops_up),
        ):
            if found := re.fullmatch(pattern, row.what):
                verb(*found.groups())
                return
        raise AssertionError(f"Nobody knows how to do: {row.what}")

    def items(self, text: str) -> list[QuoteItem]:
        found = [part.split(" ", 1) for part in text.split(", ")]
        return [QuoteItem(SKUS[what], int(count), f"{count} {what}") for count, what in found]

    def buys(self, periods: str, period: str, what: str) -> None:
        wanted: dict[str, Any] = {
            "region": self.region,
            "items": self.items(what),
            "method": METHODS[period],
            "periods": int(periods),
        }
        token = services.quote(tenant=self.tenant, **wanted).token
        resources = [ResourceRef("thing", "thing-a")]
        services.purchase(actor=self.actor, quote_token=token, resources=resources, **wanted)

    def changes(self, what: str) -> None:
        items = self.items(what)
        quoted = services.quote_upgrade(tenant=self.tenant, resource_id="thing-a", items=items)
        self.opened, self.promised = quoted.begun_hour, quoted.next_period
        before = sum(balances(self.tenant))
        services.upgrade(
            actor=self.actor, resource_id="thing-a", items=items, quote_token=quoted.token
        )
        assert before - sum(balances(self.tenant)) == money.to_minor(quoted.total)

    def renews(self, periods: str) -> None:
        wanted: dict[str, Any] = {"resource_id": "thing-a", "periods": int(periods)}
        quoted = services.quote_renewal(tenant=self.tenant, **wanted)
        order = services.renew(actor=self.actor, quote_token=quoted.token, **wanted)
        assert order.total_minor == money.to_minor(quoted.total)

    def aligns(self, day: str) -> None:
        wanted: dict[str, Any] = {
            "resource_ids": ["thing-a"],
            "extent": services.Extent(until=date.fromisoformat(day)),
        }
        quoted = services.quote_renewals(tenant=self.tenant, **wanted)
        [order] = services.renew_together(actor=self.actor, quote_token=quoted.token, **wanted)
        assert order.total_minor == money.to_minor(quoted.total)

    def begins(self) -> None:
        assert Subscription.objects.get().paid_until == self.now
        order = services.renew_due(tenant=self.tenant, resource_id="thing-a", now=self.now)
        assert order is not None
        # What the quote of the last change said of the next period.
        if self.promised is not None:
            assert order.total_minor == money.to_minor(self.promised)
        self.promised = None

    def deletes(self) -> None:
        services.set_in_bin("thing-a", True)
        self.binned_at = self.now
        lines = {line["sku"]: int(line["quantity"]) for line in Subscription.objects.get().lines}
        if "disk_gib:ssd" in lines:
            self.held["bin_gib"] = lines["disk_gib:ssd"]

    def measure(self, until: datetime) -> None:
        """Let the sweeper run in every hour until an instant, if something is held."""
        at, self.measured = self.measured or self.now, until
        while self.held and at < until:
            metering.measure(at)
            at = usage.hour_of(at)[1]

    def read(self, sku: str) -> list[Held]:
        """What the meter of ``sku`` says."""
        sizes = [size for of, size in self.held.items() if of == sku]
        owner, place = self.tenant.pk, self.region.pk
        return [Held(owner, place, "thing", "thing-a", "", Decimal(size)) for size in sizes]

    def takes(self, sku: str) -> Callable[[str], None]:
        """A verb that lets so many GB be held."""

        def take(size: str) -> None:
            self.held[sku] = int(size)

        return take

    def charges(self) -> None:
        metering.charge(self.now)
        self.opened = usage.standing(self.tenant, self.now).owed

    def has(self, left: str) -> None:
        before = sum(balances(self.tenant))
        after = money.to_minor(Decimal(left))
        self.moved = money.from_minor(after - before)
        fund(self.tenant, cash=str(self.moved))

    def tops_up(self, amount: str) -> None:
        self.moved = Decimal(amount)
        fund(self.tenant, cash=amount)
        metering.charge(self.now)

    def destroys(self) -> None:
        self.held.clear()
        at = self.binned_at or self.now
        said = services.quote_end(tenant=self.tenant, resource_id="thing-a", at=at)
        before = sum(balances(self.tenant))
        services.refund_unused("thing-a", at)
        moved = sum(balances(self.tenant)) - before
        assert moved == money.to_minor(said.refund - said.due)

    def switch(self) -> None:
        PlatformSettings.objects.create(refund_pro_rata=True)


def test_the_document_has_examples_and_the_prices_of_a_new_installation() -> None:
    assert len(examples()) >= 15
    shipped = pricelists.shipped_prices({"disk_gib": ["ssd"], "mbps": ["net"], "gpu": ["T4"]})
    assert prices_of_the_document() == shipped


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("example", examples(), ids=lambda rows: f"{rows[0].what}..{rows[-1].what}")
def test_an_example_is_true(
    example: list[Row],
    actor: Actor,
    tenant: Tenant,
    region: Region,
    at: Callable[[datetime], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fund(tenant, cash="1000")
    story = Story(actor, tenant, region, example[0].at)
    meters = {sku: Meter(sku, what, str, partial(story.read, sku)) for what, sku in METERED.items()}
    monkeypatch.setattr(hooks, "_meters", meters)
    for row in example:
        at(row.at)
        story.opened = Decimal(0)
        story.moved = Decimal(0)
        before = sum(balances(tenant))
        story.do(row)
        charged = story.moved + money.from_minor(before - sum(balances(tenant)))
        assert charged == row.charged, row
        if row.because.startswith("open: "):
            assert story.opened == Decimal(row.because.rpartition(" = ")[2]), row
        elif row.because:
            assert round_money(computed(row.because)) == row.charged, row
        if " = " in row.because:
            left, _, right = row.because.removeprefix("open: ").partition(" = ")
            assert computed(left) == Decimal(right), row
    differences = replay(tenant, datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    assert list(differences) == []
