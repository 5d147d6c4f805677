"""What the operators tell all who use the console: news, planned work, troubles."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import OuterRef, Q
from django.db.models.functions import JSONObject, Now
from django.utils.translation import gettext as _

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Announcement, Region
from scloud.tenancy.actor import Actor

#: Shown at once; more would push the page out of sight.
MOST: int = 5


def check(announcement: Announcement) -> None:
    """Raise InvalidInput unless the times of an announcement make sense."""
    if announcement.shown_until <= announcement.shown_from:
        raise InvalidInput(
            _("It must end after it begins."), code="announcement_ends", field="shown_until"
        )
    begins, ends = announcement.work_begins, announcement.work_ends
    if begins is not None and ends is not None and ends <= begins:
        raise InvalidInput(
            _("The work must end after it begins."), code="work_ends", field="work_ends"
        )
    if begins is None and ends is not None:
        raise InvalidInput(_("Say when the work begins."), code="work_begins", field="work_begins")


@action("platform.announce")
def save_announcement(*, actor: Actor, announcement: Announcement) -> Announcement:
    """Store an announcement, a new one or a changed one. Raises InvalidInput."""
    check(announcement)
    announcement.save()
    audit.note(announcement, after={"text": announcement.text})
    return announcement


@action("platform.announce")
def delete_announcement(*, actor: Actor, announcement: Announcement) -> None:
    """Delete an announcement; nobody sees it any more."""
    audit.note(announcement, before={"text": announcement.text})
    announcement.delete()


def with_announcements(regions: models.QuerySet[Region]) -> models.QuerySet[Region]:
    """Return the regions with what is announced in them now, in the same query.

    Each has ``announced``: a list of objects in the order in which they are shown.
    """
    now = (
        Announcement.objects.filter(
            Q(region=OuterRef("pk")) | Q(region__isnull=True),
            shown_from__lte=Now(),
            shown_until__gt=Now(),
        )
        .order_by("-level", "-shown_from", "-pk")
        .values(
            found=JSONObject(
                id="pk",
                text=models.F("text"),
                level="level",
                work_begins="work_begins",
                work_ends="work_ends",
                dismissible="dismissible",
            )
        )[:MOST]
    )
    found: models.QuerySet[Any] = regions.annotate(announced=ArraySubquery(now))
    return found
