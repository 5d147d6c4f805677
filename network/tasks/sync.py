"""The jobs that apply network rows. Each step reads the rows anew and may be repeated."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from network.models import FabricResource, Nic, SecurityGroup, Subnet, Tombstone, Vpc
from network.tasks import plumbing
from network.tasks.fabrics import fabric_of
from scloud.audit import events
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError

ERROR_LENGTH = 300


class SyncHandler(Handler):
    """Applies one row to the fabric; nothing to do if the row is gone meanwhile."""

    model: type[FabricResource]

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("apply", _("Apply to the network"), self._run)]

    def apply(self, row: FabricResource) -> None:
        raise NotImplementedError

    def _run(self, context: Context) -> None:
        row = self._row(context)
        if row is not None:
            self.apply(row)

    def _row(self, context: Context) -> FabricResource | None:
        found: FabricResource | None = (
            self.model.objects.select_related("region").filter(pk=context.job.target_id).first()
        )
        return found

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Show the reason on the row; the reconciler goes on trying."""
        self.model.objects.filter(pk=context.job.target_id).update(
            sync_error=error.message[:ERROR_LENGTH], sync_error_detail=error.detail
        )
        row = self._row(context)
        if row is not None:
            events.notify(
                tenant_id=row.tenant_id,
                kind=f"{row.KIND}.failed",
                resource_kind=row.KIND,
                resource_id=row.pk,
            )


class SyncVpc(SyncHandler):
    """``network.sync_vpc``."""

    model = Vpc

    def apply(self, row: FabricResource) -> None:
        plumbing.apply_vpc(fabric_of(row.region), row.pk)


class SyncSubnet(SyncHandler):
    """``network.sync_subnet``."""

    model = Subnet

    def apply(self, row: FabricResource) -> None:
        """The VPC's router first: its own job may not have run yet."""
        assert isinstance(row, Subnet)
        fabric = fabric_of(row.region)
        plumbing.apply_vpc(fabric, row.vpc_id)
        plumbing.apply_subnet(fabric, row.pk)


class SyncSecurityGroup(SyncHandler):
    """``network.sync_security_group``."""

    model = SecurityGroup

    def apply(self, row: FabricResource) -> None:
        plumbing.apply_security_group(fabric_of(row.region), row.pk)


class SyncNic(SyncHandler):
    """``network.sync_nic``."""

    model = Nic

    def apply(self, row: FabricResource) -> None:
        """The port with its present group, and what it rests on."""
        assert isinstance(row, Nic)
        plumbing.ensure_nic_ports([row])


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
    register("network.sync_security_group", SyncSecurityGroup())
    register("network.sync_nic", SyncNic())
    register("network.remove", Remove())
