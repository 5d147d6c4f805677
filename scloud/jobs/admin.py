"""Jobs in Django admin: looked at, retried, cancelled."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.jobs import actions
from scloud.jobs.models import Job, JobStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import (
    Button,
    ButtonAdmin,
    ReadOnlyAdmin,
    YesNoFilter,
    duration_column,
)


def _retry(actor: Actor, job: Job) -> str:
    actions.retry_job(actor=actor, job=job)
    return _("%(job)s is queued again.") % {"job": job.pk}


def _cancel(actor: Actor, job: Job) -> str:
    actions.cancel_job(actor=actor, job=job)
    return _("%(job)s is cancelled.") % {"job": job.pk}


def _acknowledge(actor: Actor, job: Job) -> str:
    actions.acknowledge_job(actor=actor, job=job)
    return _("The failure of %(job)s was acknowledged.") % {"job": job.pk}


def _not_to_acknowledge(job: Job) -> str:
    if job.status != JobStatus.FAILED:
        return _("Only a failed job can be acknowledged.")
    if job.acknowledged_at is not None:
        return _("%(who)s has acknowledged it already.") % {"who": job.acknowledged_by}
    return ""


def _not_failed(job: Job) -> str:
    ended = (JobStatus.FAILED, JobStatus.CANCELLED)
    return "" if job.status in ended else _("Only a failed or cancelled job can be retried.")


def _not_active(job: Job) -> str:
    return "" if job.is_active else _("It has already ended.")


STEP_STATES = {
    "waiting": gettext_lazy("waiting"),
    "running": gettext_lazy("running"),
    "done": gettext_lazy("done"),
    "failed": gettext_lazy("failed"),
}


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin, ButtonAdmin):
    list_display = (
        "created_at",
        "title",
        "status",
        "progress_percent",
        "error_code",
        "acknowledged_by",
        "kind",
        "target_id",
        "tenant",
        "lease_owner",
    )
    list_filter = (
        "status",
        ("acknowledged_at", YesNoFilter),
        "lane",
        "kind",
        "created_at",
        "tenant",
    )
    list_select_related = ("tenant",)
    search_fields = ("id", "title", "target_id", "error_code", "created_by", "trace")
    date_hierarchy = "created_at"
    buttons = (
        Button(
            "retry",
            gettext_lazy("Retry"),
            _retry,
            _not_failed,
            batch=True,
            right="platform.retry_job",
        ),
        Button(
            "acknowledge",
            gettext_lazy("Acknowledge"),
            _acknowledge,
            _not_to_acknowledge,
            batch=True,
            right="platform.acknowledge_job",
        ),
        Button(
            "cancel",
            gettext_lazy("Cancel"),
            _cancel,
            _not_active,
            confirm=gettext_lazy(
                "The worker stops at the next step, and the sweep brings the target back to what "
                "the hypervisor says."
            ),
            batch=True,
            right="platform.cancel_job",
        ),
    )

    fields = (
        ("title", "id"),
        ("status", "progress_percent", "step"),
        ("kind", "target_kind", "target_id", "tenant"),
        "shown_steps",
        ("error_code", "error_message", "error_remedy"),
        "error_detail",
        ("acknowledged_at", "acknowledged_by"),
        ("lane", "attempt", "max_attempts"),
        ("lease_owner", "lease_until"),
        ("created_by", "created_at", "not_before"),
        ("started_at", "finished_at", "deadline", "limit"),
        ("payload", "result"),
        "trace",
    )
    readonly_fields = ("id", "shown_steps", "limit")
    limit = duration_column("limit_s", gettext_lazy("time limit"))

    @admin.display(description=gettext_lazy("steps"))
    def shown_steps(self, job: Job) -> str:
        """One line per step, with its state."""
        lines = (
            (step.get("label", step["name"]), STEP_STATES.get(step["state"], step["state"]))
            for step in job.steps
        )
        return format_html_join("", "<div>{}: {}</div>", lines)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Newest first."""
        return super().get_queryset(request).order_by("-created_at", "-id")
