"""What the product asks of a network fabric: plain values in, plain values out.

Rules that hold for every method of :class:`Fabric`:

* **Idempotent.** An ``ensure_*`` call looks at what is there and changes only what differs; a
  ``delete_*`` call of something that is not there succeeds. Any call may be repeated after a
  crash, a time-out or a doubt.
* **All or nothing.** One call is one transaction of the northbound database. A failed call leaves
  the fabric as it was, with one exception: after :class:`FabricUnreachable` it is unknown whether
  the transaction was applied, so call again.
* **Own rows only.** Every row carries the owner's mark. A row of the same name without that mark
  raises :class:`ForeignRow`; it is never changed, adopted or deleted. An owned row is owned whole:
  what somebody hung on it that changes what packets do (a route, an address translation, an ACL) is
  a difference, and is taken off again.
* **Bounded.** A call returns or raises within the connection's time-out.
* **Thread-safe and fork-safe.** A fabric may be shared by threads; after a fork the child gets a
  connection of its own at its first call.

Ids are opaque to the fabric: any string of letters, digits and ``-`` that starts with a letter.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

#: Geneve with OVN's option, outer UDP, IPv4 and Ethernet: what a tunnel takes of each packet.
TUNNEL_OVERHEAD_BYTES = 58
#: What is left of the usual 1500 bytes between hosts.
TUNNELLED_MTU_BYTES = 1500 - TUNNEL_OVERHEAD_BYTES


class FabricError(Exception):
    """A call to the fabric failed. ``retryable`` says whether the same call may succeed later."""

    retryable = False


class FabricUnreachable(FabricError):
    """The fabric did not answer in time; whether the call was applied is not known."""

    retryable = True


class FabricRefused(FabricError):
    """The fabric answered with an error of its own, for example a constraint violation."""


class FabricMissing(FabricError):
    """The call rests on something that is not there, such as a port's subnet. Ensure that first."""

    retryable = True


class FabricInUse(FabricError):
    """Deleting is refused because something still rests on it."""


class ForeignRow(FabricError):
    """The name is taken by a row that somebody else owns."""


class Direction(enum.StrEnum):
    """Which way the first packet of a connection goes, seen from the VM."""

    IN = "in"
    OUT = "out"


class IpProtocol(enum.StrEnum):
    """The protocol that a rule matches."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"
    ALL = "all"


class RuleAction(enum.StrEnum):
    """What happens to a new connection that matches a rule."""

    ACCEPT = "accept"
    DROP = "drop"


class RulePriority(enum.StrEnum):
    """A rule of a higher priority is decisive; within one priority a drop beats an accept."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Kind(enum.StrEnum):
    """The kinds of thing that a fabric owns."""

    VPC = "vpc"
    SUBNET = "subnet"
    SEGMENT = "segment"
    SECURITY_GROUP = "security_group"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class VpcSpec:
    """A tenant's isolated network: subnets of one VPC reach each other, and nothing else."""

    id: str


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A network that guests of a subnet reach through an address of it."""

    to: IPv4Network
    via: IPv4Address


@dataclass(frozen=True, slots=True)
class SubnetIpv6Spec:
    """The IPv6 side of a subnet: an address of its router, announcements, and DHCPv6.

    ``cidr`` is a /64, and ``gateway`` an address of it. Guests learn from router advertisements
    that the range is on the link, that addresses are given by DHCPv6 only (they form none of their
    own, which anti-spoofing would drop), the MTU, ``routes`` with a high preference, and a default
    router with a low one, which any other goes before. DHCPv6 gives each port the IPv6 address that
    its specification names, and ``dns``.
    """

    cidr: IPv6Network
    gateway: IPv6Address
    dns: tuple[IPv6Address, ...] = ()
    routes: tuple[IPv6Network, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what hosts could not use."""
        if self.cidr.prefixlen != 64:
            raise ValueError(f"{self.cidr} is no /64")
        if self.gateway not in self.cidr:
            raise ValueError(f"gateway {self.gateway} is not in {self.cidr}")


@dataclass(frozen=True, slots=True)
class SubnetSpec:
    """One broadcast domain of a VPC with its gateway and DHCP service.

    ``gateway`` must be a usable address of ``cidr``. ``dns`` may be empty. ``routes`` are the
    networks that guests are told to reach through the gateway; a guest that knows classless routes
    (RFC 3442) then takes no default route from here, so that an external NIC can have it.
    ``static_routes`` are told along with them, at most 20: an option of DHCP has 255 bytes.
    ``lease_s`` is the DHCP lease in seconds, ``mtu_bytes`` the MTU that guests are told. ``ipv6``
    None: the subnet has no IPv6, and nothing announces any.
    """

    id: str
    vpc_id: str
    cidr: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...] = ()
    routes: tuple[IPv4Network, ...] = ()
    static_routes: tuple[RouteSpec, ...] = ()
    lease_s: int = 86_400
    mtu_bytes: int = TUNNELLED_MTU_BYTES
    ipv6: SubnetIpv6Spec | None = None

    def __post_init__(self) -> None:
        """Refuse a gateway that is not in the subnet."""
        if self.gateway not in self.cidr:
            raise ValueError(f"gateway {self.gateway} is not in {self.cidr}")


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """A broadcast domain that is bridged to a physical network, optionally on one VLAN."""

    id: str
    physical_network: str
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule of a security group.

    ``remote`` is the other side: the source of incoming, the destination of outgoing connections;
    its IP version decides which version the rule is about. ``port_min`` and ``port_max`` (both,
    inclusive, 1 to 65535) belong to TCP and UDP only; neither means every port.
    """

    id: str
    direction: Direction
    protocol: IpProtocol
    remote: IpNetwork
    action: RuleAction
    priority: RulePriority
    port_min: int | None = None
    port_max: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot match: ports without TCP or UDP, bad ranges, ICMP of the other IP."""
        version = {IpProtocol.ICMP: 4, IpProtocol.ICMPV6: 6}.get(self.protocol)
        if version not in (None, self.remote.version):
            raise ValueError(f"{self.protocol} does not exist in IPv{self.remote.version}")
        if (self.port_min is None) != (self.port_max is None):
            raise ValueError("a port range needs both ends")
        if self.port_min is None or self.port_max is None:
            return
        if self.protocol not in (IpProtocol.TCP, IpProtocol.UDP):
            raise ValueError(f"{self.protocol} has no ports")
        if not 1 <= self.port_min <= self.port_max <= 65_535:
            raise ValueError(f"bad port range {self.port_min} to {self.port_max}")


@dataclass(frozen=True, slots=True)
class SecurityGroupSpec:
    """A stateful packet filter for the ports that are its members.

    What no rule matches is denied in both directions; a port without a group is not filtered.
    Replies to an accepted connection pass. DHCP, DHCPv6, ARP and IPv6 neighbour discovery always
    pass. A connection that a later set of rules forbids is cut at its next packet.
    """

    id: str
    rules: tuple[RuleSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class QosSpec:
    """A bandwidth bound, in kbit/s (1000 bit/s), for one direction and optionally one address.

    ``Direction.IN`` bounds what the VM receives, ``Direction.OUT`` what it sends. The burst is one
    second of the rate: with a smaller one TCP does not reach its rate through a policer.
    """

    direction: Direction
    rate_kbps: int
    address: IpAddress | None = None

    def __post_init__(self) -> None:
        """Refuse a rate that would mean silence."""
        if self.rate_kbps < 1:
            raise ValueError("a bandwidth bound must be at least 1 kbit/s")


@dataclass(frozen=True, slots=True)
class PortSpec:
    """Where a VM's NIC meets the fabric.

    ``name`` is the NIC's port UUID in lower case; the hypervisor plugs the interface with it.
    ``switch_id`` is a subnet's or a segment's id. The NIC may use ``mac`` and ``addresses`` only,
    always; without addresses it carries no traffic at all. ``forwards`` are networks for which it
    may receive, and from which it may send, beside its addresses: those that the subnet's static
    routes lead to through it. ``security_group_id`` None means that nothing is filtered. ``dhcp``
    needs a subnet and an IPv4 address; an IPv6 address is given by DHCPv6 where the subnet has it.
    """

    name: str
    nic_id: str
    switch_id: str
    mac: str
    addresses: tuple[IpAddress, ...] = ()
    forwards: tuple[IPv4Network, ...] = ()
    security_group_id: str | None = None
    dhcp: bool = True
    qos: tuple[QosSpec, ...] = ()
    #: Written beside the port for people who look at the database; not interpreted.
    vm_id: str | None = None


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """The first packet of a connection, as it leaves a NIC.

    ``switch_id`` is the subnet or segment of the port ``port_name``. ``port`` is the destination's
    and belongs to TCP and UDP only; ICMP stands for an echo request.
    """

    switch_id: str
    port_name: str
    source_mac: str
    destination_mac: str
    source: IpAddress
    destination: IpAddress
    protocol: IpProtocol
    port: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no packet is."""
        if self.source.version != self.destination.version:
            raise ValueError("source and destination are of different IP versions")
        if (self.port is not None) != (self.protocol in (IpProtocol.TCP, IpProtocol.UDP)):
            raise ValueError("TCP and UDP have a port, other protocols have none")


@dataclass(frozen=True, slots=True)
class PortObservation:
    """What the fabric says about a port now.

    ``up`` is true once a host has plugged the port and its flows are in place. ``chassis`` is the
    host's name, or None while no host holds the port or where that cannot be known.
    """

    exists: bool
    up: bool = False
    chassis: str | None = None


@dataclass(frozen=True, slots=True)
class ChassisAnswer:
    """The newest question that a chassis has answered; ``hostname`` is what its host calls itself.

    See :meth:`Fabric.ask_chassis`.
    """

    hostname: str
    number: int


@dataclass(frozen=True, slots=True)
class OwnedRow:
    """Something in the fabric that carries this owner's mark."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class UnownedRow:
    """A row that somebody else made; ``table`` and ``name`` in the fabric's own words."""

    table: str
    name: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that a fabric holds, for comparing with what is intended."""

    owned: frozenset[OwnedRow] = field(default_factory=frozenset)
    foreign: tuple[UnownedRow, ...] = ()

    def ids(self, kind: Kind) -> frozenset[str]:
        """The ids of the owned things of one kind."""
        return frozenset(row.id for row in self.owned if row.kind is kind)


#: What an ``ensure_*`` call had to change, in words, for logs and the drift report. Empty: nothing.
Changes = tuple[str, ...]


class Fabric(Protocol):
    """See the module's text for the rules that hold for every method.

    ``dry_run=True`` returns what would be changed and changes nothing.
    """

    def ensure_vpc(self, spec: VpcSpec, *, dry_run: bool = False) -> Changes:
        """Make the VPC's router be there."""
        ...

    def delete_vpc(self, vpc_id: str) -> None:
        """Remove the VPC's router. Raises :class:`FabricInUse` while it has a subnet."""
        ...

    def ensure_subnet(self, spec: SubnetSpec, *, dry_run: bool = False) -> Changes:
        """Make the subnet's switch, its gateway on the VPC's router and its DHCP services be there.

        Ports that are there get or lose DHCPv6 when they are ensured next.
        Raises :class:`FabricMissing` without the VPC.
        """
        ...

    def delete_subnet(self, subnet_id: str) -> None:
        """Remove switch, gateway, DHCP. Raises :class:`FabricInUse` while a NIC's port is left."""
        ...

    def ensure_segment(self, spec: SegmentSpec, *, dry_run: bool = False) -> Changes:
        """Make the switch that is bridged to the physical network be there."""
        ...

    def delete_segment(self, segment_id: str) -> None:
        """Remove the segment's switch. Raises :class:`FabricInUse` while a NIC's port is left."""
        ...

    def ensure_security_group(self, spec: SecurityGroupSpec, *, dry_run: bool = False) -> Changes:
        """Make the group have exactly these rules. Its members stay as they are."""
        ...

    def delete_security_group(self, security_group_id: str) -> None:
        """Remove the group. Raises :class:`FabricInUse` while a port is a member."""
        ...

    def ensure_ports(
        self,
        specs: Sequence[PortSpec],
        *,
        groups: Sequence[SecurityGroupSpec] = (),
        dry_run: bool = False,
    ) -> Changes:
        """Make all these ports be there, each on its switch and in its group only, in one go.

        ``groups`` are given their rules in the same transaction: a port that leaves a group never
        has that group's new rules, nor the old rules of the group that it comes into.

        Raises :class:`FabricMissing` without the switch or the group of one of them; then nothing
        has changed.
        """
        ...

    def delete_ports(self, names: Sequence[str]) -> None:
        """Remove the ports with their bandwidth bounds and group memberships."""
        ...

    def port_observation(self, name: str) -> PortObservation:
        """What is known of the port; a port that is not there is no error."""
        ...

    def ask_chassis(self) -> int:
        """Ask every chassis whether it is there, and return the number of the question.

        Numbers grow, whoever asks. A chassis answers within moments, or not at all; nothing waits
        for it. Raises :class:`FabricMissing` while nobody would carry the question on.
        """
        ...

    def chassis_answers(self) -> tuple[ChassisAnswer, ...]:
        """What every registered chassis has answered last, of whichever owner.

        A host that never had one, or whose chassis was deregistered, is not among them. Raises
        :class:`FabricMissing` where the southbound database is not known.
        """
        ...

    def list_owned(self) -> Inventory:
        """Everything that carries the owner's mark, and what does not, from one moment."""
        ...

    def close(self) -> None:
        """Give the connection back. The next call would open a new one."""
        ...


class Connect(Protocol):
    """How a driver is opened; opening does no input or output, the first call does."""

    def __call__(
        self, nb: str, *, owner: str, sb: str | None = None, timeout_s: float = 10.0
    ) -> Fabric:
        """``nb`` and ``sb`` are OVSDB addresses, ``owner`` the mark of this installation's rows.

        ``sb`` is only read, to learn on which chassis a port is and what chassis answer.
        """
        ...


class Trace(Protocol):
    """How a driver follows a packet on paper."""

    def __call__(self, sb: str, spec: TraceSpec, *, timeout_s: float = 30.0) -> str:
        """See :func:`network.fabric.ovn.tracing.trace`."""
        ...


def router_mac(subnet_id: str) -> str:
    """The MAC of a subnet's gateway: always the same for the same subnet.

    The locally administered prefix keeps it apart from the NICs' MACs.
    """
    digest = hashlib.sha256(subnet_id.encode()).digest()
    return "0a:" + ":".join(f"{byte:02x}" for byte in digest[:5])
