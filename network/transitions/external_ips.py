"""External IPs: the only code that assigns their status or task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone

from billing import quotas, services
from billing.models import SubscriptionStatus
from network.models import ExternalAddress, ExternalIp
from network.rules.refusals import external_ip_refusal
from network.states.external_ips import ExternalIpStatus
from network.verbs import external_ips as verbs
from scloud.audit import events
from scloud.tenancy.models import PlatformSettings
from scloud.verbs.machine import Machine

#: The columns of one that is bound to nothing.
LOOSE: Final[Mapping[str, Any]] = {
    "nic": None,
    "target_kind": "",
    "target_id": "",
    "bound_at": None,
    "egress": False,
    "at_next_boot": False,
}


#: The columns of one that failed: off its NIC, and held until what it was bought with is gone.
HELD: Final[Mapping[str, Any]] = {"nic": None, "egress": False, "at_next_boot": False}


class ExternalIpMachine(Machine[ExternalIp]):
    """The job of an external IP is exclusive on it, so those of one VM go on side by side.

    What it is bound to must not have changed between the guard and the write either.
    """

    related = ("segment", "nic", "tenant", "region")
    compared = ("status", "task", "task_job", "target_id")

    def landing(self, row: ExternalIp, status: str | None) -> str | None:
        """Return where one lands: expired only while it is unpaid.

        A renewal that was paid meanwhile found it busy and changed nothing.
        """
        if (status or row.status) != ExternalIpStatus.EXPIRED:
            return status
        if services.status_for_landing(row.tenant, row.pk) != SubscriptionStatus.ACTIVE:
            return status
        return ExternalIpStatus.BOUND if row.nic_id else ExternalIpStatus.FREE

    def tell(self, row: ExternalIp, kind: str, **data: Any) -> None:
        """Write an event of an external IP, and of what it is bound to."""
        super().tell(row, kind, **data)
        if row.target_id:
            events.emit(
                tenant_id=row.tenant_id,
                kind=kind,
                resource_kind=row.target_kind,
                resource_id=row.target_id,
                data={**data, "external_ip": row.pk, "address": row.address},
            )


EXTERNAL_IPS = ExternalIpMachine(verbs.EXTERNAL_IPS, ExternalIp, external_ip_refusal)


def bin_columns(row: ExternalIp, *, automatically: bool) -> dict[str, Any]:
    """Give back the quota of one that goes to the bin; return its columns there."""
    quotas.free(row.pk)
    services.set_in_bin(row.pk, True)
    now = timezone.now()
    return {
        **LOOSE,
        "binned_at": now,
        "destroy_at": now + PlatformSettings.load().bin_retention,
        "binned_automatically": automatically,
    }


def give_address_back(row: ExternalIp) -> None:
    """Let others have the address of one that is no more. Takes no lock."""
    ExternalAddress.objects.filter(external_ip=row).delete()
