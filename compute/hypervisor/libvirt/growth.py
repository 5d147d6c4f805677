"""CPU and memory of a domain: limits, and growth while it runs."""

import time
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    AgentUnavailable,
    GrowthHeadroom,
    Refused,
    ShrinkRefused,
)
from compute.hypervisor.libvirt import agent
from compute.hypervisor.libvirt.build import (
    CPU_PERIOD_US,
    MEMORY_BLOCK_KIB,
)
from compute.hypervisor.libvirt.host import Host, both, xml_of

_SEEN_TIMEOUT_S = 10.0
_POLL_S = 0.1


def set_cpu_limits(host: Host, uuid: str, *, shares: int, quota_percent: int | None) -> None:
    """Set weight and quota of the vCPUs."""
    if not host.traits().cpu_tuning:
        return
    quota_us = -1 if quota_percent is None else quota_percent * CPU_PERIOD_US // 100
    parameters = {
        "cpu_shares": shares,
        "vcpu_period": CPU_PERIOD_US,
        "vcpu_quota": quota_us,
    }

    def work(domain: libvirt.virDomain) -> None:
        for place in both(domain):
            domain.setSchedulerParametersFlags(parameters, place)

    host.with_domain(uuid, work)


def headroom(host: Host, uuid: str) -> GrowthHeadroom:
    """How far the running domain can grow."""

    def work(domain: libvirt.virDomain) -> GrowthHeadroom:
        fixed, requested, size = xml_of(domain).memory_kib()
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE
        return GrowthHeadroom(
            vcpus=domain.vcpusFlags(live),
            max_vcpus=domain.vcpusFlags(live | libvirt.VIR_DOMAIN_VCPU_MAXIMUM),
            memory_mib=(fixed + requested) // 1024,
            max_memory_mib=(fixed + size) // 1024,
            memory_step_mib=MEMORY_BLOCK_KIB // 1024,
        )

    return host.with_domain(uuid, work, running=True)


def hot_upgrade(host: Host, uuid: str, *, vcpus: int, memory_mib: int) -> None:
    """Grow; check everything before anything is changed."""
    present = headroom(host, uuid)
    if vcpus < present.vcpus or memory_mib < present.memory_mib:
        raise ShrinkRefused("A running domain can only grow.")
    if vcpus > present.max_vcpus or memory_mib > present.max_memory_mib:
        raise Refused(
            f"The domain can grow to {present.max_vcpus} vCPUs and {present.max_memory_mib} MiB."
        )
    if memory_mib % present.memory_step_mib:
        raise Refused(f"Memory grows in steps of {present.memory_step_mib} MiB.")
    host.with_domain(uuid, lambda domain: _grow_memory(domain, memory_mib * 1024), running=True)
    host.with_domain(uuid, lambda domain: _grow_vcpus(domain, vcpus), running=True)
    _bring_online(host, uuid, vcpus)


def _grow_memory(domain: libvirt.virDomain, wanted_kib: int) -> None:
    for place in both(domain):
        xml = xml_of(domain, persistent=place == libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        fixed, requested, size = xml.memory_kib()
        if size == 0 or fixed + requested >= wanted_kib:
            continue
        # libvirt recognises the device by all that it has, its alias included.
        device = xml.virtio_memory()
        target = None if device is None else device.find("target/requested")
        if device is not None and target is not None:
            target.text, target.attrib["unit"] = str(wanted_kib - fixed), "KiB"
            domain.updateDeviceFlags(ElementTree.tostring(device, encoding="unicode"), place)


def _grow_vcpus(domain: libvirt.virDomain, wanted: int) -> None:
    for place in both(domain):
        if domain.vcpusFlags(place) < wanted:
            domain.setVcpusFlags(wanted, place)


def _bring_online(host: Host, uuid: str, wanted: int) -> None:
    """A plugged vCPU stays offline in the guest until somebody says otherwise."""

    def work(domain: libvirt.virDomain) -> bool:
        deadline = time.monotonic() + _SEEN_TIMEOUT_S
        # The guest needs a moment to notice a vCPU before it can be told to use it.
        while len(agent.command(domain, "guest-get-vcpus")) < wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        if domain.vcpusFlags(libvirt.VIR_DOMAIN_VCPU_GUEST) < wanted:
            domain.setVcpusFlags(wanted, libvirt.VIR_DOMAIN_VCPU_GUEST)
        return True

    if not agent.with_agent(host, uuid, work, timeout_s=_SEEN_TIMEOUT_S + agent.AGENT_TIMEOUT_S):
        raise AgentUnavailable("The guest has not noticed the new vCPUs.")
