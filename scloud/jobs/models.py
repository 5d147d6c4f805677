"""The durable job: the authoritative record of work in flight. django-q2 only wakes workers up."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.jobs.lanes import Lane
from scloud.lib import tracing
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def job_id() -> str:
    return new_id("job")


class JobStatus(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING)
# Nobody has seen a failure that is new. It is written with the failure, too: an earlier release,
# which does not know the columns, may have queued again what somebody had acknowledged.
UNSEEN: Final[Mapping[str, Any]] = {"acknowledged_at": None, "acknowledged_by": ""}


class Job(models.Model):
    """A piece of work on one target.

    ``attempt`` is the fencing token: a worker may write only while the row still carries the
    attempt number that it claimed. ``lease_until`` shows the sweep when a worker is gone.
    """

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=job_id, editable=False)
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=_("tenant"), null=True, related_name="+"
    )
    kind = models.CharField(_("type"), max_length=60)
    title = models.CharField(_("title"), max_length=200)
    target_kind = models.CharField(_("target type"), max_length=30)
    target_id = models.CharField(_("target ID"), max_length=40)
    payload = models.JSONField(_("input"), default=dict)
    result = models.JSONField(_("result"), default=dict)
    status = models.CharField(
        _("status"), max_length=10, choices=JobStatus.choices, default=JobStatus.QUEUED
    )
    exclusive = models.BooleanField(_("exclusive"), default=True)
    attempt = models.PositiveIntegerField(_("attempts"), default=0)
    max_attempts = models.PositiveIntegerField(_("maximum number of attempts"), default=5)
    lease_owner = models.CharField(_("worker"), max_length=80, blank=True)
    lease_until = models.DateTimeField(_("leased until"), null=True)
    # The defaults of the database serve releases that do not know the columns.
    lane = models.CharField(
        _("lane"), max_length=10, choices=Lane.choices, default=Lane.SHORT, db_default=Lane.SHORT
    )
    # Seconds from the first claim to the deadline, for jobs whose time in the queue counts not.
    limit_s = models.PositiveIntegerField(_("time limit (s)"), null=True)
    # Where a job that gave its slot back goes on: {"step": name, "memory": {...}}.
    parked = models.JSONField(_("waiting"), null=True)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    # When a worker was last woken for it.
    rung_at = models.DateTimeField(_("last wake-up"), default=timezone.now)
    deadline = models.DateTimeField(_("deadline"))
    progress_percent = models.PositiveSmallIntegerField(_("progress (%)"), default=0)
    step = models.CharField(_("current step"), max_length=120, blank=True)
    # [{"name", "label", "state": waiting|running|done|failed, "at": iso time}, ...]
    steps = models.JSONField(_("steps"), default=list)
    error_code = models.CharField(_("error code"), max_length=60, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    error_remedy = models.TextField(_("remedy"), blank=True)
    # What tenants must not read: the driver's own words, with paths, URIs and names of hosts.
    error_detail = models.TextField(_("error detail"), blank=True, db_default="")
    created_by = models.CharField(_("started by"), max_length=320, blank=True)
    # The span that queued it, as a W3C traceparent (scloud/lib/tracing.py).
    trace = models.CharField(
        _("trace"), max_length=tracing.LENGTH, blank=True, default="", db_default=""
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    # By which administrator, that somebody takes care of its failure.
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    acknowledged_by = models.CharField(
        _("acknowledged by"), max_length=320, blank=True, default="", db_default=""
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["target_kind", "target_id"],
                condition=Q(status__in=["queued", "running"], exclusive=True),
                name="one_active_job_per_target",
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="job_tenant_created"),
            models.Index(fields=["target_id", "-created_at"], name="job_target_created"),
            models.Index(
                fields=["status", "lease_until"],
                condition=Q(status__in=["queued", "running"]),
                name="job_active",
            ),
            # What is due, for the choice of the next one.
            models.Index(
                fields=["not_before"],
                condition=Q(status__in=["queued", "running"]),
                name="job_due",
            ),
            # What ended lately, for figures, and long ago, to be forgotten.
            models.Index(
                fields=["finished_at"],
                condition=Q(finished_at__isnull=False),
                name="job_finished",
            ),
            # What failed and nobody has looked at, for the operators' front page.
            models.Index(
                fields=["finished_at"],
                condition=Q(status="failed", acknowledged_at__isnull=True),
                name="job_failed_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.title}"

    @property
    def is_active(self) -> bool:
        """True while it is queued or running."""
        return self.status in ACTIVE

    @property
    def is_parked(self) -> bool:
        """True while it waits for something without a slot."""
        return self.status == JobStatus.QUEUED and self.parked is not None


class Turn(models.Model):
    """When a tenant's job was last begun: of two tenants the one that waited longer comes first."""

    # The tenant's id; empty for the platform itself.
    owner = models.CharField(primary_key=True, max_length=40)
    served_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.owner or 'platform'} {self.served_at}"


class WorkerHost(models.Model):
    """What the workers of one machine know, as they said last."""

    name = models.CharField(primary_key=True, max_length=80)
    kinds = models.JSONField(default=list)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Heartbeat(models.Model):
    """When a part of the platform, such as a lane of the sweeper, last said that it goes round."""

    name = models.CharField(primary_key=True, max_length=80)
    machine = models.CharField(max_length=80)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.seen_at}"
