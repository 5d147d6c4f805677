"""Making rows true on the fabric: for jobs, their sweeps and the reconciler, never for a request.

Each thing is read and applied while an advisory lock of its own is held. So of two workers the
later one always applies what it read later, and requests, which take row locks only, never wait
for the network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from django.db import connection, models, transaction
from django.utils import timezone

from network.fabric.base import Changes, Fabric, Kind, PortObservation
from network.models import (
    Applied,
    ExternalSegment,
    Nic,
    NicNetwork,
    PrivateAddress,
    SecurityGroup,
    Subnet,
    Tombstone,
    Vpc,
)
from network.rules.carried import WITH_ADDRESSES, carried_by
from network.rules.guest import GuestNic
from network.tasks import guests, specs
from network.tasks.fabrics import fabric_of, translated_errors
from scloud.audit import events
from scloud.lib.errors import HostError
from scloud.lib.locks import advisory_key

log = logging.getLogger(__name__)
#: So many NICs are moved together with a group that changes.
MOVED_AT_ONCE: Final = 200
#: The code of a HostError for something that should be on the fabric and is not.
MISSING = "fabric_missing"
#: The code of a HostError for a fabric that does not answer.
UNREACHABLE = "fabric_unreachable"

Row = TypeVar("Row", bound=Applied)


@dataclass(frozen=True, slots=True)
class NicSpec:
    """What a VM's domain needs to know of a NIC; its guest has :func:`guest_nics`."""

    nic_id: str
    index: int
    device: str
    port_uuid: str
    mac: str
    mtu_bytes: int


def nic_specs(vm_id: str) -> list[NicSpec]:
    """The VM's NICs by index; needs the tenant's scope."""
    return [nic_spec(nic) for nic in _nics().filter(vm_id=vm_id, index__isnull=False)]


def nic_spec(nic: Nic) -> NicSpec:
    if nic.index is None:
        raise ValueError(f"{nic.pk} is not bound")
    return NicSpec(
        nic_id=nic.pk,
        index=nic.index,
        device=nic.device,
        port_uuid=str(nic.port_uuid),
        mac=nic.mac,
        mtu_bytes=guests.device_mtu_bytes(nic),
    )


def guest_nics(vm_id: str) -> list[GuestNic]:
    """A VM's NICs by index, as the plan of its guest takes them; needs the tenant's scope."""
    return guests.guest_nics(_nics().filter(vm_id=vm_id, index__isnull=False))


def ensure_nic_ports(nics: Sequence[Nic]) -> Changes:
    """Make the NICs' ports, and all that they rest on, be there; return what was changed.

    What they rest on is applied only where a change of it was not yet, or where it turns out to
    be missing: the reconciler looks after the rest, and VMs of one subnet need not wait for each
    other. For NICs of one region. Idempotent. Raises HostError (retryable).
    """
    rows = _nics().select_related("security_group")
    fresh = list(rows.filter(pk__in=[nic.pk for nic in nics], port_wanted=True))
    if not fresh:
        return ()
    fabric = fabric_of(fresh[0].region)
    ids = [nic.pk for nic in fresh]
    changes = _apply_beneath(fabric, fresh, everything=False)
    try:
        return changes + apply_nics(fabric, ids)
    except HostError as error:
        if error.code != MISSING:
            raise
    changes += _apply_beneath(fabric, fresh, everything=True)
    return changes + apply_nics(fabric, ids)


def _apply_beneath(fabric: Fabric, nics: Sequence[Nic], *, everything: bool) -> Changes:
    """Apply VPCs, subnets and groups of NICs: all, or those with a change that was not applied."""
    subnets = {nic.subnet.pk: nic.subnet for nic in nics if nic.subnet is not None}
    vpcs = {subnet.vpc_id: subnet.vpc for subnet in subnets.values()}
    groups = {nic.security_group.pk: nic.security_group for nic in nics if nic.security_group}
    carried = [one for nic in nics if nic.network == NicNetwork.EXTERNAL for one in carried_by(nic)]
    segments = {one.segment.pk: one.segment for one in carried}
    changes: Changes = ()
    for rows, apply in (
        (vpcs, apply_vpc),
        (subnets, apply_subnet),
        (segments, apply_segment),
        (groups, apply_security_group),
    ):
        for row in rows.values():
            if everything or row.applied_generation < row.generation:
                changes += apply(fabric, row.pk)
    return changes


def remove_nic_ports(nics: Sequence[Nic]) -> None:
    """Take the NICs' ports away and see to it that nothing brings them back.

    For NICs of one region that are about to be released. Idempotent. Raises HostError.
    """
    if not nics:
        return
    ids = [nic.pk for nic in nics]
    # Before the lock and committed: who applies the NICs next finds that they are not wanted, and
    # no request waits for the row while the network answers.
    Nic.objects.filter(pk__in=ids, port_wanted=True).update(port_wanted=False)
    with _held(ids), translated_errors():
        fabric_of(nics[0].region).delete_ports([str(nic.port_uuid) for nic in nics])


def observe_nic(nic: Nic) -> PortObservation:
    with translated_errors():
        return fabric_of(nic.region).port_observation(str(nic.port_uuid))


def apply_vpc(fabric: Fabric, vpc_id: str, *, dry_run: bool = False) -> Changes:
    """Apply the VPC as it is now; nothing if it is gone."""

    def ensure(vpc: Vpc) -> Changes:
        return fabric.ensure_vpc(specs.vpc_spec(vpc), dry_run=dry_run)

    return _apply(Vpc, vpc_id, ensure, dry_run=dry_run)


def apply_subnet(fabric: Fabric, subnet_id: str, *, dry_run: bool = False) -> Changes:
    """Apply the subnet as it is now; nothing if it is gone. Its VPC must have been applied."""

    def ensure(subnet: Subnet) -> Changes:
        return fabric.ensure_subnet(specs.subnet_spec(subnet), dry_run=dry_run)

    return _apply(Subnet, subnet_id, ensure, dry_run=dry_run)


def apply_segment(fabric: Fabric, segment_id: str, *, dry_run: bool = False) -> Changes:
    """Apply the segment's switch as it is now; nothing if the segment is gone."""

    def ensure(segment: ExternalSegment) -> Changes:
        return fabric.ensure_segment(specs.segment_spec(segment), dry_run=dry_run)

    # Its switch is held as well: one that is to go because nothing lay on it any more.
    switches = ExternalSegment.objects.filter(pk=segment_id).values_list("switch_id", flat=True)
    return _apply(ExternalSegment, segment_id, ensure, dry_run=dry_run, also=list(switches))


def apply_security_group(fabric: Fabric, group_id: str, *, dry_run: bool = False) -> Changes:
    """Apply the group's present rules; nothing if it is gone.

    NICs that are on their way out of the group, or into another, are moved in the same
    transaction: they never have rules that were made after they had left.
    """
    moving = [] if dry_run else _moving(group_id)
    if moving:
        try:
            return _apply_moving(fabric, group_id, moving)
        except HostError as error:
            if error.code == UNREACHABLE:
                raise
            # Something else is wrong with one of them, which must not hold up the rules.
            log.info("%s is applied by itself: %s", group_id, error.for_operators())

    def ensure(group: SecurityGroup) -> Changes:
        return fabric.ensure_security_group(specs.security_group_spec(group), dry_run=dry_run)

    return _apply(SecurityGroup, group_id, ensure, dry_run=dry_run)


def _moving(group_id: str) -> list[str]:
    """The NICs of the group's tenant with a change that was not applied yet."""
    group = SecurityGroup.objects.filter(pk=group_id).first()
    if group is None:
        return []
    rows = Nic.objects.filter(
        tenant_id=group.tenant_id,
        region_id=group.region_id,
        port_wanted=True,
        applied_generation__gt=0,
        applied_generation__lt=models.F("generation"),
    )
    return list(rows.order_by("pk").values_list("pk", flat=True)[:MOVED_AT_ONCE])


def _apply_moving(fabric: Fabric, group_id: str, nic_ids: Sequence[str]) -> Changes:
    into = Nic.objects.filter(pk__in=nic_ids, security_group__isnull=False)
    groups = {group_id, *into.values_list("security_group_id", flat=True)}
    return apply_together(fabric, sorted(groups), nic_ids)


def apply_together(
    fabric: Fabric,
    group_ids: Sequence[str],
    nic_ids: Sequence[str],
    *,
    dry_run: bool = False,
) -> Changes:
    """Apply groups and NICs in one transaction of the fabric.

    So no port has, for a moment, the new rules of a group that it leaves or the old ones of the
    group that it comes into. What is gone is left out. An external NIC without an address has no
    port: one that it still has is taken away.
    """
    with _held([*group_ids, *nic_ids]), translated_errors():
        # Read first: what is given up after this is freed by the next turn, not by this one.
        given_up = _given_up(nic_ids)
        nics = list(_nics().filter(pk__in=nic_ids, port_wanted=True).order_by("pk"))
        groups = list(
            SecurityGroup.objects.filter(pk__in=group_ids).prefetch_related("rules").order_by("pk")
        )
        wanted = [(nic, specs.port_spec(nic)) for nic in nics]
        changes = _remove_idle(fabric, [nic for nic, spec in wanted if spec is None], dry_run)
        ports = [spec for _nic, spec in wanted if spec is not None]
        if ports or groups:
            changes += fabric.ensure_ports(
                ports, groups=[specs.security_group_spec(one) for one in groups], dry_run=dry_run
            )
        if not changes or not dry_run:
            for row in (*groups, *nics):
                _mark_applied(row)
            _free(given_up, nics)
        return changes


def apply_nics(fabric: Fabric, nic_ids: Sequence[str], *, dry_run: bool = False) -> Changes:
    """Apply the ports of these NICs in one go, as :func:`apply_together` does."""
    return apply_together(fabric, (), nic_ids, dry_run=dry_run)


def with_ports(nic_ids: Sequence[str]) -> set[str]:
    """Those of the NICs that shall have a port; one whose row is broken counts as one of them."""
    return {nic.pk for nic in _nics().filter(pk__in=nic_ids) if _has_port(nic)}


def _has_port(nic: Nic) -> bool:
    try:
        return nic.port_wanted and specs.port_spec(nic) is not None
    except ValueError:
        # Applying it says what is wrong with it.
        return True


def remove_unwanted(fabric: Fabric, nic_id: str, *, dry_run: bool = False) -> Changes:
    """Take away what the fabric holds of a NIC that shall have no port at the moment."""
    with _held([nic_id]), translated_errors():
        nic = _nics().filter(pk=nic_id).first()
        if nic is None or _has_port(nic):
            return ()
        if not dry_run:
            fabric.delete_ports([nic.fabric_id])
            _mark_applied(nic)
        return (f"{Kind.PORT} {nic.fabric_id}: removed",)


def _given_up(nic_ids: Sequence[str]) -> list[tuple[int, str]]:
    """The addresses that NICs gave up and that nobody may have yet, each with its NIC."""
    rows = PrivateAddress.objects.filter(leaving__in=nic_ids)
    return list(rows.values_list("pk", "leaving_id"))


def _free(given_up: Sequence[tuple[int, str]], nics: Sequence[Nic]) -> None:
    """Free the addresses that these NICs gave up: the fabric has their ports without them."""
    applied = {nic.pk for nic in nics}
    free = [pk for pk, nic_id in given_up if nic_id in applied]
    if free:
        PrivateAddress.objects.filter(pk__in=free, leaving__isnull=False).delete()


def _remove_idle(fabric: Fabric, nics: Sequence[Nic], dry_run: bool) -> Changes:
    """Take away the ports of external NICs that have no address at the moment."""
    names = [str(nic.port_uuid) for nic in nics]
    surplus = [name for name in names if fabric.port_observation(name).exists]
    if surplus and not dry_run:
        fabric.delete_ports(surplus)
    return tuple(f"{Kind.PORT} {name}: removed" for name in surplus)


def remove_buried(fabric: Fabric, tombstone: Tombstone) -> None:
    """Take away what the fabric still holds of a resource that is gone."""
    with _held([tombstone.target_id]), translated_errors():
        kind = Kind(tombstone.kind)
        if kind is Kind.SEGMENT and _lies_on(tombstone):
            # Another segment was put on the same VLAN meanwhile: the switch is its.
            tombstone.delete()
            return
        if kind is Kind.VPC:
            fabric.delete_vpc(tombstone.target_id)
        elif kind is Kind.SUBNET:
            fabric.delete_subnet(tombstone.target_id)
        elif kind is Kind.SECURITY_GROUP:
            fabric.delete_security_group(tombstone.target_id)
        elif kind is Kind.SEGMENT:
            fabric.delete_segment(tombstone.target_id)
        else:
            fabric.delete_ports([tombstone.target_id])
        Tombstone.objects.filter(pk=tombstone.pk, removed_at=None).update(removed_at=timezone.now())


def _lies_on(tombstone: Tombstone) -> bool:
    """Whether a segment lies on the switch of a tombstone."""
    return ExternalSegment.objects.filter(
        region_id=tombstone.region_id, switch_id=tombstone.target_id
    ).exists()


def _nics() -> models.QuerySet[Nic]:
    rows: models.QuerySet[Nic] = Nic.objects.select_related(
        "region", "subnet", "subnet__vpc"
    ).prefetch_related(*WITH_ADDRESSES)
    return rows


@contextmanager
def _held(ids: Iterable[str]) -> Iterator[None]:
    """A transaction that holds the advisory locks of these things, taken in one order."""
    with transaction.atomic(), connection.cursor() as cursor:
        for one in sorted(ids):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_key(one)])
        yield


def _apply(
    model: type[Row],
    pk: str,
    ensure: Callable[[Row], Changes],
    *,
    dry_run: bool,
    also: Sequence[str] = (),
) -> Changes:
    """Read the row once its lock is held, apply it, and note that this was done."""
    with _held([pk, *also]), translated_errors():
        row: Row | None = model._default_manager.filter(pk=pk).first()
        if row is None:
            return ()
        changes = ensure(row)
        # A rehearsal that finds nothing to change has seen that the row is true.
        if not changes or not dry_run:
            _mark_applied(row)
        return changes


def _mark_applied(row: Applied) -> None:
    """Note the generation that was read and applied, unless a later one was noted already."""
    noted = (
        type(row)
        ._default_manager.filter(pk=row.pk, applied_generation__lt=row.generation)
        .update(applied_generation=row.generation, sync_error="", sync_error_detail="")
    )
    if noted:
        events.notify(
            tenant_id=getattr(row, "tenant_id", None),
            kind=f"{row.KIND}.applied",
            resource_kind=row.KIND,
            resource_id=row.pk,
        )
