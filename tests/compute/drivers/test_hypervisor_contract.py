"""The hypervisor port's contract, over the fake host and over a real one."""

import dataclasses
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from compute.hosts import machines
from compute.hypervisor.base import (
    AgentRefused,
    DiskLimits,
    DomainNotFound,
    DomainNotRunning,
    Hypervisor,
    PauseReason,
    PowerState,
    Refused,
    ShrinkRefused,
)
from compute.hypervisor.fake import fake_host
from compute.hypervisor.picture import png_of
from compute.storage.base import GIB, FileSource, Merging, VolumeBusy
from tests.compute.drivers.rig import Rig, eventually


def _observed_disks(rig: Rig, domain_uuid: str) -> dict[str, str]:
    seen = rig.hypervisor.observe(domain_uuid).disks
    return {disk.id: disk.target for disk in seen}


# -- the host ----------------------------------------------------------------------------------


def test_a_host_tells_its_capacity(rig: Rig) -> None:
    capacity = rig.hypervisor.capacity()
    assert capacity.arch == "x86_64"
    assert capacity.vcpus >= 1
    assert 0 < capacity.free_memory_mib <= capacity.memory_mib
    assert capacity.hostname


def test_a_host_counts_what_its_cpus_did(rig: Rig) -> None:
    first = rig.hypervisor.measure().host
    time.sleep(0.2)
    second = rig.hypervisor.measure().host
    assert first.cpus == second.cpus == rig.hypervisor.capacity().vcpus
    assert 0 <= first.busy_ns <= second.busy_ns
    assert first.idle_ns <= second.idle_ns
    everything = [one.busy_ns + one.iowait_ns + one.idle_ns for one in (first, second)]
    assert everything[0] < everything[1]
    assert 0 < first.available_kib <= first.memory_kib


def test_a_host_tells_its_machine_types_by_their_full_names(rig: Rig) -> None:
    found = rig.hypervisor.machine_types("x86_64")
    assert found.default in found.names
    assert len(found.names) > 1
    assert list(found.names) == sorted(set(found.names))
    assert all(machines.version_of(name) for name in found.names)


def test_a_host_names_its_cpu_and_the_certificates_that_are_in_use(rig: Rig) -> None:
    first = rig.hypervisor.cpu()
    assert first == rig.hypervisor.cpu()
    assert first.model
    # Of a host in memory there is nothing that could be encrypted.
    assert all(one.ends_at.tzinfo is not None for one in rig.hypervisor.certificates())


def test_pci_devices_come_by_address_and_once(rig: Rig) -> None:
    addresses = [device.address for device in rig.hypervisor.pci_devices()]
    assert addresses == sorted(set(addresses))


# -- definition and power ------------------------------------------------------------------------


def test_a_defined_domain_is_stopped_and_equals_its_spec(rig: Rig) -> None:
    spec = rig.defined()
    seen = rig.hypervisor.observe(spec.uuid)
    assert seen.power_state is PowerState.STOPPED
    assert (seen.uuid, seen.name, seen.owner) == (spec.uuid, spec.name, "scloud")
    assert (seen.vcpus, seen.memory_mib) == (1, 256)
    assert [disk.id for disk in seen.disks] == [spec.disks[0].id]
    assert [(nic.mac, nic.port_uuid) for nic in seen.nics] == [
        (spec.nics[0].mac, spec.nics[0].port_uuid)
    ]


def test_defining_again_changes_the_definition(rig: Rig) -> None:
    spec = rig.defined()
    rig.hypervisor.define(spec)
    rig.hypervisor.define(dataclasses.replace(spec, memory_mib=512, max_memory_mib=512, nics=()))
    seen = rig.hypervisor.observe(spec.uuid)
    assert seen.memory_mib == 512
    assert seen.nics == ()


def test_a_domain_tells_its_machine_type_by_its_full_name(rig: Rig) -> None:
    spec = rig.defined()
    default = rig.hypervisor.machine_types("x86_64").default
    assert rig.hypervisor.observe(spec.uuid).machine_type == default


def test_a_machine_type_that_was_asked_for_stays_over_a_stop_and_a_start(rig: Rig) -> None:
    found = rig.hypervisor.machine_types("x86_64")
    older = next(name for name in found.names if name != found.default)
    spec = dataclasses.replace(rig.defined(), machine_type=older)
    rig.hypervisor.define(spec)
    assert rig.hypervisor.observe(spec.uuid).machine_type == older
    rig.hypervisor.start(spec.uuid)
    assert rig.hypervisor.observe(spec.uuid).machine_type == older
    # What runs goes on as it is, whatever is defined beside it.
    rig.hypervisor.define(dataclasses.replace(spec, machine_type=found.default))
    assert rig.hypervisor.observe(spec.uuid).machine_type == older
    rig.hypervisor.power_off(spec.uuid)
    assert rig.hypervisor.observe(spec.uuid).machine_type == found.default


def test_a_machine_type_that_the_host_does_not_offer_is_refused(rig: Rig) -> None:
    spec = rig.defined()
    before = rig.hypervisor.observe(spec.uuid).machine_type
    with pytest.raises(Refused):
        rig.hypervisor.define(dataclasses.replace(spec, machine_type="pc-q35-99.9"))
    assert rig.hypervisor.observe(spec.uuid).machine_type == before


def test_a_windows_machine_with_a_watchdog_starts(rig: Rig) -> None:
    spec = dataclasses.replace(rig.defined(), windows=True, watchdog=True)
    rig.hypervisor.define(spec)
    rig.hypervisor.start(spec.uuid)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING


def test_two_domains_cannot_share_a_name(rig: Rig) -> None:
    spec = rig.defined()
    with pytest.raises(Refused):
        rig.hypervisor.define(dataclasses.replace(spec, uuid=str(uuid.uuid4())))


def test_an_unknown_domain_is_absent(rig: Rig) -> None:
    seen = rig.hypervisor.observe(str(uuid.uuid4()))
    assert seen.power_state is PowerState.ABSENT


def test_stopping_and_removing_what_is_missing_succeeds(rig: Rig) -> None:
    missing = str(uuid.uuid4())
    rig.hypervisor.shutdown(missing)
    rig.hypervisor.power_off(missing)
    rig.hypervisor.undefine(missing)
    rig.hypervisor.abort_migration(missing)
    assert rig.hypervisor.agent_ready(missing) is False
    assert rig.hypervisor.migration_progress(missing) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda h, u: h.start(u),
        lambda h, u: h.resume(u),
        lambda h, u: h.reboot(u),
        lambda h, u: h.detach_disk(u, "disk-none"),
        lambda h, u: h.set_disk_limits(u, "disk-none", DiskLimits(iops=10)),
        lambda h, u: h.detach_nic(u, "52:54:00:00:00:00"),
        lambda h, u: h.vnc_endpoint(u),
        lambda h, u: h.screenshot(u),
        lambda h, u: h.console_log(u),
        lambda h, u: h.set_password(u, "root", "Secret.123"),
    ],
)
def test_changing_what_is_missing_says_so(
    rig: Rig, call: Callable[[Hypervisor, str], object]
) -> None:
    with pytest.raises(DomainNotFound):
        call(rig.hypervisor, str(uuid.uuid4()))


@pytest.mark.parametrize(
    "call",
    [
        lambda h, u, d: h.resume(u),
        lambda h, u, d: h.reboot(u),
        lambda h, u, d: h.reset(u),
        lambda h, u, d: h.set_password(u, "root", "Secret.123"),
        lambda h, u, d: h.addresses(u),
        lambda h, u, d: h.filesystems(u),
        lambda h, u, d: h.system(u),
        lambda h, u, d: h.screenshot(u),
        lambda h, u, d: h.freeze(u),
        lambda h, u, d: h.thaw(u),
        lambda h, u, d: h.run(u, ["/bin/true"]),
        lambda h, u, d: h.read_file(u, "/etc/hostname"),
        lambda h, u, d: h.resize_disk(u, d, size_gib=2),
        lambda h, u, d: h.snapshot_disk(u, d, "snap-1"),
        lambda h, u, d: h.delete_disk_snapshot(u, d, "snap-1"),
        lambda h, u, d: h.change_disk(u, d, FileSource("/none")),
        lambda h, u, d: h.merge_disk(u, d, Merging(FileSource("/none"), FileSource("/none"))),
        lambda h, u, d: h.growth_headroom(u),
        lambda h, u, d: h.hot_upgrade(u, vcpus=2, memory_mib=512),
        lambda h, u, d: h.vnc_endpoint(u),
        lambda h, u, d: h.set_vnc_password(
            u, "abcdefgh", valid_until=datetime.now(UTC) + timedelta(seconds=60)
        ),
    ],
)
def test_what_needs_a_running_domain_says_so(
    rig: Rig, call: Callable[[Hypervisor, str, str], object]
) -> None:
    spec = rig.defined()
    with pytest.raises(DomainNotRunning):
        call(rig.hypervisor, spec.uuid, spec.disks[0].id)
    rig.hypervisor.undefine(spec.uuid)


def test_starting_and_powering_off_can_be_repeated(rig: Rig) -> None:
    spec = rig.defined()
    for _ in range(2):
        rig.hypervisor.start(spec.uuid)
        assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING
    for _ in range(2):
        rig.hypervisor.power_off(spec.uuid)
        assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.STOPPED


@pytest.mark.parametrize("go_on", [Hypervisor.resume, Hypervisor.start])
def test_a_paused_domain_says_why_and_goes_on(
    rig: Rig, go_on: Callable[[Hypervisor, str], None]
) -> None:
    spec = rig.started()
    assert rig.hypervisor.observe(spec.uuid).pause is None
    rig.suspend(spec.uuid)
    everybody = {one.uuid: one for one in rig.hypervisor.observe_all()}
    for seen in (rig.hypervisor.observe(spec.uuid), everybody[spec.uuid]):
        assert (seen.power_state, seen.pause) == (PowerState.PAUSED, PauseReason.BY_HAND)
    for _ in range(2):
        getattr(rig.hypervisor, go_on.__name__)(spec.uuid)
        seen = rig.hypervisor.observe(spec.uuid)
        assert (seen.power_state, seen.pause) == (PowerState.RUNNING, None)
    rig.suspend(spec.uuid)
    rig.hypervisor.power_off(spec.uuid)
    seen = rig.hypervisor.observe(spec.uuid)
    assert (seen.power_state, seen.pause) == (PowerState.STOPPED, None)


def test_undefining_a_running_domain_leaves_nothing_but_its_disk(rig: Rig) -> None:
    spec = rig.started()
    rig.hypervisor.undefine(spec.uuid)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.ABSENT
    assert spec.uuid not in {seen.uuid for seen in rig.hypervisor.observe_all()}
    assert rig.storage.volume_info(spec.disks[0].id).size_gib == 1
    rig.storage.delete_volume(spec.disks[0].id)


def test_a_vanished_disk_is_a_readable_refusal_and_the_domain_stays_stopped(rig: Rig) -> None:
    spec = rig.defined()
    rig.storage.delete_volume(spec.disks[0].id)
    with pytest.raises(Refused) as refusal:
        rig.hypervisor.start(spec.uuid)
    assert spec.disks[0].id in refusal.value.message
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.STOPPED


def test_one_question_shows_all_domains(rig: Rig) -> None:
    stopped, running = rig.defined(), rig.started()
    seen = {one.uuid: one for one in rig.hypervisor.observe_all()}
    assert seen[stopped.uuid].power_state is PowerState.STOPPED
    assert seen[running.uuid].power_state is PowerState.RUNNING
    assert [disk.id for disk in seen[running.uuid].disks] == [running.disks[0].id]
    assert seen[running.uuid].nics[0].mac == running.nics[0].mac
    assert seen[running.uuid].disks[0].capacity_bytes == GIB
    rig.hypervisor.power_off(running.uuid)


def test_what_runs_is_measured_and_each_start_is_another_run(rig: Rig) -> None:
    stopped, running = rig.defined(), rig.started()
    runs = []
    for _ in range(2):
        seen = {one.uuid: one for one in rig.hypervisor.measure().domains}
        assert stopped.uuid not in seen
        found = seen[running.uuid]
        assert found.power_state is PowerState.RUNNING
        assert [(disk.id, disk.counted) for disk in found.disks] == [(running.disks[0].id, True)]
        assert [(nic.port_uuid, nic.counted) for nic in found.nics] == [
            (running.nics[0].port_uuid, True)
        ]
        again = rig.hypervisor.observe(running.uuid)
        assert again.run == found.run != ""
        assert again.cpu_time_ns >= found.cpu_time_ns
        runs.append(found.run)
        rig.hypervisor.power_off(running.uuid)
        assert rig.hypervisor.observe(running.uuid).run == ""
        rig.hypervisor.start(running.uuid)
    assert len(set(runs)) == 2
    rig.hypervisor.power_off(running.uuid)


def test_observation_follows_devices_that_come_and_go(rig: Rig) -> None:
    spec = rig.started()
    disk = rig.disk()
    rig.hypervisor.observe_all()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    seen = {one.uuid: one for one in rig.hypervisor.observe_all()}
    assert disk.id in {found.id for found in seen[spec.uuid].disks}
    rig.hypervisor.power_off(spec.uuid)


# -- the guest -------------------------------------------------------------------------------------


def test_a_guest_shuts_down_when_asked(rig: Rig) -> None:
    spec = rig.guest()
    rig.hypervisor.shutdown(spec.uuid)
    rig.wait_for_power(spec.uuid, PowerState.STOPPED)
    rig.hypervisor.shutdown(spec.uuid)
    assert rig.hypervisor.agent_ready(spec.uuid) is False


def test_a_guest_reboots_when_asked_in_the_machine_that_runs(rig: Rig) -> None:
    spec = rig.guest()
    h = rig.hypervisor
    screen = h.vnc_endpoint(spec.uuid)
    for _ in range(2):
        noted = threading.Event()
        h.reboot(spec.uuid, noted=noted.set)
        assert noted.wait(rig.boot_timeout_s)
        assert h.agent_ready(spec.uuid) is False
        rig.wait_for_agent(spec.uuid)
        assert h.observe(spec.uuid).power_state is PowerState.RUNNING
        assert h.vnc_endpoint(spec.uuid) == screen
    # An order to reboot does not turn a later one to shut down into another reboot.
    noted.clear()
    h.shutdown(spec.uuid)
    rig.wait_for_power(spec.uuid, PowerState.STOPPED)
    assert not noted.is_set()


def test_what_runs_is_told_from_what_shall_run(rig: Rig) -> None:
    h = rig.hypervisor
    spec = replace(rig.spec(growth=True), seed_digest="one")
    h.define(spec)
    assert h.runs_as(spec.uuid, spec) is False
    h.start(spec.uuid)
    assert h.runs_as(spec.uuid, spec) is True
    assert h.runs_as(spec.uuid, replace(spec, title="Another name", cpu_shares=7)) is True
    for other in (
        replace(spec, seed_digest="two"),
        replace(spec, vcpus=2),
        replace(spec, memory_mib=384),
        replace(spec, max_memory_mib=1024),
        replace(spec, disks=()),
        replace(spec, nics=()),
        replace(spec, nics=(replace(spec.nics[0], mtu=1400),)),
    ):
        h.define(other)
        assert h.runs_as(spec.uuid, other) is False, other
        h.define(spec)
    disk, nic = rig.disk(), rig.nic()
    h.attach_disk(spec.uuid, disk)
    h.attach_nic(spec.uuid, nic)
    grown = replace(spec, disks=(*spec.disks, disk), nics=(*spec.nics, nic))
    assert h.runs_as(spec.uuid, spec) is False
    assert h.runs_as(spec.uuid, grown) is True
    h.power_off(spec.uuid)


def test_a_password_is_set_for_an_account_that_exists(rig: Rig) -> None:
    spec = rig.guest()
    rig.hypervisor.set_password(spec.uuid, "root", "Secret.123")
    with pytest.raises(AgentRefused):
        rig.hypervisor.set_password(spec.uuid, "nobody-here", "Secret.123")


def test_file_systems_freeze_and_thaw(rig: Rig) -> None:
    spec = rig.guest()
    assert rig.hypervisor.freeze(spec.uuid) >= 1
    rig.hypervisor.thaw(spec.uuid)
    rig.hypervisor.thaw(spec.uuid)
    assert rig.hypervisor.run(spec.uuid, ["/bin/true"]).exit_code == 0


def test_the_guest_names_each_disk(rig: Rig) -> None:
    spec = rig.guest()
    h = rig.hypervisor
    first, second = rig.disk(), rig.disk(target="vdc")

    def named() -> dict[str, str]:
        return {one.disk_id: one.device for one in h.guest_disks(spec.uuid)}

    # A guest hands out the letters in the order in which it finds the disks: two that come at
    # once are found in either order, so each is waited for.
    wanted = {spec.disks[0].id: "/dev/vda"}
    for disk, device in ((first, "/dev/vdb"), (second, "/dev/vdc")):
        h.attach_disk(spec.uuid, disk)
        wanted[disk.id] = device
        eventually(lambda: named() == wanted, timeout_s=20, poll_s=rig.poll_s, seen=named)
    for disk in (first, second):
        h.detach_disk(spec.uuid, disk.id)
    eventually(lambda: len(named()) == 1, timeout_s=20, poll_s=rig.poll_s)


def test_the_root_file_system_lies_on_the_boot_disk(rig: Rig) -> None:
    spec = rig.guest()
    found = {fs.mount_point: fs for fs in rig.hypervisor.filesystems(spec.uuid)}
    assert found["/"].disk_ids == (spec.disks[0].id,)
    assert found["/"].total_bytes is not None
    assert (found["/"].used_bytes or 0) > 0


def test_the_guest_shows_its_interfaces(rig: Rig) -> None:
    spec = rig.guest()
    macs = {interface.mac for interface in rig.hypervisor.addresses(spec.uuid)}
    assert spec.nics[0].mac in macs


def test_programs_run_in_the_guest(rig: Rig) -> None:
    spec = rig.guest()
    assert rig.hypervisor.run(spec.uuid, ["/bin/echo", "a b"]).stdout == b"a b\n"
    assert rig.hypervisor.run(spec.uuid, ["/bin/cat"], stdin=b"in").stdout == b"in"
    assert rig.hypervisor.run(spec.uuid, ["/bin/false"]).exit_code == 1
    with pytest.raises(AgentRefused):
        rig.hypervisor.run(spec.uuid, ["/no/such/program"])
    with pytest.raises(AgentRefused):
        rig.hypervisor.read_file(spec.uuid, "/no/such/file")


# -- devices --------------------------------------------------------------------------------


def test_a_disk_is_attached_once_and_detached(rig: Rig) -> None:
    spec, disk = rig.guest(), rig.disk()
    target = rig.hypervisor.attach_disk(spec.uuid, disk)
    assert rig.hypervisor.attach_disk(spec.uuid, disk) == target
    assert _observed_disks(rig, spec.uuid)[disk.id] == target
    with pytest.raises(VolumeBusy):
        rig.storage.delete_volume(disk.id)
    for _ in range(2):
        rig.hypervisor.detach_disk(spec.uuid, disk.id)
    assert disk.id not in _observed_disks(rig, spec.uuid)
    rig.storage.delete_volume(disk.id)


def test_a_taken_target_gives_the_next_free_one(rig: Rig) -> None:
    spec = rig.defined()
    first, second = rig.disk(target="vda"), rig.disk(target="vda")
    targets = {rig.hypervisor.attach_disk(spec.uuid, disk) for disk in (first, second)}
    assert targets == {"vdb", "vdc"}


def test_a_disk_attached_while_stopped_is_there_after_the_start(rig: Rig) -> None:
    spec, disk = rig.defined(), rig.disk()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    rig.hypervisor.start(spec.uuid)
    assert disk.id in _observed_disks(rig, spec.uuid)
    rig.hypervisor.power_off(spec.uuid)
    rig.hypervisor.detach_disk(spec.uuid, disk.id)
    assert disk.id not in _observed_disks(rig, spec.uuid)


def test_a_hot_attached_disk_stays_over_a_power_cycle(rig: Rig) -> None:
    spec, disk = rig.started(), rig.disk()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    rig.hypervisor.power_off(spec.uuid)
    assert disk.id in _observed_disks(rig, spec.uuid)


def test_a_running_disk_grows_and_never_shrinks(rig: Rig) -> None:
    spec, disk = rig.started(), rig.disk()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    for _ in range(2):
        rig.hypervisor.resize_disk(spec.uuid, disk.id, size_gib=2)
    assert rig.storage.volume_info(disk.id).size_gib == 2
    with pytest.raises(ShrinkRefused):
        rig.hypervisor.resize_disk(spec.uuid, disk.id, size_gib=1)
    assert rig.storage.volume_info(disk.id).size_gib == 2
    rig.hypervisor.power_off(spec.uuid)


def test_limits_are_set_on_disks_that_are_there(rig: Rig) -> None:
    spec = rig.started()
    for limits in (DiskLimits(1000, 50), DiskLimits(), DiskLimits(iops=10)):
        rig.hypervisor.set_disk_limits(spec.uuid, spec.disks[0].id, limits)
    with pytest.raises(Refused):
        rig.hypervisor.set_disk_limits(spec.uuid, "disk-none", DiskLimits())
    rig.hypervisor.set_cpu_limits(spec.uuid, shares=512, quota_percent=50)
    rig.hypervisor.set_cpu_limits(spec.uuid, shares=1024, quota_percent=None)
    rig.hypervisor.power_off(spec.uuid)


def test_an_interface_is_attached_once_unplugged_and_detached(rig: Rig) -> None:
    spec, nic = rig.guest(), rig.nic()
    for _ in range(2):
        rig.hypervisor.attach_nic(spec.uuid, nic)
    seen = rig.hypervisor.observe(spec.uuid).nics
    assert [one.port_uuid for one in seen if one.mac == nic.mac] == [nic.port_uuid]
    rig.hypervisor.set_nic_link(spec.uuid, nic.mac, up=False)
    rig.hypervisor.set_nic_link(spec.uuid, nic.mac, up=True)
    for _ in range(2):
        rig.hypervisor.detach_nic(spec.uuid, nic.mac)
    assert nic.mac not in {one.mac for one in rig.hypervisor.observe(spec.uuid).nics}
    with pytest.raises(Refused):
        rig.hypervisor.set_nic_link(spec.uuid, nic.mac, up=True)


# -- growth, snapshots, migration, screen ----------------------------------------------------


def test_a_running_domain_grows_within_its_headroom(rig: Rig) -> None:
    spec = rig.guest()
    before = rig.hypervisor.growth_headroom(spec.uuid)
    assert (before.max_vcpus, before.max_memory_mib) == (2, 512)
    with pytest.raises(Refused):
        rig.hypervisor.hot_upgrade(spec.uuid, vcpus=3, memory_mib=256)
    with pytest.raises(Refused):
        rig.hypervisor.hot_upgrade(spec.uuid, vcpus=2, memory_mib=1024)
    for _ in range(2):
        rig.hypervisor.hot_upgrade(spec.uuid, vcpus=2, memory_mib=384)
    after = rig.hypervisor.growth_headroom(spec.uuid)
    assert (after.vcpus, after.memory_mib) == (2, 384)
    everybody = {one.uuid: one for one in rig.hypervisor.observe_all()}
    for seen in (rig.hypervisor.observe(spec.uuid), everybody[spec.uuid]):
        assert (seen.vcpus, seen.memory_mib) == (2, 384)
    with pytest.raises(ShrinkRefused):
        rig.hypervisor.hot_upgrade(spec.uuid, vcpus=1, memory_mib=384)
    assert rig.hypervisor.growth_headroom(spec.uuid) == after


def test_a_running_disk_is_snapshotted_once(rig: Rig) -> None:
    spec, disk = rig.started(), rig.disk()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    for name in ("snap-1", "snap-2", "snap-1"):
        rig.hypervisor.snapshot_disk(spec.uuid, disk.id, name)
    names = [snapshot.name for snapshot in rig.storage.list_snapshots(disk.id)]
    assert names == ["snap-1", "snap-2"]
    for _ in range(2):
        rig.hypervisor.delete_disk_snapshot(spec.uuid, disk.id, "snap-1")
    assert [snapshot.name for snapshot in rig.storage.list_snapshots(disk.id)] == ["snap-2"]
    with pytest.raises(VolumeBusy):
        rig.storage.create_snapshot(disk.id, "snap-3")
    with pytest.raises(Refused):
        rig.hypervisor.snapshot_disk(spec.uuid, "disk-none", "snap-1")
    rig.hypervisor.power_off(spec.uuid)


def test_a_running_disk_is_brought_to_new_files_and_merges_old_ones(rig: Rig) -> None:
    spec, disk = rig.started(), rig.disk()
    rig.hypervisor.attach_disk(spec.uuid, disk)
    for name in ("snap-1", "snap-2", "snap-3", "snap-1"):
        source = rig.storage.stage_snapshot(disk.id, name)
        assert isinstance(source, FileSource)
        for _ in range(2):
            rig.hypervisor.change_disk(spec.uuid, disk.id, source)
        seen = {one.id: one.path for one in rig.hypervisor.observe(spec.uuid).disks}
        assert seen[disk.id] == source.path
        assert rig.storage.disk_source(disk.id) == source
    names = [snapshot.name for snapshot in rig.storage.list_snapshots(disk.id)]
    assert names == ["snap-1", "snap-2", "snap-3"]
    rig.storage.delete_snapshot(disk.id, "snap-2")
    assert not rig.storage.tidy_volume(disk.id)
    merging = rig.storage.next_merge(disk.id)
    assert merging is not None
    eventually(
        lambda: rig.hypervisor.merge_disk(spec.uuid, disk.id, merging), timeout_s=30, poll_s=0.05
    )
    rig.storage.end_merge(disk.id, merging)
    assert rig.storage.is_tidy(disk.id)
    assert rig.storage.next_merge(disk.id) is None
    with pytest.raises(Refused):
        rig.hypervisor.change_disk(spec.uuid, "disk-none", source)
    rig.hypervisor.resize_disk(spec.uuid, disk.id, size_gib=2)
    rig.hypervisor.migrate(spec.uuid, rig.there)
    source = rig.storage.stage_snapshot(disk.id, "snap-4")
    rig.other.change_disk(spec.uuid, disk.id, source)
    rig.other.power_off(spec.uuid)
    rig.storage.prepare_volume(disk.id)
    assert rig.storage.tidy_volume(disk.id)
    assert rig.storage.volume_info(disk.id).size_gib == 2
    rig.other.undefine(spec.uuid)


def test_a_running_domain_moves_and_is_gone_here(rig: Rig) -> None:
    spec = rig.started()
    with pytest.raises(Refused):
        rig.hypervisor.migrate(spec.uuid, rig.here)
    for _ in range(2):
        rig.hypervisor.migrate(spec.uuid, rig.there)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.ABSENT
    assert rig.other.observe(spec.uuid).power_state is PowerState.RUNNING
    assert rig.other.vnc_endpoint(spec.uuid).address == rig.there.address
    rig.other.power_off(spec.uuid)
    assert rig.other.observe(spec.uuid).power_state is PowerState.STOPPED
    rig.other.undefine(spec.uuid)


def test_only_running_domains_move(rig: Rig) -> None:
    spec = rig.defined()
    with pytest.raises(DomainNotRunning):
        rig.hypervisor.migrate(spec.uuid, rig.there)
    with pytest.raises(DomainNotFound):
        rig.hypervisor.migrate(str(uuid.uuid4()), rig.there)


def test_the_screen_listens_on_the_management_address_only(rig: Rig) -> None:
    spec = rig.started()
    endpoint = rig.hypervisor.vnc_endpoint(spec.uuid)
    assert endpoint.address == rig.here.address
    assert endpoint.port >= 5900
    soon = datetime.now(UTC) + timedelta(seconds=60)
    rig.hypervisor.set_vnc_password(spec.uuid, "abcdefgh", valid_until=soon)
    for password in ("", "ninechars", "ümlaut"):
        with pytest.raises(ValueError, match="VNC password"):
            rig.hypervisor.set_vnc_password(spec.uuid, password, valid_until=soon)
    with pytest.raises(ValueError, match="zone"):
        rig.hypervisor.set_vnc_password(
            spec.uuid, "abcdefgh", valid_until=soon.replace(tzinfo=None)
        )
    rig.hypervisor.power_off(spec.uuid)


# -- what a guest shows ----------------------------------------------------------------------------


def test_a_screen_can_be_looked_at_without_a_session(rig: Rig) -> None:
    spec = rig.started()
    shot = rig.hypervisor.screenshot(spec.uuid)
    assert png_of(shot).startswith(b"\x89PNG")
    with pytest.raises(Refused):
        rig.hypervisor.screenshot(spec.uuid, max_bytes=len(shot.content) - 1)
    rig.hypervisor.power_off(spec.uuid)


def test_a_guest_says_what_system_it_is(rig: Rig) -> None:
    spec = rig.guest()
    assert rig.hypervisor.system(spec.uuid).kernel


def test_what_a_guest_writes_to_its_serial_port_is_kept_and_its_end_is_read(rig: Rig) -> None:
    spec = rig.guest()
    if rig.kind == "fake":
        fake_host(rig.here.uri).console_logs[spec.uuid] = b"Booting\nlogin: "
    else:
        said = ["/bin/sh", "-c", "echo said by a test >/dev/ttyS0"]
        assert rig.hypervisor.run(spec.uuid, said).exit_code == 0
    eventually(
        lambda: len(rig.hypervisor.console_log(spec.uuid)) > 10, timeout_s=20, poll_s=rig.poll_s
    )
    whole = rig.hypervisor.console_log(spec.uuid)
    assert whole.endswith(rig.hypervisor.console_log(spec.uuid, max_bytes=4))


def test_the_log_of_a_domain_that_never_ran_is_empty(rig: Rig) -> None:
    spec = rig.defined()
    assert rig.hypervisor.console_log(spec.uuid) == b""
    rig.hypervisor.undefine(spec.uuid)
