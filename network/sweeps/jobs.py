"""The job by which an administrator asks for a region's sweep."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from network.sweeps import reconcile
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.recovery import freezing
from scloud.resources.models import Region


class Reconcile(Handler):
    """``network.reconcile``: a region's sweep, asked for by an administrator."""

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("compare", _("Compare with the network"), self._run)]

    def _run(self, context: Context) -> None:
        region = Region.objects.get(pk=context.job.target_id)
        # A database that was restored knows an old network: somebody reads the report first.
        repair = bool(context.payload.get("repair", True)) and not freezing.is_frozen()
        found = reconcile.reconcile(region, repair=repair)
        reconcile.record(region, found)
        context.result["differences"] = len(found)


def register_handlers() -> None:
    """Make the handler known to the workers."""
    register("network.reconcile", Reconcile())
