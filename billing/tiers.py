"""Tiers of prices as people read them."""

from django.utils.translation import gettext as _

from billing.pricing import Part
from scloud.lib.decimals import plain
from scloud.web import ui


def say(part: Part) -> str:
    """The units of a line that lie in one tier, and what they cost for a period."""
    words = {
        "quantity": plain(part.quantity),
        "above": plain(part.above),
        "price": ui.price(part.unit_price),
        "cost": ui.price(part.cost),
    }
    if part.above and part.unit_price:
        text = _("%(quantity)s above the first %(above)s at %(price)s each: %(cost)s.")
    elif part.above:
        text = _("%(quantity)s above the first %(above)s: free.")
    elif part.unit_price:
        text = _("The first %(quantity)s at %(price)s each: %(cost)s.")
    else:
        text = _("The first %(quantity)s: free.")
    return text % words
