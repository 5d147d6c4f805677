"""Intended against observed: every region's rows against what its fabric holds.

What is missing or differs is put right. What is left over is removed only where a tombstone says
that it was deleted. What is ours by its mark but unknown, and what is somebody else's, is reported
and not touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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

#: What goes before anything is put right: old ports and subnets may have the addresses of new ones.
_FREED_FIRST: Final = (Kind.PORT, Kind.SUBNET)
#: Everything, in the order in which it rests on each other.
_FREED_LAST: Final = (Kind.PORT, Kind.SECURITY_GROUP, Kind.SUBNET, Kind.SEGMENT, Kind.VPC)
#: What ports rest on, in the order in which it rests on each other.
_BENEATH: Final[tuple[tuple[Kind, type[Any], Callable[..., Changes]], ...]] = (
    (Kind.VPC, Vpc, plumbing.apply_vpc),
    (Kind.SUBNET, Subnet, plumbing.apply_subnet),
    (Kind.SEGMENT, ExternalSegment, plumbing.apply_segment),
)
#: By the row's id: what is wrong, in words.
Problems = dict[str, str]


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

    The order matters where much is to be done, because the fabric's database was lost or restored
    from a backup. First what was deleted goes, so that no old port answers for an address that has
    another owner by now. Then comes what ports rest on. Then the security groups, each tenant's in
    one transaction with those of its ports that are there and differ: no port ever has the rules
    of a group that is no longer its own. Last the ports that are missing; their groups are right by
    then.
    """
    fabric = fabric_of(region)
    with scopes_disabled():
        # The fabric first: a thing that a job makes between the two looks then has its row.
        with translated_errors():
            inventory = fabric.list_owned()
        found = list(_Round(fabric, region, inventory, repair).run())
    found += [
        Drift(DriftProblem.FOREIGN, row.table, row.uuid, row.name) for row in inventory.foreign
    ]
    return found


@dataclass(frozen=True, slots=True)
class _Round:
    """One comparison of a region with its fabric."""

    fabric: Fabric
    region: Region
    inventory: Inventory
    repair: bool
    #: What was deleted and is removed by now.
    gone: set[tuple[Kind, str]] = field(default_factory=set)

    def run(self) -> Iterator[Drift]:
        """Everything, in the order in which it is put right."""
        if self.repair:
            # What is still used is looked at once more, when what uses it is where it belongs.
            yield from (one for one in self._left_over(_FREED_FIRST) if one.repaired)
        for kind, model, apply in _BENEATH:
            for pk in _settled(model, self.region):
                yield from self._look(kind, pk, partial(apply, self.fabric, pk))
        yield from self._groups_and_ports()
        yield from self._left_over(_FREED_LAST)

    # What is missing or differs -----------------------------------------------------------------

    def _look(self, kind: Kind, pk: str, apply: Callable[..., Changes]) -> Iterator[Drift]:
        try:
            changes = apply(dry_run=True)
            if changes and self.repair:
                apply()
        except HostError as error:
            _go_on(error)
            yield self._drift(kind, pk, error.for_operators())
            return
        except Exception as error:
            # Of this row alone: the others of the region are looked at all the same.
            log.exception("%s %s could not be compared", kind.value, pk)
            yield self._drift(kind, pk, f"It could not be compared ({type(error).__name__}).")
            return
        if changes:
            yield self._drift(kind, pk, "; ".join(changes), repaired=self.repair)

    def _drift(self, kind: Kind, pk: str, detail: str, *, repaired: bool = False) -> Drift:
        """A difference, called missing where nothing of the thing was there."""
        there = fabric_ids(kind, [pk]).get(pk, pk) in self.inventory.ids(kind)
        problem = DriftProblem.DIFFERS if there else DriftProblem.MISSING
        return _drift(problem, kind, pk, detail, repaired=repaired)

    def _groups_and_ports(self) -> Iterator[Drift]:
        groups: Problems = {}
        for pk in _settled(SecurityGroup, self.region):
            self._note(groups, pk, partial(plumbing.apply_security_group, self.fabric, pk))
        missing: Problems = {}
        differing: Problems = {}
        for some in _batches(_settled(Nic, self.region)):
            yield from self._ports(some, missing, differing)
        if self.repair:
            yield from self._together(groups, differing)
            for some in _batches(list(missing)):
                yield from self._at_once({}, {pk: missing.pop(pk) for pk in some}, missing)
        # One by one what could not be put right with the others, or shall not be.
        for pk in groups:
            apply = partial(plumbing.apply_security_group, self.fabric, pk)
            yield from self._look(Kind.SECURITY_GROUP, pk, apply)
        for pk in (*differing, *missing):
            apply = partial(plumbing.apply_nics, self.fabric, [pk])
            yield from self._look(Kind.PORT, pk, apply)

    def _note(self, problems: Problems, pk: str, apply: Callable[..., Changes]) -> bool:
        """Rehearse; note what is wrong with ``pk``, and tell whether something is."""
        try:
            changes = apply(dry_run=True)
        except HostError as error:
            _go_on(error)
            changes = (error.for_operators(),)
        except Exception as error:
            changes = (type(error).__name__,)
        if changes:
            problems[pk] = "; ".join(changes)
        return bool(changes)

    def _ports(
        self, nic_ids: Sequence[str], missing: Problems, differing: Problems
    ) -> Iterator[Drift]:
        """Sort NICs by what is wrong with their ports; surplus ones are told and removed here."""
        there = self.inventory.ids(Kind.PORT)
        names = fabric_ids(Kind.PORT, nic_ids)
        wanted = plumbing.with_ports(nic_ids)
        rest = []
        for pk in nic_ids:
            if names.get(pk) not in there and pk in wanted and not self._is_there(names[pk]):
                missing[pk] = ""
            elif names.get(pk) in there and pk not in wanted:
                yield from self._look(
                    Kind.PORT, pk, partial(plumbing.remove_unwanted, self.fabric, pk)
                )
            else:
                rest.append(pk)
        # All at once, and one by one only where something is wrong.
        if rest and self._note({}, "", partial(plumbing.apply_nics, self.fabric, rest)):
            log.info("looking at %d NICs one by one", len(rest))
            for pk in rest:
                self._note(differing, pk, partial(plumbing.apply_nics, self.fabric, [pk]))

    def _is_there(self, name: str) -> bool:
        """Whether a job has made the port since."""
        with translated_errors():
            return self.fabric.port_observation(name).exists

    def _together(self, groups: Problems, nics: Problems) -> Iterator[Drift]:
        """Put each tenant's groups and ports right in one go; what cannot be stays noted."""
        owners: dict[str, tuple[Problems, Problems]] = {}
        for place, (model, problems) in enumerate(((SecurityGroup, groups), (Nic, nics))):
            rows: Any = model.objects.filter(pk__in=list(problems))
            for pk, tenant_id in rows.values_list("pk", "tenant_id"):
                owners.setdefault(tenant_id, ({}, {}))[place][pk] = problems.pop(pk)
        for some_groups, some_nics in owners.values():
            yield from self._at_once(some_groups, some_nics, nics, groups)

    def _at_once(
        self,
        groups: Problems,
        nics: Problems,
        nics_left: Problems,
        groups_left: Problems | None = None,
    ) -> Iterator[Drift]:
        try:
            plumbing.apply_together(self.fabric, list(groups), list(nics))
        except HostError as error:
            _go_on(error)
            log.info("one by one: %s", error.for_operators())
        except Exception as error:
            log.info("one by one: %s", type(error).__name__)
        else:
            for pk, detail in groups.items():
                yield self._drift(Kind.SECURITY_GROUP, pk, detail, repaired=True)
            for pk, detail in nics.items():
                yield self._drift(Kind.PORT, pk, detail, repaired=True)
            return
        nics_left.update(nics)
        if groups_left is not None:
            groups_left.update(groups)

    # What is left over --------------------------------------------------------------------------

    def _left_over(self, kinds: Sequence[Kind]) -> Iterator[Drift]:
        for kind in kinds:
            surplus = sorted(self.inventory.ids(kind) - _known(kind, self.region))
            stones = {
                stone.target_id: stone
                for stone in Tombstone.objects.filter(kind=kind.value, target_id__in=surplus)
            }
            for target_id in surplus:
                stone = stones.get(target_id)
                if (kind, target_id) in self.gone:
                    continue
                if stone is None:
                    yield _drift(DriftProblem.UNKNOWN, kind, target_id, "left alone")
                elif stone.removed_at is None and stone.buried_at > timezone.now() - SETTLE:
                    continue
                else:
                    yield self._remove(kind, stone)

    def _remove(self, kind: Kind, stone: Tombstone) -> Drift:
        if not self.repair:
            return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, "")
        try:
            plumbing.remove_buried(self.fabric, stone)
        except HostError as error:
            _go_on(error)
            return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, error.for_operators())
        self.gone.add((kind, stone.target_id))
        return _drift(DriftProblem.LEFT_OVER, kind, stone.target_id, "removed", repaired=True)


def _batches(pks: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(pks), NICS_AT_ONCE):
        yield pks[start : start + NICS_AT_ONCE]


def _settled(model: type[Any], region: Region) -> list[str]:
    """Rows that were applied once, or that wait for it longer than a job would take."""
    rows = model.objects.filter(region=region)
    ripe = rows.filter(applied_generation__gt=0) | rows.filter(
        created_at__lt=timezone.now() - SETTLE
    )
    return list(ripe.order_by("pk").values_list("pk", flat=True))


def _go_on(error: HostError) -> None:
    """Raise the error again where the fabric no longer answers.

    Every further question would wait as long for nothing, and the other regions for all of them.
    """
    if error.code == plumbing.UNREACHABLE:
        raise error


def fabric_ids(kind: Kind, pks: Sequence[str]) -> dict[str, str]:
    """By which ids the fabric knows rows of a kind, where those are not the rows' own."""
    rows: Any = None
    if kind is Kind.PORT:
        rows = Nic.objects.filter(pk__in=pks).values_list("pk", "port_uuid")
    elif kind is Kind.SEGMENT:
        rows = ExternalSegment.objects.filter(pk__in=pks).values_list("pk", "switch_id")
    return {pk: str(found) for pk, found in rows or ()}


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
