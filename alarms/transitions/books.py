"""Brings what the books have to tell to people: to a tenant's groups, or to operators."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from django.urls import reverse
from django.utils.translation import gettext as _

from alarms.rules.messages import Fact
from alarms.states.alarms import Severity
from alarms.transitions.alarms import Happening
from alarms.transitions.notices import tell_groups, tell_operators
from billing.hooks import Notice
from billing.models import QuotaItem

log = logging.getLogger(__name__)

EXPIRING: Final = "billing.expiring"
REPLAY_DIFFERS: Final = "billing.replay_differs"
TOP_UP_WAITS: Final = "billing.top_up_waits"
LOW_BALANCE: Final = "billing.low_balance"
BUDGET: Final = "billing.budget"
QUOTA_EXPIRING: Final = "billing.quota_expiring"
QUOTA_WAITS: Final = "billing.quota_request_waits"
PAYMENT_DIFFERS: Final = "billing.payment_differs"
REFUND_FAILED: Final = "billing.payment_refund_failed"
REFUND_WAITS: Final = "billing.payment_refund_waits"
STATEMENT: Final = "billing.statement"


def bring(notice: Notice) -> None:
    """Write down who shall be told of a notice of billing, in the transaction of the change."""
    fact = _fact(notice)
    if fact is None:
        log.warning("nobody is told of %s: its kind is not known", notice.kind)
    elif notice.tenant is None:
        tell_operators([fact], Happening.NOTICE, notice.at)
    else:
        tell_groups(notice.tenant, fact, notice.at)


def _fact(notice: Notice) -> Fact | None:
    if notice.kind == EXPIRING:
        return Fact(
            id=notice.kind,
            severity=Severity.WARNING.value,
            text=_expiring(notice),
            resource_kind=notice.resource_kind,
            resource_id=notice.resource_id,
            resource_name=notice.resource_name,
        )
    if notice.kind == LOW_BALANCE:
        return _sentence(notice, _low_balance(notice), reverse("billing"))
    if notice.kind == BUDGET:
        return _sentence(notice, _budget(notice), reverse("budget-list"))
    if notice.kind == QUOTA_EXPIRING:
        return _sentence(notice, _quota(notice), reverse("quotas"))
    if notice.kind == STATEMENT:
        page = reverse("statement-detail", args=[notice.data["month"]])
        return _sentence(notice, _statement(notice), page, Severity.INFO)
    if notice.kind == REPLAY_DIFFERS:
        words = _(
            "Charges that differ when they are computed again: %(differences)d of %(charges)d."
        )
        return _of_operators(notice, Severity.CRITICAL, words % notice.data, "replayrun")
    if notice.kind == TOP_UP_WAITS:
        words = _("A top-up of %(amount)s %(currency)s waits for a second administrator.")
        return _of_operators(notice, Severity.WARNING, words % notice.data, "topup")
    if notice.kind == QUOTA_WAITS:
        words = _(
            "%(tenant)s: raising the quota %(item)s to %(limit)d waits for a second administrator."
        )
        return _of_operators(notice, Severity.WARNING, words % notice.data, "quotarequest")
    if notice.kind == PAYMENT_DIFFERS:
        words = _(
            "Payment %(payment)s: the provider says %(amount)s %(currency)s, which differs from "
            "the books."
        )
        return _of_operators(notice, Severity.CRITICAL, words % notice.data, "payment")
    if notice.kind == REFUND_FAILED:
        words = _(
            "Payment %(payment)s: the provider did not pay back %(amount)s %(currency)s. They are "
            "in the account again."
        )
        return _of_operators(notice, Severity.WARNING, words % notice.data, "payment")
    if notice.kind == REFUND_WAITS:
        words = _(
            "A refund of %(amount)s %(currency)s to a payment waits for a second administrator."
        )
        return _of_operators(notice, Severity.WARNING, words % notice.data, "paymentrefund")
    return None


def _moment(text: str) -> str:
    """Return an instant of ISO 8601 as people read it."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _low_balance(notice: Notice) -> str:
    words = _("The balance of %(balance)s %(currency)s is below %(below)s %(currency)s.")
    said = words % notice.data
    if Decimal(notice.data.get("owed", "0")):
        unpaid = _("%(owed)s %(currency)s are owed for usage of past days.")
        said = f"{said} {unpaid % notice.data}"
    if notice.data["lasts_until"] is None:
        return said
    lasts = _("It covers automatic renewals until %(date)s.")
    return f"{said} {lasts % {'date': _moment(notice.data['lasts_until'])}}"


def _budget(notice: Notice) -> str:
    words = _(
        "Budget %(name)s: %(percent)d %% of %(month)s is spent, %(spent)s of %(amount)s "
        "%(currency)s."
    )
    said = words % notice.data
    if not notice.data["stops_purchases"]:
        return said
    return f"{said} {_('Nothing more can be bought on it this month.')}"


def _quota(notice: Notice) -> str:
    words = _(
        "The quota %(item)s in %(region)s is %(limit)d until %(date)s, then %(afterwards)d. "
        "%(used)d are used; what exists stays."
    )
    return words % {
        "item": QuotaItem(notice.data["item"]).label,
        "region": notice.data["region"],
        "limit": notice.data["limit"],
        "date": _moment(notice.data["expires_at"]),
        "afterwards": notice.data["limit_afterwards"],
        "used": notice.data["used"],
    }


def _statement(notice: Notice) -> str:
    words = _(
        "The statement of %(month)s is ready: %(charged)s %(currency)s were charged, the balance "
        "at its end was %(closing)s %(currency)s."
    )
    return words % notice.data


def _expiring(notice: Notice) -> str:
    words = {"date": _moment(notice.data["paid_until"])}
    if notice.data["reason"] == "balance":
        return _("Expires at %(date)s: the balance does not cover its renewal.") % words
    return _("Expires at %(date)s: auto-renew is off.") % words


def _sentence(notice: Notice, text: str, path: str, severity: Severity = Severity.WARNING) -> Fact:
    return Fact(
        id=notice.kind,
        severity=severity.value,
        text=text,
        path=path,
        resource_kind=notice.resource_kind,
        resource_id=notice.resource_id,
        resource_name=notice.resource_name,
        is_sentence=True,
    )


def _of_operators(notice: Notice, severity: Severity, text: str, model: str) -> Fact:
    return Fact(
        id=notice.kind,
        severity=severity.value,
        text=text,
        path=reverse(f"admin:billing_{model}_change", args=[notice.resource_id]),
        resource_kind=notice.resource_kind,
        resource_id=notice.resource_id,
        is_sentence=True,
    )
