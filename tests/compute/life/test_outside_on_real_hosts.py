"""VMs that are reached from outside: by external IPs of two segments and by an external ENI."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, GuestNetwork, Spec
from compute.sweeps.guest_networks import configure_guests
from network.actions import enis, external_ips, segments
from network.models import Eni, ExternalIp, ExternalSegment, Nic
from network.rules.eni_orders import EniOrder
from network.sweeps import reconcile
from scloud.lab import region as labs
from scloud.lab.shell import run, succeeds, wait_for
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.life.test_on_real_hosts import settle, sh
from tests.lab_platform import GUEST_PASSWORD, RealPlatform
from tests.neighbour import ssh
from tests.outside import buy_ip

pytestmark = pytest.mark.lab


def segment(platform: RealPlatform, name: str) -> ExternalSegment:
    """Return a segment of the region in a box."""
    found: ExternalSegment = ExternalSegment.objects.get(region=platform.region, name=name)
    return found


def answers(address: str, *, within_s: int = 5) -> bool:
    """Whether the outer machine gets an answer to a ping."""
    return succeeds(
        "ping", "-n", "-q", "-c", "1", "-w", str(within_s), address, timeout_s=within_s + 5
    )


def await_answer(address: str) -> None:
    wait_for(f"{address} to answer", lambda: answers(address, within_s=1), timeout_s=60)


def await_silence(address: str) -> None:
    wait_for(f"{address} to be silent", lambda: not answers(address, within_s=1), timeout_s=60)


def bind(platform: RealPlatform, row: ExternalIp, vm: VM) -> float:
    """Bind an external IP; return after how many seconds it answers from outside."""
    began = time.monotonic()
    external_ips.bind_external_ip(actor=platform.actor, external_ip=row, target=vm)
    platform.run_jobs()
    wait_for(
        f"{row.address} to answer", lambda: answers(row.address, within_s=1), timeout_s=20,
        every_s=0.05,
    )  # fmt: skip
    took_s = time.monotonic() - began
    row.refresh_from_db()
    assert (row.status, row.task, row.failure, row.at_next_boot) == ("bound", "", "", False)
    return took_s


def unbind(platform: RealPlatform, row: ExternalIp) -> None:
    external_ips.unbind_external_ip(actor=platform.actor, external_ip=row)
    platform.run_jobs()
    row.refresh_from_db()
    assert (row.status, row.task, row.failure) == ("free", "", "")


def bound_eni(
    platform: RealPlatform,
    vm: VM,
    of: ExternalSegment,
    *,
    bandwidth_mbps: int = 50,
    grouped: bool = True,
) -> Eni:
    """Buy an external ENI, in the tenant's group or open to all, and plug it into a VM."""
    order = EniOrder(
        region=platform.region,
        segment=of,
        bandwidth_mbps=bandwidth_mbps,
        group=platform.group if grouped else None,
        name="eni",
    )
    quote = enis.quote_eni(actor=platform.actor, order=order)
    assert quote is not None
    eni = enis.create_eni(actor=platform.actor, order=order, quote_token=quote.token)
    enis.bind_eni(actor=platform.actor, eni=eni, vm=vm)
    platform.run_jobs()
    eni.refresh_from_db()
    assert (eni.status, eni.task, eni.failure, eni.at_next_boot) == ("bound", "", "", False)
    return eni


def seen_as(platform: RealPlatform, vm: VM) -> str:
    """Return the source by which the outer machine, outside all segments, sees the guest."""
    outside = platform.lab.management_address
    with socket.create_server((outside, 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]
        sh(
            platform, vm,
            # Debian has no nc, the mini guest no bash.
            f"(sleep 1; if command -v nc; then echo hi | nc -w 5 {outside} {port}; "
            f"else bash -c 'echo hi > /dev/tcp/{outside}/{port}'; fi) >/dev/null 2>&1 &",
        )  # fmt: skip
        link, peer = server.accept()
        link.close()
    return str(peer[0])


def gateway_of(platform: RealPlatform, vm: VM, address: str) -> str:
    """Return by which gateway the guest answers somebody far away."""
    route = sh(platform, vm, f"ip route get 198.18.0.1 from {address}")
    return route.split(" via ")[1].split()[0]


def assert_reached(
    platform: RealPlatform, vm: VM, rows: list[ExternalIp | Eni], egress: str
) -> None:
    """Each address answers, by its own segment's gateway; the egress is the one that was chosen."""
    for row in rows:
        assert answers(row.address, within_s=20), row.address
        of = (
            row.segment
            if isinstance(row, ExternalIp)
            else Nic.objects.get(pk=row.nic_id).external_address.segment
        )
        assert of is not None
        assert gateway_of(platform, vm, row.address) == of.gateway
    assert seen_as(platform, vm) == egress


GUESTS = [
    "mini",
    pytest.param("debian", marks=pytest.mark.soak),
    pytest.param("debian-nm", marks=pytest.mark.soak),
]


@pytest.fixture(params=GUESTS, ids=["mini", "netplan", "networkmanager"])
def any_platform(
    request: pytest.FixtureRequest, make_real_platform: Callable[[str], RealPlatform]
) -> Iterator[RealPlatform]:
    """A platform whose guests are of each of the Linux renderers."""
    platform = make_real_platform(request.param)
    with scope(tenant=platform.tenant):
        yield platform


def told(platform: RealPlatform, vm: VM) -> None:
    """Let the sweep tell the guest of its network, as it does every few seconds."""
    end = time.monotonic() + 120
    while not GuestNetwork.objects.filter(vm=vm, failure_code="").exclude(digest="").exists():
        assert time.monotonic() < end, list(GuestNetwork.objects.values())
        configure_guests()
        time.sleep(0.5)


@pytest.mark.timeout(3600)
def test_addresses_of_two_segments_and_an_eni_answer_through_everything(
    any_platform: RealPlatform, tmp_path: Path
) -> None:
    """Bought with the VM, bound later, plugged in; through reboot, migration, stop and start."""
    platform = any_platform
    memory_mib = 256 if platform.is_small else 512
    office, partners = segment(platform, "office"), segment(platform, "partners")
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    vm = platform.running_vm(
        agent=True,
        spec=Spec.objects.get(cluster=platform.cluster, vcpus=1, memory_mib=memory_mib),
        external_segment=office,
        external_bandwidth_mbps=100,
        external_group=platform.group,
        ssh_public_key=key.with_suffix(".pub").read_text().strip(),
    )
    first = ExternalIp.objects.get(target_id=vm.pk)
    assert (first.status, first.egress) == ("bound", True)
    told(platform, vm)

    # As the guide's last chapter has it: from outside, with the password and with the key.
    assert answers(first.address, within_s=20)
    assert run(*ssh(first.address, GUEST_PASSWORD, "hostname")).strip() == vm.hostname
    by_key = run(
        "ssh", "-F", "/dev/null", "-i", str(key), "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
        f"root@{first.address}", "id -u",
    )  # fmt: skip
    assert by_key.strip() == "0"

    second = buy_ip(platform.actor, office, bandwidth_mbps=50)
    third = buy_ip(platform.actor, partners, bandwidth_mbps=50)
    took = [bind(platform, second, vm), bind(platform, third, vm)]
    print(f"bind until ping: {', '.join(f'{one:.2f} s' for one in took)}")
    eni = bound_eni(platform, vm, office)
    rows: list[ExternalIp | Eni] = [first, second, third, eni]
    assert_reached(platform, vm, rows, first.address)

    external_ips.set_default_egress(actor=platform.actor, external_ip=second)
    platform.run_jobs()
    assert_reached(platform, vm, rows, second.address)
    enis.set_eni_egress(actor=platform.actor, eni=eni)
    platform.run_jobs()
    assert_reached(platform, vm, rows, eni.address)

    lifecycle.restart_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    platform.await_agent(vm)
    assert_reached(platform, vm, rows, eni.address)

    before = vm.host
    with lost_pings(first.address) as lost:
        migrate_vm(actor=Actor.system(platform.tenant), vm=vm)
        settle(platform, vm)
    assert vm.host != before
    print(f"pings lost during the migration, of one every 100 ms: {lost()}")
    assert_reached(platform, vm, rows, eni.address)

    # Of the egress that goes, the first bound takes over; what is unbound is silent.
    enis.unbind_eni(actor=platform.actor, eni=eni)
    platform.run_jobs()
    unbind(platform, second)
    assert not answers(eni.address, within_s=2)
    assert not answers(second.address, within_s=2)
    assert_reached(platform, vm, [first, third], first.address)

    lifecycle.power_off_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    assert not answers(first.address, within_s=2)
    lifecycle.start_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    platform.await_agent(vm)
    assert_reached(platform, vm, [first, third], first.address)

    lifecycle.delete_vm(actor=platform.actor, vm=vm)
    platform.run_jobs()
    assert list(
        ExternalIp.objects.filter(pk__in=[first.pk, third.pk]).values_list("status", flat=True)
    ) == ["free", "free"]
    assert not answers(first.address, within_s=2)


@contextmanager
def lost_pings(address: str) -> Iterator[Callable[[], int]]:
    """Ping ten times a second; the given function says afterwards how many got no answer."""
    process = subprocess.Popen(
        ["ping", "-n", "-i", "0.1", address], stdout=subprocess.PIPE, text=True
    )
    words: list[str] = []

    def lost() -> int:
        summary = next(line for line in words[0].splitlines() if "packets transmitted" in line)
        sent, received = (int(part.split()[0]) for part in summary.split(",")[:2])
        return sent - received

    try:
        yield lost
    finally:
        process.send_signal(2)
        words.append(process.communicate(timeout=20)[0])


def test_ovns_programs_may_die_at_any_moment(real_platform: RealPlatform) -> None:
    """Kill -9 of northd, of all controllers and of both databases while addresses are changed.

    What was bound answers on, what is changed meanwhile is so afterwards, and what was let go stays
    silent.
    """
    platform = real_platform
    office = segment(platform, "office")
    vm = platform.running_vm(agent=True, external_segment=office, external_bandwidth_mbps=50)
    kept = ExternalIp.objects.get(target_id=vm.pk)
    going, coming = buy_ip(platform.actor, office), buy_ip(platform.actor, office)
    bind(platform, going, vm)
    for names, at_least in (
        (("ovn-northd",), 1),
        (("ovn-controller",), len(platform.lab.hosts)),
        (("ovsdb-server",), 2),
        (("ovn-northd", "ovn-controller", "ovsdb-server"), 4),
    ):
        with lost_pings(kept.address) as lost:
            assert labs.kill_programs(platform.lab, *names) >= at_least
            external_ips.unbind_external_ip(actor=platform.actor, external_ip=going)
            external_ips.bind_external_ip(actor=platform.actor, external_ip=coming, target=vm)
            platform.run_jobs()
            await_answer(coming.address)
            await_silence(going.address)
        print(f"pings lost while {', '.join(names)} died, of one every 100 ms: {lost()}")
        assert answers(kept.address)
        for row in (going, coming):
            row.refresh_from_db()
        assert (going.status, going.failure) == ("free", "")
        assert (coming.status, coming.failure) == ("bound", "")
        going, coming = coming, going
    with scopes_disabled():
        told = reconcile.reconcile(platform.region)
    assert [drift for drift in told if drift.problem != "foreign"] == []


JUMBO_BYTES, TUNNELLED_JUMBO_BYTES = 9000, 8942
# Of a ping over IPv4.
HEADERS_BYTES = 28


def reassembled(platform: RealPlatform, vm: VM) -> int:
    """Return how many fragments a guest had to put together (RFC 4293, ipReasmReqds)."""
    return int(sh(platform, vm, "awk '/^Ip: [0-9]/ { print $15 }' /proc/net/snmp"))


def mtus(platform: RealPlatform, vm: VM) -> list[int]:
    """Return the MTUs of the VM's own two NICs, as the guest has them."""
    text = sh(platform, vm, "cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu")
    return [int(word) for word in text.split()]


def whole_ping(address: str, mtu_bytes: int) -> bool:
    """Whether a packet of that size comes back from outside in one piece."""
    return succeeds(
        "ping", "-n", "-q", "-c", "3", "-i", "0.3", "-W", "3", "-M", "do",
        "-s", str(mtu_bytes - HEADERS_BYTES), address, timeout_s=20,
    )  # fmt: skip


def test_packets_are_as_large_as_the_networks_say(real_platform: RealPlatform) -> None:
    """Jumbo frames: in a segment, and in tunnels between guests on two hosts.

    A NIC on networks of different sizes has the smallest one's, while it is on them.
    """
    platform = real_platform
    Region.objects.filter(pk=platform.region.pk).update(underlay_mtu_bytes=JUMBO_BYTES)
    platform.region.refresh_from_db()
    office, partners = segment(platform, "office"), segment(platform, "partners")
    office.mtu_bytes = JUMBO_BYTES
    segments.save_external_segment(actor=Actor.system(None), segment=office)
    vm = platform.running_vm(agent=True, external_segment=office, external_bandwidth_mbps=100)
    other = platform.running_vm(agent=True)
    if other.host == vm.host:
        migrate_vm(actor=Actor.system(platform.tenant), vm=other)
        settle(platform, other)
    assert other.host != vm.host
    outside = ExternalIp.objects.get(target_id=vm.pk)

    assert mtus(platform, vm) == [TUNNELLED_JUMBO_BYTES, JUMBO_BYTES]
    assert answers(outside.address, within_s=20)
    assert whole_ping(outside.address, JUMBO_BYTES)
    inside = Nic.objects.get(vm_id=other.pk, index=0).private_addresses[0]
    size = TUNNELLED_JUMBO_BYTES - HEADERS_BYTES
    sh(platform, vm, f"ping -c 3 -W 5 -s {size} {inside}")
    assert reassembled(platform, vm) == reassembled(platform, other) == 0

    usual = buy_ip(platform.actor, partners, bandwidth_mbps=50)
    bind(platform, usual, vm)
    assert mtus(platform, vm) == [TUNNELLED_JUMBO_BYTES, 1500]
    assert whole_ping(usual.address, 1500)
    unbind(platform, usual)
    assert mtus(platform, vm) == [TUNNELLED_JUMBO_BYTES, JUMBO_BYTES]
    assert whole_ping(outside.address, JUMBO_BYTES)


RATE_MBPS = 4
SETTLED_S, MEASURED_S = 4.0, 10.0
# Of TCP over IPv4 with time stamps, at an MTU of 1500.
FRAME_BYTES, PAYLOAD_BYTES = 1514, 1448


def test_the_bandwidth_of_external_ips_and_enis_is_kept_in_both_directions(
    real_platform: RealPlatform,
) -> None:
    """Within a tenth, whatever is offered; another one is felt at once."""
    platform = real_platform
    office = segment(platform, "office")
    vm = platform.running_vm(agent=True, external_segment=office, external_bandwidth_mbps=RATE_MBPS)
    row = ExternalIp.objects.get(target_id=vm.pk)
    assert answers(row.address, within_s=20)
    assert_rate(platform, vm, row.address, "eth1", RATE_MBPS)

    quote = external_ips.quote_bandwidth(
        actor=platform.actor, external_ip=row, bandwidth_mbps=RATE_MBPS // 2
    )
    external_ips.resize_external_ip(
        actor=platform.actor, external_ip=row, bandwidth_mbps=RATE_MBPS // 2,
        quote_token=quote.token,
    )  # fmt: skip
    platform.run_jobs()
    assert_rate(platform, vm, row.address, "eth1", RATE_MBPS // 2)

    # An ENI in the same segment has a rate of its own.
    eni = bound_eni(platform, vm, office, bandwidth_mbps=RATE_MBPS, grouped=False)
    assert answers(eni.address, within_s=20)
    assert_rate(platform, vm, eni.address, "eth2", RATE_MBPS)


def assert_rate(
    platform: RealPlatform, vm: VM, address: str, device: str, rate_mbps: float
) -> None:
    """A guest's address sends and receives within a tenth of the rate, whatever is offered."""
    out = sent_mbps(platform, vm, address)
    into = taken_mbps(platform, vm, address, device)
    print(f"{device}, of {rate_mbps} Mb/s: out {out:.2f}, in {into:.2f}")
    assert out == pytest.approx(rate_mbps, rel=0.1)
    assert into == pytest.approx(rate_mbps, rel=0.1)


def sent_mbps(platform: RealPlatform, vm: VM, address: str) -> float:
    """Return what the outer machine gets of a guest that sends as fast as TCP lets it, in Mb/s.

    Headers count, as they do for the meter. The first seconds spend the burst.
    """
    sh(platform, vm, "(dd if=/dev/zero bs=64k | nc -l -p 5001) >/dev/null 2>&1 &")
    with connected(address, 5001) as link:
        link.settimeout(10)
        _receive(link, SETTLED_S)
        return _receive(link, MEASURED_S)


def connected(address: str, port: int) -> socket.socket:
    """Return a connection to a guest's server, which may take a moment to listen."""
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((address, port), 5)
        except OSError:
            assert time.monotonic() < end, f"nobody listens at {address}"
            time.sleep(0.2)


def _receive(link: socket.socket, seconds: float) -> float:
    """Return what arrives, with the headers of full frames, in Mb/s."""
    total, began = 0, time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        data = link.recv(65536)
        assert data, "the guest hung up"
        total += len(data)
    return total * 8 * FRAME_BYTES / PAYLOAD_BYTES / elapsed / 1e6


def taken_mbps(platform: RealPlatform, vm: VM, address: str, device: str) -> float:
    """Return what a guest gets of the outer machine that sends three times as much, in Mb/s."""
    ended = threading.Event()

    def send() -> None:
        """1,000 bytes of payload at three times the rate."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            began, sent = time.monotonic(), 0
            while not ended.is_set():
                if sent * 1042 * 8 < (time.monotonic() - began) * 3 * RATE_MBPS * 1e6:
                    client.sendto(b"x" * 1000, (address, 9))
                    sent += 1
                else:
                    time.sleep(0.001)

    def counted() -> tuple[float, int]:
        """The guest's own clock and counter, which a slow agent does not distort."""
        text = sh(
            platform, vm,
            f"cat /proc/uptime /sys/class/net/{device}/statistics/rx_bytes",
        ).split()  # fmt: skip
        return float(text[0]), int(text[2])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        time.sleep(SETTLED_S)
        began, before = counted()
        time.sleep(MEASURED_S)
        end, after = counted()
    finally:
        ended.set()
        sender.join()
    return (after - before) * 8 / (end - began) / 1e6
