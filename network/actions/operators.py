"""What platform administrators do to the network."""

from __future__ import annotations

from django.utils.translation import gettext as _

from network.actions.common import JOB_DEADLINE_S, enqueue_sync
from network.models import Applied, Nic
from network.queries.reach import Reach, reach
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope


@action("platform.apply_network")
def apply_again(*, actor: Actor, row: Applied) -> None:
    """Have a worker apply the row once more."""
    enqueue_sync(row, actor=actor, title=_("Apply %(name)s again") % {"name": str(row)})


@action("platform.reconcile_network")
def reconcile_region(*, actor: Actor, region: Region, repair: bool = True) -> Job:
    """Compare a region's rows with its fabric now, and put right what may be put right.

    Without ``repair`` it is compared only.
    """
    audit.note(region)
    title = (
        _("Reconcile the network of %(name)s") if repair else _("Compare the network of %(name)s")
    )
    return jobs.enqueue(
        kind="network.reconcile",
        tenant=None,
        title=title % {"name": region.name},
        target_kind="region",
        target_id=region.pk,
        payload={"repair": repair},
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )


@action("platform.trace_packet")
def trace_packet(
    *, actor: Actor, nic: Nic, destination: str, protocol: str, port: int | None = None
) -> Job:
    """Have a worker ask the network what it does with a packet of a NIC; the job has the answer.

    Raises InvalidInput, as :func:`network.queries.reach.reach` does, and ``nic_without_address``.
    """
    found = asked(nic, destination, protocol, port)
    source = found.source
    if found.packet is None or (nic.subnet_id is None and nic.segment_id is None):
        raise InvalidInput(
            _("%(nic)s has no address of this IP version.") % {"nic": nic.pk},
            code="nic_without_address",
            field="destination",
        )
    audit.note(nic, detail=f"{protocol} {port or ''} to {found.destination.address}")
    return jobs.enqueue(
        kind="network.trace",
        tenant=None,
        title=_("Trace a packet of %(nic)s") % {"nic": nic.pk},
        target_kind="nic",
        target_id=nic.pk,
        payload={
            "source": str(source.address),
            "destination": str(found.destination.address),
            "destination_nic": found.destination.nic.pk if found.destination.nic else None,
            "protocol": protocol,
            "port": port,
        },
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )


def asked(nic: Nic, destination: str, protocol: str, port: int | None) -> Reach:
    """What our own rows say of the same packet; as its tenant sees it."""
    with scope(tenant=nic.tenant):
        return reach(nic.pk, destination, protocol, port)
