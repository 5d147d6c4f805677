"""Telling people by mail that an API key of theirs expires soon."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts.mailing import send
from scloud.jobs import periodic
from scloud.jobs import service as jobs
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.text import one_line
from scloud.tenancy.models import ApiKey
from scloud.tenancy.scoping import scopes_disabled

# A kind of its own: workers of an earlier release leave it to those that know it.
TELL_EXPIRY: Final = "user.tell_key_expiry"
#: How long before.
SOON: Final = timedelta(days=7)
_BATCH: Final = 500
_EVERY_S: Final = 3600.0
_DEADLINE_S: Final = 3600.0


class TellExpiry(Handler):
    """``user.tell_key_expiry``: an API key expires soon."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the message"), _tell)]


def register_expiry() -> None:
    """Called once, when the app is ready."""
    register(TELL_EXPIRY, TellExpiry())
    periodic.register("api_keys.expiring", _EVERY_S, tell_of_expiring)


def tell_of_expiring() -> int:
    """Queue a mail for each key that expires soon, once; return how many.

    A key that is made for less time is told of when a tenth of it is left: else its user would be
    told right away.
    """
    if not settings.SCLOUD_EMAIL_READY:
        return 0
    now = timezone.now()
    told = 0
    with scopes_disabled():
        due = (
            ApiKey.objects.filter(
                expiry_told_at=None,
                revoked_at=None,
                expires_at__gt=now,
                expires_at__lte=now + SOON,
                user__is_active=True,
                tenant__is_active=True,
                user__tenant=F("tenant"),
            )
            .select_related("user")
            .iterator(chunk_size=_BATCH)
        )
        for key in due:
            assert key.expires_at is not None, "the filter says so"
            if key.expires_at - now > max((key.expires_at - key.created_at) / 10, timedelta(0)):
                continue
            with transaction.atomic():
                # Of two sweepers one tells; the mark and the mail are written together.
                if not ApiKey.objects.filter(pk=key.pk, expiry_told_at=None).update(
                    expiry_told_at=now
                ):
                    continue
                jobs.enqueue(
                    kind=TELL_EXPIRY,
                    tenant=None,
                    title=_("Tell a user of an expiring API key"),
                    target_kind="user",
                    target_id=str(key.user_id),
                    payload={"key": key.pk},
                    deadline_s=_DEADLINE_S,
                    exclusive=False,
                )
                told += 1
    return told


def _tell(context: Context) -> None:
    with scopes_disabled():
        key = ApiKey.objects.select_related("user").filter(pk=str(context.payload["key"])).first()
    # It may have been revoked meanwhile, or its user may have left.
    if (
        not isinstance(key, ApiKey)
        or not key.is_usable
        or key.expires_at is None
        or not key.user.is_active
        or key.user.tenant_id != key.tenant_id
    ):
        return
    text = _(
        "Your API key %(name)s (%(id)s) expires at %(at)s (UTC). Programs that use it will be "
        "refused from then on.\n\nCreate a new key and replace it in time: %(link)s"
    ) % {
        "name": one_line(key.name),
        "id": key.pk,
        "at": f"{key.expires_at:%Y-%m-%d %H:%M}",
        "link": f"{settings.SCLOUD_CONSOLE_URL}{reverse('api-keys')}",
    }
    context.guard()
    send(context, key.user.email, _("An API key expires soon"), text)
