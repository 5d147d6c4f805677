"""The rows of a platform that was used say the same as its hosts and pool, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.hypervisor.fake import fake_host
from compute.models import VM, Snapshot
from network.actions import enis, external_ips
from network.fabric.base import Kind, PortSpec
from network.fabric.fake import World
from network.models import ExternalIp, Subnet
from network.rules.eni_orders import EniOrder
from tests.billing.helpers import fund
from tests.chaos import look
from tests.chaos.compare import Domain, Seen, differences
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached
from tests.outside import buy_ips, make_segment


def seen_in(box: Box, world: World) -> Seen:
    """What the drivers in memory hold, past the product."""
    domains: dict[str, tuple[Domain, ...]] = {}
    for host in box.platform.hosts:
        for domain in fake_host(host.uri).domains.values():
            spec = domain.running or domain.spec
            one = Domain(
                host=host.name,
                active=domain.running is not None,
                vcpus=spec.vcpus,
                memory_mib=spec.memory_mib,
                disks=frozenset(disk.id for disk in spec.disks),
                ports=frozenset(nic.port_uuid for nic in spec.nics),
            )
            domains[spec.name] = (*domains.get(spec.name, ()), one)
    return Seen(
        domains=domains,
        volumes={
            pk: (volume.size_bytes // 1024**3, frozenset(one.info.name for one in volume.snapshots))
            for pk, volume in box.storage.volumes.items()
        },
        images=set(box.storage.images),
        seeds=set(box.storage.seeds),
        ports={
            name: frozenset(str(address) for address in spec.addresses)
            for (_, kind, name), spec in world.things.items()
            if kind is Kind.PORT and isinstance(spec, PortSpec)
        },
    )


def test_a_used_platform_is_equal(box: Box, fabric: World) -> None:
    segment = make_segment(box.platform.region)
    vm, other = (
        box.vm(),
        box.vm(name="other", data_disk_gib=10, data_disk_type=box.platform.disk_type),
    )
    disk = attached(box, vm)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="one")
    box.run()
    lifecycle.delete_vm(actor=box.actor, vm=other)
    assert box.actor.tenant is not None
    fund(box.actor.tenant, cash="1000")
    bound, free = buy_ips(box.actor, segment, count=2)
    external_ips.bind_external_ip(actor=box.actor, external_ip=bound, target=vm)
    enis.create_eni(
        actor=box.actor, order=EniOrder(region=segment.region, subnet=Subnet.objects.get())
    )
    box.run()
    assert Snapshot.objects.filter(status="available").count() == 1
    seen = seen_in(box, fabric)
    found = differences(look.read_book(), seen)
    assert found == [], "\n".join(found)

    # And what is changed behind the product's back is told.
    VM.objects.filter(pk=vm.pk).update(vcpus=vm.vcpus + 1)
    assert [one.split(" ", 1)[0] for one in differences(look.read_book(), seen)] == [vm.pk] * 2
    VM.objects.filter(pk=vm.pk).update(vcpus=vm.vcpus)
    gone = {pk: volume for pk, volume in seen.volumes.items() if pk != disk.pk}
    assert differences(look.read_book(), replace(seen, volumes=gone)) == [
        f"{disk.pk} is bound and has no volume"
    ]
    ExternalIp.objects.filter(pk=free.pk).update(bandwidth_mbps=9)
    assert [one.split(" ", 1)[0] for one in differences(look.read_book(), seen)] == [free.pk]
    ExternalIp.objects.filter(pk=free.pk).update(bandwidth_mbps=free.bandwidth_mbps)
    ExternalIp.objects.filter(pk=bound.pk).update(address="203.0.113.99")
    told = differences(look.read_book(), seen)
    assert any("203.0.113.99" in one and "in OVN" in one for one in told), told
    ExternalIp.objects.filter(pk=bound.pk).update(address=bound.address)
    disks.detach_disk(actor=box.actor, disk=disk)
    assert any("still going on" in one for one in differences(look.read_book(), seen))
