"""The rows of a platform that was used say the same as its hosts and pool, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.hypervisor.fake import fake_host
from compute.models import VM, Snapshot
from network.models import Nic
from tests.chaos import look
from tests.chaos.compare import Domain, Seen, differences
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached


def seen_in(box: Box) -> Seen:
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
        ports={str(uuid) for uuid in Nic.objects.values_list("port_uuid", flat=True)},
    )


def test_a_used_platform_is_equal(box: Box) -> None:
    vm, other = (
        box.vm(),
        box.vm(name="other", data_disk_gib=10, data_disk_type=box.platform.disk_type),
    )
    disk = attached(box, vm)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="one")
    box.run()
    lifecycle.delete_vm(actor=box.actor, vm=other)
    box.run()
    assert Snapshot.objects.filter(status="available").count() == 1
    seen = seen_in(box)
    assert differences(look.read_book(), seen) == []

    # And what is changed behind the product's back is told.
    VM.objects.filter(pk=vm.pk).update(vcpus=vm.vcpus + 1)
    assert [one.split(" ", 1)[0] for one in differences(look.read_book(), seen)] == [vm.pk] * 2
    VM.objects.filter(pk=vm.pk).update(vcpus=vm.vcpus)
    gone = {pk: volume for pk, volume in seen.volumes.items() if pk != disk.pk}
    assert differences(look.read_book(), replace(seen, volumes=gone)) == [
        f"{disk.pk} is bound and has no volume"
    ]
    disks.detach_disk(actor=box.actor, disk=disk)
    assert any("still going on" in one for one in differences(look.read_book(), seen))
