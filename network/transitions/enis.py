"""ENIs: the only code that assigns their status or task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone

from billing import quotas, services
from billing.models import SubscriptionStatus
from network.models import Eni, Nic, Tombstone
from network.rules.refusals import eni_refusal
from network.states.enis import EniStatus
from network.verbs import enis as verbs
from scloud.audit import events
from scloud.verbs.machine import Machine

#: The columns of one that is bound to nothing.
LOOSE: Final[Mapping[str, Any]] = {"vm_id": "", "at_next_boot": False}


class EniMachine(Machine[Eni]):
    """The job of an ENI is exclusive on it, so those of one VM go on side by side."""

    related = ("nic", "nic__external_address__segment", "tenant", "region")
    compared = ("status", "task", "task_job", "vm_id")

    def landing(self, row: Eni, status: str | None) -> str | None:
        """Return where one lands: expired only while it is unpaid."""
        if (status or row.status) != EniStatus.EXPIRED:
            return status
        if services.status_for_landing(row.tenant, row.pk) != SubscriptionStatus.ACTIVE:
            return status
        return EniStatus.BOUND if row.vm_id else EniStatus.FREE

    def tell(self, row: Eni, kind: str, **data: Any) -> None:
        """Write an event of an ENI, and of the VM that it is bound to."""
        super().tell(row, kind, **data)
        if row.vm_id:
            events.emit(
                tenant_id=row.tenant_id,
                kind=kind,
                resource_kind="vm",
                resource_id=row.vm_id,
                data={**data, "eni": row.pk, "address": row.address},
            )


ENIS = EniMachine(verbs.ENIS, Eni, eni_refusal)


def plug(nic: Nic, vm_id: str, index: int) -> None:
    """Note on the NIC which VM has it, and in which place."""
    Nic.objects.filter(pk=nic.pk).update(vm_id=vm_id, index=index, bound_at=timezone.now())


def unplug(nic: Nic | None) -> None:
    """Note on the NIC that no VM has it."""
    if nic is not None:
        Nic.objects.filter(pk=nic.pk).update(vm_id=None, index=None, bound_at=None, egress=False)


def forget(row: Eni) -> None:
    """Give back all that an ENI held, whose port is gone: address, quota, unused paid time."""
    now = timezone.now()
    # Does nothing for an internal one, which costs nothing.
    services.refund_unused(row.pk, now)
    quotas.free(row.pk)
    nic = row.nic
    if nic is not None:
        Tombstone.objects.get_or_create(
            kind=nic.fabric_kind,
            target_id=nic.fabric_id,
            defaults={"tenant": row.tenant, "region": row.region},
        )
        nic.delete()
