"""Histories of an account, made up at random, and the books held against each other.

The ledger is what a replay computes, what the statements say and what the order lines add up to;
no instant of a resource is paid twice, and none in which it was active is unpaid. ``make test``
walks a short way, ``make soak`` a long one: ``HISTORY=500 SEED=7 make soak``. A walk that fails
tells its steps; the same numbers walk them again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import pytest
from django.db import connection
from django.db.models import F, Sum

from billing import closing, hooks, money, pricelists, queries, services, statements, sweep
from billing.hooks import SubscriptionHooks
from billing.models import (
    Account,
    Charge,
    Discount,
    LedgerEntry,
    LedgerTransaction,
    Order,
    PriceList,
    Statement,
    Subscription,
)
from billing.pricing import DURATIONS, Method
from billing.quotes import items_of
from billing.replay import replay
from billing.services import Extent, QuoteItem, ResourceRef
from billing.topping_up import enter_top_up
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant, User
from tests.billing.conftest import PRICES
from tests.billing.helpers import balances
from tests.billing.test_statements import compare

STEPS: Final = int(os.environ.get("SCLOUD_HISTORY_STEPS", "60"))
SEED: Final = int(os.environ.get("SCLOUD_HISTORY_SEED", "1"))
# Everything that is compared at the end is also compared after so many steps.
EVERY: Final = 30
BEGIN: Final = datetime(2027, 12, 30, 3, 17, 11, tzinfo=UTC)
SKUS: Final = {
    "vm": ("vcpu", "memory_gib"),
    "disk": ("disk_gib:ssd",),
    "external_ip": ("mbps:bgp",),
}
LISTED: Final = {
    **PRICES,
    ("disk_gib:ssd", Method.HOUR): Decimal("0.0008"),
    ("disk_gib:ssd", Method.YEAR): Decimal("3.5"),
    ("mbps:bgp", Method.HOUR): Decimal("0.04"),
    ("mbps:bgp", Method.MONTH): Decimal(18),
}
# What a verb may be refused with, as often as a history likes.
REFUSED: Final = {
    "amount_out_of_range",
    "billed_by_the_hour",
    "date_out_of_range",
    "duration_out_of_range",
    "insufficient_balance",
    "methods_differ",
    "paid_beyond",
    "price_missing",
    "renewal_due",
    "resource_expired",
    "subscription_ended",
}


@dataclass
class Change:
    """The last change of a resource, which may turn out to have failed."""

    order: Order | None
    before: list[QuoteItem]
    at: datetime


@dataclass
class History:
    """What happens to one account, at random, and the little that is known without the books."""

    dice: random.Random
    actor: Actor
    root: Actor
    tenant: Tenant
    region: Region
    set_clock: Callable[[datetime], None]
    now: datetime = BEGIN
    made: int = 0
    told: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    changes: dict[str, Change] = field(default_factory=dict)
    # (resource id, instant) at which a renewal let one that had expired go on.
    woken: set[tuple[str, datetime]] = field(default_factory=set)

    def step(self) -> None:
        self.pass_time(timedelta(seconds=self.dice.randrange(1, 90)))
        verb = self.dice.choices(list(VERBS), list(VERBS.values()))[0]
        try:
            getattr(self, verb)()
        except ScloudError as error:
            if error.code not in REFUSED:
                raise
            self.told.append(f"{self.now:%F %T} {verb}: {error.code}")
        else:
            self.did[verb] += 1
            self.told.append(f"{self.now:%F %T} {verb}")
        account = Account.objects.get(tenant=self.tenant)
        assert account.cash_minor >= 0
        assert account.gift_minor >= 0
        balances(self.tenant)

    def pass_time(self, span: timedelta) -> None:
        self.now += span
        self.set_clock(self.now)

    # --- what is chosen

    def items(self, kind: str) -> list[QuoteItem]:
        return [QuoteItem(sku, self.dice.choice((1, 2, 3, 8, 64)), part=kind) for sku in SKUS[kind]]

    def resource(self, *, ended: bool = False) -> Subscription:
        rows = Subscription.objects.order_by("pk")
        found = list(rows if ended else rows.exclude(status="ended"))
        return self.dice.choice(found) if found else self.buy()

    def periods(self, method: Method) -> int:
        allowed = DURATIONS[method]
        chosen: int = self.dice.choice((*allowed[:3], allowed[-1]))
        return chosen

    # --- verbs

    def buy(self) -> Subscription:
        kinds = self.dice.sample(list(SKUS), self.dice.choice((1, 1, 2)))
        items = [item for kind in kinds for item in self.items(kind)]
        method = self.dice.choices(list(Method), (2, 3, 2))[0]
        count = self.dice.choice((1, 1, 3))
        wanted: dict[str, Any] = {
            "region": self.region,
            "items": items,
            "method": method,
            "periods": self.periods(method),
        }
        token = services.quote(tenant=self.tenant, count=count, **wanted).token
        refs = []
        for kind in kinds * count:
            self.made += 1
            refs.append(ResourceRef(kind, f"{kind}-{self.made}", f"n{self.made}", kind))
        services.purchase(
            actor=self.actor,
            quote_token=token,
            resources=refs,
            auto_renew=self.dice.random() < 0.8,
            **wanted,
        )
        return Subscription.objects.get(resource_id=refs[0].id)

    def change(self) -> None:
        row = self.resource()
        items = self.items(row.resource_kind)
        before = items_of(row.lines)
        token = services.quote_upgrade(
            tenant=self.tenant, resource_id=row.resource_id, items=items
        ).token
        self.pass_time(timedelta(seconds=self.dice.choice((0, 9, 400))))
        order = services.upgrade(
            actor=self.actor, resource_id=row.resource_id, items=items, quote_token=token
        )
        self.changes[row.resource_id] = Change(order, before, self.now)

    def fail_change(self) -> None:
        """A host did not do what was paid for; renewals may have come in between."""
        row = self.resource()
        change = self.changes.pop(row.resource_id, None)
        if change is not None:
            services.cancel_upgrade(
                tenant=self.tenant,
                resource_id=row.resource_id,
                items_before=change.before,
                reason="No host answered",
                order=change.order,
                since=None if change.order else change.at,
            )

    def renew(self) -> None:
        row = self.resource()
        periods = self.periods(Method(row.method))
        quoted = services.quote_renewal(
            tenant=self.tenant, resource_id=row.resource_id, periods=periods
        )
        services.renew(
            actor=self.actor,
            resource_id=row.resource_id,
            periods=periods,
            quote_token=quoted.token,
        )
        self._woke(row)

    def renew_together(self) -> None:
        method = self.dice.choice((Method.HOUR, Method.MONTH, Method.YEAR))
        rows = list(Subscription.objects.exclude(status="ended").filter(method=method))
        until = (self.now + timedelta(days=self.dice.choice((20, 70, 400)))).date()
        extent = self.dice.choice((Extent(periods=1), Extent(until=until)))
        ids = [row.resource_id for row in rows[:4]]
        if ids:
            quoted = services.quote_renewals(tenant=self.tenant, resource_ids=ids, extent=extent)
            services.renew_together(
                actor=self.actor, resource_ids=ids, extent=extent, quote_token=quoted.token
            )
            for row in rows[:4]:
                self._woke(row)

    def _woke(self, before: Subscription) -> None:
        if before.status == "expired":
            self.woken.add((before.resource_id, self.now))

    def switch_auto_renew(self) -> None:
        Subscription.objects.filter(pk=self.resource().pk).update(
            auto_renew=self.dice.random() < 0.5
        )

    def bin(self) -> None:
        services.set_in_bin(self.resource().resource_id, True)

    def restore(self) -> None:
        binned = Subscription.objects.filter(in_bin=True).first()
        if binned is not None:
            services.set_in_bin(binned.resource_id, False)

    def destroy(self) -> None:
        row = self.resource(ended=True)
        said = services.quote_end(tenant=self.tenant, resource_id=row.resource_id)
        order = services.refund_unused(row.resource_id)
        assert (0 if order is None else -order.total_minor) == money.to_minor(said.refund)

    def fail(self) -> None:
        """What was bought last never came to be."""
        row = Subscription.objects.order_by("-pk").first()
        if row is not None:
            services.refund_failed(row.resource_id, "No host answered")

    def publish(self) -> None:
        prices = {
            key: (price * self.dice.choice((Decimal("0.5"), 1, Decimal("1.37"), 3))).quantize(
                Decimal("0.000001")
            )
            for key, price in LISTED.items()
        }
        if self.dice.random() < 0.2:
            prices["vcpu", Method.MONTH] = Decimal(0)
        pricelists.publish(pricelists.draft(self.region, prices))
        self.pass_time(timedelta(seconds=1))

    def discount(self) -> None:
        since = self.now + timedelta(seconds=1)
        Discount.objects.create(
            tenant=self.tenant,
            sku_prefix=self.dice.choice(("", "vcpu", "disk", "m")),
            part_off=Decimal(self.dice.choice(("0.1375", "0.5", "1", "1"))),
            effective_from=since,
            effective_until=self.dice.choice((None, since + timedelta(days=9))),
        )
        self.pass_time(timedelta(seconds=2))

    def top_up(self) -> None:
        self._receive(self.dice.choice(("0.01", "30", "500", "4000.37")), gift=False)

    def give(self) -> None:
        self._receive(self.dice.choice(("0.05", "12.34", "400")), gift=True)

    def _receive(self, amount: str, *, gift: bool) -> None:
        today = self.now.astimezone(money.zone()).date()
        days = self.dice.choice((None, 0, 3, 40))
        enter_top_up(
            actor=self.root,
            amount=Decimal(amount),
            receipt=f"R-{len(self.told)}",
            gift=gift,
            valid_until=None if days is None or not gift else today + timedelta(days=days),
        )

    def switch_refunds(self) -> None:
        settings = PlatformSettings.load()
        settings.refund_pro_rata = self.dice.random() < 0.3
        settings.save()

    def wait(self) -> None:
        """Time passes, and the sweeper goes round, now and then late."""
        span = self.dice.choices(
            (timedelta(minutes=25), timedelta(hours=3), timedelta(days=1), timedelta(days=11)),
            (6, 4, 3, 1),
        )[0]
        for _ in range(self.dice.choice((1, 3))):
            self.pass_time(span)
            report = sweep.run(self.now)
            assert report.failed == []
            self.changes.clear()
            active = Subscription.objects.filter(status="active", paid_until__lte=self.now)
            assert not active.exists(), report
            closing.run(self.now)

    # --- what holds

    def check(self) -> None:
        """Hold the books against each other."""
        connection.check_constraints()
        found = list(replay(self.tenant, BEGIN - timedelta(days=1), self.now + timedelta(days=1)))
        assert found == []
        self.check_orders()
        self.check_periods()
        paper = statements.draft(self.tenant, statements.this_month(self.now))
        assert paper.adds_up
        month = queries.month_of(self.now)
        spent = sum(queries.spent_by_resource(self.tenant, month).values())
        assert spent == paper.statement.charged_minor
        account = Account.objects.get(tenant=self.tenant)
        assert (paper.statement.closing_cash_minor, paper.statement.closing_gift_minor) == (
            account.cash_minor,
            account.gift_minor,
        )
        charged = sum(row.charged_minor for row in Statement.objects.all())
        sold = LedgerEntry.objects.filter(pocket="revenue").aggregate(Sum("amount_minor"))
        assert charged + paper.statement.charged_minor == (sold["amount_minor__sum"] or 0)

    def check_orders(self) -> None:
        moved = LedgerEntry.objects.values("transaction").annotate(Sum("amount_minor")).order_by()
        assert not moved.exclude(amount_minor__sum=0).exists()
        orders = Order.objects.annotate(lines_minor=Sum("lines__amount_minor"))
        assert not orders.exclude(lines_minor=F("total_minor")).exists()
        charged = Order.objects.annotate(
            charged_minor=Sum("charges__amount_minor"), given_minor=Sum("charges__gift_minor")
        )
        assert not charged.exclude(
            charged_minor=F("total_minor"), given_minor=F("gift_minor")
        ).exists()
        paid = Order.objects.exclude(total_minor=0).annotate(
            moved_minor=Sum("transactions__amount_minor")
        )
        assert not paid.exclude(moved_minor=-F("total_minor")).exists()
        # Each order moved money once.
        assert LedgerTransaction.objects.exclude(order=None).count() == paid.count()

    def check_periods(self) -> None:
        """No instant is paid twice; an active resource is paid from its purchase on."""
        rows = Charge.objects.filter(
            order__kind__in=("new", "renewal"), held_hours=None, refunds=None
        ).select_related("refunded_by")
        spans: dict[str, list[tuple[datetime, datetime]]] = {}
        given_back: dict[str, datetime] = {}
        for row in rows:
            if back := getattr(row, "refunded_by", None):
                given_back[row.resource_id] = min(
                    back.begin, given_back.get(row.resource_id, back.begin)
                )
        for row in rows:
            back = getattr(row, "refunded_by", None)
            end = row.end if back is None else back.begin
            if back is None and not row.amount_minor and row.resource_id in given_back:
                # What cost nothing has nothing to give back, and ends with what did.
                end = min(row.end, given_back[row.resource_id])
            if end > row.begin:
                spans.setdefault(row.resource_id, []).append((row.begin, end))
        for subscription in Subscription.objects.all():
            pk = subscription.resource_id
            paid = sorted(spans.get(pk, []))
            for (_begin, end), (following, _end) in pairwise(paid):
                assert end <= following, (pk, paid)
                assert end == following or (pk, following) in self.woken, (pk, paid)
            if subscription.status != "ended":
                assert paid[-1][1] == subscription.paid_until
                assert paid[0][0] == subscription.created_at


VERBS: Final = {
    "buy": 9,
    "change": 12,
    "fail_change": 3,
    "renew": 8,
    "renew_together": 3,
    "switch_auto_renew": 3,
    "bin": 2,
    "restore": 2,
    "destroy": 4,
    "fail": 1,
    "publish": 2,
    "discount": 2,
    "top_up": 7,
    "give": 3,
    "switch_refunds": 1,
    "wait": 12,
}


# As long as the steps that are asked for take.
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("scoped")
def test_the_books_hold_whatever_happened(
    actor: Actor,
    tenant: Tenant,
    region: Region,
    clock: Callable[[datetime], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overdue = SubscriptionHooks(overdue=lambda _tenant, pk: services.set_in_bin(pk, True))
    monkeypatch.setattr(hooks, "_hooks", dict.fromkeys(SKUS, overdue))
    listed = pricelists.draft(region, LISTED)
    since = BEGIN - timedelta(days=9)
    PriceList.objects.filter(pk=listed.pk).update(effective_from=since, published_at=since)
    root = User.objects.create_superuser("root@platform.test", "x")
    history = History(
        random.Random(SEED),
        actor,
        Actor.administrator(root, tenant),
        tenant,
        region,
        clock,
    )
    history.pass_time(timedelta(0))
    try:
        history.top_up()
        for number in range(1, STEPS + 1):
            history.step()
            if number % EVERY == 0:
                history.check()
        # The last month is closed with all that moved in it.
        history.check()
        history.pass_time(timedelta(days=32))
        closing.run(history.now)
        compare(tenant)
    except BaseException:
        print(f"SEED={SEED}", *history.told, sep="\n")
        raise
    verbs = {verb for verb, weight in VERBS.items() if weight > 5}
    assert verbs <= history.did.keys()
    if STEPS >= 500:
        assert VERBS.keys() <= history.did.keys()
