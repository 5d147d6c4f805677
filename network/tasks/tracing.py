"""The job by which an operator sees what the network does with a packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from django.utils.translation import gettext as _

from network.fabric.base import IpProtocol, TraceSpec, router_mac
from network.models import Nic
from network.tasks.fabrics import trace_in
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import NotFound
from scloud.tenancy.scoping import scopes_disabled


class TracePacket(Handler):
    """``network.trace``: reads the network's flows only. Its result is the operators' alone."""

    def steps(self, job: Job) -> Sequence[Step]:
        """One step."""
        return [Step("trace", _("Trace the packet"), self._run)]

    def _run(self, context: Context) -> None:
        with scopes_disabled():
            rows = Nic.objects.select_related("region", "subnet")
            nic = rows.filter(pk=context.job.target_id).first()
            other = rows.filter(pk=context.payload["destination_nic"] or "").first()
        if nic is None:
            raise NotFound(
                _("There is no network interface %(nic)s.") % {"nic": context.job.target_id}
            )
        context.result["trace"] = trace_in(nic.region, trace_spec(nic, other, context.payload))


def trace_spec(nic: Nic, other: Nic | None, asked: Mapping[str, Any]) -> TraceSpec:
    """The packet as it leaves the NIC: to its neighbour itself, else to the subnet's gateway."""
    if nic.subnet_id is None:
        raise ValueError(f"{nic.pk} is on no subnet")
    source, destination = ip_address(asked["source"]), ip_address(asked["destination"])
    beside = other is not None and other.subnet_id == nic.subnet_id
    protocol = asked["protocol"]
    if protocol == "icmp" and source.version == 6:
        protocol = IpProtocol.ICMPV6
    return TraceSpec(
        switch_id=nic.subnet_id,
        port_name=str(nic.port_uuid),
        source_mac=nic.mac,
        destination_mac=other.mac if other is not None and beside else router_mac(nic.subnet_id),
        source=source,
        destination=destination,
        protocol=IpProtocol(protocol),
        port=asked["port"],
    )


def register_handlers() -> None:
    """Make the handler known to the workers."""
    register("network.trace", TracePacket())
