"""What the rule of a placement group says of a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext

from compute.models import VM, Host, PlacementGroup
from compute.models.placement import GroupPolicy
from compute.states.hosts import MAY_RUN, HostState
from compute.states.vms import VmStatus
from scloud.tenancy.scoping import scopes_disabled

#: A VM that failed may still run where its row says: others keep away from it, and none follows it.
# One that enters maintenance is being given up.
_LED_FROM = MAY_RUN - {HostState.ENTERING_MAINTENANCE}
_GONE = (VmStatus.FAILED, VmStatus.DESTROYED)


@dataclass
class GroupRule:
    """A group with where its VMs are: those of one's own, the VM that is placed, do not count.

    ``members`` has every VM by host; ``leading`` only those that others of the group have to
    follow: those on hosts that may be running, so that a group can leave one that is given up.
    """

    group: PlacementGroup
    members: Counter[str]
    leading: Counter[str]

    @classmethod
    def of(cls, group: PlacementGroup, *, without: VM | None = None) -> GroupRule:
        """Read where the VMs of a group are, in two queries.

        Read after the hosts were locked, so that no other placement changes it.
        """
        rule = cls(group, Counter(), Counter())
        with scopes_disabled():
            rows = members_of(group)
            if without is not None:
                rows = rows.exclude(pk=without.pk)
            for place in ("host", "destination"):
                for row in _counted(rows, place):
                    rule.add(row, place)
        return rule

    def add(self, row: Mapping[str, Any], place: str) -> None:
        """Count the VMs that a row of :func:`_counted` tells of."""
        self.members[row[place]] += row["all"]
        if row["living"] and row[f"{place}__state"] in _LED_FROM:
            self.leading[row[place]] += row["living"]

    @property
    def spreads(self) -> bool:
        """Whether its VMs go to different hosts."""
        return self.group.policy == GroupPolicy.SPREAD

    def _fits(self, host: str) -> bool:
        if self.spreads:
            return not self.members[host]
        return not self.leading or self.leading[host] > 0

    def refusal(self, host: str) -> str | None:
        """Return *apart* or *together* where a required rule does not allow the host, else None."""
        if not self.group.required or self._fits(host):
            return None
        return "apart" if self.spreads else "together"

    def words(self, host: str) -> str:
        """For operators: why the host does not fit."""
        if self.spreads:
            text = gettext(
                "%(number)d VMs of the placement group %(group)s are here, and no two of them may "
                "be on one host."
            )
            return text % {"number": self.members[host], "group": self.group.name}
        text = gettext(
            "The VMs of the placement group %(group)s are on another host, and have to stay on one."
        )
        return text % {"group": self.group.name}

    def penalty(self, host: str) -> int:
        """Return how much the host is against the rule: less is better."""
        if self.spreads:
            return self.members[host]
        return int(not self._fits(host))

    def take(self, host: str) -> None:
        """Count one more VM of the group."""
        self.members[host] += 1
        self.leading[host] += 1


def _counted(rows: QuerySet[VM], place: str, *by: str) -> QuerySet[Any]:
    """Return of VMs how many are on each host, or on their way there, with its state."""
    counted: QuerySet[Any] = (
        rows.exclude(**{place: None})
        .order_by()
        .values(*by, place, f"{place}__state")
        .annotate(all=Count("pk"), living=Count("pk", filter=~Q(status__in=_GONE)))
    )
    return counted


def members_of(group: PlacementGroup) -> QuerySet[VM]:
    """Return all VMs of a group; needs a scope."""
    rows: QuerySet[VM] = VM.objects.filter(Q(placement_group=group) | Q(operators_group=group))
    return rows


def rules_for(vm: VM) -> tuple[GroupRule, ...]:
    """Return the rules of the groups in which a VM is by now, without the VM itself."""
    with scopes_disabled():
        named = VM.objects.filter(pk=vm.pk).values_list("placement_group", "operators_group")
        keys = {key for pair in named for key in pair if key is not None}
        groups = list(PlacementGroup.objects.filter(pk__in=keys).order_by("pk")) if keys else []
    return tuple(GroupRule.of(group, without=vm) for group in groups)


def rules_off(host: Host, vms: Iterable[VM]) -> dict[str, tuple[GroupRule, ...]]:
    """Return by id the rules of VMs that are all taken off a host, as if it were emptied already.

    VMs of one group share its rule: what is taken for one of them counts for the next. In five
    queries at most, however many they are.
    """
    named = {
        vm.pk: [key for key in (vm.placement_group_id, vm.operators_group_id) if key is not None]
        for vm in vms
    }
    keys = {key for of_it in named.values() for key in of_it}
    if not keys:
        return dict.fromkeys(named, ())
    with scopes_disabled():
        groups = PlacementGroup.objects.filter(pk__in=keys)
        rules = {group.pk: GroupRule(group, Counter(), Counter()) for group in groups}
        for column in ("placement_group", "operators_group"):
            # Those that leave the host do not count where they are, and nobody follows them there.
            rows = VM.objects.filter(**{f"{column}__in": keys}).exclude(host=host)
            for place in ("host", "destination"):
                for row in _counted(rows, place, column):
                    if row[column] in rules and row[place] != host.pk:
                        rules[row[column]].add(row, place)
    return {
        vm: tuple(rules[key] for key in sorted(of_it) if key in rules)
        for vm, of_it in named.items()
    }
