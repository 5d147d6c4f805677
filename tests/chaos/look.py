"""Reading the database on one side, and hosts, pool and switches past the product on the other.

Django must be set up, with the database of the stack.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from billing.models import Account as AccountRow
from billing.models import LedgerEntry, QuotaClaim, QuotaItem, Subscription
from billing.replay import replay
from compute.models import VM, Disk, Image, Snapshot, VncLease
from network.models import Eni, ExternalIp, ExternalSegment, Nic, SecurityGroup, Subnet, Vpc
from network.sweeps import reconcile as switches
from scloud.jobs.models import ACTIVE, Job
from scloud.lab.plan import Lab
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.chaos.compare import Account, Book, DiskRow, Domain, OutsideRow, Seen, VmRow
from tests.e2e import outside

# A lease is over when it has not been used for so long past its time.
LEASE_GRACE = timedelta(seconds=90)


def read_book() -> Book:
    """All that the database says."""
    with scopes_disabled():
        disks = _disks()
        hanging: dict[str, set[str]] = defaultdict(set)
        for disk in Disk.objects.exclude(vm=None).exclude(status__in=("failed", "destroyed")):
            hanging[str(disk.vm_id)].add(disk.pk)
        ports: dict[str, set[str]] = defaultdict(set)
        for nic in Nic.objects.exclude(vm_id=None):
            ports[str(nic.vm_id)].add(str(nic.port_uuid))
        claims: dict[str, dict[str, int]] = defaultdict(dict)
        for claim in QuotaClaim.objects.all():
            claims[claim.resource_id][claim.item] = claim.amount
        return Book(
            vms={
                vm.pk: VmRow(
                    status=vm.status,
                    host=None if vm.host is None else vm.host.name,
                    vcpus=vm.vcpus,
                    memory_mib=vm.memory_mib,
                    disks=frozenset(hanging[vm.pk]),
                    ports=frozenset(ports[vm.pk]),
                )
                for vm in VM.objects.select_related("host")
            },
            disks=disks,
            images=dict(Image.objects.values_list("pk", "status")),
            counted_images=set(
                Image.objects.exclude(tenant=None)
                .exclude(status__in=("failed", "binned", "destroyed"))
                .values_list("pk", flat=True)
            ),
            external_ips={
                one.pk: OutsideRow(status=one.status, bandwidth_mbps=one.bandwidth_mbps)
                for one in ExternalIp.objects.all()
            },
            enis={
                one.pk: OutsideRow(
                    status=one.status,
                    bandwidth_mbps=0 if one.nic is None else one.nic.bandwidth_mbps or 0,
                )
                for one in Eni.objects.select_related("nic")
            },
            switched=_switched(),
            claims=claims,
            network=_network(),
            subscriptions={
                one.resource_id: (one.status, one.in_bin) for one in Subscription.objects.all()
            },
            accounts=_accounts(),
            recomputed=tuple(_recomputed()),
            in_flight=tuple(_in_flight()),
            leases=tuple(
                f"{lease.pk} is {lease.state}"
                for lease in VncLease.objects.exclude(state="closed")
                # Nobody is connected when the run is over.
                if lease.state == "connected" or lease.expires_at < timezone.now() - LEASE_GRACE
            ),
        )


def _disks() -> dict[str, DiskRow]:
    snapshots: dict[str, set[str]] = defaultdict(set)
    for disk_id, pk in Snapshot.objects.filter(status="available").values_list("disk_id", "pk"):
        snapshots[disk_id].add(pk)
    return {
        disk.pk: DiskRow(
            status=disk.status,
            size_gib=disk.size_gib,
            vm=disk.vm_id,
            is_system=disk.is_system,
            snapshots=frozenset(snapshots[disk.pk]),
        )
        for disk in Disk.objects.all()
    }


def _switched() -> dict[str, frozenset[str]]:
    """Which addresses each port has, in words of rows alone: not as the product derives them."""
    found: dict[str, set[str]] = defaultdict(set)
    for nic in Nic.objects.filter(network="internal").prefetch_related("addresses"):
        eni = getattr(nic, "eni", None)
        if eni is None or eni.status == "bound":
            found[str(nic.port_uuid)] |= {one.address for one in nic.addresses.all()}
    for row in ExternalIp.objects.filter(status="bound").select_related("nic"):
        if row.nic is not None:
            found[str(row.nic.port_uuid)].add(row.address)
    for eni in Eni.objects.filter(network="external", status="bound").select_related("nic"):
        if eni.nic is not None:
            found[str(eni.nic.port_uuid)].add(eni.address)
    return {port: frozenset(addresses) for port, addresses in found.items()}


def _network() -> dict[str, str]:
    found: dict[str, str] = {}
    for model, item in (
        (Vpc, QuotaItem.VPCS),
        (Subnet, QuotaItem.SUBNETS),
        (SecurityGroup, QuotaItem.SECURITY_GROUPS),
    ):
        found |= dict.fromkeys(model.objects.values_list("pk", flat=True), str(item.value))
    return found


def _accounts() -> dict[str, Account]:
    return {
        account.tenant.name: Account(
            balance_minor=account.cash_minor + account.gift_minor,
            entries_minor=LedgerEntry.objects.filter(
                tenant=account.tenant, pocket__in=("cash", "gift")
            ).aggregate(found=Sum("amount_minor"))["found"]
            or 0,
        )
        for account in AccountRow.objects.select_related("tenant")
    }


def _recomputed() -> list[str]:
    now = timezone.now()
    found = [
        str(difference)
        for tenant in Tenant.objects.all()
        for difference in replay(tenant, now - timedelta(days=2), now + timedelta(days=1))
    ]
    for region in Region.objects.all():
        found += [
            f"{one.kind} {one.target_id}: {one.problem} {one.detail}"
            for one in switches.reconcile(region, repair=False)
        ]
    return found


def _in_flight() -> list[str]:
    found = [
        f"{job.pk} {job.kind} of {job.target_id} is {job.status}"
        for job in Job.objects.filter(status__in=ACTIVE)
    ]
    tasks: list[QuerySet[Any]] = [
        VM.objects.all(),
        Disk.objects.all(),
        ExternalIp.objects.all(),
        Eni.objects.all(),
    ]
    for rows in tasks:
        found += [f"{one.pk} is {one.task}" for one in rows.exclude(task="")]
    moving: list[tuple[QuerySet[Any], tuple[str, ...]]] = [
        (Image.objects.all(), ("making", "importing", "deleting")),
        (Snapshot.objects.all(), ("creating", "rolling_back", "deleting")),
    ]
    for rows, statuses in moving:
        found += [f"{one.pk} is {one.status}" for one in rows.filter(status__in=statuses)]
    applied: list[QuerySet[Any]] = [
        Vpc.objects.all(),
        Subnet.objects.all(),
        SecurityGroup.objects.all(),
        # That of an unbound ENI has no port that could be applied.
        Nic.objects.exclude(vm_id=None),
        ExternalSegment.objects.all(),
    ]
    for rows in applied:
        late = rows.filter(applied_generation__lt=F("generation"))
        found += [f"{pk} is not applied" for pk in late.values_list("pk", flat=True)]
    return found


def look_around(facts: dict[str, Any], lab: Lab) -> Seen:
    """All that is there, asked of libvirt, files and OVN."""
    domains: dict[str, list[Domain]] = defaultdict(list)
    for host in facts["hosts"]:
        with outside.connected(host["uri"]) as connection:
            for one in connection.listAllDomains():
                domains[one.name()].append(_domain(host["name"], one))
    pool = Path(facts["storage"]["path"])
    return Seen(
        domains={name: tuple(found) for name, found in domains.items()},
        volumes={path.stem: _volume(path) for path in (pool / "volumes").glob("*.qcow2")},
        images={path.stem for path in (pool / "images").glob("*.qcow2")},
        seeds={path.stem for path in (pool / "seeds").glob("*.iso")},
        ports=outside.addresses(lab),
    )


def _domain(host: str, domain: Any) -> Domain:
    root = ElementTree.fromstring(domain.XMLDesc())
    vcpu = root.find("vcpu")
    growth = root.find("devices/memory[@model='virtio-mem']/target")
    memory_kib = int(root.findtext("memory", "0"))
    if growth is not None:
        size, requested = (int(growth.findtext(tag, "0")) for tag in ("size", "requested"))
        memory_kib += requested - size
    serials = {disk.findtext("serial", "") for disk in root.findall("devices/disk")}
    ports = root.findall("devices/interface/virtualport/parameters")
    return Domain(
        host=host,
        active=bool(domain.isActive()),
        vcpus=0 if vcpu is None else int(vcpu.get("current") or vcpu.text or 0),
        memory_mib=memory_kib // 1024,
        disks=frozenset(serials - {"seed", ""}),
        ports=frozenset(port.get("interfaceid", "") for port in ports),
    )


def _volume(path: Path) -> tuple[int, frozenset[str]]:
    told = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    facts = json.loads(told)
    names = frozenset(one["name"] for one in facts.get("snapshots", []))
    return facts["virtual-size"] // 1024**3, names
