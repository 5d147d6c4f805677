"""What is known of a cluster's hosts when one of them is to be given up."""

from __future__ import annotations

from django.db.models import Count, Q

from compute.hosts.admission import that_served
from compute.hosts.fencing import Situation
from compute.hosts.witnesses import Sighting
from compute.models import FenceDevice, Host, HostSighting
from compute.states.hosts import IN_MAINTENANCE, MAY_RUN, HostState, Witness

_GONE = (HostState.SUSPECT, HostState.FENCED)
# Of those that are to run: one that does not answer is on its way to be suspect.
_SILENT = Q(state__in=MAY_RUN, unreachable_since__isnull=False)


def situation_of(host: Host, *, others_alive: bool) -> Situation:
    """Return what decides whether a suspect host is fenced by itself."""
    # One that was never in service, such as with a wrong address, is no sign of a network cut off.
    found = that_served(host.cluster_id).aggregate(
        hosts=Count("pk", filter=~Q(state__in=IN_MAINTENANCE)),
        gone=Count("pk", filter=Q(state__in=_GONE) | _SILENT),
    )
    return Situation(
        hosts=found["hosts"],
        gone=found["gone"],
        others_alive=others_alive,
        has_device=FenceDevice.objects.filter(host=host).exists(),
    )


def sightings_of(hosts: list[Host] | None = None) -> dict[str, list[Sighting]]:
    """Return what was seen of hosts, or of all, by their ids; in one query."""
    rows = HostSighting.objects.all()
    if hosts is not None:
        rows = rows.filter(host__in=hosts)
    found: dict[str, list[Sighting]] = {}
    for row in rows:
        found.setdefault(row.host_id, []).append(
            Sighting(
                Witness(row.witness), row.observer, row.watching_since, row.asked_at, row.alive_at
            )
        )
    return found
