"""What the rows say against what is there: database, libvirt, OVN, storage, ledger and quotas.

Plain values only, so that each kind of difference can be tried without a region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

ON_A_HOST = frozenset({"running", "stopped", "expired"})
WITH_VOLUME = frozenset({"unbound", "bound", "expired", "binned"})
WITH_FILE = frozenset({"available", "binned"})
PAID = frozenset({"running", "stopped", "unbound", "bound", "free"})
WITH_ADDRESS = frozenset({"free", "bound", "expired"})
GONE = frozenset({"failed", "destroyed"})


@dataclass(frozen=True, kw_only=True)
class VmRow:
    """A VM as its rows say it is. ``ports`` are the ports that its NICs plug into."""

    status: str
    host: str | None
    vcpus: int
    memory_mib: int
    disks: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class DiskRow:
    """A disk. ``snapshots`` are those that are available."""

    status: str
    size_gib: int
    vm: str | None = None
    is_system: bool = False
    snapshots: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class OutsideRow:
    """An external IP or an ENI; the bandwidth of an internal ENI is 0, and nobody pays for it."""

    status: str
    bandwidth_mbps: int = 0


@dataclass(frozen=True, kw_only=True)
class Account:
    """A tenant's money: what the account says, and the sum of its entries."""

    balance_minor: int
    entries_minor: int


@dataclass(frozen=True, kw_only=True)
class Book:
    """All that the database says."""

    vms: Mapping[str, VmRow] = field(default_factory=dict)
    disks: Mapping[str, DiskRow] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    external_ips: Mapping[str, OutsideRow] = field(default_factory=dict)
    enis: Mapping[str, OutsideRow] = field(default_factory=dict)
    # The addresses of every port that the switches must know.
    switched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # Quota claims: resource -> item -> amount.
    claims: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    # Of networks and groups, which count as one of their item: resource -> item.
    network: Mapping[str, str] = field(default_factory=dict)
    # Own images that are neither failed, binned nor destroyed.
    counted_images: Set[str] = frozenset()
    # Resource -> status of its subscription, and whether it says that it is in the bin.
    subscriptions: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    # What the product itself finds when it computes charges and switches anew.
    recomputed: tuple[str, ...] = ()
    # Jobs, tasks, images and snapshots that are still on their way.
    in_flight: tuple[str, ...] = ()
    # Leases of VNC ports that ought to be over.
    leases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A domain that a host lists."""

    host: str
    active: bool
    vcpus: int
    memory_mib: int
    disks: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that is there."""

    domains: Mapping[str, tuple[Domain, ...]] = field(default_factory=dict)
    # Volume -> (size in GiB, names of its snapshots).
    volumes: Mapping[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    images: Set[str] = frozenset()
    seeds: Set[str] = frozenset()
    # Switch port -> its addresses.
    ports: Mapping[str, frozenset[str]] = field(default_factory=dict)


def differences(book: Book, seen: Seen) -> list[str]:
    """Return every difference as a sentence; none when all say the same."""
    return [
        *(f"still going on: {one}" for one in book.in_flight),
        *_domains(book, seen),
        *_storage(book, seen),
        *_ports(book, seen),
        *_quotas(book),
        *_money(book),
        *(f"lease: {one}" for one in book.leases),
        *(f"computed anew: {one}" for one in book.recomputed),
    ]


def _domains(book: Book, seen: Seen) -> Iterator[str]:
    for name in sorted(book.vms.keys() | seen.domains.keys()):
        row, found = book.vms.get(name), seen.domains.get(name, ())
        if row is None or row.status not in ON_A_HOST:
            for domain in found:
                what = "no VM" if row is None else row.status
                yield f"{name} is {what} and there is a domain on {domain.host}"
            continue
        for domain in found:
            if domain.host != row.host:
                yield f"{name} is on {row.host} and there is a domain on {domain.host}"
        active = [domain for domain in found if domain.active]
        if row.status != "running":
            for domain in active:
                yield f"{name} is {row.status} and runs on {domain.host}"
            continue
        if len(active) != 1:
            yield f"{name} is running and runs on {len(active)} hosts"
        for domain in active:
            yield from _machine(name, row, domain)


def _machine(name: str, row: VmRow, domain: Domain) -> Iterator[str]:
    for what, wanted, there in (
        ("vCPUs", row.vcpus, domain.vcpus),
        ("MiB of memory", row.memory_mib, domain.memory_mib),
        ("disks", sorted(row.disks), sorted(domain.disks)),
        ("ports", sorted(row.ports), sorted(domain.ports)),
    ):
        if wanted != there:
            yield f"{name} has {what} {wanted} and runs with {there}"


def _storage(book: Book, seen: Seen) -> Iterator[str]:
    for name in sorted(book.disks.keys() | seen.volumes.keys()):
        row, volume = book.disks.get(name), seen.volumes.get(name)
        if row is None or row.status not in WITH_VOLUME:
            if volume is not None:
                yield f"{name} is {'no disk' if row is None else row.status} and has a volume"
            continue
        if volume is None:
            yield f"{name} is {row.status} and has no volume"
            continue
        size_gib, snapshots = volume
        if size_gib != row.size_gib:
            yield f"{name} has {row.size_gib} GiB and its volume {size_gib}"
        for snapshot in sorted(row.snapshots ^ snapshots):
            where = "only in rows" if snapshot in row.snapshots else "only in its volume"
            yield f"{name} has snapshot {snapshot} {where}"
        if row.vm is not None and book.vms.get(row.vm) is None:
            yield f"{name} hangs on {row.vm}, which there is not"
    files = {name for name, status in book.images.items() if status in WITH_FILE}
    for name in sorted(files ^ seen.images):
        status = book.images.get(name, "no image")
        yield f"{name} is {status} and has {'a' if name in seen.images else 'no'} file"
    living = {name for name, row in book.vms.items() if row.status not in GONE}
    for name in sorted(seen.seeds - living):
        yield f"{name} is gone and has a seed"


def _ports(book: Book, seen: Seen) -> Iterator[str]:
    for port in sorted(book.switched.keys() | seen.ports.keys()):
        wanted, there = book.switched.get(port), seen.ports.get(port)
        if wanted is None or there is None:
            yield f"port {port} is only in {'OVN' if wanted is None else 'rows'}"
        elif wanted != there:
            yield f"port {port} has {sorted(wanted)} and {sorted(there)} in OVN"


def _quotas(book: Book) -> Iterator[str]:
    wanted = _claims(book)
    for name in sorted(wanted.keys() | book.claims.keys()):
        due = {item: amount for item, amount in wanted.get(name, {}).items() if amount}
        has = {item: amount for item, amount in book.claims.get(name, {}).items() if amount}
        if due != has:
            yield f"{name} counts {has} against quota and should count {due}"


def _claims(book: Book) -> dict[str, dict[str, int]]:
    """What each living resource counts: the binned count in the meter of the bin instead."""
    found: dict[str, dict[str, int]] = {}
    for name, vm in book.vms.items():
        if vm.status in ON_A_HOST:
            memory_gib = -(-vm.memory_mib // 1024)
            found[name] = {"vms": 1, "vcpu": vm.vcpus, "memory_gib": memory_gib}
    for name, disk in book.disks.items():
        owner = disk.vm if disk.is_system else name
        lives = disk.status in WITH_VOLUME - {"binned"}
        if disk.is_system:
            vm_row = book.vms.get(disk.vm or "")
            lives = vm_row is not None and vm_row.status in ON_A_HOST
        if owner is None or not lives:
            continue
        items = found.setdefault(owner, {})
        items["disks"] = items.get("disks", 0) + 1
        items["disk_gib"] = items.get("disk_gib", 0) + disk.size_gib
        for snapshot in disk.snapshots:
            found[snapshot] = {"snapshots": 1}
    for name in book.counted_images:
        found[name] = {"images": 1}
    for name, item in book.network.items():
        found[name] = {item: 1}
    for name, row in book.external_ips.items():
        if row.status in WITH_ADDRESS:
            found[name] = {"eips": 1, "bandwidth_mbps": row.bandwidth_mbps}
    for name, row in book.enis.items():
        if row.status in WITH_ADDRESS:
            found[name] = {"enis": 1, "bandwidth_mbps": row.bandwidth_mbps}
    return found


def _money(book: Book) -> Iterator[str]:
    for tenant, account in sorted(book.accounts.items()):
        if account.balance_minor != account.entries_minor:
            yield (f"{tenant} has {account.balance_minor} and entries of {account.entries_minor}")
    statuses = {name: row.status for name, row in book.vms.items()}
    # A system disk is paid with its VM.
    statuses |= {name: row.status for name, row in book.disks.items() if not row.is_system}
    statuses |= {name: row.status for name, row in book.external_ips.items()}
    statuses |= {name: row.status for name, row in book.enis.items() if row.bandwidth_mbps}
    for name in sorted(statuses.keys() | book.subscriptions.keys()):
        status = statuses.get(name, "destroyed")
        paid, in_bin = book.subscriptions.get(name, ("ended", False))
        if status in PAID and paid != "active":
            yield f"{name} is {status} and its subscription is {paid}"
        if status == "expired" and paid == "active":
            yield f"{name} is expired and its subscription is active"
        if status in GONE and paid != "ended":
            yield f"{name} is {status} and its subscription is {paid}"
        if status not in GONE and in_bin != (status == "binned"):
            yield f"{name} is {status} and its subscription says {'' if in_bin else 'not '}binned"
