"""The fabric's contract in memory: for tests of the layers above, and to compare the driver.

``FakeFabric.world`` may be shared by several objects, as several workers share one database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from network.fabric.base import (
    Changes,
    ChassisAnswer,
    Fabric,
    FabricError,
    FabricInUse,
    FabricMissing,
    ForeignRow,
    Inventory,
    Kind,
    OwnedRow,
    PortObservation,
    PortSpec,
    SecurityGroupSpec,
    SegmentSpec,
    SubnetSpec,
    UnownedRow,
    VpcSpec,
)
from scloud.lib.lease import publishes

Spec = VpcSpec | SubnetSpec | SegmentSpec | SecurityGroupSpec | PortSpec


@dataclass
class World:
    """What a northbound database would hold, by owner; ``foreign`` maps (kind, id) to a table.

    ``chassis`` has the number that each has answered last, by the host's name; those that are
    ``deaf`` answer no more.
    """

    things: dict[tuple[str, Kind, str], Spec] = field(default_factory=dict)
    foreign: dict[tuple[Kind, str], str] = field(default_factory=dict)
    plugged: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    question: int = 0
    chassis: dict[str, int] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    #: Raised instead of doing the call, when set: a controller that is away.
    failure: FabricError | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


class FakeFabric:
    """See :class:`network.fabric.base.Fabric` for the contract of every method."""

    def __init__(self, world: World, owner: str) -> None:
        self.world = world
        self.owner = owner

    def close(self) -> None:
        """Nothing is held open."""

    def _begin(self, call: str) -> None:
        self.world.calls.append(call)
        if self.world.failure is not None:
            raise self.world.failure

    def _get(self, kind: Kind, thing_id: str) -> Spec | None:
        if (kind, thing_id) in self.world.foreign:
            raise ForeignRow(f"{kind} {thing_id} belongs to somebody else")
        return self.world.things.get((self.owner, kind, thing_id))

    def _put(self, kind: Kind, thing_id: str, spec: Spec, dry_run: bool) -> Changes:
        before = self._get(kind, thing_id)
        if before == spec:
            return ()
        if not dry_run:
            self.world.things[self.owner, kind, thing_id] = spec
        return (f"{kind} {thing_id}: {'created' if before is None else 'corrected'}",)

    def _need(self, kind: Kind, thing_id: str) -> None:
        if self._get(kind, thing_id) is None:
            raise FabricMissing(f"{kind} {thing_id} is not there")

    def _drop(self, kind: Kind, thing_id: str, used_by: Callable[[Spec], bool]) -> None:
        if self._get(kind, thing_id) is None:
            return
        users = [
            key for key, spec in self.world.things.items() if key[0] == self.owner and used_by(spec)
        ]
        if users:
            raise FabricInUse(f"{kind} {thing_id} is still used by {len(users)}")
        del self.world.things[self.owner, kind, thing_id]

    @publishes
    def ensure_vpc(self, spec: VpcSpec, *, dry_run: bool = False) -> Changes:
        with self.world.lock:
            self._begin(f"ensure_vpc {spec.id}")
            return self._put(Kind.VPC, spec.id, spec, dry_run)

    @publishes
    def delete_vpc(self, vpc_id: str) -> None:
        """Forget it, unless a subnet names it."""
        with self.world.lock:
            self._begin(f"delete_vpc {vpc_id}")
            self._drop(Kind.VPC, vpc_id, lambda s: isinstance(s, SubnetSpec) and s.vpc_id == vpc_id)

    @publishes
    def ensure_subnet(self, spec: SubnetSpec, *, dry_run: bool = False) -> Changes:
        with self.world.lock:
            self._begin(f"ensure_subnet {spec.id}")
            self._need(Kind.VPC, spec.vpc_id)
            return self._put(Kind.SUBNET, spec.id, spec, dry_run)

    @publishes
    def delete_subnet(self, subnet_id: str) -> None:
        """Forget it, unless a port names it."""
        with self.world.lock:
            self._begin(f"delete_subnet {subnet_id}")
            self._drop(Kind.SUBNET, subnet_id, lambda s: _is_on(s, subnet_id))

    @publishes
    def ensure_segment(self, spec: SegmentSpec, *, dry_run: bool = False) -> Changes:
        with self.world.lock:
            self._begin(f"ensure_segment {spec.id}")
            return self._put(Kind.SEGMENT, spec.id, spec, dry_run)

    @publishes
    def delete_segment(self, segment_id: str) -> None:
        """Forget it, unless a port names it."""
        with self.world.lock:
            self._begin(f"delete_segment {segment_id}")
            self._drop(Kind.SEGMENT, segment_id, lambda s: _is_on(s, segment_id))

    @publishes
    def ensure_security_group(self, spec: SecurityGroupSpec, *, dry_run: bool = False) -> Changes:
        with self.world.lock:
            self._begin(f"ensure_security_group {spec.id}")
            return self._put(Kind.SECURITY_GROUP, spec.id, spec, dry_run)

    @publishes
    def delete_security_group(self, security_group_id: str) -> None:
        """Forget it, unless a port is a member."""
        with self.world.lock:
            self._begin(f"delete_security_group {security_group_id}")
            self._drop(
                Kind.SECURITY_GROUP,
                security_group_id,
                lambda s: isinstance(s, PortSpec) and s.security_group_id == security_group_id,
            )

    @publishes
    def ensure_ports(
        self,
        specs: Sequence[PortSpec],
        *,
        groups: Sequence[SecurityGroupSpec] = (),
        dry_run: bool = False,
    ) -> Changes:
        """Keep the specifications, all or none."""
        with self.world.lock:
            names = [group.id for group in groups] + [spec.name for spec in specs]
            self._begin("ensure_ports " + " ".join(names))
            made = {group.id for group in groups}
            for group in groups:
                self._get(Kind.SECURITY_GROUP, group.id)
            for spec in specs:
                if self._get(Kind.SUBNET, spec.switch_id) is None:
                    self._need(Kind.SEGMENT, spec.switch_id)
                if spec.security_group_id is not None and spec.security_group_id not in made:
                    self._need(Kind.SECURITY_GROUP, spec.security_group_id)
                self._get(Kind.PORT, spec.name)
            changes = [
                self._put(Kind.SECURITY_GROUP, group.id, group, dry_run) for group in groups
            ] + [self._put(Kind.PORT, spec.name, spec, dry_run) for spec in specs]
            return tuple(change for one in changes for change in one)

    @publishes
    def delete_ports(self, names: Sequence[str]) -> None:
        with self.world.lock:
            self._begin("delete_ports " + " ".join(names))
            for name in names:
                self._get(Kind.PORT, name)
            for name in names:
                self.world.things.pop((self.owner, Kind.PORT, name), None)

    def port_observation(self, name: str) -> PortObservation:
        """A port is up while ``world.plugged`` names its host."""
        with self.world.lock:
            self._begin(f"port_observation {name}")
            if self._get(Kind.PORT, name) is None:
                return PortObservation(exists=False)
            host = self.world.plugged.get(name)
            return PortObservation(exists=True, up=host is not None, chassis=host)

    @publishes
    def ask_chassis(self) -> int:
        """All that hear it answer at once."""
        with self.world.lock:
            self._begin("ask_chassis")
            self.world.question += 1
            for name in self.world.chassis.keys() - self.world.deaf:
                self.world.chassis[name] = self.world.question
            return self.world.question

    def chassis_answers(self) -> tuple[ChassisAnswer, ...]:
        """What the world says."""
        with self.world.lock:
            self._begin("chassis_answers")
            return tuple(ChassisAnswer(*one) for one in sorted(self.world.chassis.items()))

    def list_owned(self) -> Inventory:
        """Everything of this owner, and the rest as foreign."""
        with self.world.lock:
            self._begin("list_owned")
            owned = {OwnedRow(k, i) for (owner, k, i) in self.world.things if owner == self.owner}
            others = [
                UnownedRow(kind.value, thing_id, f"{owner}/{thing_id}")
                for (owner, kind, thing_id) in self.world.things
                if owner != self.owner
            ]
            others += [
                UnownedRow(table, thing_id, thing_id)
                for (_, thing_id), table in self.world.foreign.items()
            ]
            return Inventory(
                frozenset(owned), tuple(sorted(others, key=lambda row: (row.table, row.name)))
            )


def _is_on(spec: Spec, switch_id: str) -> bool:
    return isinstance(spec, PortSpec) and spec.switch_id == switch_id


_worlds: dict[str, World] = {}


def world_at(nb: str) -> World:
    """The world behind an address, made when it is first asked for."""
    return _worlds.setdefault(nb, World())


def connect(nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0) -> Fabric:
    """See :class:`network.fabric.base.Connect`; any text is an address."""
    return FakeFabric(world_at(nb), owner)
