"""The fakes go wrong on request, in the ways of the real ones."""

import threading
import time
from collections.abc import Iterator

import pytest

from compute.hypervisor.base import (
    AgentUnavailable,
    GuestRefused,
    HostFull,
    HostRef,
    HostUnreachable,
    Hypervisor,
    OperationTimeout,
    PauseReason,
    PowerState,
    Refused,
)
from compute.hypervisor.fake import FakeHost, FakeHypervisor, fake_host, pause
from compute.hypervisor.opening import open_hypervisor
from compute.storage.base import Storage, StorageFull, StorageTimeout, StorageUnavailable
from compute.storage.fake import FakeStorage
from tests.compute.drivers.rig import Rig


@pytest.fixture
def host(fake_rig: Rig) -> Iterator[FakeHost]:
    """The fake host behind the rig, sound again afterwards."""
    found = fake_host(fake_rig.here.uri)
    yield found
    found.faults = type(found.faults)()


@pytest.fixture
def storage(fake_rig: Rig) -> Iterator[FakeStorage]:
    """The fake pool behind the rig, sound again afterwards."""
    assert isinstance(fake_rig.storage, FakeStorage)
    yield fake_rig.storage
    fake_rig.storage.faults = type(fake_rig.storage.faults)()


def test_the_fakes_have_every_method_of_their_ports(fake_rig: Rig) -> None:
    assert isinstance(fake_rig.hypervisor, Hypervisor)
    assert isinstance(fake_rig.storage, Storage)


def test_an_unreachable_host_says_nothing_about_its_domains(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.started()
    host.faults.unreachable = True
    for call in (lambda: fake_rig.hypervisor.observe(spec.uuid), fake_rig.hypervisor.capacity):
        with pytest.raises(HostUnreachable):
            call()
    host.faults.unreachable = False
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING


def test_a_guest_without_agent(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.guest()
    host.faults.agent_missing = True
    assert fake_rig.hypervisor.agent_ready(spec.uuid) is False
    with pytest.raises(AgentUnavailable):
        fake_rig.hypervisor.set_password(spec.uuid, "root", "Secret.123")


def test_a_guest_that_ignores_acpi_runs_until_it_is_powered_off(
    fake_rig: Rig, host: FakeHost
) -> None:
    spec = fake_rig.guest()
    host.faults.ignores_acpi = True
    fake_rig.hypervisor.shutdown(spec.uuid)
    time.sleep(2 * host.shutdown_s)
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING
    fake_rig.hypervisor.power_off(spec.uuid)
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.STOPPED


def test_a_full_storage_pauses_a_guest_as_soon_as_it_runs(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.guest()
    host.faults.disk_error = PauseReason.NO_SPACE
    for _ in range(2):
        seen = fake_rig.hypervisor.observe(spec.uuid)
        assert (seen.power_state, seen.pause) == (PowerState.PAUSED, PauseReason.NO_SPACE)
        assert fake_rig.hypervisor.agent_ready(spec.uuid) is False
        fake_rig.hypervisor.shutdown(spec.uuid)
        fake_rig.hypervisor.resume(spec.uuid)
    host.faults.disk_error = None
    fake_rig.hypervisor.resume(spec.uuid)
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING


def test_what_cannot_go_on_is_not_resumed(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.started()
    for why in (PauseReason.MIGRATION_FAILED, PauseReason.GUEST_CRASHED):
        pause(host.domains[spec.uuid], why)
        with pytest.raises(Refused):
            fake_rig.hypervisor.resume(spec.uuid)
        assert fake_rig.hypervisor.observe(spec.uuid).pause is why
    fake_rig.hypervisor.power_off(spec.uuid)


def test_a_growth_that_breaks_leaves_the_memory(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.spec(growth=True)
    fake_rig.hypervisor.define(spec)
    fake_rig.hypervisor.start(spec.uuid)
    host.faults.growth_breaks = Refused("The host refused: no vCPU.")
    with pytest.raises(Refused):
        fake_rig.hypervisor.hot_upgrade(spec.uuid, vcpus=2, memory_mib=512)
    seen = fake_rig.hypervisor.growth_headroom(spec.uuid)
    assert (seen.vcpus, seen.memory_mib) == (1, 512)
    fake_rig.hypervisor.power_off(spec.uuid)


def test_a_guest_that_keeps_its_devices(fake_rig: Rig, host: FakeHost) -> None:
    spec, disk = fake_rig.guest(), fake_rig.disk()
    fake_rig.hypervisor.attach_disk(spec.uuid, disk)
    host.faults.keeps_devices = True
    with pytest.raises(GuestRefused):
        fake_rig.hypervisor.detach_disk(spec.uuid, disk.id)
    host.faults.keeps_devices = False
    fake_rig.hypervisor.detach_disk(spec.uuid, disk.id)


def test_one_call_fails_and_the_next_does_not(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.defined()
    host.faults.fail_next["start"] = OperationTimeout("The host did not finish in time.")
    with pytest.raises(OperationTimeout):
        fake_rig.hypervisor.start(spec.uuid)
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.STOPPED
    fake_rig.hypervisor.start(spec.uuid)


def test_every_call_can_be_watched_and_slowed(fake_rig: Rig, host: FakeHost) -> None:
    calls: list[str] = []
    host.faults.before = calls.append
    host.faults.slow_s = 0.05
    started = time.monotonic()
    fake_rig.hypervisor.capacity()
    assert time.monotonic() - started >= 0.05
    assert calls == ["capacity"]


def test_a_migration_that_fails_leaves_the_domain_here(fake_rig: Rig, host: FakeHost) -> None:
    spec = fake_rig.started()
    host.faults.migration_fails = True
    with pytest.raises(Refused):
        fake_rig.hypervisor.migrate(spec.uuid, fake_rig.there)
    assert fake_rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING


def test_a_full_host_starts_nothing_more(fake_rig: Rig) -> None:
    ref = HostRef("tiny", "fake:drivers-tiny", "127.0.0.1")
    fake_host(ref.uri).memory_mib = 300
    tiny = open_hypervisor(ref)
    first, second = fake_rig.spec(), fake_rig.spec()
    for spec in (first, second):
        tiny.define(spec)
    tiny.start(first.uuid)
    with pytest.raises(HostFull):
        tiny.start(second.uuid)
    tiny.power_off(first.uuid)
    tiny.start(second.uuid)
    tiny.undefine(second.uuid)


def test_one_disk_is_never_open_in_two_domains(fake_rig: Rig) -> None:
    spec = fake_rig.started()
    twin = fake_rig.other
    twin.define(spec)
    with pytest.raises(Refused):
        twin.start(spec.uuid)
    twin.undefine(spec.uuid)


def test_a_pool_that_is_full_or_gone(fake_rig: Rig, storage: FakeStorage) -> None:
    storage.faults.full = True
    with pytest.raises(StorageFull):
        storage.create_volume("disk-full", size_gib=1)
    assert storage.capacity().available_bytes == 0
    storage.faults.full = False
    storage.faults.unavailable = True
    with pytest.raises(StorageUnavailable):
        storage.list_volumes()
    storage.faults.unavailable = False
    storage.faults.fail_next["delete_volume"] = StorageTimeout("too slow")
    with pytest.raises(StorageTimeout):
        storage.delete_volume("disk-full")
    storage.delete_volume("disk-full")


def test_threads_share_one_host(fake_rig: Rig) -> None:
    specs = [fake_rig.spec() for _ in range(20)]
    errors: list[Exception] = []

    def work(index: int) -> None:
        driver = open_hypervisor(fake_rig.here)
        try:
            driver.define(specs[index])
            driver.start(specs[index].uuid)
            driver.observe_all()
        except Exception as error:  # told in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    running = {seen.uuid for seen in fake_rig.hypervisor.observe_all()}
    assert {spec.uuid for spec in specs} <= running
    assert isinstance(fake_rig.hypervisor, FakeHypervisor)
