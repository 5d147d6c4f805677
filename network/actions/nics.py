"""NICs: made and released in the transactions of what owns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from network.actions import addresses
from network.actions.common import bury, changed, enqueue_sync, locked, still_there, tell
from network.models import Nic, NicKind, NicNetwork, SecurityGroup, Subnet
from network.models.nic import EXTERNAL_INDEX
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRequest:
    """One NIC to be made. ``address`` None takes the lowest free one."""

    vm_id: str
    index: int = 0
    address: str | None = None
    security_group: SecurityGroup | None = None
    name: str = ""
    kind: str = NicKind.DEFAULT


def create_nics(
    *, subnet: Subnet, requests: Sequence[NicRequest], field: str = "address"
) -> list[Nic]:
    """Make internal NICs with addresses in one subnet: all of them or none.

    ``field`` is what a refusal of an address names.

    Runs in the caller's transaction, which must have taken account and quota locks before, and
    keeps the subnet locked until it ends. Makes no job: the VM's own job calls
    :func:`network.tasks.plumbing.ensure_nic_ports`. Raises what
    :func:`network.actions.addresses.allocate` raises, and NotFound for a group that is gone.
    """
    groups = {one.security_group.pk: one.security_group for one in requests if one.security_group}
    for group in groups.values():
        if group.region_id != subnet.region_id:
            raise InvalidInput(
                _("Security group %(name)s is in another region.") % {"name": group.name},
                code="region_differs",
                field="internal_security_group",
            )
    still_there(SecurityGroup, list(groups), field="internal_security_group")
    chosen = addresses.allocate(subnet, [one.address for one in requests], field=field)
    nics = []
    for request, address in zip(requests, chosen, strict=True):
        nic = Nic(
            tenant=subnet.tenant,
            region=subnet.region,
            name=request.name or f"eth{request.index}",
            kind=request.kind,
            vm_id=request.vm_id,
            index=request.index,
            subnet=subnet,
            security_group=request.security_group,
        )
        nic.save(force_insert=True)
        addresses.hold(nic, address)
        nics.append(nic)
    return nics


def external_nic(*, tenant: Tenant, region: Region, vm_id: str, group: SecurityGroup | None) -> Nic:
    """Return the external NIC of a VM, made where it has none; it has no address and no port yet.

    Runs in the caller's transaction. Any number of callers may ask at once, one makes it. Raises
    NotFound for a group that is gone.
    """
    still_there(SecurityGroup, [group.pk] if group else [], field="external_security_group")
    nic = Nic(
        tenant=tenant,
        region=region,
        name=f"eth{EXTERNAL_INDEX}",
        network=NicNetwork.EXTERNAL,
        vm_id=vm_id,
        index=EXTERNAL_INDEX,
        security_group=group,
    )
    Nic.objects.bulk_create([nic], ignore_conflicts=True)
    found: Nic = Nic.objects.select_related("region").get(vm_id=vm_id, index=EXTERNAL_INDEX)
    return found


def move_nic(nic: Nic, subnet: Subnet, address: str | None, *, actor: Actor) -> Nic:
    """Give a VM's internal NIC another address, of its subnet or of another one of its VPC.

    Runs in the transaction of an action that makes sure that nothing uses the NIC now. None takes
    the lowest free address. What the NIC had is free once the network has the new address at its
    port, so that no two ports ever have it. Raises NotFound, InvalidInput (``vpc_differs``,
    ``address_unchanged``) and what :func:`network.actions.addresses.allocate` raises.
    """
    assert nic.subnet is not None
    if subnet.vpc_id != nic.subnet.vpc_id:
        raise InvalidInput(
            _("Subnet %(name)s is in another VPC.") % {"name": subnet.name},
            code="vpc_differs",
            field="subnet",
            remedy=_("Choose a subnet of the VPC that the VM is in."),
        )
    asked = (address or "").strip()
    same = subnet.pk == nic.subnet_id
    held = [str(one) for one in nic.addresses.all()]
    if same and asked in held:
        raise InvalidInput(
            _("%(address)s is its address already.") % {"address": asked},
            code="address_unchanged",
            field="address",
            remedy=_("Choose another address, or leave it empty."),
        )
    (chosen,) = addresses.allocate(subnet, [asked])
    fresh: Nic = locked(nic)
    audit.note(before={"subnet": fresh.subnet_id, "address": addresses.give_up(fresh)})
    fresh.subnet = subnet
    fresh.save(update_fields=["subnet"])
    addresses.hold(fresh, chosen)
    audit.note(after={"subnet": subnet.pk, "address": str(chosen)})
    changed(fresh)
    tell(fresh, "address_changed", vm=fresh.vm_id, address=str(chosen))
    enqueue_sync(
        fresh, actor=actor, title=_("Change the address of %(name)s") % {"name": fresh.name}
    )
    return fresh


def release_nics(vm_id: str) -> int:
    """Free the addresses of a VM's default NICs and delete them; return how many there were.

    Runs in the caller's transaction, after :func:`network.tasks.plumbing.remove_nic_ports`; what
    that left in the fabric is removed by the reconciler. Takes no lock.
    """
    nics = list(Nic.objects.filter(vm_id=vm_id, kind=NicKind.DEFAULT))
    for nic in nics:
        bury(nic)
    return len(nics)


def assign_security_group(nic: Nic, group: SecurityGroup | None, *, actor: Actor) -> Nic:
    """Give a NIC another group, or none, within the caller's action; acts at once.

    Raises NotFound, InvalidInput (``region_differs``).
    """
    fresh: Nic = locked(nic)
    if group is not None:
        if group.region_id != fresh.region_id:
            raise InvalidInput(
                _("Security group %(name)s is in another region.") % {"name": group.name},
                code="region_differs",
                field="internal",
            )
        still_there(SecurityGroup, [group.pk], field="internal")
    if fresh.security_group_id == (group.pk if group else None):
        return fresh
    audit.note(before={"nic": fresh.pk, "security_group": fresh.security_group_id})
    fresh.security_group = group
    fresh.save(update_fields=["security_group"])
    audit.note(after={"nic": fresh.pk, "security_group": group.pk if group else None})
    changed(fresh)
    tell(fresh, "security_group_changed", vm=fresh.vm_id)
    if fresh.port_wanted:
        enqueue_sync(
            fresh,
            actor=actor,
            title=_("Change the security group of %(name)s") % {"name": fresh.name},
        )
    return fresh


@action("network.change_security_group")
def change_security_group(*, actor: Actor, nic: Nic, group: SecurityGroup | None) -> Nic:
    """Give a NIC another group, or none. Raises NotFound, InvalidInput, Conflict (``nic_gone``)."""
    if not nic.port_wanted:
        raise Conflict(_("%(nic)s is being removed.") % {"nic": nic.pk}, code="nic_gone")
    return assign_security_group(nic, group, actor=actor)
