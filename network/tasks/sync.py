"""The jobs that apply network rows. Each step reads the rows anew and may be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from network.models import (
    Applied,
    ExternalIp,
    ExternalSegment,
    Nic,
    NicNetwork,
    SecurityGroup,
    Subnet,
    Tombstone,
    Vpc,
)
from network.rules import targets
from network.tasks import plumbing
from network.tasks.fabrics import fabric_of
from scloud.audit import events
from scloud.jobs import service as jobs
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError

ERROR_LENGTH = 300
APPLY_DEADLINE_S = 300.0
NICS_AT_ONCE = 100


class SyncHandler(Handler):
    """Applies one row to the fabric; nothing to do if the row is gone meanwhile."""

    model: type[Applied]

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("apply", _("Apply to the network"), self._run)]

    def apply(self, row: Applied) -> None:
        raise NotImplementedError

    def _run(self, context: Context) -> None:
        row = self._row(context)
        if row is not None:
            self.apply(row)

    def _row(self, context: Context) -> Applied | None:
        rows: Any = self.model._default_manager
        found: Applied | None = (
            rows.select_related("region").filter(pk=context.job.target_id).first()
        )
        return found

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Show the reason on the row; the reconciler goes on trying."""
        self.model._default_manager.filter(pk=context.job.target_id).update(
            sync_error=error.message[:ERROR_LENGTH], sync_error_detail=error.detail
        )
        row = self._row(context)
        if row is not None:
            events.notify(
                tenant_id=getattr(row, "tenant_id", None),
                kind=f"{row.KIND}.failed",
                resource_kind=row.KIND,
                resource_id=row.pk,
            )


class SyncVpc(SyncHandler):
    """``network.sync_vpc``."""

    model = Vpc

    def apply(self, row: Applied) -> None:
        assert isinstance(row, Vpc)
        plumbing.apply_vpc(fabric_of(row.region), row.pk)


class SyncSubnet(SyncHandler):
    """``network.sync_subnet``."""

    model = Subnet

    def apply(self, row: Applied) -> None:
        """The VPC's router first: its own job may not have run yet."""
        assert isinstance(row, Subnet)
        fabric = fabric_of(row.region)
        plumbing.apply_vpc(fabric, row.vpc_id)
        plumbing.apply_subnet(fabric, row.pk)


class SyncSubnetNics(SyncSubnet):
    """``network.sync_subnet_nics``: a subnet, then every NIC in it.

    Also those that count as applied: one that was applied just before the subnet has no DHCPv6, and
    one that a worker of an earlier release applied has no IPv6 at all. A kind of its own: workers
    of releases that know no private IPv6 leave it alone.
    """

    def steps(self, job: Job) -> Sequence[Step]:
        """The subnet, its ports, then what guests are told."""
        return [
            *super().steps(job),
            Step("ports", _("Apply to the network interfaces"), self._ports),
            Step("guests", _("Configuring the guests"), self._tell),
        ]

    def _ports(self, context: Context) -> None:
        nics = Nic.objects.select_related("region").filter(
            subnet_id=context.job.target_id, port_wanted=True
        )
        found = list(nics.order_by("pk"))
        for start in range(0, len(found), NICS_AT_ONCE):
            plumbing.ensure_nic_ports(found[start : start + NICS_AT_ONCE])

    def _tell(self, context: Context) -> None:
        """Leave it to who looks after guests: there may be thousands, each with seconds of work."""
        bound = Nic.objects.filter(subnet_id=context.job.target_id, vm_id__isnull=False)
        kind = targets.kind_named("vm")
        if kind is not None:
            vm_ids = bound.order_by().values_list("vm_id", flat=True).distinct()
            kind.changed([str(one) for one in vm_ids])


class SyncSegment(SyncHandler):
    """``network.sync_segment``."""

    model = ExternalSegment

    def apply(self, row: Applied) -> None:
        """The switch of its VLAN."""
        assert isinstance(row, ExternalSegment)
        plumbing.apply_segment(fabric_of(row.region), row.pk)


class SyncSecurityGroup(SyncHandler):
    """``network.sync_security_group``."""

    model = SecurityGroup

    def apply(self, row: Applied) -> None:
        assert isinstance(row, SecurityGroup)
        plumbing.apply_security_group(fabric_of(row.region), row.pk)


class SyncNic(SyncHandler):
    """``network.sync_nic``: the port, and where that concerns it, the guest."""

    model = Nic

    def steps(self, job: Job) -> Sequence[Step]:
        """The port, then what the guest is told of it."""
        return [*super().steps(job), Step("guest", _("Configuring the guest"), self._tell)]

    def apply(self, row: Applied) -> None:
        """The port with its present group, and what it rests on."""
        assert isinstance(row, Nic)
        plumbing.ensure_nic_ports([row])

    def _tell(self, context: Context) -> None:
        row = self._row(context)
        if not isinstance(row, Nic) or row.network != NicNetwork.EXTERNAL or row.vm_id is None:
            return
        kind = targets.kind_named("vm")
        if kind is not None:
            told = kind.apply(row.vm_id)
            ExternalIp.objects.filter(nic=row, task="").update(at_next_boot=not told)


def enqueue(nic: Nic) -> None:
    """Have a worker apply a NIC once more."""
    jobs.enqueue(
        kind="network.sync_nic",
        tenant=nic.tenant,
        title=_("Apply %(name)s again") % {"name": nic.name},
        target_kind=nic.KIND,
        target_id=nic.pk,
        deadline_s=APPLY_DEADLINE_S,
        exclusive=False,
    )


class Remove(Handler):
    """``network.remove``: takes away what the fabric holds of a deleted resource.

    A VPC's turn comes after its subnets': until then the fabric refuses and the job is retried.
    """

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("remove", _("Remove from the network"), self._run)]

    def _run(self, context: Context) -> None:
        tombstone = (
            Tombstone.objects.select_related("region")
            .filter(pk=context.payload["tombstone"], removed_at=None)
            .first()
        )
        if tombstone is not None:
            plumbing.remove_buried(fabric_of(tombstone.region), tombstone)


def register_handlers() -> None:
    """Make the handlers known to the workers."""
    register("network.sync_vpc", SyncVpc())
    register("network.sync_subnet", SyncSubnet())
    register("network.sync_subnet_nics", SyncSubnetNics())
    register("network.sync_segment", SyncSegment())
    register("network.sync_security_group", SyncSecurityGroup())
    register("network.sync_nic", SyncNic())
    register("network.remove", Remove())
