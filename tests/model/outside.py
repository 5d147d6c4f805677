"""External IPs and ENIs in the walk: their verbs, chosen as those of the other kinds are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from alarms.actions.binding import change_external_ip_template
from alarms.models import AlarmTemplate
from compute.models import VM
from compute.rules.refusals import vm_refusal
from network.actions import enis, external_ips
from network.models import Eni, ExternalIp, ExternalSegment, SecurityGroup, Subnet
from network.rules.eni_orders import EniOrder
from network.rules.external_orders import ExternalIpOrder
from network.rules.refusals import eni_refusal, external_ip_refusal
from scloud.tenancy.scoping import scopes_disabled

if TYPE_CHECKING:
    from tests.model.machine import CloudMachine

# As often as they stand here.
EXTERNAL_IP_VERBS: Final = [
    "create_external_ip",
    "create_external_ip",
    "bind_external_ip",
    "bind_external_ip",
    "bind_external_ip",
    "unbind_external_ip",
    "set_default_egress",
    "resize_external_ip",
    "resize_external_ip",
    "rename_external_ip",
    "change_alarm_template",
    "renew_external_ip",
    "delete_external_ip",
    "restore_external_ip",
    "destroy_external_ip",
]
ENI_VERBS: Final = [
    "create_eni",
    "create_eni",
    "bind_eni",
    "bind_eni",
    "bind_eni",
    "unbind_eni",
    "set_eni_egress",
    "change_eni_group",
    "resize_eni",
    "rename_eni",
    "renew_eni",
    "delete_eni",
]
# What VMs do through the verbs above.
OF_A_VM: Final = {"bind_external_ip", "unbind_external_ip", "bind_eni", "unbind_eni"}


def possible_external_ip_verb(row: ExternalIp, verb: str) -> str | None:
    """Why a verb is not for an external IP; a purchase needs none."""
    return None if verb == "create_external_ip" else external_ip_refusal(row, verb)


def possible_eni_verb(row: Eni, verb: str) -> str | None:
    """Why a verb is not for an ENI; a new one needs none."""
    return None if verb == "create_eni" else eni_refusal(row, verb)


def change_external_ip(machine: CloudMachine, tenant: str, number: int) -> None:
    """Buy external IPs, or do something with one."""
    verb, row, number = machine.choose(
        machine.rows(ExternalIp, tenant), EXTERNAL_IP_VERBS, possible_external_ip_verb, number
    )
    actor = machine.actor(tenant)
    if row is None or verb == "create_external_ip":
        of = segment(machine, number)
        method = "hour" if number % 3 else "month"
        order = ExternalIpOrder(
            region=machine.world.region,
            segment=of,
            bandwidth_mbps=number % 7 + 1,
            count=2 if number % 5 == 4 else 1,
            name=machine.world.name("eip"),
            method=method,
            auto_renew=method == "month" or number % 6 == 1,
        )
        machine.invoke(
            tenant,
            f"create_external_ip {order.name} x{order.count} of {of.name} by the {method}",
            lambda: external_ips.create_external_ips(
                actor=actor,
                order=order,
                quote_token=external_ips.quote_external_ips(actor=actor, order=order).token,
            ),
        )
        return
    words, act = _external_ip_verb(machine, tenant, verb, row, number)
    machine.invoke(tenant, f"{verb} {row.name}{words}", act)


def _external_ip_verb(
    machine: CloudMachine, tenant: str, verb: str, row: ExternalIp, number: int
) -> tuple[str, Callable[[], object]]:
    actor = machine.actor(tenant)
    if verb == "renew_external_ip":
        return "", lambda: machine.renew(tenant, row.pk)
    if verb == "bind_external_ip":
        vm = _vm(machine, tenant, verb, number)
        if vm is None:
            return " to nothing", lambda: None
        return f" to {vm.name}", partial(
            external_ips.bind_external_ip, actor=actor, external_ip=row, target=vm
        )
    if verb == "resize_external_ip":
        mbps = number % 9 + 1
        return f" to {mbps} Mb/s", lambda: external_ips.resize_external_ip(
            actor=actor,
            external_ip=row,
            bandwidth_mbps=mbps,
            quote_token=external_ips.quote_bandwidth(
                actor=actor, external_ip=row, bandwidth_mbps=mbps
            ).token,
        )
    if verb == "rename_external_ip":
        name = machine.world.name("eip")
        return f" {name}", partial(
            external_ips.rename_external_ip, actor=actor, external_ip=row, name=name
        )
    if verb == "change_alarm_template":
        found = [one for one in machine.rows(AlarmTemplate, tenant) if one.subject == "external_ip"]
        template = [*found, None][number % (len(found) + 1)]
        return f" to {template and template.name}", partial(
            change_external_ip_template, actor=actor, external_ip=row, template=template
        )
    plain: dict[str, Callable[..., object]] = {
        "unbind_external_ip": external_ips.unbind_external_ip,
        "set_default_egress": external_ips.set_default_egress,
        "delete_external_ip": external_ips.delete_external_ip,
        "restore_external_ip": external_ips.restore_external_ip,
        "destroy_external_ip": external_ips.destroy_external_ip,
    }
    return "", partial(plain[verb], actor=actor, external_ip=row)


def change_eni(machine: CloudMachine, tenant: str, number: int) -> None:
    """Make an ENI, inside or outside, or do something with one."""
    verb, row, number = machine.choose(
        machine.rows(Eni, tenant), ENI_VERBS, possible_eni_verb, number
    )
    if row is None or verb == "create_eni":
        _create_eni(machine, tenant, number)
        return
    words, act = _eni_verb(machine, tenant, verb, row, number)
    machine.invoke(tenant, f"{verb} {row.name}{words}", act)


def _create_eni(machine: CloudMachine, tenant: str, number: int) -> None:
    subnets = machine.rows(Subnet, tenant)
    subnet = subnets[number % len(subnets)] if subnets and number % 2 else None
    of = None if subnet is not None else segment(machine, number)
    order = EniOrder(
        region=machine.world.region,
        subnet=subnet,
        segment=of,
        bandwidth_mbps=0 if of is None else number % 5 + 1,
        group=_group(machine, tenant, number),
        name=machine.world.name("eni"),
    )
    actor = machine.actor(tenant)

    def create() -> object:
        quote = enis.quote_eni(actor=actor, order=order)
        token = "" if quote is None else quote.token
        return enis.create_eni(actor=actor, order=order, quote_token=token)

    machine.invoke(tenant, f"create_eni {order.name} in {(subnet or of).name}", create)  # type: ignore[union-attr]  # one of them is there


def _eni_verb(
    machine: CloudMachine, tenant: str, verb: str, row: Eni, number: int
) -> tuple[str, Callable[[], object]]:
    actor = machine.actor(tenant)
    if verb == "renew_eni":
        return "", lambda: machine.renew(tenant, row.pk)
    if verb == "bind_eni":
        vm = _vm(machine, tenant, verb, number)
        if vm is None:
            return " to nothing", lambda: None
        return f" to {vm.name}", partial(enis.bind_eni, actor=actor, eni=row, vm=vm)
    if verb == "resize_eni":
        mbps = number % 9 + 1
        return f" to {mbps} Mb/s", lambda: enis.resize_eni(
            actor=actor,
            eni=row,
            bandwidth_mbps=mbps,
            quote_token=enis.quote_eni_bandwidth(actor=actor, eni=row, bandwidth_mbps=mbps).token,
        )
    if verb == "rename_eni":
        name = machine.world.name("eni")
        return f" {name}", partial(enis.rename_eni, actor=actor, eni=row, name=name)
    if verb == "change_eni_group":
        group = _group(machine, tenant, number)
        return f" to {group}", partial(enis.change_eni_group, actor=actor, eni=row, group=group)
    plain: dict[str, Callable[..., object]] = {
        "unbind_eni": enis.unbind_eni,
        "set_eni_egress": enis.set_eni_egress,
        "delete_eni": enis.delete_eni,
    }
    return "", partial(plain[verb], actor=actor, eni=row)


def segment(machine: CloudMachine, number: int) -> ExternalSegment:
    """Return one of the region's segments."""
    with scopes_disabled():
        rows = list(ExternalSegment.objects.filter(region=machine.world.region).order_by("name"))
    return rows[number % len(rows)]


def _group(machine: CloudMachine, tenant: str, number: int) -> SecurityGroup | None:
    groups: list[SecurityGroup | None] = [*machine.rows(SecurityGroup, tenant), None]
    return groups[number % len(groups)]


def _vm(machine: CloudMachine, tenant: str, verb: str, number: int) -> VM | None:
    """Any VM that allows the verb; now and then one that does not."""
    rows = machine.rows(VM, tenant)
    with scopes_disabled():
        fit = [row for row in rows if vm_refusal(row, verb) is None]
    rows = rows if number % 9 == 8 else fit
    return rows[number % len(rows)] if rows else None
