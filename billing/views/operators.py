"""What of the books operators must look into or decide."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scloud.adminsite.panels import Matter, Urgency


def matters(figures: dict[str, Any]) -> list[Matter]:
    """Return what differs, what was not replayed, and what waits for an administrator."""
    found = []
    last = figures["last"]
    if last is not None and last.differences:
        text = ngettext(
            "%(number)d figure of the books differs from what was computed again",
            "%(number)d figures of the books differ from what was computed again",
            last.differences,
        )
        url = reverse("admin:billing_replayrun_change", args=[last.pk])
        found.append(Matter(Urgency.CRITICAL, text % {"number": last.differences}, url))
    if figures["late"]:
        text = _("The charges of the last night were not computed again.")
        found.append(Matter(Urgency.WARNING, text, reverse("admin:billing_replayrun_changelist")))
    waiting, refunds = figures["waiting"], figures["refunds"]
    requests = figures["quota_requests"]
    for number, words, name in (
        (waiting, ngettext("%(number)d top-up", "%(number)d top-ups", waiting), "topup"),
        (
            refunds,
            ngettext("%(number)d refund of a payment", "%(number)d refunds of payments", refunds),
            "paymentrefund",
        ),
        (
            requests,
            ngettext(
                "%(number)d request for a higher quota",
                "%(number)d requests for higher quotas",
                requests,
            ),
            "quotarequest",
        ),
    ):
        if number:
            pending = {"status__exact": "pending"}
            url = reverse(f"admin:billing_{name}_changelist", query=pending)
            found.append(Matter(Urgency.DECISION, words % {"number": number}, url))
    return found
