"""What must hold at every moment, and what must be equal once nothing is in flight.

Both return differences as sentences that name the resource; none means that all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from django.db.models import F, Sum
from django.utils import timezone

from billing.models import Account, Charge, HeldHour, LedgerEntry, QuotaClaim, Subscription
from billing.replay import replay
from compute.actions.vms.lifecycle import full_quota
from compute.hypervisor.fake import FakeDomain, fake_host
from compute.models import VM, Disk, Drift, GuestLogin, Host, Image, Snapshot
from compute.rules import sizes
from compute.rules.catalogue import disk_item
from compute.storage.base import GIB
from network.fabric.base import Kind, PortSpec
from network.models import (
    Eni,
    ExternalIp,
    ExternalSegment,
    NetworkDrift,
    Nic,
    PrivateAddress,
    SecurityGroup,
    Subnet,
    Vpc,
)
from network.rules.external_orders import bandwidth_items
from network.tasks import specs
from scloud.jobs.models import ACTIVE, Job
from scloud.tenancy.scoping import scopes_disabled
from tests.model.world import World

GONE = ("destroyed", "failed")
KEPT_ON_HOST = ("running", "stopped")
Paid = VM | Disk | ExternalIp | Eni


def domains(world: World) -> Iterator[tuple[Host, FakeDomain]]:
    """Yield every domain with the host on which it is."""
    for host in world.hosts:
        for domain in list(fake_host(host.uri).domains.values()):
            yield host, domain


def broken(world: World) -> list[str]:
    """Return what must never be, and is now."""
    with scopes_disabled():
        return [
            *world.complaints.heard,
            *_copies(world),
            *_room(world),
            *_money(world),
            *_addresses(world),
            *_owners(),
        ]


def _copies(world: World) -> Iterator[str]:
    """No VM runs twice, and no disk is open in two VMs."""
    running = [(host, one) for host, one in domains(world) if one.running is not None]
    for name, count in Counter(one.spec.name for _host, one in running).items():
        if count > 1:
            yield f"{name} runs {count} times"
    open_in: dict[str, set[str]] = {}
    for _host, one in running:
        assert one.running is not None
        for disk in one.running.disks:
            open_in.setdefault(disk.id, set()).add(one.spec.name)
    for disk_id, names in open_in.items():
        if len(names) > 1:
            yield f"{disk_id} hangs on {', '.join(sorted(names))}"


def _room(world: World) -> Iterator[str]:
    """No host has promised more than it has; a VM on its way has its room at both ends."""
    taken: dict[str, list[int]] = {}
    for row in VM.objects.values_list("host", "destination", "vcpus", "memory_mib"):
        for host_id in row[:2]:
            if host_id is not None:
                sums = taken.setdefault(host_id, [0, 0])
                sums[0] += row[2]
                sums[1] += row[3]
    for host in world.hosts:
        vcpus, memory_mib = taken.get(host.pk, [0, 0])
        if memory_mib > host.memory_mib - host.reserved_memory_mib:
            yield f"{host.name} has promised {memory_mib} of {host.memory_mib} MiB"
        if vcpus > host.vcpus * world.platform.cluster.cpu_overcommit:
            yield f"{host.name} has promised {vcpus} of {host.vcpus} vCPU"


def _money(world: World) -> Iterator[str]:
    """A balance is the sum of its ledger, and never below zero."""
    sums: dict[tuple[str, str], int] = {
        (tenant, pocket): amount
        for tenant, pocket, amount in LedgerEntry.objects.order_by()
        .values_list("tenant", "pocket")
        .annotate(sum=Sum("amount_minor"))
    }
    for account in Account.objects.select_related("tenant"):
        name = account.tenant.name
        for pocket, cached in (("cash", account.cash_minor), ("gift", account.gift_minor)):
            entered = sums.get((account.tenant_id, pocket), 0)
            if cached != entered:
                yield f"the {pocket} of {name} is {cached}, and its entries are {entered}"
            if cached < 0:
                yield f"{name} owes {cached} {pocket}"
        if sum(amount for (tenant, _pocket), amount in sums.items() if tenant == account.tenant_id):
            yield f"the ledger of {name} does not add up to nothing"


def _addresses(world: World) -> Iterator[str]:
    """No address of a subnet is on two ports; that no two rows hold one is the database's rule."""
    ports = Counter(
        (spec.switch_id, str(address))
        for spec in world.fabric.things.values()
        if isinstance(spec, PortSpec)
        for address in spec.addresses
    )
    for (subnet, address), count in ports.items():
        if count > 1:
            yield f"{address} of {subnet} is on {count} ports of the network"


def _owners() -> Iterator[str]:
    """A disk hangs on a VM of its own tenant."""
    strange = Disk.objects.filter(vm__isnull=False).exclude(tenant=F("vm__tenant"))
    for disk in strange.select_related("vm"):
        yield f"{disk.name} hangs on {disk.vm} of somebody else"


# -- at rest ---------------------------------------------------------------------------------------


def differences(world: World) -> list[str]:
    """Return how rows, hosts, pools, network, ledger and quotas differ at rest."""
    with scopes_disabled():
        return [
            *broken(world),
            *_in_flight(),
            *_hosts(world),
            *_pools(world),
            *_doubts(world),
            *_network(world),
            *_books(world),
            *_quotas(world),
            *_reports(),
        ]


def _in_flight() -> Iterator[str]:
    for job in Job.objects.filter(status__in=ACTIVE):
        yield f"{job.title} ({job.kind}) has not ended"
    for model in (VM, Disk, ExternalIp, Eni):
        for row in model._default_manager.exclude(task=""):
            yield f"{row.name} is still {row.task}"
    for row in Disk.objects.filter(status="new"):
        yield f"{row.name} is still new"
    for row in VM.objects.filter(status="new"):
        yield f"{row.name} is still new"
    for image in Image.objects.filter(status__in=["making", "importing", "deleting"]):
        yield f"{image.name} is still {image.status}"
    for one in Snapshot.objects.filter(status__in=["creating", "rolling_back", "deleting"]):
        yield f"{one.name} is still {one.status}"


def _doubts(world: World) -> Iterator[str]:
    """Nobody uses a volume of which it is not known what it holds."""
    doubtful = {
        volume.volume_id
        for number in range(len(world.pools))
        for volume in world.pool(number).volumes.values()
        if volume.doubt
    }
    unmarked = Disk.objects.filter(pk__in=doubtful, damaged_since=None)
    for row in unmarked.exclude(status__in=("new", *GONE)):
        yield f"{row.name} is in doubt and not marked"


def _hosts(world: World) -> Iterator[str]:
    """Each VM is where its row says, as its row says, and nothing else is anywhere."""
    places: dict[str, list[tuple[Host, FakeDomain]]] = {}
    for host, domain in domains(world):
        places.setdefault(domain.spec.uuid, []).append((host, domain))
    for vm in VM.objects.select_related("host").order_by("created_at"):
        found = places.pop(str(vm.uuid), [])
        if vm.destination_id is not None:
            yield f"{vm.name} is still on its way to a host"
        where = [host.name for host, _domain in found]
        home = [vm.host.name] if vm.host is not None else []
        if vm.status not in (*KEPT_ON_HOST, "expired"):
            if where or home:
                yield f"{vm.name} is {vm.status}, with a domain on {where} and a row on {home}"
            continue
        if where != home:
            yield f"{vm.name} should be on {home} and is on {where}"
            continue
        for _host, domain in found:
            yield from _domain(vm, domain)
    for found in places.values():
        for host, domain in found:
            yield f"{domain.spec.name} on {host.name} is nobody's"


def _domain(vm: VM, domain: FakeDomain) -> Iterator[str]:
    runs = domain.running is not None
    if runs != (vm.status == "running"):
        yield f"{vm.name} is {vm.status} and its domain {'runs' if runs else 'is off'}"
    if domain.frozen:
        yield f"the guest of {vm.name} is frozen"
    wanted = set(Disk.objects.filter(vm=vm).values_list("pk", flat=True))
    nics = {str(one) for one in Nic.objects.filter(vm_id=vm.pk).values_list("port_uuid", flat=True)}
    for word, spec in (("defined", domain.spec), ("running", domain.running)):
        if spec is None:
            continue
        if {disk.id for disk in spec.disks} != wanted:
            yield f"{vm.name} is {word} with disks {sorted(d.id for d in spec.disks)}"
        if {nic.port_uuid for nic in spec.nics} != nics:
            yield f"{vm.name} is {word} with other network interfaces than its row has"
    spec = domain.running
    if spec is not None and (spec.vcpus, spec.memory_mib) != (vm.vcpus, vm.memory_mib):
        yield f"{vm.name} runs with {spec.vcpus} vCPU, {spec.memory_mib} MiB: not {vm.spec_label}"


def _pools(world: World) -> Iterator[str]:
    """Volumes, snapshots and images are those of the rows, with their sizes."""
    runs = {
        f"{host.uri}/{one.spec.uuid}": {disk.id for disk in one.running.disks}
        for host, one in domains(world)
        if one.running is not None
    }
    for number, row in enumerate(world.pools):
        pool = world.pool(number)
        disks = {
            disk.pk: disk
            for disk in Disk.objects.filter(pool=row).exclude(status__in=("new", *GONE))
        }
        for pk in pool.volumes.keys() - disks.keys():
            yield f"volume {pk} in {row.pk} is nobody's"
        for pk, disk in disks.items():
            volume = pool.volumes.get(pk)
            if volume is None:
                yield f"the volume of {disk.name} ({disk.status}) is missing in {row.pk}"
                continue
            if volume.size_bytes != disk.size_gib * GIB:
                yield f"{disk.name} has {disk.size_gib} GB and its volume {volume.size_bytes} B"
            if disk.is_system and volume.image_id != disk.image_id:
                yield f"{disk.name} was made of {volume.image_id}, not of {disk.image_id}"
            names = {one.info.name for one in volume.snapshots}
            rows = set(
                Snapshot.objects.filter(disk=disk, status="available").values_list("pk", flat=True)
            )
            if names != rows:
                yield f"{disk.name} has the snapshots {sorted(rows)}, its volume {sorted(names)}"
            users = {user for user, ids in runs.items() if pk in ids}
            if volume.users != users:
                yield f"{disk.name} is open in {sorted(volume.users)}, not in {sorted(users)}"
        images = {
            image.pk: image
            for image in Image.objects.filter(pool=row, status__in=["available", "binned"])
        }
        for pk in pool.images.keys() - images.keys():
            yield f"image {pk} in {row.pk} is nobody's"
        for pk in images.keys() - pool.images.keys():
            yield f"the file of image {images[pk].name} is missing in {row.pk}"
        living = set(VM.objects.exclude(status__in=GONE).values_list("pk", flat=True))
        for pk in pool.seeds.keys() - living:
            yield f"the seed of {pk} in {row.pk} is nobody's"


def _network(world: World) -> Iterator[str]:
    """The network has what the rows say, and nothing else."""
    region = world.region
    wanted: dict[tuple[Kind, str], object] = {}
    for vpc in Vpc.objects.filter(region=region):
        wanted[Kind.VPC, vpc.pk] = specs.vpc_spec(vpc)
    for subnet in Subnet.objects.filter(region=region).select_related("vpc"):
        wanted[Kind.SUBNET, subnet.pk] = specs.subnet_spec(subnet)
    for segment in ExternalSegment.objects.filter(region=region):
        wanted[Kind.SEGMENT, segment.switch_id] = specs.segment_spec(segment)
    for group in SecurityGroup.objects.filter(region=region):
        wanted[Kind.SECURITY_GROUP, group.pk] = specs.security_group_spec(group)
    for nic in Nic.objects.filter(region=region, port_wanted=True).select_related("subnet"):
        spec = specs.port_spec(nic)
        if spec is not None:
            wanted[Kind.PORT, str(nic.port_uuid)] = spec
    there = {(kind, pk): spec for (_owner, kind, pk), spec in world.fabric.things.items()}
    for kind, pk in there.keys() - wanted.keys():
        yield f"{kind.value} {pk} in the network is nobody's"
    for kind, pk in wanted.keys() - there.keys():
        yield f"{kind.value} {pk} is missing in the network"
    for key in wanted.keys() & there.keys():
        if wanted[key] != there[key]:
            yield f"{key[0].value} {key[1]} differs in the network"
    living = set(VM.objects.exclude(status__in=GONE).values_list("pk", flat=True))
    plugged = set(Nic.objects.filter(port_wanted=True).values_list("vm_id", flat=True))
    for vm in living - plugged:
        yield f"{vm} has no network interface"
    bound = Nic.objects.exclude(vm_id=None)
    for owner in set(bound.values_list("vm_id", flat=True)) - living:
        yield f"{owner} is gone and has a network interface"
    for nic in Nic.objects.filter(network="internal").exclude(addresses__isnull=False):
        yield f"{nic.pk} has no address"
    for held in PrivateAddress.objects.filter(leaving__isnull=False):
        yield f"{held} was given up and is not free"


def _books(world: World) -> Iterator[str]:
    """Everything is paid as it stands, and what never was has cost nothing."""
    since, until = timezone.now() - timedelta(days=3650), timezone.now() + timedelta(days=1)
    for actor in world.actors.values():
        assert actor.tenant is not None
        yield from map(str, replay(actor.tenant, since, until))
    subscriptions = {one.resource_id: one for one in Subscription.objects.all()}
    rows: list[Paid] = [
        *VM.objects.all(),
        *Disk.objects.filter(is_system=False),
        *ExternalIp.objects.select_related("segment"),
        *Eni.objects.filter(network="external"),
    ]
    for row in rows:
        found = subscriptions.pop(row.pk, None)
        if found is None:
            yield f"{row.name} has no subscription"
            continue
        wanted = {"expired": {"expired"}, "binned": {"active", "expired"}}.get(
            row.status, {"ended"} if row.status in GONE else {"active"}
        )
        if found.status not in wanted:
            yield f"{row.name} is {row.status} and its subscription {found.status}"
        if row.status not in GONE and found.in_bin != (row.status == "binned"):
            yield f"{row.name} is {row.status}, and for the books in the bin: {found.in_bin}"
        if row.status not in GONE:
            yield from _lines(row, found)
        paid = Charge.objects.filter(resource_id=row.pk).aggregate(sum=Sum("amount_minor"))["sum"]
        if row.status == "failed" and paid:
            yield f"{row.name} never was and has cost {paid}"
        if (
            row.status == "failed"
            and HeldHour.objects.filter(subscription=found, charge=None).exists()
        ):
            yield f"{row.name} never was and owes for hours"
        if (paid or 0) < 0:
            yield f"{row.name} got back more than it paid: {paid}"
    for one in subscriptions.values():
        yield f"{one.resource_id} has a subscription and is nobody's"


def _lines(row: Paid, found: Subscription) -> Iterator[str]:
    if isinstance(row, VM):
        items = sizes.vm_items(row)
    elif isinstance(row, ExternalIp):
        assert row.segment is not None
        items = bandwidth_items(row.segment, row.bandwidth_mbps)
    elif isinstance(row, Eni):
        assert row.nic is not None
        items = bandwidth_items(row.nic.external_address.segment, row.nic.bandwidth_mbps or 0)
    else:
        items = [disk_item(row.disk_type, row.size_gib, system=False)]
    wanted = Counter({item.sku: Decimal(item.quantity) for item in items})
    billed = Counter({line["sku"]: Decimal(line["quantity"]) for line in found.lines})
    if wanted != billed:
        yield f"{row.name} pays for {dict(billed)}, not for {dict(wanted)}"


def _quotas(world: World) -> Iterator[str]:
    """What is claimed is what is there."""
    wanted: dict[tuple[str, str], int] = {}

    def claim(pk: str, amounts: dict[str, int]) -> None:
        wanted.update({(pk, str(item)): amount for item, amount in amounts.items() if amount})

    for vm in VM.objects.filter(status__in=[*KEPT_ON_HOST, "expired"]):
        claim(vm.pk, full_quota(vm))
    for disk in Disk.objects.filter(is_system=False, status__in=["bound", "unbound", "expired"]):
        claim(disk.pk, sizes.disk_quota(disk.size_gib))
    for one in Snapshot.objects.filter(status="available").exclude(disk__vm__status="binned"):
        claim(one.pk, {"snapshots": 1})
    for image in Image.objects.filter(status="available", tenant__isnull=False):
        claim(image.pk, {"images": 1})
    for model, item in ((Vpc, "vpcs"), (Subnet, "subnets"), (SecurityGroup, "security_groups")):
        for row in model._default_manager.all():
            claim(row.pk, {item: 1})
    for address in ExternalIp.objects.filter(status__in=["free", "bound", "expired"]):
        claim(address.pk, {"eips": 1, "bandwidth_mbps": address.bandwidth_mbps})
    for eni in Eni.objects.exclude(status="destroyed").select_related("nic"):
        assert eni.nic is not None
        claim(eni.pk, {"enis": 1, "bandwidth_mbps": eni.nic.bandwidth_mbps or 0})
    claimed = {(one.resource_id, one.item): one.amount for one in QuotaClaim.objects.all()}
    for key in sorted(claimed.keys() | wanted.keys()):
        if claimed.get(key, 0) != wanted.get(key, 0):
            yield f"{key[0]} claims {claimed.get(key, 0)} {key[1]}, not {wanted.get(key, 0)}"


def _reports() -> Iterator[str]:
    for one in Drift.objects.filter(repaired_at=None):
        yield f"reported: {one.kind} {one.resource_id} on {one.place}: {one.detail}"
    for found in NetworkDrift.objects.filter(resolved_at=None):
        yield f"reported: {found.problem} {found.kind} {found.target_id}: {found.detail}"
    for login in GuestLogin.objects.filter(vm__status="destroyed"):
        yield f"the login of {login.vm_id} is kept"
