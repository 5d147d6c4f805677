"""Guests that talk while the northbound database is lost and made anew, on real hosts.

Namespaces stand in for guests. What the region owns in the database is destroyed in one
transaction, as if the database had been emptied; what the lab has beside it is not ours.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from network.actions import NicRequest, create_nics, ensure_tenant_defaults
from network.models import Nic
from network.sweeps import reconcile
from network.tasks import fabrics, plumbing
from scloud.lab import probe
from scloud.lab import region as labs
from scloud.lab.plan import Lab
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.network.fabric.site import ECHO, eventually

pytestmark = [pytest.mark.lab, pytest.mark.django_db]

FORBIDDEN = 81
#: Says when a connection came about; each attempt is given up before the next.
TRY = """
import socket, sys, time
print("ready", flush=True)
tried = 0
while True:
    begun = time.monotonic()
    link = socket.socket()
    link.settimeout(0.045)
    try:
        link.connect((sys.argv[1], int(sys.argv[2])))
        print("open", time.time(), flush=True)
    except OSError:
        pass
    link.close()
    tried += 1
    if tried % 20 == 0:
        print("tried", tried, flush=True)
    time.sleep(max(0, 0.05 - (time.monotonic() - begun)))
"""


@dataclass
class Guests:
    """Two machines in the default security group of a tenant, one on each host."""

    lab: Lab
    region: Region
    nics: list[Nic]
    probes: list[probe.Probe]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the second one."""
        with scopes_disabled():
            return str(self.nics[1].addresses.get().address)

    def nbctl(self, *args: str) -> str:
        """Look at the northbound database, or meddle with it."""
        command = ["ovn-nbctl", *self.lab.nb_options, *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def northd(self, *args: str) -> str:
        """Tell ovn-northd something."""
        command = ["ovn-appctl", "-t", f"{self.lab.run}/central/northd.ctl", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def owned(self) -> list[tuple[str, str]]:
        """The tables and UUIDs of what stands by itself."""
        mark = f"external_ids:scloud\\:owner={self.region.pk}"
        return [
            (table, one)
            for table in ("Logical_Router", "Logical_Switch", "Port_Group", "DHCP_Options")
            for one in self.nbctl("--bare", "--columns=_uuid", "find", table, mark).split()
        ]

    def lose_everything(self) -> None:
        """In one transaction, as an emptied database."""
        words: list[str] = []
        for table, one in self.owned():
            words += ["--", "destroy", table, one]
        assert words
        self.nbctl(*words[1:])
        assert self.owned() == []

    def sweep(self) -> list[reconcile.Drift]:
        """Compare and repair; what others have in the lab's database is none of this region's."""
        told = reconcile.reconcile(self.region)
        return [drift for drift in told if drift.problem != "foreign"]

    @contextmanager
    def talking(self) -> Iterator[Talk]:
        """Pings at 20 a second, and tries of the forbidden port every 50 ms."""
        pings = self.probes[0].popen("ping", "-n", "-D", "-i", "0.05", self.address)
        tries = self.probes[0].popen(sys.executable, "-c", TRY, self.address, str(FORBIDDEN))
        talk = Talk(begun=time.time())
        try:
            yield talk
        finally:
            for one in (pings, tries):
                one.terminate()
            said, _ = pings.communicate(timeout=10)
            talk.answered = [
                float(line[1 : line.index("]")])
                for line in said.splitlines()
                if "bytes from" in line
            ]
            tried, _ = tries.communicate(timeout=10)
            talk.tries = tried.splitlines()


@dataclass
class Talk:
    """What was heard."""

    begun: float
    answered: list[float] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)

    @property
    def opened(self) -> list[str]:
        """When the forbidden port was reached."""
        return [line for line in self.tries if line.startswith("open")]

    @property
    def tried(self) -> int:
        """How often it was tried."""
        counts = [int(line.split()[1]) for line in self.tries if line.startswith("tried")]
        return counts[-1]

    @property
    def longest_silence_s(self) -> float:
        """Between two answers."""
        return max(b - a for a, b in zip(self.answered, self.answered[1:], strict=False))


@pytest.fixture
def guests(lab: Lab, tenant: Tenant) -> Iterator[Guests]:
    """A region of its own on the lab."""
    facts: Any = labs.status(lab)["ovn"]
    region = Region.objects.create(
        id=f"t{uuid.uuid4().hex[:9]}", name="Lost", ovn_nb=facts["nb"], ovn_sb=facts["sb"]
    )
    fabrics.close_all()
    with scope(tenant=tenant):
        mine = ensure_tenant_defaults(tenant, region)
        assert mine.subnet is not None
        wanted = [NicRequest(vm_id=f"vm-{n}", security_group=mine.security_group) for n in (1, 2)]
        nics = create_nics(subnet=mine.subnet, requests=wanted)
        plumbing.ensure_nic_ports(nics)
        probes = [
            probe.add(
                lab,
                name=f"lost{number}",
                port=str(nic.port_uuid),
                mac=nic.mac,
                ip=[f"{nic.addresses.get().address}/24"],
                host=host,
            )
            for number, (nic, host) in enumerate(zip(nics, ("h1", "h2"), strict=True))
        ]
    found = Guests(lab, region, nics, probes)
    server = probes[1].popen(sys.executable, "-c", ECHO, str(FORBIDDEN))
    assert server.stdout is not None
    assert server.stdout.readline().strip() == "ready"
    assert eventually(lambda: probes[0].reaches(found.address, timeout_s=1), within_s=30)
    yield found
    server.kill()
    server.communicate()
    for number in range(2):
        probe.delete(lab, name=f"lost{number}")
    if found.owned():
        found.lose_everything()
    fabrics.close_all()


def test_the_sweep_brings_back_what_is_allowed_and_never_opens_what_is_not(guests: Guests) -> None:
    with guests.talking() as talk:
        time.sleep(2)
        guests.lose_everything()
        # Long enough for every host to have taken the flows away.
        time.sleep(3)
        begun = time.time()
        told = guests.sweep()
        took = time.time() - begun
        time.sleep(5)
    assert {drift.problem for drift in told} == {"missing"}
    assert {drift.kind for drift in told} == {"vpc", "subnet", "security_group", "port"}
    assert talk.opened == []
    assert talk.tried > 100
    assert talk.answered[-1] > begun + 3
    back_after_s = next(one for one in talk.answered if one > begun) - begun
    print(f"rebuilt in {took:.2f} s, answers {back_after_s:.2f} s after the sweep began")
    assert back_after_s < 10
    assert guests.sweep() == []


def test_nothing_is_interrupted_while_northd_is_paused(guests: Guests) -> None:
    """As the operations manual says it: nobody reads the database until it is whole again."""
    with guests.talking() as talk:
        time.sleep(1)
        guests.northd("pause")
        try:
            assert guests.northd("status") == "Status: paused"
            guests.lose_everything()
            time.sleep(1)
            assert all(drift.repaired for drift in guests.sweep())
            assert guests.sweep() == []
        finally:
            guests.northd("resume")
        time.sleep(4)
    assert talk.opened == []
    print(f"longest silence {talk.longest_silence_s:.2f} s")
    # Answers come every 50 ms; a busy machine may be late with some.
    assert talk.longest_silence_s < 1
    assert talk.answered[-1] - talk.begun > 5


def test_the_forbidden_port_is_seen_where_it_is_open(guests: Guests) -> None:
    """The proof of the tries: without its group the second machine is reached."""
    with scopes_disabled():
        Nic.objects.filter(pk=guests.nics[1].pk).update(security_group=None)
        plumbing.apply_nics(fabrics.fabric_of(guests.region), [guests.nics[1].pk])
        with guests.talking() as talk:
            time.sleep(3)
    assert talk.opened
