"""Intended against observed: every region's rows against what its fabric holds.

What is missing or differs is put right. What is left over is removed only where a tombstone says
that it was deleted. What is ours by its mark but unknown, and what is somebody else's, is reported
and not touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from network.fabric.base import Changes, Fabric, Inventory, Kind
from network.models import (
    DriftProblem,
    ExternalSegment,
    NetworkDrift,
    Nic,
    SecurityGroup,
    Subnet,
    Tombstone,
    Vpc,
)
from network.tasks import plumbing
from network.tasks.fabrics import fabric_of, translated_errors
from scloud.jobs.rows import each
from scloud.lib.backoff import Said
from scloud.lib.errors import HostError
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
KEEP_RESOLVED = timedelta(days=90)

#: Younger changes belong to a job that is on its way.
SETTLE: Final = timedelta(seconds=60)
NICS_AT_ONCE: Final = 100
DETAIL_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. ``repaired`` is true when it was put right in the same run."""

    problem: DriftProblem
    kind: str
    target_id: str
    detail: str = ""
    repaired: bool = False


def reconcile(region: Region, *, repair: bool = True) -> list[Drift]:
    """Compare a region with its fabric; put right what may be put right unless told not to.

    Raises HostError when the fabric does not answer, at the beginning or later on. A thing that
    cannot be repaired is reported with the reason and does not keep the others from being looked
    at.
    """
    fabric = fabric_of(region)
    with scopes_disabled():
        # The fabric first: a thing that a job makes between the two looks then has its row.
        with translated_errors():
            inventory = fabric.list_owned()
        found = list(_differences(fabric, region, repair))
        found += _left_over(fabric, region, inventory, repair)
    found += [
        Drift(DriftProblem.FOREIGN, row.table, row.uuid, row.name) for row in inventory.foreign
    ]
    return found


def _differences(fabric: Fabric, region: Region, repair: bool) -> Iterator[Drift]:
    plans: list[tuple[Kind, type[Any], Callable[..., Changes]]] = [
        (Kind.VPC, Vpc, plumbing.apply_vpc),
        (Kind.SUBNET, Subnet, plumbing.apply_subnet),
        (Kind.SEGMENT, ExternalSegment, plumbing.apply_segment),
        (Kind.SECURITY_GROUP, SecurityGroup, plumbing.apply_security_group),
    ]
    for kind, model, apply in plans:
        for pk in _settled(model, region):
            yield from _look(kind, pk, repair, partial(apply, fabric, pk))
    nics = _settled(Nic, region, port_wanted=True)
    for start in range(0, len(nics), NICS_AT_ONCE):
        yield from _look_at_nics(fabric, nics[start : start + NICS_AT_ONCE], repair)


def _settled(model: type[Any], region: Region, **more: object) -> list[str]:
    """Rows that were applied once, or that wait for it longer than a job would take."""
    rows = model.objects.filter(region=region, **more)
    ripe = rows.filter(applied_generation__gt=0) | rows.filter(
        created_at__lt=timezone.now() - SETTLE
    )
    return list(ripe.order_by("pk").values_list("pk", flat=True))


def _look(
    kind: Kind, target_id: str, repair: bool, apply: Callable[..., Changes]
) -> Iterator[Drift]:
    try:
        changes = apply(dry_run=True)
        if changes and repair:
            apply()
    except HostError as error:
        _go_on(error)
        yield _drift(DriftProblem.DIFFERS, kind, target_id, error.for_operators())
        return
    except Exception as error:
        # Of this row alone: the others of the region are looked at all the same.
        log.exception("%s %s could not be compared", kind.value, target_id)
        detail = f"It could not be compared ({type(error).__name__})."
        yield _drift(DriftProblem.DIFFERS, kind, target_id, detail)
        return
    if changes:
        yield _drift(DriftProblem.DIFFERS, kind, target_id, "; ".join(changes), repaired=repair)


def _go_on(error: HostError) -> None:
    """Raise the error again where the fabric no longer answers.

    Every further question would wait as long for nothing, and the other regions for all of them.
    """
    if error.code == plumbing.UNREACHABLE:
        raise error


def _look_at_nics(fabric: Fabric, ids: Sequence[str], repair: bool) -> Iterator[Drift]:
    """All at once, and one by one only where something is wrong."""
    try:
        if not plumbing.apply_nics(fabric, ids, dry_run=True):
            return
    except HostError as error:
        _go_on(error)
        log.info("looking at %d NICs one by one", len(ids))
    except Exception:
        log.info("looking at %d NICs one by one", len(ids))
    for pk in ids:
        yield from _look(Kind.PORT, pk, repair, partial(plumbing.apply_nics, fabric, [pk]))


def _left_over(
    fabric: Fabric, region: Region, inventory: Inventory, repair: bool
) -> Iterator[Drift]:
    # Ports before subnets before VPCs, as they rest on each other.
    order = [Kind.PORT, Kind.SECURITY_GROUP, Kind.SUBNET, Kind.SEGMENT, Kind.VPC]
    for kind in order:
        surplus = sorted(inventory.ids(kind) - _known(kind, region))
        stones = {
            stone.target_id: stone
            for stone in Tombstone.objects.filter(kind=kind.value, target_id__in=surplus)
        }
        for target_id in surplus:
            stone = stones.get(target_id)
            if stone is None:
                yield _drift(DriftProblem.UNKNOWN, kind, target_id, "left alone")
            elif stone.removed_at is None and stone.buried_at > timezone.now() - SETTLE:
                continue
            else:
                yield _remove(fabric, kind, stone, repair)


def _known(kind: Kind, region: Region) -> set[str]:
    if kind is Kind.PORT:
        rows = Nic.objects.filter(region=region).values_list("port_uuid", flat=True)
        return {str(one) for one in rows}
    if kind is Kind.SEGMENT:
        switches = ExternalSegment.objects.filter(region=region)
        return set(switches.values_list("switch_id", flat=True))
    models: dict[Kind, type[Any]] = {
        Kind.VPC: Vpc,
        Kind.SUBNET: Subnet,
        Kind.SECURITY_GROUP: SecurityGroup,
    }
    return set(models[kind].objects.filter(region=region).values_list("pk", flat=True))


def _remove(fabric: Fabric, kind: Kind, stone: Tombstone, repair: bool) -> Drift:
    if not repair:
        return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, "")
    try:
        plumbing.remove_buried(fabric, stone)
    except HostError as error:
        _go_on(error)
        return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, error.for_operators())
    return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, "removed", repaired=True)


def _drift(
    problem: DriftProblem, kind: Kind, target_id: str, detail: str, *, repaired: bool = False
) -> Drift:
    return Drift(problem, kind.value, target_id, detail[:DETAIL_LENGTH], repaired)


def record(region: Region, found: Sequence[Drift]) -> None:
    """Write the report that administrators read: new differences, and those that are gone."""
    now = timezone.now()
    with transaction.atomic():
        still_open = set()
        for drift in found:
            row, _ = NetworkDrift.objects.update_or_create(
                region=region,
                problem=drift.problem,
                kind=drift.kind,
                target_id=drift.target_id[:100],
                resolved_at=None,
                defaults={"detail": drift.detail[:DETAIL_LENGTH], "last_seen_at": now},
            )
            if not drift.repaired:
                still_open.add(row.pk)
        NetworkDrift.objects.filter(region=region, resolved_at=None).exclude(
            pk__in=still_open
        ).update(resolved_at=now)


def forget_resolved() -> int:
    """Delete differences that were gone three months ago; return how many."""
    old = NetworkDrift.objects.filter(resolved_at__lt=timezone.now() - KEEP_RESOLVED)
    deleted, _ = old.delete()
    return int(deleted)


def sweep() -> int:
    """Reconcile and record every region that has a fabric; return how many differences were seen.

    A region whose fabric does not answer is logged and looked at again the next time.
    """
    seen = 0
    compared = set()
    # A database that was restored knows an old network: somebody reads the report first.
    repair = not freezing.is_frozen()

    def look(region: Region) -> None:
        nonlocal seen
        try:
            found = reconcile(region, repair=repair)
        except HostError as error:
            said.say(
                (region.pk, "region  is not reconciled"),
                error.code,
                logging.WARNING,
                "region %s is not reconciled: %s",
                region.pk,
                error.for_operators(),
            )
            return
        record(region, found)
        compared.add(region.pk)
        seen += len(found)

    regions = list(Region.objects.exclude(ovn_nb=""))
    each(regions, look, "comparing a region's network")
    if len(compared) == len(regions):
        freezing.reported("network")
    return seen
