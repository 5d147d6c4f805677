"""What platform administrators do to the network."""

from __future__ import annotations

from django.utils.translation import gettext as _

from network.actions.common import JOB_DEADLINE_S, enqueue_sync
from network.models import FabricResource
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor


@action("platform.apply_network")
def apply_again(*, actor: Actor, row: FabricResource) -> None:
    """Have a worker apply the row once more."""
    enqueue_sync(row, actor=actor, title=_("Apply %(name)s again") % {"name": row.name})


@action("platform.reconcile_network")
def reconcile_region(*, actor: Actor, region: Region) -> None:
    """Compare a region's rows with its fabric now, and put right what may be put right."""
    audit.note(region)
    jobs.enqueue(
        kind="network.reconcile",
        tenant=None,
        title=_("Reconcile the network of %(name)s") % {"name": region.name},
        target_kind="region",
        target_id=region.pk,
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )
