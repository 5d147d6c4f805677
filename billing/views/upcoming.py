"""What will happen to a resource by itself, as its page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext_lazy

from billing import queries
from billing.models import Subscription
from scloud.tenancy.models import PlatformSettings
from scloud.web import ui
from scloud.web.timeline import Moment
from scloud.web.views import Text

_WORDS: Final[Mapping[str, Text]] = {
    "renewal": gettext_lazy("Renews automatically"),
    "reminder": gettext_lazy("Reminder that it expires"),
    "expiry": gettext_lazy("Expires"),
    "unbinding": gettext_lazy("Is unbound from its VM"),
    "bin": gettext_lazy("Moves to the recycle bin"),
    "destruction": gettext_lazy("Is destroyed with its data"),
}


def upcoming(row: Any, words: Mapping[str, Text], *, bound: bool = False) -> list[Moment]:
    """What is going to happen to a resource if nobody does anything, the next first.

    ``words`` replaces those of kinds of :func:`billing.queries.upcoming`. ``bound`` says whether
    there is something that it is unbound from when it expires. ``destroy_at`` of a row in the
    recycle bin counts where the platform destroys by itself.
    """
    settings = PlatformSettings.load()
    subscription = Subscription.objects.filter(resource_id=row.pk).first()
    found = []
    if subscription is not None:
        found = queries.upcoming(subscription, settings, timezone.now())
    if row.status == "binned" and row.destroy_at is not None and settings.auto_destroy:
        found.append(queries.Upcoming("destruction", row.destroy_at))
    known = {**_WORDS, **words}
    return [
        Moment(
            at=one.at,
            icon="calendar-event",
            css="pending",
            title=str(known[one.kind]),
            detail=ui.moment(one.at),
        )
        for one in found
        if bound or one.kind != "unbinding"
    ]
