"""The job by which an operator sees what the network does with a packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from django.utils.translation import gettext as _

from network.fabric.base import IpProtocol, TraceSpec, router_mac
from network.models import Nic
from network.tasks.fabrics import trace_in
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import NotFound
from scloud.tenancy.scoping import scopes_disabled

#: Stands for the gateway of a segment, whose MAC the platform does not know: any that no port has.
OUTSIDE_MAC: Final = "0a:00:00:00:00:01"


class TracePacket(Handler):
    """``network.trace``: reads the network's flows only. Its result is the operators' alone."""

    def steps(self, job: Job) -> Sequence[Step]:
        """One step."""
        return [Step("trace", _("Trace the packet"), self._run)]

    def _run(self, context: Context) -> None:
        with scopes_disabled():
            rows = Nic.objects.select_related("region", "segment")
            nic = rows.filter(pk=context.job.target_id).first()
            other = rows.filter(pk=context.payload["destination_nic"] or "").first()
        if nic is None:
            raise NotFound(
                _("There is no network interface %(nic)s.") % {"nic": context.job.target_id}
            )
        context.result["trace"] = trace_in(nic.region, trace_spec(nic, other, context.payload))


def trace_spec(nic: Nic, other: Nic | None, asked: Mapping[str, Any]) -> TraceSpec:
    """The packet as it leaves the NIC: to its neighbour itself, else to the gateway."""
    switch_id = switch_of(nic)
    if switch_id is None:
        raise ValueError(f"{nic.pk} is on no switch")
    source, destination = ip_address(asked["source"]), ip_address(asked["destination"])
    if other is not None and switch_of(other) == switch_id:
        to = other.mac
    else:
        to = router_mac(nic.subnet_id) if nic.subnet_id is not None else OUTSIDE_MAC
    protocol = asked["protocol"]
    if protocol == "icmp" and source.version == 6:
        protocol = IpProtocol.ICMPV6
    return TraceSpec(
        switch_id=switch_id,
        port_name=str(nic.port_uuid),
        source_mac=nic.mac,
        destination_mac=to,
        source=source,
        destination=destination,
        protocol=IpProtocol(protocol),
        port=asked["port"],
    )


def switch_of(nic: Nic) -> str | None:
    """The switch that the NIC's port is on; None for one that has none."""
    if nic.subnet_id is not None:
        return nic.subnet_id
    return nic.segment.switch_id if nic.segment is not None else None


def register_handlers() -> None:
    """Make the handler known to the workers."""
    register("network.trace", TracePacket())
