"""Freezes of destructive sweeps in Django admin: looked at, and released."""

from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.recovery import freezing
from scloud.recovery.models import SweepFreeze
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ButtonAdmin, ReadOnlyAdmin


def _release(actor: Actor, row: SweepFreeze) -> str:
    freezing.release(actor=actor, row=row)
    return _("The sweeps run again. The retention of everything in the recycle bin starts anew.")


def _not_now(row: SweepFreeze) -> str:
    if row.released_at is not None:
        return _("It has already been released.")
    missing = freezing.missing_reports(row)
    if missing:
        return _("The drift report is not complete yet: %(missing)s.") % {
            "missing": ", ".join(missing)
        }
    return ""


@admin.register(SweepFreeze)
class SweepFreezeAdmin(ReadOnlyAdmin, ButtonAdmin):
    """Times after a restore in which nothing is destroyed."""

    list_display = ("began_at", "reason", "released_at", "released_by")
    buttons = (
        Button(
            "release",
            gettext_lazy("Release"),
            _release,
            _not_now,
            confirm=gettext_lazy(
                "Did you read the drift report of hosts, pools and network? Afterwards the "
                "platform removes again what its database says is gone."
            ),
            right="platform.release_sweeps",
        ),
    )
