"""Which external address of a VM is its default egress: one for each IP version.

Only an address of a segment with a default route can be it. The first that was bound is; when it
goes, the next takes over. Callers hold the lock of the external NIC (:func:`locked_nic`), so that
no two of them decide at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from django.db.models import Q
from django.utils.translation import gettext as _

from network.models import ExternalAddress, ExternalIp, Nic, NicKind, NicNetwork, RoutePolicy
from network.rules.carried import is_plugged
from network.states.external_ips import ExternalIpStatus, ExternalIpTask
from scloud.lib.errors import NotFound

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: As :attr:`ExternalIp.is_carried` says it.
CARRIED: Final = Q(task="", status=ExternalIpStatus.BOUND) | (
    ~Q(task__in=["", ExternalIpTask.UNBINDING]) & Q(nic__isnull=False)
)
Egress = ExternalIp | Nic


def locked_nic(pk: str) -> Nic:
    """Return a NIC, locked until the transaction ends: who binds to it, unbinds or deletes waits.

    Raises NotFound if it is gone.
    """
    nic: Nic | None = Nic.objects.select_for_update(no_key=True).filter(pk=pk).first()
    if nic is None:
        raise NotFound(_("There is no network interface %(nic)s.") % {"nic": pk})
    return nic


def candidates(target_kind: str, target_id: str, version: int) -> list[Egress]:
    """Return what can be the egress of a target, the first bound first."""
    ips = ExternalIp.objects.filter(
        CARRIED,
        target_kind=target_kind,
        target_id=target_id,
        ip_version=version,
        segment__route_policy=RoutePolicy.DEFAULT,
    )
    found: list[Egress] = list(ips)
    if target_kind == "vm":
        own = ExternalAddress.objects.filter(
            nic__vm_id=target_id,
            nic__kind=NicKind.ENI,
            nic__network=NicNetwork.EXTERNAL,
            segment__ip_version=version,
            segment__route_policy=RoutePolicy.DEFAULT,
        ).select_related("nic__eni")
        found += [one.nic for one in own if one.nic is not None and is_plugged(one.nic)]
    return sorted(found, key=lambda one: (one.bound_at or _LONG_AGO, str(one.pk)))


def settle(target_kind: str, target_id: str) -> None:
    """Make the first bound address the egress where a target has none that can be it."""
    for version in (4, 6):
        found = candidates(target_kind, target_id, version)
        if found and not any(one.egress for one in found):
            choose(found[0], found)


def choose(chosen: Egress, among: Sequence[Egress]) -> None:
    """Make one of the candidates the egress, and none of the others."""
    for one in among:
        if one.egress and one.pk != chosen.pk:
            type(one).objects.filter(pk=one.pk).update(egress=False)
            one.egress = False
    type(chosen).objects.filter(pk=chosen.pk).update(egress=True)
    chosen.egress = True
