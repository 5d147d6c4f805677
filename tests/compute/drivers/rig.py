"""What the contract tests need beside the ports: a rig of two hosts and a pool, fake or real."""

import itertools
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import libvirt
import pytest

from compute.hypervisor.base import (
    DiskAttachment,
    DiskLimits,
    DomainSpec,
    HostRef,
    Hypervisor,
    NicSpec,
    PauseReason,
    PowerState,
)
from compute.hypervisor.fake import fake_host, pause
from compute.hypervisor.opening import open_hypervisor
from compute.storage.base import Storage

_numbers = itertools.count(1)
_RUN = secrets.token_hex(3)


def new_id(prefix: str) -> str:
    """An id as the product makes them, not used before."""
    return f"{prefix}-{_RUN}{next(_numbers):03d}"


def eventually(
    condition: Callable[[], bool],
    *,
    timeout_s: float,
    poll_s: float,
    seen: Callable[[], object] = lambda: "",
) -> None:
    """Wait until the condition holds; fails when it does not in time, with what is `seen` then."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            pytest.fail(f"it did not become true in time {seen()}")
        time.sleep(poll_s)


@dataclass
class Rig:
    """Two hosts, a pool with one bootable image, and how long a guest takes there."""

    kind: str
    here: HostRef
    there: HostRef
    storage: Storage
    image_id: str
    boot_timeout_s: float
    poll_s: float
    made: list[DomainSpec] = field(default_factory=list)
    _guest: DomainSpec | None = None

    @property
    def hypervisor(self) -> Hypervisor:
        """The host on which domains are made."""
        return open_hypervisor(self.here)

    @property
    def other(self) -> Hypervisor:
        """The host to which they move."""
        return open_hypervisor(self.there)

    def volume(self, *, size_gib: int = 1, bootable: bool = False) -> str:
        """A new volume's id."""
        volume_id = new_id("disk")
        image_id = self.image_id if bootable else None
        self.storage.create_volume(volume_id, size_gib=size_gib, image_id=image_id)
        return volume_id

    def disk(
        self, *, target: str = "vdb", limits: DiskLimits | None = None, size_gib: int = 1
    ) -> DiskAttachment:
        """A new data disk."""
        volume_id = self.volume(size_gib=size_gib)
        source = self.storage.disk_source(volume_id)
        return DiskAttachment(volume_id, target, source, limits or DiskLimits())

    def nic(self) -> NicSpec:
        """A new interface."""
        mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
        return NicSpec(new_id("nic"), str(uuid.uuid4()), mac)

    def spec(self, *, growth: bool = False) -> DomainSpec:
        """A new domain that can boot; not yet defined."""
        root = self.volume(bootable=True)
        source = self.storage.disk_source(root)
        spec = DomainSpec(
            uuid=str(uuid.uuid4()),
            name=new_id("vm"),
            title="A guest of the tests",
            vcpus=1,
            memory_mib=256,
            max_vcpus=2 if growth else 1,
            max_memory_mib=512 if growth else 256,
            disks=(DiskAttachment(root, "vda", source, boot=True),),
            nics=(self.nic(),),
        )
        self.made.append(spec)
        return spec

    def defined(self) -> DomainSpec:
        """A new domain, stopped."""
        spec = self.spec()
        self.hypervisor.define(spec)
        return spec

    def started(self) -> DomainSpec:
        """A new domain, running; its guest may still be booting."""
        spec = self.defined()
        self.hypervisor.start(spec.uuid)
        return spec

    def guest(self) -> DomainSpec:
        """A running domain with room for growth whose agent answers; shared between tests."""
        if self._guest is None:
            self._guest = self.spec(growth=True)
            self.hypervisor.define(self._guest)
        self.hypervisor.start(self._guest.uuid)
        self.wait_for_agent(self._guest.uuid)
        return self._guest

    def suspend(self, domain_uuid: str) -> None:
        """Pause a running domain behind the driver's back, as `virsh suspend` does."""
        if self.kind == "fake":
            pause(fake_host(self.here.uri).domains[domain_uuid], PauseReason.BY_HAND)
            return
        conn = libvirt.open(self.here.uri)
        try:
            conn.lookupByUUIDString(domain_uuid).suspend()
        finally:
            conn.close()

    def wait_for_agent(self, domain_uuid: str, hypervisor: Hypervisor | None = None) -> None:
        """Wait until the guest has booted."""
        driver = hypervisor or self.hypervisor
        eventually(
            lambda: driver.agent_ready(domain_uuid),
            timeout_s=self.boot_timeout_s,
            poll_s=self.poll_s,
        )

    def wait_for_power(
        self, domain_uuid: str, state: PowerState, *, timeout_s: float | None = None
    ) -> None:
        """Wait until the domain is in that state."""
        eventually(
            lambda: self.hypervisor.observe(domain_uuid).power_state is state,
            timeout_s=timeout_s or self.boot_timeout_s,
            poll_s=self.poll_s,
        )

    def clean(self) -> None:
        """Remove everything that was made on real hosts; others may have forgotten the fakes."""
        if self.kind == "fake":
            return
        for spec in self.made:
            self.hypervisor.undefine(spec.uuid)
            self.other.undefine(spec.uuid)
        for volume in self.storage.list_volumes():
            if volume.volume_id.startswith(f"disk-{_RUN}"):
                self.storage.delete_volume(volume.volume_id)
        self.storage.delete_image(self.image_id)
