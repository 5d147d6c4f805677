"""What each user has read of the bell."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.models import User


class BellMark(models.Model):
    """Up to when a user has read what the bell tells; without a row nothing is read."""

    user = models.OneToOneField(
        User, models.CASCADE, primary_key=True, verbose_name=_("user"), related_name="+"
    )
    read_at = models.DateTimeField(_("read until"))

    # Not scoped: it is the user's own, whatever tenant they belong to.
    objects: ClassVar[models.Manager[BellMark]] = models.Manager()

    class Meta:
        verbose_name = _("read notifications")
        verbose_name_plural = _("read notifications")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.read_at:%Y-%m-%d %H:%M:%S}"
