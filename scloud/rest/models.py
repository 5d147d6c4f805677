"""What the API remembers."""

from django.db import models
from django.utils import timezone

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class IdempotentRequest(models.Model):
    """The answer to a caller's POST that carried an Idempotency-Key; kept for a day."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    key = models.CharField(max_length=120)
    # Who asked (see Actor.caller), and the rights that the work asked for. An answer that an older
    # version has kept knows neither.
    caller = models.CharField(max_length=40, blank=True, db_default="")
    rights = models.JSONField(null=True)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = TenantManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "caller", "key"], name="idempotency_key_once_per_caller"
            )
        ]

    def __str__(self) -> str:
        return self.key
