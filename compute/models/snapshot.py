"""Snapshots of disks, and the schedules that take and forget them."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from compute.models.disk import Disk
from compute.states.snapshots import SnapshotStatus
from scloud.lib.ids import new_id
from scloud.resources.models import Resource


def snapshot_id() -> str:
    """Return a fresh snapshot id; it is the snapshot's name inside its volume as well."""
    return new_id("snap")


def schedule_id() -> str:
    return new_id("schedule")


class SnapshotSchedule(Resource):
    """When snapshots of a disk are taken by themselves, and how many of them stay.

    Taken at each of ``hours`` on each of ``weekdays`` (0 is Monday) in ``time_zone``. Of its own
    snapshots the newest ``keep_count`` stay, and none older than ``keep_days`` where that is set.
    """

    KIND: ClassVar[str] = "snapshot_schedule"

    id = models.CharField(primary_key=True, max_length=20, default=schedule_id, editable=False)
    disk = models.ForeignKey(Disk, models.CASCADE, related_name="schedules")
    hours = ArrayField(models.PositiveSmallIntegerField(validators=[MaxValueValidator(23)]))
    weekdays = ArrayField(models.PositiveSmallIntegerField(validators=[MaxValueValidator(6)]))
    time_zone = models.CharField(max_length=40, default="UTC")
    keep_count = models.PositiveSmallIntegerField(validators=[MinValueValidator(1)])
    keep_days = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    enabled = models.BooleanField(default=True)
    next_run_at = models.DateTimeField()
    last_run_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=300, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("snapshot schedule")
        verbose_name_plural = _("snapshot schedules")
        constraints = [models.UniqueConstraint(fields=["disk"], name="one_schedule_per_disk")]
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(enabled=True), name="schedule_due")
        ]


class Snapshot(Resource):
    """The content of a disk at one moment, kept inside its volume.

    ``frozen``: whether the guest's file systems were frozen then; if not, it is what a power
    cut would have left.
    """

    KIND: ClassVar[str] = "snapshot"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=snapshot_id, editable=False
    )
    disk = models.ForeignKey(Disk, models.PROTECT, verbose_name=_("disk"), related_name="snapshots")
    size_gib = models.PositiveIntegerField(_("size (GB)"))
    status = models.CharField(
        _("status"),
        max_length=12,
        choices=SnapshotStatus.choices,
        default=SnapshotStatus.CREATING,
        editable=False,
    )
    schedule = models.ForeignKey(
        SnapshotSchedule,
        models.SET_NULL,
        verbose_name=_("schedule"),
        null=True,
        blank=True,
        related_name="snapshots",
    )
    frozen = models.BooleanField(_("file systems at rest"), default=False, editable=False)
    taken_at = models.DateTimeField(_("taken"), null=True, editable=False)
    destroyed_at = models.DateTimeField(_("destroyed"), null=True, editable=False)
    failure = models.CharField(_("error"), max_length=500, blank=True, editable=False)
    # For operators: tenants never see what a driver says itself.
    failure_detail = models.TextField(_("error detail"), blank=True, db_default="")

    class Meta:
        verbose_name = _("snapshot")
        verbose_name_plural = _("snapshots")
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["disk", "status"], name="snapshot_disk_status"),
            models.Index(fields=["tenant", "region", "-created_at"], name="snapshot_tenant"),
        ]
