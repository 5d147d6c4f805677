"""What the billing pages share."""

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from billing import money, paying
from billing.models import (
    Subscription,
    SubscriptionStatus,
)
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.status import StatusView, Tone
from scloud.web.views import ConsoleView

_SUBSCRIPTION_TONES: dict[str, Tone] = {
    SubscriptionStatus.ACTIVE: "ok",
    SubscriptionStatus.EXPIRED: "warn",
    SubscriptionStatus.ENDED: "off",
}


def tenant_of(view: ConsoleView) -> Tenant:
    """The tenant of the signed-in user; the base view lets nobody else through."""
    tenant = view.actor.tenant
    assert tenant is not None
    return tenant


def amount(minor: int) -> str:
    """Minor units as the console shows money."""
    return ui.money(money.from_minor(minor))


def signed(minor: int) -> str:
    """The same with a plus sign for money that came in."""
    return f"+{amount(minor)}" if minor > 0 else amount(minor)


def subscription_status(row: Subscription) -> StatusView:
    """How a subscription's status is shown."""
    detail = _("Renew it to use the resource again.") if row.status == "expired" else ""
    return StatusView(row.get_status_display(), _SUBSCRIPTION_TONES[row.status], detail)


def may_recharge_self(view: ConsoleView) -> bool:
    """Whether the page offers a recharge: on demonstration installations only."""
    return bool(settings.SCLOUD_DEMO) and view.actor.allows("billing.recharge")


def top_up_url(view: ConsoleView) -> str:
    """Return the dialog in which the caller can top up; empty where there is none for them."""
    if paying.is_offered() and view.actor.allows("billing.start_payment"):
        return reverse("billing-pay")
    return reverse("billing-recharge") if may_recharge_self(view) else ""
