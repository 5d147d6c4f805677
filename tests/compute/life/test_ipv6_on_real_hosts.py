"""Private IPv6 between real guests on two hosts: live, at a boot, and with a rogue one beside."""

from __future__ import annotations

import struct
import time
from ipaddress import IPv6Address, IPv6Network

import pytest

from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, GuestNetwork
from compute.sweeps.guest_networks import configure_guests
from network.actions import create_subnet, turn_on_ipv6
from network.models import Nic, Vpc, cidr
from scloud.tenancy.actor import Actor
from tests.compute.life.test_on_real_hosts import settle, sh
from tests.lab_platform import RealPlatform
from tests.neighbour import MAC, neighbour
from tests.network.fabric import frames

pytestmark = pytest.mark.lab


def six(vm: VM) -> IPv6Address:
    nic = Nic.objects.select_related("subnet").get(vm_id=vm.pk, index=0)
    assert nic.ipv6 is not None
    return nic.ipv6


def pings(platform: RealPlatform, vm: VM, address: IPv6Address, *, within_s: int = 20) -> bool:
    """Whether the guest gets an answer within the time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        said = sh(platform, vm, f"ping -6 -c 1 -W 1 {address} >/dev/null 2>&1; echo $?")
        if said == "0":
            return True
    return False


def on_two_hosts(platform: RealPlatform, *vms: VM) -> None:
    """The first VM stays; the others that are on its host go to another one."""
    for vm in vms[1:]:
        vms[0].refresh_from_db()
        vm.refresh_from_db()
        if vm.host == vms[0].host:
            migrate_vm(actor=Actor.system(platform.tenant), vm=vm)
            settle(platform, vm)
        assert vm.host != vms[0].host


def told(platform: RealPlatform, *vms: VM) -> None:
    """Let the sweep tell the guests, as it does every few seconds."""
    end = time.monotonic() + 60
    while GuestNetwork.objects.filter(vm__in=vms, failure_code="").exclude(digest="").count() < len(
        vms
    ):
        assert time.monotonic() < end, list(GuestNetwork.objects.values())
        configure_guests()
        time.sleep(0.5)


def test_guests_on_two_hosts_reach_each_other_live_and_after_a_boot(
    real_platform: RealPlatform,
) -> None:
    platform = real_platform
    near = platform.running_vm(agent=True, name="near")
    far = platform.running_vm(agent=True, name="far")
    on_two_hosts(platform, near, far)
    assert sh(platform, near, "ip -6 -o address show dev eth0 scope global") == ""

    # Live: both run, and are told by their agents.
    turn_on_ipv6(actor=platform.actor, subnet=platform.subnet)
    platform.run_jobs()
    told(platform, near, far)
    assert pings(platform, near, six(far))
    assert pings(platform, far, six(near))

    # No default route in IPv6, whatever the router announces: only the VPC's.
    routes = sh(platform, near, "ip -6 route show")
    vpc = Vpc.objects.get(pk=platform.subnet.vpc_id)
    assert "default" not in routes
    assert f"{vpc.ipv6_network} via" in routes
    refused = sh(platform, near, "ping -6 -c 1 -W 1 2001:db8::1 2>&1; echo $?")
    assert refused.splitlines()[-1] != "0"

    # Another subnet of the VPC; its guest has it from its seed.
    other = create_subnet(
        actor=platform.actor, vpc=vpc, name="six", cidr=_beside(platform), ipv6=True
    )
    beyond = platform.running_vm(agent=True, name="beyond", subnet=other)
    assert pings(platform, beyond, six(near))
    assert pings(platform, near, six(beyond))

    # The same addresses after a migration, and after a boot, from the seed alone.
    addresses = [six(one) for one in (near, far, beyond)]
    migrate_vm(actor=Actor.system(platform.tenant), vm=beyond)
    settle(platform, beyond)
    lifecycle.power_off_vm(actor=platform.actor, vm=far)
    settle(platform, far)
    lifecycle.start_vm(actor=platform.actor, vm=far)
    settle(platform, far)
    platform.await_agent(far)
    assert [six(one) for one in (near, far, beyond)] == addresses
    assert pings(platform, near, six(far))
    assert pings(platform, near, six(beyond))


def _beside(platform: RealPlatform) -> str:
    """The next /24 after the platform's subnet."""
    network = platform.subnet.network
    return str(type(network)((int(network.network_address) + 256, 24)))


def test_a_rogue_guest_speaks_for_nobody(real_platform: RealPlatform) -> None:
    """Root in a guest gives itself its neighbour's address, and others that are nobody's."""
    platform = real_platform
    subnet = turn_on_ipv6(actor=platform.actor, subnet=platform.subnet)
    platform.run_jobs()
    victim = platform.running_vm(agent=True, name="victim")
    friend = platform.running_vm(agent=True, name="friend")
    rogue = platform.running_vm(agent=True, name="rogue", internal_group=None)
    on_two_hosts(platform, victim, friend, rogue)
    assert pings(platform, friend, six(victim))

    # The neighbour's address, and one that nobody has, as source of all that it sends.
    assert subnet.ipv6_network is not None
    for stolen in (six(victim), subnet.ipv6_network[0x666]):
        sh(platform, rogue, f"ip -6 address add {stolen}/64 dev eth0 nodad")
        assert not pings_from(platform, rogue, stolen, six(friend))
        sh(platform, rogue, f"ip -6 address del {stolen}/64 dev eth0")
        assert pings(platform, friend, six(victim), within_s=5)
    # Forged link-local addresses reach nobody either.
    sh(platform, rogue, "ip -6 address add fe80::1/64 dev eth0 nodad")
    assert not pings_from(platform, rogue, "fe80::1", f"{link_local(victim)}%eth0")
    # By its own address it does: what is kept away is the lie, not the guest.
    assert pings(platform, rogue, six(friend))


def test_a_rogue_router_in_the_subnet_leads_no_guest_astray(real_platform: RealPlatform) -> None:
    """OVN lets advertisements of a neighbour pass; guests that the platform configures ignore them.

    The rogue is a machine beside the guests that anti-spoofing does not bind: the worst there is.
    """
    platform = real_platform
    turn_on_ipv6(actor=platform.actor, subnet=platform.subnet)
    platform.run_jobs()
    victim = platform.running_vm(agent=True, name="victim")
    friend = platform.running_vm(agent=True, name="friend")
    on_two_hosts(platform, victim, friend)
    assert pings(platform, friend, six(victim))
    before = configured(platform, victim)
    with neighbour(platform.lab, platform.subnet.pk) as rogue:
        frames.send(rogue, [announcement(MAC)] * 5)
        time.sleep(2)
        assert configured(platform, victim) == before
        assert pings(platform, friend, six(victim), within_s=5)


def announcement(mac: str) -> bytes:
    """A router advertisement: a default router, and a range in which to form addresses."""
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0)
    prefix += IPv6Address("fd66::").packed
    option = struct.pack("!BB", 1, 1) + frames.mac(mac)
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + prefix + option
    source = cidr.eui64(IPv6Network("fe80::/64"), mac)
    everybody = IPv6Address("ff02::1")
    message = frames.icmpv6(134, source, everybody, body)
    return frames.ethernet(mac, "33:33:00:00:00:01", frames.IPV6, message)


def configured(platform: RealPlatform, vm: VM) -> list[str]:
    """The IPv6 addresses and routes of a guest, without lifetimes."""
    shown = sh(platform, vm, "ip -6 route show; ip -6 -o address show dev eth0 scope global")
    return sorted(line.split(" expires ")[0].strip() for line in shown.splitlines())


def pings_from(
    platform: RealPlatform, vm: VM, source: IPv6Address | str, to: IPv6Address | str
) -> bool:
    said = sh(platform, vm, f"ping -6 -c 2 -W 1 -I {source} {to} >/dev/null 2>&1; echo $?")
    return said == "0"


def link_local(vm: VM) -> IPv6Address:
    return IPv6Address(0xFE80 << 112 | int(six(vm)) & 2**64 - 1)
